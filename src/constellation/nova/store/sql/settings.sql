-- name: values
-- What is set, of the platform and of every tenant.
-- index: settings_pkey
SELECT tenant, key, value FROM settings WHERE value IS NOT NULL ORDER BY tenant, key;

-- name: get
-- One setting as it was set, if it ever was.
-- index: settings_pkey
SELECT tenant, key, value, version, updated_by, updated_at FROM settings WHERE tenant = $1 AND key = $2;

-- name: list
-- Everything that was ever set of a tenant, or ('') of the platform.
-- index: settings_pkey
SELECT tenant, key, value, version, updated_by, updated_at FROM settings WHERE tenant = $1;

-- name: serialize
-- Lets one change of configuration at a time through; the triggers of the change log take the same lock.
SELECT lock_changes();

-- name: put
-- A value, or null for that of the configuration.
-- index: settings_pkey
INSERT INTO settings (tenant, key, value, updated_by, version) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, key) DO UPDATE
    SET value = excluded.value, version = excluded.version, updated_by = excluded.updated_by, updated_at = now();

-- name: insert_change
-- What a change was.
INSERT INTO setting_changes (tenant, key, version, was, value, note, actor) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: trim_changes
-- Changes before the last $3 of one setting.
-- index: setting_changes_pkey
DELETE FROM setting_changes
WHERE tenant = $1 AND key = $2
  AND version <= (SELECT version FROM settings WHERE tenant = $1 AND key = $2) - $3;

-- name: changes
-- The changes of one setting, newest first.
-- index: setting_changes_pkey
SELECT tenant, key, version, was, value, note, actor, at
FROM setting_changes
WHERE tenant = $1 AND key = $2
ORDER BY version DESC
LIMIT $3 OFFSET $4;

-- name: count_changes
-- How many changes `changes` has in all.
-- index: setting_changes_pkey
SELECT count(*) FROM setting_changes WHERE tenant = $1 AND key = $2;

-- name: change
-- One change.
-- index: setting_changes_pkey
SELECT tenant, key, version, was, value, note, actor, at
FROM setting_changes
WHERE tenant = $1 AND key = $2 AND version = $3;
