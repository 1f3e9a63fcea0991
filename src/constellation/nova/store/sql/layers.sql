-- name: serialize
-- Lets one change of a tenant's layers at a time through: what one forgets another may be about to use.
SELECT pg_advisory_xact_lock(hashtextextended('layers/' || $1, 0));

-- name: begin
-- A layer, if there is none of that name, and its next number.
INSERT INTO layers AS l (tenant, name, newest_version) VALUES ($1, $2, 1)
ON CONFLICT (tenant, name) DO UPDATE SET newest_version = l.newest_version + 1
RETURNING newest_version;

-- name: insert_content
-- What a version holds, unless it is there.
INSERT INTO layer_contents (tenant, hash, size_bytes, files_count) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: insert_files
-- The files of it.
INSERT INTO layer_files (tenant, hash, path, content)
SELECT $1, $2, file.path, file.content
FROM unnest($3::text[], $4::bytea[]) AS file (path, content);

-- name: insert_version
-- A version.
INSERT INTO layer_versions (tenant, name, version, hash, description, runtimes) VALUES ($1, $2, $3, $4, $5, $6);

-- name: newest
-- The newest version of a layer.
-- index: layer_versions_pkey
SELECT tenant, name, version, hash, description, runtimes, size_bytes, files_count, created_at
FROM layer_versions JOIN layer_contents USING (tenant, hash)
WHERE tenant = $1 AND name = $2
ORDER BY version DESC
LIMIT 1;

-- name: get
-- One version of a layer.
-- index: layer_versions_pkey
SELECT tenant, name, version, hash, description, runtimes, size_bytes, files_count, created_at
FROM layer_versions JOIN layer_contents USING (tenant, hash)
WHERE tenant = $1 AND name = $2 AND version = $3;

-- name: list
-- The newest version of each layer of a tenant by name; $2 is a part of the name, $3 a runtime; each may be null.
-- index: layer_versions_pkey or layer_versions_by_hash
SELECT tenant, name, version, hash, description, runtimes, size_bytes, files_count, created_at
FROM (SELECT DISTINCT ON (tenant, name) * FROM layer_versions WHERE tenant = $1 ORDER BY tenant, name, version DESC) AS newest
     JOIN layer_contents USING (tenant, hash)
WHERE ($2::text IS NULL OR strpos(lower(name), lower($2)) > 0)
  AND ($3::text IS NULL OR runtimes = '{}' OR $3 = ANY (runtimes))
ORDER BY name
LIMIT $4 OFFSET $5;

-- name: count
-- How many layers `list` has in all.
-- index: layer_versions_pkey or layer_versions_by_hash
SELECT count(*)
FROM (SELECT DISTINCT ON (tenant, name) * FROM layer_versions WHERE tenant = $1 ORDER BY tenant, name, version DESC) AS newest
WHERE ($2::text IS NULL OR strpos(lower(name), lower($2)) > 0)
  AND ($3::text IS NULL OR runtimes = '{}' OR $3 = ANY (runtimes));

-- name: versions
-- The versions of a layer, newest first.
-- index: layer_versions_pkey
SELECT tenant, name, version, hash, description, runtimes, size_bytes, files_count, created_at
FROM layer_versions JOIN layer_contents USING (tenant, hash)
WHERE tenant = $1 AND name = $2
ORDER BY version DESC
LIMIT $3 OFFSET $4;

-- name: count_versions
-- How many versions a layer has.
-- index: layer_versions_pkey
SELECT count(*) FROM layer_versions WHERE tenant = $1 AND name = $2;

-- name: paths
-- The files of a version, without what is in them.
-- index: layer_files_pkey
SELECT path, octet_length(content) AS size_bytes FROM layer_files
WHERE tenant = $1 AND hash = $2
ORDER BY path
LIMIT $3 OFFSET $4;

-- name: content
-- One file.
-- index: layer_files_pkey
SELECT content FROM layer_files WHERE tenant = $1 AND hash = $2 AND path = $3;

-- name: all_paths
-- The paths of a content.
-- index: layer_files_pkey
SELECT path FROM layer_files WHERE tenant = $1 AND hash = $2;

-- name: users
-- Functions and kept versions that use a layer, in version $3 or ($3 null) any.
-- index: function_layers_by_layer
SELECT namespace, f.name, function_version, layer_version
FROM function_layers AS used JOIN functions AS f ON f.tenant = used.tenant AND f.id = used.function_id
WHERE used.tenant = $1 AND used.layer = $2 AND ($3::integer IS NULL OR used.layer_version = $3)
ORDER BY namespace, f.name, function_version
LIMIT $4 OFFSET $5;

-- name: count_users
-- How many there are of them.
-- index: function_layers_by_layer
SELECT count(*) FROM function_layers
WHERE tenant = $1 AND layer = $2 AND ($3::integer IS NULL OR layer_version = $3);

-- name: delete
-- A layer with all its versions.
-- index: layers_pkey
DELETE FROM layers WHERE tenant = $1 AND name = $2;

-- name: delete_version
-- One version of a layer.
-- index: layer_versions_pkey
DELETE FROM layer_versions WHERE tenant = $1 AND name = $2 AND version = $3;

-- name: forget
-- What no version holds any more.
-- index: layer_contents_pkey
DELETE FROM layer_contents AS held
WHERE held.tenant = $1
  AND NOT EXISTS (SELECT FROM layer_versions AS made WHERE made.tenant = $1 AND made.hash = held.hash);
