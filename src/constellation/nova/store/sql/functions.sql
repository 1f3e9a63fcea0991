-- name: get
-- One function by its name in a scope.
-- index: functions_tenant_namespace_name_key
SELECT {function}, {ingress}
FROM functions LEFT JOIN function_ingress USING (tenant, namespace, name)
WHERE tenant = $1 AND namespace = $2 AND name = $3;

-- name: show
-- One function by its name in a scope, and what its newest build came to, if it has one.
-- index: functions_tenant_namespace_name_key
-- index: builds_by_function
SELECT {f.function}, built.id AS build_id, built.code_version AS build_code_version, built.state AS build_state,
       built.error AS build_error
FROM functions AS f
LEFT JOIN LATERAL (
    SELECT id, code_version, state, error FROM builds
    WHERE tenant = f.tenant AND function_id = f.id
    ORDER BY id DESC
    LIMIT 1
) AS built ON true
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3;

-- name: list
-- The functions of a scope by name; $3 is what its name must fit one of, $4 none of; each may be null. What comes before
-- the page is passed over in the index alone.
-- index: functions_tenant_namespace_name_key
WITH page AS MATERIALIZED (
    SELECT name
    FROM functions
    WHERE tenant = $1 AND namespace = $2
      AND ($3::text[] IS NULL OR name ~ ANY ($3)) AND ($4::text[] IS NULL OR NOT name ~ ANY ($4))
    ORDER BY name
    LIMIT $5 OFFSET $6
)
SELECT {f.function}
FROM page CROSS JOIN LATERAL ( -- each by its name, whatever the planner thinks of how many there are
    SELECT * FROM functions WHERE tenant = $1 AND namespace = $2 AND name = page.name LIMIT 1
) AS f
ORDER BY f.name;

-- name: list_runtime
-- As `list`, those of a runtime $7.
-- index: functions_by_runtime
WITH page AS MATERIALIZED (
    SELECT name
    FROM functions
    WHERE tenant = $1 AND namespace = $2 AND runtime = $7
      AND ($3::text[] IS NULL OR name ~ ANY ($3)) AND ($4::text[] IS NULL OR NOT name ~ ANY ($4))
    ORDER BY name
    LIMIT $5 OFFSET $6
)
SELECT {f.function}
FROM page CROSS JOIN LATERAL ( -- each by its name, whatever the planner thinks of how many there are
    SELECT * FROM functions WHERE tenant = $1 AND namespace = $2 AND name = page.name LIMIT 1
) AS f
ORDER BY f.name;

-- name: count
-- How many functions of a runtime (null: of any) a scope has.
-- index: function_counts_pkey
SELECT coalesce(sum(functions), 0)
FROM function_counts
WHERE tenant = $1 AND namespace = $2 AND ($3::text IS NULL OR runtime = $3);

-- name: count_fitting
-- How many functions of a runtime (null: of any) `list` has in all where it is for names that fit.
-- index: functions_by_runtime or functions_tenant_namespace_name_key
SELECT count(*)
FROM functions
WHERE tenant = $1 AND namespace = $2
  AND ($3::text IS NULL OR runtime = $3)
  AND ($4::text[] IS NULL OR name ~ ANY ($4)) AND ($5::text[] IS NULL OR NOT name ~ ANY ($5));

-- name: search
-- As `list`, those of a runtime $3 (null: of any) in which words are found that begin with each of $6, and that have the tag
-- $7 (of value $8); with each row, and without any in one alone, how many are found in all, up to $11. What is found is
-- looked at once, and put in order whole: beyond $11 `search_many` has the page.
-- index: function_search_document or function_search_pkey
WITH found AS MATERIALIZED (
    SELECT name
    FROM function_search
    WHERE tenant = $1 AND namespace = $2 AND document @@ function_query($1, $2, $6::text, $7::text, $8::text)
      AND ($3::text IS NULL OR runtime = $3)
      AND ($4::text[] IS NULL OR name ~ ANY ($4)) AND ($5::text[] IS NULL OR NOT name ~ ANY ($5))
    LIMIT $11
), counted AS MATERIALIZED (
    SELECT count(*) AS total FROM found
), page AS MATERIALIZED (
    SELECT name FROM found WHERE (SELECT total FROM counted) < $11 ORDER BY name LIMIT $9 OFFSET $10
)
SELECT counted.total, {f.function}
FROM counted LEFT JOIN (
    page CROSS JOIN LATERAL ( -- each by its name, whatever the planner thinks of how many there are
        SELECT * FROM functions WHERE tenant = $1 AND namespace = $2 AND name = page.name LIMIT 1
    ) AS f
) ON true
ORDER BY f.name;

-- name: search_many
-- The same page without a number, one function after the other by name until it is full.
-- index: function_search_pkey
WITH page AS MATERIALIZED (
    SELECT name
    FROM function_search
    WHERE tenant = $1 AND namespace = $2 AND ts_match_vq(document, function_query($1, $2, $6::text, $7::text, $8::text))
      AND ($3::text IS NULL OR runtime = $3)
      AND ($4::text[] IS NULL OR name ~ ANY ($4)) AND ($5::text[] IS NULL OR NOT name ~ ANY ($5))
    ORDER BY name
    LIMIT $9 OFFSET $10
)
SELECT {f.function}
FROM page CROSS JOIN LATERAL ( -- each by its name, whatever the planner thinks of how many there are
    SELECT * FROM functions WHERE tenant = $1 AND namespace = $2 AND name = page.name LIMIT 1
) AS f
ORDER BY f.name;

-- name: index
-- Writes what a function is found by; after each change of it.
SELECT index_function($1, $2, $3);

-- name: list_kept_warm
-- The functions of every tenant that want instances before a call comes.
-- index: functions_kept_warm
SELECT {function}, {ingress}
FROM functions LEFT JOIN function_ingress USING (tenant, namespace, name)
WHERE min_replicas > 0
ORDER BY tenant, namespace, name;

-- name: list_runtimes
-- The runtimes that some function uses in a backend that holds templates ready.
SELECT DISTINCT runtime FROM functions WHERE backend IN ('auto', 'namespace') ORDER BY runtime;

-- name: insert
-- A new function, at code version 1, which is live or waits for its build.
INSERT INTO functions (tenant, namespace, name, id, runtime, handler, description, memory_mb, cpu_millis, max_pids,
                       timeout_s, init_timeout_s, min_replicas, max_replicas, instance_concurrency,
                       max_payload_bytes, halted, max_inflight, max_queue_depth, max_queue_wait_s,
                       shed_status_code, retry_after_s, breaker_error_percent, breaker_min_samples, breaker_window_s,
                       breaker_open_s, breaker_probes, env, preload, backend, mode, log_retention_days, egress,
                       egress_allow, egress_deny, code_version, code_hash, pending_version, pending_hash, pending_handler,
                       kept_versions, tags, layers, mounts, on_success, on_failure)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
        $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46)
RETURNING {function};

-- name: update
-- The settings and the code version of a function that is still at row version $36. With $42 the handler that is live
-- stays: the new one comes with its code.
-- index: functions_tenant_namespace_name_key
UPDATE functions
SET runtime = $5, handler = CASE WHEN $42::boolean THEN handler ELSE $6 END, description = $7, memory_mb = $8,
    cpu_millis = $9, max_pids = $10, timeout_s = $11, init_timeout_s = $12, min_replicas = $13, max_replicas = $14,
    instance_concurrency = $15, max_payload_bytes = $16, halted = $17, max_inflight = $18, max_queue_depth = $19,
    max_queue_wait_s = $20, shed_status_code = $21, retry_after_s = $22, breaker_error_percent = $23, breaker_min_samples = $24,
    breaker_window_s = $25, breaker_open_s = $26, breaker_probes = $27, env = $28, preload = $29,
    backend = $30, mode = $31, log_retention_days = $32, egress = $33, egress_allow = $34, egress_deny = $35,
    code_version = $37, code_hash = $38, pending_version = $39, pending_hash = $40, pending_handler = $41,
    pending_error = CASE WHEN pending_version = $39 THEN pending_error END, kept_versions = $43, live_version = $44,
    tags = $45, layers = $46, mounts = $47, on_success = $48,
    on_failure = $49,
    version = version + 1, updated_at = now()
WHERE tenant = $1 AND namespace = $2 AND name = $3 AND id = $4 AND version = $36
RETURNING {function};

-- name: delete
-- A function, if it is still the row $4 at row version $5 where these are given; its code and schedules go with it.
-- index: functions_tenant_namespace_name_key
DELETE FROM functions
WHERE tenant = $1 AND namespace = $2 AND name = $3 AND ($4::uuid IS NULL OR (id = $4 AND version = $5));

-- name: delete_jobs
-- The live jobs of a function.
-- index: jobs_by_function
DELETE FROM jobs WHERE tenant = $1 AND namespace = $2 AND function_name = $3;

-- name: delete_job_pause
-- That the queue of a function stands still.
-- index: job_pauses_pkey
DELETE FROM job_pauses WHERE tenant = $1 AND namespace = $2 AND function_name = $3;

-- name: delete_job_keys
-- The idempotency keys of a function.
-- index: job_keys_pkey
DELETE FROM job_keys WHERE tenant = $1 AND namespace = $2 AND function_name = $3;

-- name: delete_call_keys
-- The idempotency keys of calls of a function, with their answers.
-- index: call_keys_pkey
DELETE FROM call_keys WHERE tenant = $1 AND namespace = $2 AND function_name = $3;

-- name: insert_code
-- One version of a function's code.
INSERT INTO function_code (tenant, function_id, version, hash, size_bytes) VALUES ($1, $2, $3, $4, $5);

-- name: insert_files
-- The files of one version.
INSERT INTO function_files (tenant, function_id, version, path, content)
SELECT $1, $2, $3, file.path, file.content
FROM unnest($4::text[], $5::bytea[]) AS file (path, content);

-- name: forget_old_code
-- The code up to $3 that no version is made of, and that neither is live nor waits.
-- index: function_code_pkey
DELETE FROM function_code AS code
USING functions AS f
WHERE code.tenant = $1 AND code.function_id = $2 AND code.version <= $3
  AND f.tenant = $1 AND f.id = $2 AND code.version <> f.code_version
  AND code.version IS DISTINCT FROM f.pending_version
  AND NOT EXISTS (SELECT FROM function_versions AS made
                  WHERE made.tenant = $1 AND made.function_id = $2 AND made.code_version = code.version);

-- name: get_code
-- One version of a function's code, without its files.
-- index: function_code_pkey
SELECT version, hash, artifact FROM function_code WHERE tenant = $1 AND function_id = $2 AND version = $3;

-- name: get_files
-- The files of one version.
-- index: function_files_pkey
SELECT path, content FROM function_files WHERE tenant = $1 AND function_id = $2 AND version = $3;

-- name: list_files
-- The files of one version by path, without what is in them.
-- index: function_files_pkey
SELECT path, octet_length(content) AS size_bytes
FROM function_files
WHERE tenant = $1 AND function_id = $2 AND version = $3
ORDER BY path
LIMIT $4 OFFSET $5;

-- name: count_files
-- How many files `list_files` has in all.
-- index: function_files_pkey
SELECT count(*) FROM function_files WHERE tenant = $1 AND function_id = $2 AND version = $3;
