-- name: touch
-- Says that an artifact is wanted, so that it is not forgotten before some code uses it.
-- index: artifacts_pkey
UPDATE artifacts SET used_at = now() WHERE tenant = $1 AND hash = $2;

-- name: insert
-- A new artifact, unless somebody wrote the same meanwhile.
INSERT INTO artifacts (tenant, hash, size_bytes, parts) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: insert_part
-- One part of an artifact.
INSERT INTO artifact_parts (tenant, hash, part, content) VALUES ($1, $2, $3, $4);

-- name: count_parts
-- How many parts an artifact has.
-- index: artifacts_pkey
SELECT parts FROM artifacts WHERE tenant = $1 AND hash = $2;

-- name: get_part
-- One part of an artifact.
-- index: artifact_parts_pkey
SELECT content FROM artifact_parts WHERE tenant = $1 AND hash = $2 AND part = $3;
