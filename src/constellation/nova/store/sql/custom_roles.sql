-- name: insert
-- A new role of a tenant's own.
INSERT INTO roles (tenant, name, description, permissions) VALUES ($1, $2, $3, $4)
RETURNING tenant, name, description, permissions, version, created_at, updated_at;

-- name: get
-- One role.
-- index: roles_pkey
SELECT tenant, name, description, permissions, version, created_at, updated_at
FROM roles
WHERE tenant = $1 AND name = $2;

-- name: list
-- The roles of a tenant by name.
-- index: roles_pkey
SELECT tenant, name, description, permissions, version, created_at, updated_at
FROM roles
WHERE tenant = $1
ORDER BY name
LIMIT $2 OFFSET $3;

-- name: count
-- How many roles a tenant has.
-- index: roles_pkey
SELECT count(*) FROM roles WHERE tenant = $1;

-- name: update
-- A role that is still at row version $5.
-- index: roles_pkey
UPDATE roles SET description = $3, permissions = $4, version = version + 1, updated_at = now()
WHERE tenant = $1 AND name = $2 AND version = $5
RETURNING tenant, name, description, permissions, version, created_at, updated_at;

-- name: uses
-- How many bindings and keys have a role.
-- index: role_bindings_by_role
SELECT (SELECT count(*) FROM role_bindings WHERE tenant = $1 AND role = $2)
     + (SELECT count(*) FROM api_keys WHERE tenant = $1 AND role = $2);

-- name: delete
-- A role.
-- index: roles_pkey
DELETE FROM roles WHERE tenant = $1 AND name = $2;

-- name: serialize
-- Lets one change of configuration at a time through; the triggers of the change log take the same lock.
SELECT lock_changes();
