-- name: get
-- One version of a function, as the function was then.
-- index: function_versions_pkey
SELECT made.version AS number, made.created_at AS made_at, f.live_version AS live, {was.function}
FROM functions AS f
JOIN function_versions AS made ON made.tenant = f.tenant AND made.function_id = f.id
CROSS JOIN LATERAL jsonb_populate_record(f, made.settings) AS was
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3 AND made.version = $4;

-- name: some
-- Some versions of a function, as the function was then.
-- index: function_versions_pkey
SELECT made.version AS number, made.created_at AS made_at, f.live_version AS live, {was.function}
FROM functions AS f
JOIN function_versions AS made ON made.tenant = f.tenant AND made.function_id = f.id
CROSS JOIN LATERAL jsonb_populate_record(f, made.settings) AS was
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3 AND made.version = ANY($4::integer[])
ORDER BY made.version;

-- name: list
-- The versions of a function, newest first.
-- index: function_versions_pkey
SELECT made.version AS number, made.created_at AS made_at, f.live_version AS live, {was.function}
FROM functions AS f
JOIN function_versions AS made ON made.tenant = f.tenant AND made.function_id = f.id
CROSS JOIN LATERAL jsonb_populate_record(f, made.settings) AS was
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3
ORDER BY made.version DESC
LIMIT $4 OFFSET $5;

-- name: count
-- How many versions `list` has in all.
-- index: function_versions_pkey
SELECT count(*) FROM function_versions WHERE tenant = $1 AND function_id = $2;

-- name: before
-- The newest version that is kept and older than the one that is live.
-- index: function_versions_pkey
SELECT max(made.version)
FROM functions AS f
JOIN function_versions AS made ON made.tenant = f.tenant AND made.function_id = f.id AND made.version < f.live_version
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3;

-- name: delete
-- A version that is not live and that no alias names.
-- index: function_versions_pkey
DELETE FROM function_versions AS made
USING functions AS f
WHERE f.tenant = $1 AND f.id = $2 AND made.tenant = $1 AND made.function_id = $2 AND made.version = $3
  AND made.version <> f.live_version
  AND NOT EXISTS (SELECT FROM function_alias_shares AS used
                  WHERE used.tenant = $1 AND used.function_id = $2 AND used.version = made.version);

-- name: forget_old
-- The versions that are older than a function keeps, but the one that is live and those that an alias names.
-- index: function_versions_pkey
DELETE FROM function_versions AS made
USING functions AS f
WHERE f.tenant = $1 AND f.id = $2 AND made.tenant = $1 AND made.function_id = $2
  AND made.version <= f.newest_version - f.kept_versions AND made.version <> f.live_version
  AND NOT EXISTS (SELECT FROM function_alias_shares AS used
                  WHERE used.tenant = $1 AND used.function_id = $2 AND used.version = made.version);

-- name: exists
-- Is there such a version.
-- index: function_versions_pkey
SELECT EXISTS (SELECT FROM function_versions WHERE tenant = $1 AND function_id = $2 AND version = $3);
