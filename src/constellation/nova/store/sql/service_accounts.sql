-- name: insert
-- A new service account.
INSERT INTO service_accounts (tenant, name, description) VALUES ($1, $2, $3)
RETURNING tenant, name, description, enabled, version, created_at, updated_at;

-- name: get
-- One service account.
-- index: service_accounts_pkey
SELECT tenant, name, description, enabled, version, created_at, updated_at
FROM service_accounts
WHERE tenant = $1 AND name = $2;

-- name: list
-- The service accounts of a tenant by name.
-- index: service_accounts_pkey
SELECT tenant, name, description, enabled, version, created_at, updated_at
FROM service_accounts
WHERE tenant = $1
ORDER BY name
LIMIT $2 OFFSET $3;

-- name: count
-- How many service accounts a tenant has.
-- index: service_accounts_pkey
SELECT count(*) FROM service_accounts WHERE tenant = $1;

-- name: update
-- A service account that is still at row version $5.
-- index: service_accounts_pkey
UPDATE service_accounts SET description = $3, enabled = $4, version = version + 1, updated_at = now()
WHERE tenant = $1 AND name = $2 AND version = $5
RETURNING tenant, name, description, enabled, version, created_at, updated_at;

-- name: delete
-- A service account; its keys go with it.
-- index: service_accounts_pkey
DELETE FROM service_accounts WHERE tenant = $1 AND name = $2;
