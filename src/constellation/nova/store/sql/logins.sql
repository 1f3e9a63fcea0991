-- name: read
-- How often a source failed, and when last; locked against others who count.
-- index: login_failures_pkey
SELECT failures, last_at FROM login_failures WHERE tenant = $1 AND source = $2 FOR UPDATE;

-- name: count
-- One more failure of a source; it begins anew when the last is older than $4.
-- index: login_failures_pkey
INSERT INTO login_failures AS known (tenant, source, failures, last_at) VALUES ($1, $2, 1, $3)
ON CONFLICT (tenant, source) DO UPDATE
SET failures = CASE WHEN known.last_at < $4 THEN 1 ELSE known.failures + 1 END, last_at = $3;

-- name: forgive
-- The failures of an account that was logged into.
-- index: login_failures_pkey
DELETE FROM login_failures WHERE tenant = $1 AND source = $2;

-- name: take_back
-- The failure that an attempt was counted as before it succeeded.
-- index: login_failures_pkey
UPDATE login_failures SET failures = greatest(failures - 1, 0) WHERE tenant = $1 AND source = $2;

-- name: forget_old
-- Up to a hundred sources that did not fail since $1.
-- index: login_failures_old
DELETE FROM login_failures
WHERE ctid = ANY (ARRAY(SELECT ctid FROM login_failures WHERE last_at < $1 ORDER BY last_at LIMIT 100));
