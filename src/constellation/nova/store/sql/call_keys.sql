-- name: claim
-- Takes a key for $7 seconds, or takes it over: from an answer whose time is up, or a call whose comet went silent. No
-- row: another call has it.
-- index: call_keys_pkey
INSERT INTO call_keys AS held (tenant, namespace, function_name, key, fingerprint, token, lease_until, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7), now() + make_interval(secs => $8))
ON CONFLICT (tenant, namespace, function_name, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, token = excluded.token, lease_until = excluded.lease_until,
        expires_at = excluded.expires_at, request_id = NULL, output = NULL, error = NULL, duration_ms = NULL,
        cold_start = NULL, code_version = NULL, is_kept = true
    WHERE held.lease_until <= now() OR (held.lease_until IS NULL AND held.expires_at <= now())
RETURNING token;

-- name: get
-- Whose call a key belongs to, and its answer if there is one.
-- index: call_keys_pkey
SELECT fingerprint, request_id, output, error, duration_ms, cold_start, code_version, is_kept
FROM call_keys
WHERE tenant = $1 AND namespace = $2 AND function_name = $3 AND key = $4;

-- name: answer
-- Keeps the answer of the call that still has the key, for $6 seconds.
-- index: call_keys_pkey
UPDATE call_keys
SET lease_until = NULL, expires_at = now() + make_interval(secs => $6), request_id = $7, output = $8, error = $9,
    duration_ms = $10, cold_start = $11, code_version = $12, is_kept = $13
WHERE tenant = $1 AND namespace = $2 AND function_name = $3 AND key = $4 AND token = $5 AND lease_until IS NOT NULL;

-- name: release
-- Frees the key of a call that got no answer.
-- index: call_keys_pkey
DELETE FROM call_keys
WHERE tenant = $1 AND namespace = $2 AND function_name = $3 AND key = $4 AND token = $5 AND lease_until IS NOT NULL;

-- name: renew
-- Extends the leases of calls that run for another $6 seconds.
-- index: call_keys_pkey
UPDATE call_keys AS held
SET lease_until = now() + make_interval(secs => $6)
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[])
     AS mine (tenant, namespace, function_name, key, token)
WHERE held.tenant = mine.tenant AND held.namespace = mine.namespace AND held.function_name = mine.function_name
  AND held.key = mine.key AND held.token = mine.token AND held.lease_until IS NOT NULL;

-- name: forget
-- Deletes up to $1 keys whose time is up.
-- index: call_keys_expired
DELETE FROM call_keys
USING (SELECT tenant, namespace, function_name, key FROM call_keys
       WHERE expires_at < now() AND (lease_until IS NULL OR lease_until < now())
       ORDER BY expires_at LIMIT $1) AS expired
WHERE (call_keys.tenant, call_keys.namespace, call_keys.function_name, call_keys.key)
    = (expired.tenant, expired.namespace, expired.function_name, expired.key)
  AND call_keys.expires_at < now();
