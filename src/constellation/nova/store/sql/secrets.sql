-- name: insert
-- A new secret.
INSERT INTO secrets (tenant, namespace, name, key_version, sealed_key, sealed_value)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: put
-- A new secret, or a new value of one that is there.
INSERT INTO secrets AS held (tenant, namespace, name, key_version, sealed_key, sealed_value)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant, namespace, name) DO UPDATE
    SET key_version = excluded.key_version, sealed_key = excluded.sealed_key, sealed_value = excluded.sealed_value,
        version = held.version + 1, updated_at = now();

-- name: get
-- One secret without its value, and the first $4 functions that use it.
-- index: secrets_pkey
SELECT tenant, namespace, name, key_version, version, created_at, updated_at,
       ARRAY(SELECT function_name FROM function_secrets AS used
             WHERE used.tenant = $1 AND used.namespace = $2 AND used.secret = secrets.name
             ORDER BY function_name LIMIT $4) AS functions,
       (SELECT count(*) FROM function_secrets AS used
        WHERE used.tenant = $1 AND used.namespace = $2 AND used.secret = secrets.name) AS functions_count
FROM secrets
WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: list
-- The secrets of a scope by name, without their values; $3 is a part of the name, or null.
-- index: secrets_pkey
SELECT tenant, namespace, name, key_version, version, created_at, updated_at,
       ARRAY(SELECT function_name FROM function_secrets AS used
             WHERE used.tenant = $1 AND used.namespace = $2 AND used.secret = secrets.name
             ORDER BY function_name LIMIT $4) AS functions,
       (SELECT count(*) FROM function_secrets AS used
        WHERE used.tenant = $1 AND used.namespace = $2 AND used.secret = secrets.name) AS functions_count
FROM secrets
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR strpos(lower(name), lower($3)) > 0)
ORDER BY name
LIMIT $5 OFFSET $6;

-- name: count
-- How many secrets `list` has in all.
-- index: secrets_pkey
SELECT count(*) FROM secrets
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR strpos(lower(name), lower($3)) > 0);

-- name: names
-- Which of some names are secrets of a scope.
-- index: secrets_pkey
SELECT name FROM secrets WHERE tenant = $1 AND namespace = $2 AND name = ANY ($3::text[]);

-- name: sealed
-- What is stored of some secrets of a scope.
-- index: secrets_pkey
SELECT name, key_version, sealed_key, sealed_value
FROM secrets
WHERE tenant = $1 AND namespace = $2 AND name = ANY ($3::text[]);

-- name: delete
-- A secret.
-- index: secrets_pkey
DELETE FROM secrets WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: versions_using
-- The first $4 versions that use a secret and are not live, and how many there are in all.
-- index: version_secrets_pkey
SELECT f.name || ':' || used.version AS version, count(*) OVER () AS count
FROM version_secrets AS used
JOIN functions AS f ON f.tenant = used.tenant AND f.id = used.function_id
WHERE used.tenant = $1 AND used.namespace = $2 AND used.secret = $3 AND used.version <> f.live_version
ORDER BY f.name, used.version
LIMIT $4;

-- name: outdated
-- Some secrets, and passwords of databases, that one of the master keys $2 sealed, and not the newest, $1.
-- index: secrets_by_key
-- index: databases_by_key
SELECT tenant, namespace, name, key_version, sealed_key, version
FROM secrets
WHERE key_version = ANY ($2::integer[]) AND key_version <> $1
UNION ALL
SELECT tenant, namespace, 'database/' || name, key_version, sealed_key, version
FROM databases
WHERE key_version = ANY ($2::integer[]) AND key_version <> $1
LIMIT $3;

-- name: reseal
-- The key of a value that nobody has changed meanwhile, under another master key.
-- index: secrets_pkey or secrets_by_key
UPDATE secrets SET key_version = $5, sealed_key = $6
WHERE tenant = $1 AND namespace = $2 AND name = $3 AND version = $4 AND key_version = $7;

-- name: reseal_database
-- The key of a database's password, which never changes, under another master key.
-- index: databases_pkey or databases_by_key
UPDATE databases SET key_version = $4, sealed_key = $5
WHERE tenant = $1 AND namespace = $2 AND name = $3 AND key_version = $6;

-- name: master_keys
-- The master keys that there have been, and how many secrets and passwords of databases each has sealed.
SELECT version, fingerprint, created_at,
       (SELECT count(*) FROM secrets WHERE key_version = master_keys.version)
       + (SELECT count(*) FROM databases WHERE key_version = master_keys.version) AS secrets_count
FROM master_keys
ORDER BY version DESC;

-- name: insert_master_key
-- That a master key is in use.
INSERT INTO master_keys (version, fingerprint) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: sealed_settings
-- Those of the platform's settings $1 that are set: they are sealed as secrets are.
-- index: settings_pkey
SELECT key, value FROM settings WHERE tenant = '' AND key = ANY ($1::text[]) AND value IS NOT NULL;

-- name: reseal_setting
-- The same value under another master key, unless it was set anew meanwhile; no change to those who look at its history.
-- index: settings_pkey
UPDATE settings SET value = $3 WHERE tenant = '' AND key = $1 AND value = $2;
