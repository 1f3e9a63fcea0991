-- name: get
-- One version of a function, as the function was then.
-- index: function_versions_pkey
SELECT made.version AS number, made.created_at AS made_at, f.live_version AS live,
       was.tenant, was.namespace, was.name, was.id, was.runtime, was.handler, was.description, was.memory_mb,
       was.cpu_millis, was.max_pids, was.timeout_s, was.init_timeout_s, was.min_replicas, was.max_replicas,
       was.instance_concurrency, was.max_payload_bytes, was.halted, was.max_inflight, was.max_queue_depth,
       was.max_queue_wait_s, was.shed_status_code, was.retry_after_s, was.breaker_error_percent,
       was.breaker_min_samples, was.breaker_window_s, was.breaker_open_s, was.breaker_probes, was.env, was.preload,
       was.backend, was.mode, was.log_retention_days, was.egress, was.egress_allow, was.egress_deny, was.code_version,
       was.code_hash, was.pending_version, was.pending_hash, was.pending_handler, was.pending_error, was.version,
       was.created_at, was.updated_at, was.live_version, was.newest_version, was.newest_code_version, was.kept_versions
FROM functions AS f
JOIN function_versions AS made ON made.tenant = f.tenant AND made.function_id = f.id
CROSS JOIN LATERAL jsonb_populate_record(f, made.settings) AS was
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3 AND made.version = $4;

-- name: some
-- Some versions of a function, as the function was then.
-- index: function_versions_pkey
SELECT made.version AS number, made.created_at AS made_at, f.live_version AS live,
       was.tenant, was.namespace, was.name, was.id, was.runtime, was.handler, was.description, was.memory_mb,
       was.cpu_millis, was.max_pids, was.timeout_s, was.init_timeout_s, was.min_replicas, was.max_replicas,
       was.instance_concurrency, was.max_payload_bytes, was.halted, was.max_inflight, was.max_queue_depth,
       was.max_queue_wait_s, was.shed_status_code, was.retry_after_s, was.breaker_error_percent,
       was.breaker_min_samples, was.breaker_window_s, was.breaker_open_s, was.breaker_probes, was.env, was.preload,
       was.backend, was.mode, was.log_retention_days, was.egress, was.egress_allow, was.egress_deny, was.code_version,
       was.code_hash, was.pending_version, was.pending_hash, was.pending_handler, was.pending_error, was.version,
       was.created_at, was.updated_at, was.live_version, was.newest_version, was.newest_code_version, was.kept_versions
FROM functions AS f
JOIN function_versions AS made ON made.tenant = f.tenant AND made.function_id = f.id
CROSS JOIN LATERAL jsonb_populate_record(f, made.settings) AS was
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3 AND made.version = ANY($4::integer[])
ORDER BY made.version;

-- name: list
-- The versions of a function, newest first.
-- index: function_versions_pkey
SELECT made.version AS number, made.created_at AS made_at, f.live_version AS live,
       was.tenant, was.namespace, was.name, was.id, was.runtime, was.handler, was.description, was.memory_mb,
       was.cpu_millis, was.max_pids, was.timeout_s, was.init_timeout_s, was.min_replicas, was.max_replicas,
       was.instance_concurrency, was.max_payload_bytes, was.halted, was.max_inflight, was.max_queue_depth,
       was.max_queue_wait_s, was.shed_status_code, was.retry_after_s, was.breaker_error_percent,
       was.breaker_min_samples, was.breaker_window_s, was.breaker_open_s, was.breaker_probes, was.env, was.preload,
       was.backend, was.mode, was.log_retention_days, was.egress, was.egress_allow, was.egress_deny, was.code_version,
       was.code_hash, was.pending_version, was.pending_hash, was.pending_handler, was.pending_error, was.version,
       was.created_at, was.updated_at, was.live_version, was.newest_version, was.newest_code_version, was.kept_versions
FROM functions AS f
JOIN function_versions AS made ON made.tenant = f.tenant AND made.function_id = f.id
CROSS JOIN LATERAL jsonb_populate_record(f, made.settings) AS was
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3
ORDER BY made.version DESC
LIMIT $4 OFFSET $5;

-- name: count
-- How many versions `list` has in all.
-- index: function_versions_pkey
SELECT count(*) FROM function_versions WHERE tenant = $1 AND function_id = $2;

-- name: before
-- The newest version that is kept and older than the one that is live.
-- index: function_versions_pkey
SELECT max(made.version)
FROM functions AS f
JOIN function_versions AS made ON made.tenant = f.tenant AND made.function_id = f.id AND made.version < f.live_version
WHERE f.tenant = $1 AND f.namespace = $2 AND f.name = $3;

-- name: delete
-- A version that is not live and that no alias names.
-- index: function_versions_pkey
DELETE FROM function_versions AS made
USING functions AS f
WHERE f.tenant = $1 AND f.id = $2 AND made.tenant = $1 AND made.function_id = $2 AND made.version = $3
  AND made.version <> f.live_version
  AND NOT EXISTS (SELECT FROM function_alias_shares AS used
                  WHERE used.tenant = $1 AND used.function_id = $2 AND used.version = made.version);

-- name: forget_old
-- The versions that are older than a function keeps, but the one that is live and those that an alias names.
-- index: function_versions_pkey
DELETE FROM function_versions AS made
USING functions AS f
WHERE f.tenant = $1 AND f.id = $2 AND made.tenant = $1 AND made.function_id = $2
  AND made.version <= f.newest_version - f.kept_versions AND made.version <> f.live_version
  AND NOT EXISTS (SELECT FROM function_alias_shares AS used
                  WHERE used.tenant = $1 AND used.function_id = $2 AND used.version = made.version);

-- name: exists
-- Is there such a version.
-- index: function_versions_pkey
SELECT EXISTS (SELECT FROM function_versions WHERE tenant = $1 AND function_id = $2 AND version = $3);
