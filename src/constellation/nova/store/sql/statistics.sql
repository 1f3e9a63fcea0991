-- name: figures
-- Calls of a scope, of one function or ($3 null) of all, in the last $4 seconds: first all of them, then by steps of
-- $5 seconds. At most the newest $6 are looked at.
-- index: invocations_pkey or invocations_by_function
SELECT step AS at, count(*) AS calls, count(*) FILTER (WHERE status <> 'ok') AS errors,
       count(*) FILTER (WHERE cold_start) AS cold_starts, avg(duration_ms) AS mean_ms,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS percentiles,
       max(duration_ms) AS max_ms, avg(queued_ms) AS mean_queued_ms
FROM (SELECT greatest(date_bin(make_interval(secs => $5), started_at, now() - make_interval(secs => $4)),
                      now() - make_interval(secs => $4)) AS step,
             duration_ms, queued_ms, cold_start, status
      FROM invocations
      WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
        AND id >= uuid7_floor(now() - make_interval(secs => $4))
      ORDER BY id DESC
      LIMIT $6) AS looked_at
GROUP BY GROUPING SETS ((), (step))
ORDER BY step NULLS FIRST;

-- name: by_function
-- Calls of a scope, of one function or ($3 null) of all, in the last $4 seconds: first all of them, then by function, the
-- one with the most calls first. At most the newest $5 are looked at.
-- index: invocations_pkey or invocations_by_function
SELECT function_name, count(*) AS calls, count(*) FILTER (WHERE status <> 'ok') AS errors,
       count(*) FILTER (WHERE cold_start) AS cold_starts, avg(duration_ms) AS mean_ms,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS percentiles,
       max(duration_ms) AS max_ms, avg(queued_ms) AS mean_queued_ms
FROM (SELECT function_name, duration_ms, queued_ms, cold_start, status
      FROM invocations
      WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
        AND id >= uuid7_floor(now() - make_interval(secs => $4))
      ORDER BY id DESC
      LIMIT $5) AS looked_at
GROUP BY GROUPING SETS ((), (function_name))
ORDER BY grouping(function_name) DESC, calls DESC, function_name;

-- name: statuses
-- The same calls by how they ended.
-- index: invocations_pkey or invocations_by_function
SELECT status, count(*) AS calls
FROM (SELECT status FROM invocations
      WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
        AND id >= uuid7_floor(now() - make_interval(secs => $4))
      ORDER BY id DESC
      LIMIT $5) AS looked_at
GROUP BY status
ORDER BY calls DESC, status;

-- name: slowest
-- The slowest $6 of the same calls that took longer than $5 milliseconds; at most the newest $7 are looked at.
-- index: invocations_by_function
SELECT id, started_at, duration_ms, cold_start, status
FROM (SELECT id, started_at, duration_ms, cold_start, status FROM invocations
      WHERE tenant = $1 AND namespace = $2 AND function_name = $3
        AND id >= uuid7_floor(now() - make_interval(secs => $4))
      ORDER BY id DESC
      LIMIT $7) AS looked_at
WHERE duration_ms > $5
ORDER BY duration_ms DESC, id
LIMIT $6;

-- name: days
-- Calls by day (UTC) of the last $4 days, today the last.
-- index: invocations_pkey or invocations_by_function
SELECT (started_at AT TIME ZONE 'UTC')::date AS day, count(*) AS calls,
       count(*) FILTER (WHERE status <> 'ok') AS errors
FROM invocations
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
  AND id >= uuid7_floor(date_trunc('day', now(), 'UTC') - make_interval(days => $4 - 1))
GROUP BY day
ORDER BY day;

-- name: usage
-- What the functions of a scope, or ($3 not null) one of them, used in the last $4 seconds. A function that is gone
-- counts with $5 MiB of memory.
-- index: invocations_pkey or invocations_by_function
SELECT used.function_name, used.calls, used.cold_starts,
       used.seconds * coalesce(known.memory_mb, $5) / 1024 AS gb_seconds
FROM (SELECT function_name, count(*) AS calls, count(*) FILTER (WHERE cold_start) AS cold_starts,
             sum(duration_ms) / 1000 AS seconds
      FROM invocations
      WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
        AND id >= uuid7_floor(now() - make_interval(secs => $4))
      GROUP BY function_name) AS used
LEFT JOIN functions AS known
    ON known.tenant = $1 AND known.namespace = $2 AND known.name = used.function_name
ORDER BY used.function_name;

-- name: advice
-- What the calls of version $6 of a function came to in the last $5 days, those left out that say nothing of it: how many
-- were cut off after $7 milliseconds or later, and stood in line for longer than $8. At most the newest $9 are looked at.
-- index: invocations_by_function
SELECT count(*) AS calls, count(*) FILTER (WHERE status <> 'ok') AS errors,
       count(*) FILTER (WHERE cold_start) AS cold_starts,
       count(*) FILTER (WHERE status = 'timeout' AND duration_ms - queued_ms >= $7) AS timeouts,
       count(*) FILTER (WHERE status = 'instance_died' AND error LIKE '%"cause":"out of memory"%'
                           OR status = 'function_error' AND error LIKE '%"MemoryError"%') AS out_of_memory,
       count(*) FILTER (WHERE NOT cold_start AND queued_ms > $8) AS queued,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE cold_start AND status = 'ok') AS cold_p50_ms,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE NOT cold_start AND status = 'ok') AS warm_p50_ms,
       percentile_disc(0.99) WITHIN GROUP (ORDER BY duration_ms - queued_ms) AS run_p99_ms,
       EXISTS (SELECT FROM invocations
               WHERE tenant = $1 AND namespace = $2 AND function_name = $3 AND function_id = $4
                 AND id >= uuid7_floor(now() - make_interval(days => $5))) AS has_any
FROM (SELECT status, error, cold_start, duration_ms, queued_ms
      FROM invocations
      WHERE tenant = $1 AND namespace = $2 AND function_name = $3 AND function_id = $4 AND function_version = $6
        AND id >= uuid7_floor(now() - make_interval(days => $5)) AND status NOT IN ('cancelled', 'invalid_request')
      ORDER BY id DESC
      LIMIT $9) AS looked_at;

-- name: now
-- The database's clock, by which ranges end.
SELECT now();
