-- name: insert
-- A canary at its first step.
INSERT INTO function_canaries (tenant, function_id, id, alias, old_version, new_version, steps, step_s, min_calls,
                               max_error_percent, max_p95_ratio)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: list
-- The canaries of a function, newest first.
-- index: function_canaries_pkey
SELECT canary.tenant, f.namespace, canary.function_id, f.name AS function_name, canary.id, canary.alias,
       canary.old_version, canary.new_version, canary.steps, canary.step_s, canary.min_calls, canary.max_error_percent,
       canary.max_p95_ratio, canary.state, canary.step, canary.reason, canary.stepped_at, canary.created_at,
       canary.ended_at
FROM function_canaries AS canary
JOIN functions AS f ON f.tenant = canary.tenant AND f.id = canary.function_id
WHERE canary.tenant = $1 AND canary.function_id = $2
ORDER BY canary.id DESC
LIMIT $3 OFFSET $4;

-- name: count
-- How many canaries `list` has in all.
-- index: function_canaries_pkey
SELECT count(*) FROM function_canaries WHERE tenant = $1 AND function_id = $2;

-- name: running
-- The canaries that run, of every tenant.
-- index: function_canaries_running
SELECT canary.tenant, f.namespace, canary.function_id, f.name AS function_name, canary.id, canary.alias,
       canary.old_version, canary.new_version, canary.steps, canary.step_s, canary.min_calls, canary.max_error_percent,
       canary.max_p95_ratio, canary.state, canary.step, canary.reason, canary.stepped_at, canary.created_at,
       canary.ended_at
FROM function_canaries AS canary
JOIN functions AS f ON f.tenant = canary.tenant AND f.id = canary.function_id
WHERE canary.state = 'running'
ORDER BY canary.tenant, canary.function_id;

-- name: settle
-- What became of a canary that is still at step $4.
-- index: function_canaries_running
UPDATE function_canaries
SET state = $5, step = $6, reason = $7, stepped_at = now(), ended_at = CASE WHEN $5 <> 'running' THEN now() END
WHERE tenant = $1 AND function_id = $2 AND id = $3 AND step = $4 AND state = 'running';

-- name: is_moving
-- Does a canary move this alias.
-- index: function_canaries_running
SELECT EXISTS (SELECT FROM function_canaries WHERE tenant = $1 AND function_id = $2 AND alias = $3 AND state = 'running');

-- name: now
-- The database's instant.
SELECT now();

-- name: samples
-- How the calls of two versions ended that began after $4; at most the newest $6 calls are looked at. Cold starts are
-- left out of the times: the version with fewer calls has more of them.
-- index: invocations_by_function
SELECT function_version AS version, count(*) AS calls, count(*) FILTER (WHERE status <> 'ok') AS errors,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE NOT cold_start) AS p95_ms
FROM (SELECT function_version, status, cold_start, duration_ms
      FROM invocations
      WHERE tenant = $1 AND namespace = $2 AND function_name = $3 AND id >= uuid7_floor($4)
        AND function_version = ANY($5::integer[]) AND status NOT IN ('cancelled', 'invalid_request')
      ORDER BY id DESC
      LIMIT $6) AS looked_at
GROUP BY function_version;
