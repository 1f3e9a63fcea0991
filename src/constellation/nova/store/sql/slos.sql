-- name: get
-- The policy of a function, if it has one.
-- index: function_slos_pkey
SELECT {slo.slo}, f.namespace, f.name AS function_name
FROM function_slos AS slo
JOIN functions AS f ON f.tenant = slo.tenant AND f.id = slo.function_id
WHERE slo.tenant = $1 AND slo.function_id = $2;

-- name: lock
-- The same, held until the transaction ends.
-- index: function_slos_pkey
SELECT {slo.slo}, f.namespace, f.name AS function_name
FROM function_slos AS slo
JOIN functions AS f ON f.tenant = slo.tenant AND f.id = slo.function_id
WHERE slo.tenant = $1 AND slo.function_id = $2
FOR UPDATE OF slo;

-- name: put
-- A new policy, or another over the one that is there, with what of it stays missed.
INSERT INTO function_slos AS held (tenant, function_id, enabled, window_s, min_samples, success_rate_pct, p95_duration_ms,
                                   cold_start_rate_pct)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant, function_id) DO UPDATE
SET enabled = $3, window_s = $4, min_samples = $5, success_rate_pct = $6, p95_duration_ms = $7, cold_start_rate_pct = $8,
    breached = $9, breached_at = CASE WHEN $9::text[] <> '{}' THEN held.breached_at END, version = held.version + 1;

-- name: delete
-- A policy; nothing is asked of the function any more.
-- index: function_slos_pkey
DELETE FROM function_slos WHERE tenant = $1 AND function_id = $2;

-- name: enabled
-- Up to $3 policies of all tenants that are watched, in order, behind the one of function $2 of tenant $1.
-- index: function_slos_enabled
SELECT {slo.slo}, f.namespace, f.name AS function_name
FROM function_slos AS slo
JOIN functions AS f ON f.tenant = slo.tenant AND f.id = slo.function_id
WHERE slo.enabled AND (slo.tenant, slo.function_id) > ($1::text, $2::uuid)
ORDER BY slo.tenant, slo.function_id
LIMIT $3;

-- name: settle
-- What is missed now, of a policy that is still at version $3.
-- index: function_slos_pkey
UPDATE function_slos
SET breached = $4, breached_at = CASE WHEN $4::text[] <> '{}' THEN coalesce(breached_at, now()) END, version = version + 1
WHERE tenant = $1 AND function_id = $2 AND version = $3;

-- name: snapshot
-- The calls of a function in the last $5 seconds; at most the newest $6 are looked at.
-- index: invocations_by_function
SELECT now() - make_interval(secs => $5) AS since, now() AS until, count(*) AS calls,
       count(*) FILTER (WHERE status <> 'ok') AS errors, count(*) FILTER (WHERE cold_start) AS cold_starts,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95_ms
FROM (SELECT status, cold_start, duration_ms
      FROM invocations
      WHERE tenant = $1 AND namespace = $2 AND function_name = $3 AND function_id = $4
        AND id >= uuid7_floor(now() - make_interval(secs => $5)) AND status NOT IN ('cancelled', 'invalid_request')
      ORDER BY id DESC
      LIMIT $6) AS looked_at;
