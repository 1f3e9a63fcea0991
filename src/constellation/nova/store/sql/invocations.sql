-- name: insert
-- Writes records, one row of the arrays each; one that is there already (a retried batch) is left alone.
-- index: invocations_pkey
INSERT INTO invocations (tenant, namespace, id, function_id, function_name, function_version, runtime, node,
                         started_at, duration_ms, queued_ms, cold_start, status, error, input_bytes, output_bytes,
                         log, log_truncated, source)
SELECT *
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::integer[], $7::text[], $8::text[],
            $9::timestamptz[], $10::double precision[], $11::double precision[], $12::boolean[], $13::text[],
            $14::text[], $15::integer[], $16::integer[], $17::text[], $18::boolean[], $19::text[])
ON CONFLICT (tenant, namespace, id) DO NOTHING;

-- name: insert_staged
-- Writes the rows that this transaction put into invocations_staged; nobody sees those of others, and none is ever
-- committed there. One that is in the log already is left alone.
-- index: invocations_pkey
INSERT INTO invocations (tenant, namespace, id, function_id, function_name, function_version, runtime, node,
                         started_at, duration_ms, queued_ms, cold_start, status, error, input_bytes, output_bytes,
                         log, log_truncated, source)
SELECT tenant, namespace, id, function_id, function_name, function_version, runtime, node,
       started_at, duration_ms, queued_ms, cold_start, status, error, input_bytes, output_bytes,
       log, log_truncated, source
FROM invocations_staged
ON CONFLICT (tenant, namespace, id) DO NOTHING;

-- name: clear_staged
-- Takes them out again.
DELETE FROM invocations_staged;

-- name: get
-- One record of a scope.
-- index: invocations_pkey
SELECT tenant, namespace, id, function_id, function_name, function_version, runtime, node, started_at, duration_ms,
       queued_ms, cold_start, status, error, input_bytes, output_bytes, log, log_truncated, source
FROM invocations
WHERE tenant = $1 AND namespace = $2 AND id = $3;

-- name: list
-- Records of a scope, newest first. Null leaves a filter out: $3 function, $4 status, $5 only errors or only
-- successes, $6 and $7 the first and last instant, $8 a part of log or error, $9 ids before this one, $10 the first id.
-- index: invocations_pkey or invocations_by_function
SELECT tenant, namespace, id, function_id, function_name, function_version, runtime, node, started_at, duration_ms,
       queued_ms, cold_start, status, error, input_bytes, output_bytes, log, log_truncated, source
FROM invocations
WHERE tenant = $1 AND namespace = $2
  AND ($3::text IS NULL OR function_name = $3)
  AND ($4::text IS NULL OR status = $4)
  AND ($5::boolean IS NULL OR (status <> 'ok') = $5)
  AND id >= uuid7_floor(greatest($6::timestamptz, 'epoch'))
  AND id < uuid7_floor(greatest(coalesce($7::timestamptz + interval '1 millisecond', '9999-01-01'), 'epoch'))
  AND ($8::text IS NULL OR strpos(lower(log), lower($8)) > 0 OR strpos(lower(error), lower($8)) > 0)
  AND ($9::uuid IS NULL OR id < $9) AND ($10::uuid IS NULL OR id >= $10)
ORDER BY id DESC
LIMIT $11 OFFSET $12;

-- name: count
-- How many records `list` has in all without its cursor from the id $9 on, counted up to $10.
-- index: invocations_pkey or invocations_by_function
SELECT count(*)
FROM (
    SELECT FROM invocations
    WHERE tenant = $1 AND namespace = $2
      AND ($3::text IS NULL OR function_name = $3)
      AND ($4::text IS NULL OR status = $4)
      AND ($5::boolean IS NULL OR (status <> 'ok') = $5)
      AND id >= uuid7_floor(greatest($6::timestamptz, 'epoch'))
      AND id < uuid7_floor(greatest(coalesce($7::timestamptz + interval '1 millisecond', '9999-01-01'), 'epoch'))
      AND ($8::text IS NULL OR strpos(lower(log), lower($8)) > 0 OR strpos(lower(error), lower($8)) > 0)
      AND ($9::uuid IS NULL OR id >= $9)
    LIMIT $10
) AS counted;

-- name: search_from
-- The id of the $6-th newest record of a scope, of one function or ($3 null) of all, between two instants or null; no row
-- when there are fewer.
-- index: invocations_pkey or invocations_by_function
SELECT id FROM invocations
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
  AND id >= uuid7_floor(greatest($4::timestamptz, 'epoch'))
  AND id < uuid7_floor(greatest(coalesce($5::timestamptz + interval '1 millisecond', '9999-01-01'), 'epoch'))
ORDER BY id DESC
LIMIT 1 OFFSET $6 - 1;

-- name: recorded_after
-- Records of a scope that were written after the one that was written at $4 with id $5, in the order of writing;
-- $3 is a function or null.
-- index: invocations_recorded
SELECT tenant, namespace, id, function_id, function_name, function_version, runtime, node, started_at, duration_ms,
       queued_ms, cold_start, status, error, input_bytes, output_bytes, log, log_truncated, source, recorded_at
FROM invocations
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR function_name = $3)
  AND recorded_at >= $4 AND (recorded_at, id) > ($4, $5)
ORDER BY recorded_at, id
LIMIT $6;

-- name: now
-- The database's clock, which stamps records.
SELECT now();
