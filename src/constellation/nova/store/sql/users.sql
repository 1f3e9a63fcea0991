-- name: insert
-- A new user.
INSERT INTO users (tenant, name, display_name, password_hash, is_platform)
VALUES ($1, $2, $3, $4, $5)
RETURNING tenant, name, display_name, is_platform, enabled, version, created_at, updated_at;

-- name: get
-- One user of a tenant.
-- index: users_pkey
SELECT tenant, name, display_name, is_platform, enabled, version, created_at, updated_at
FROM users
WHERE tenant = $1 AND name = $2;

-- name: password
-- A user's password hash.
-- index: users_pkey
SELECT password_hash FROM users WHERE tenant = $1 AND name = $2;

-- name: list
-- The users of a tenant by name; $2 whether platform users are among them.
-- index: users_pkey
SELECT tenant, name, display_name, is_platform, enabled, version, created_at, updated_at
FROM users
WHERE tenant = $1 AND ($2 OR NOT is_platform)
ORDER BY name
LIMIT $3 OFFSET $4;

-- name: count
-- How many users `list` has in all.
-- index: users_pkey
SELECT count(*) FROM users WHERE tenant = $1 AND ($2 OR NOT is_platform);

-- name: update
-- A user who is still at row version $5.
-- index: users_pkey
UPDATE users SET display_name = $3, enabled = $4, version = version + 1, updated_at = now()
WHERE tenant = $1 AND name = $2 AND version = $5
RETURNING tenant, name, display_name, is_platform, enabled, version, created_at, updated_at;

-- name: set_password
-- A user's new password.
-- index: users_pkey
UPDATE users SET password_hash = $3, version = version + 1, updated_at = now() WHERE tenant = $1 AND name = $2;

-- name: strengthen
-- Another hash of the same password.
-- index: users_pkey
UPDATE users SET password_hash = $4, version = version + 1 WHERE tenant = $1 AND name = $2 AND password_hash = $3;

-- name: delete
-- A user; its sessions go with it.
-- index: users_pkey
DELETE FROM users WHERE tenant = $1 AND name = $2;
