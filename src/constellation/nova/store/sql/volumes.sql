-- name: insert
-- A new volume.
INSERT INTO volumes (tenant, namespace, name, id, size_mb, access, description) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: get
-- One volume, and the first $4 functions that mount it.
-- index: volumes_pkey
SELECT tenant, namespace, name, id, size_mb, access, description, version, created_at, updated_at,
       ARRAY(SELECT DISTINCT f.name FROM function_volumes AS used JOIN functions AS f ON f.tenant = used.tenant AND f.id = used.function_id
             WHERE used.tenant = $1 AND used.namespace = $2 AND used.volume = volumes.name
             ORDER BY f.name LIMIT $4) AS functions,
       (SELECT count(DISTINCT function_id) FROM function_volumes AS used
        WHERE used.tenant = $1 AND used.namespace = $2 AND used.volume = volumes.name) AS functions_count
FROM volumes
WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: some
-- Some volumes of a scope, without who mounts them.
-- index: volumes_pkey
SELECT tenant, namespace, name, id, size_mb, access, description, version, created_at, updated_at
FROM volumes
WHERE tenant = $1 AND namespace = $2 AND name = ANY ($3::text[]);

-- name: list
-- The volumes of a scope by name; $3 is a part of the name, or null.
-- index: volumes_pkey
SELECT tenant, namespace, name, id, size_mb, access, description, version, created_at, updated_at,
       ARRAY(SELECT DISTINCT f.name FROM function_volumes AS used JOIN functions AS f ON f.tenant = used.tenant AND f.id = used.function_id
             WHERE used.tenant = $1 AND used.namespace = $2 AND used.volume = volumes.name
             ORDER BY f.name LIMIT $4) AS functions,
       (SELECT count(DISTINCT function_id) FROM function_volumes AS used
        WHERE used.tenant = $1 AND used.namespace = $2 AND used.volume = volumes.name) AS functions_count
FROM volumes
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR strpos(lower(name), lower($3)) > 0)
ORDER BY name
LIMIT $5 OFFSET $6;

-- name: count
-- How many volumes `list` has in all.
-- index: volumes_pkey
SELECT count(*) FROM volumes
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR strpos(lower(name), lower($3)) > 0);

-- name: update
-- Access and description of a volume.
-- index: volumes_pkey
UPDATE volumes SET access = coalesce($4, access), description = coalesce($5, description), version = version + 1,
                   updated_at = now()
WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: uses
-- The functions that mount a volume as they are.
-- index: function_volumes_pkey
SELECT f.name, is_writing
FROM function_volumes AS used JOIN functions AS f ON f.tenant = used.tenant AND f.id = used.function_id
WHERE used.tenant = $1 AND used.namespace = $2 AND used.volume = $3 AND function_version = 0
ORDER BY f.name;

-- name: users
-- The first $4 functions and kept versions that mount a volume.
-- index: function_volumes_pkey
SELECT f.name, function_version
FROM function_volumes AS used JOIN functions AS f ON f.tenant = used.tenant AND f.id = used.function_id
WHERE used.tenant = $1 AND used.namespace = $2 AND used.volume = $3
ORDER BY f.name, function_version
LIMIT $4;

-- name: count_users
-- How many there are of them.
-- index: function_volumes_pkey
SELECT count(*) FROM function_volumes WHERE tenant = $1 AND namespace = $2 AND volume = $3;

-- name: delete
-- A volume; its files go soon after.
-- index: volumes_pkey
DELETE FROM volumes WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: ids
-- Which of some ids are of volumes that there are, of whichever tenant; a few hundred rows.
SELECT id FROM volumes WHERE id = ANY ($1::uuid[]);
