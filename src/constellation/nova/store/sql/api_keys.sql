-- name: insert
-- A new key, known by its hash only.
INSERT INTO api_keys (tenant, namespace, name, key_hash, role, is_platform, enabled, expires_at, rate_per_s, burst,
                      service_account)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
RETURNING tenant, namespace, name, role, is_platform, enabled, expires_at, rate_per_s, burst, version, created_at,
          updated_at, service_account,
          (SELECT used_at FROM api_key_uses AS u WHERE u.tenant = api_keys.tenant AND u.name = api_keys.name) AS last_used_at;

-- name: get
-- One key of a tenant by its name.
-- index: api_keys_pkey
SELECT tenant, namespace, name, role, is_platform, enabled, expires_at, rate_per_s, burst, version, created_at,
       updated_at, service_account,
       (SELECT used_at FROM api_key_uses AS u WHERE u.tenant = api_keys.tenant AND u.name = api_keys.name) AS last_used_at
FROM api_keys
WHERE tenant = $1 AND name = $2;

-- name: get_by_hash
-- The key with this SHA-256, and what its tenant lets a key do; it is not enabled when its service account is not.
-- index: api_keys_key_hash_key
SELECT k.tenant, k.namespace, k.name, k.role, k.is_platform, k.enabled AND coalesce(s.enabled, true) AS enabled,
       k.expires_at, k.rate_per_s, k.burst, k.version, k.created_at, k.updated_at, k.service_account,
       coalesce(l.value, 0) AS most_per_s, coalesce(l.burst, 0) AS most_burst
FROM api_keys AS k
LEFT JOIN service_accounts AS s ON s.tenant = k.tenant AND s.name = k.service_account
LEFT JOIN LATERAL limits_of(k.tenant) AS l ON l.dimension = 'key_invocations_per_s'
WHERE k.key_hash = $1;

-- name: used
-- That a key was used at $3, unless as much is known to a minute.
-- index: api_key_uses_pkey
INSERT INTO api_key_uses AS known (tenant, name, used_at) VALUES ($1, $2, $3)
ON CONFLICT (tenant, name) DO UPDATE SET used_at = $3 WHERE known.used_at < $3::timestamptz - interval '1 minute';

-- name: set_hash
-- Another key under the same name.
-- index: api_keys_pkey
UPDATE api_keys SET key_hash = $3, version = version + 1, updated_at = now() WHERE tenant = $1 AND name = $2;

-- name: list
-- The keys of a tenant by name; $2 is a namespace or null, $3 whether platform keys are among them.
-- index: api_keys_pkey
SELECT tenant, namespace, name, role, is_platform, enabled, expires_at, rate_per_s, burst, version, created_at,
       updated_at, service_account,
       (SELECT used_at FROM api_key_uses AS u WHERE u.tenant = api_keys.tenant AND u.name = api_keys.name) AS last_used_at
FROM api_keys
WHERE tenant = $1 AND ($2::text IS NULL OR namespace = $2) AND ($3 OR NOT is_platform)
ORDER BY name
LIMIT $4 OFFSET $5;

-- name: count
-- How many keys `list` has in all.
-- index: api_keys_pkey
SELECT count(*) FROM api_keys
WHERE tenant = $1 AND ($2::text IS NULL OR namespace = $2) AND ($3 OR NOT is_platform);

-- name: update
-- A key that is still at row version $9.
-- index: api_keys_pkey
UPDATE api_keys
SET namespace = $3, role = $4, enabled = $5, expires_at = $6, rate_per_s = $7, burst = $8,
    version = version + 1, updated_at = now()
WHERE tenant = $1 AND name = $2 AND version = $9
RETURNING tenant, namespace, name, role, is_platform, enabled, expires_at, rate_per_s, burst, version, created_at,
          updated_at, service_account,
          (SELECT used_at FROM api_key_uses AS u WHERE u.tenant = api_keys.tenant AND u.name = api_keys.name) AS last_used_at;

-- name: delete
-- A key.
-- index: api_keys_pkey
DELETE FROM api_keys WHERE tenant = $1 AND name = $2 RETURNING is_platform;

-- name: lock
-- Lets one transaction at a time decide whether a first key is needed.
LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE;

-- name: exists
-- Whether there is any key at all.
SELECT EXISTS (SELECT FROM api_keys);
