-- Lists of columns that queries name, so that each is said once: {function}, or {was.function} for those of `was`.

-- columns: function
tenant, namespace, name, id, runtime, handler, description, memory_mb, cpu_millis, max_pids, timeout_s,
init_timeout_s, min_replicas, max_replicas, instance_concurrency, max_payload_bytes, halted, max_inflight,
max_queue_depth, max_queue_wait_s, shed_status_code, retry_after_s, breaker_error_percent, breaker_min_samples,
breaker_window_s, breaker_open_s, breaker_probes, env, preload, backend, mode, log_retention_days, egress,
egress_allow, egress_deny, code_version, code_hash, pending_version, pending_hash, pending_handler, pending_error,
version, created_at, updated_at, live_version, newest_version, newest_code_version, kept_versions, tags, layers,
mounts, on_success, on_failure

-- columns: ingress
ingress_callers, ingress_functions, ingress_allow, ingress_deny

-- columns: slo
tenant, function_id, enabled, window_s, min_samples, success_rate_pct, p95_duration_ms, cold_start_rate_pct, breached,
breached_at, version
