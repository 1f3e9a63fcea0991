-- Who may touch what. Applied whole at each start of nova, in one transaction, after the migrations.
-- The prefix constellation_ stands for the platform's own (roles.py).

DO $$
BEGIN
    -- A server that is not ours may give us a database that we do not own.
    IF pg_has_role((SELECT datdba FROM pg_database WHERE datname = current_database()), 'MEMBER') THEN
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO constellation_nova, constellation_comet, constellation_corona, '
                       'constellation_nebula, constellation_aurora', current_database());
    END IF;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA public
    FROM constellation_nova, constellation_comet, constellation_corona, constellation_nebula, constellation_aurora;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public
    FROM constellation_nova, constellation_comet, constellation_corona, constellation_nebula, constellation_aurora;
GRANT USAGE ON SCHEMA public
    TO constellation_nova, constellation_comet, constellation_corona, constellation_nebula, constellation_aurora;

-- nova writes the configuration, and deletes what belonged to a deleted function, namespace or tenant without
-- being able to read it.
GRANT SELECT, INSERT, UPDATE, DELETE
    ON tenants, namespaces, api_keys, functions, function_code, function_files, schedules,
       function_urls, function_ingress, function_docs, doc_shares, function_search, domains, gateway_routes TO constellation_nova;
GRANT SELECT ON function_counts TO constellation_nova; -- a trigger counts
GRANT SELECT, INSERT, UPDATE, DELETE ON function_aliases TO constellation_nova;
GRANT SELECT, INSERT, DELETE ON function_alias_shares TO constellation_nova;
GRANT SELECT, INSERT, UPDATE ON function_canaries TO constellation_nova;
GRANT SELECT, INSERT, UPDATE, DELETE ON function_slos TO constellation_nova;
-- it looks how the versions of a canary do, and whether functions keep to their objectives.
GRANT SELECT (id, function_name, function_version, status, duration_ms, cold_start) ON invocations TO constellation_nova;
-- it has failed calls explained to those who may read the log.
GRANT SELECT (function_id, runtime, node, started_at, queued_ms, error, input_bytes, output_bytes, log, log_truncated, source)
    ON invocations TO constellation_nova;
GRANT SELECT, DELETE ON function_versions TO constellation_nova; -- they are written by a trigger, and never changed
GRANT SELECT, INSERT, UPDATE, DELETE
    ON users, user_identities, roles, role_bindings, sessions, provider_sessions, login_failures, service_accounts, api_key_uses
    TO constellation_nova;
GRANT SELECT, INSERT, UPDATE, DELETE ON secrets TO constellation_nova; -- it alone has the master keys
GRANT SELECT, INSERT ON master_keys TO constellation_nova;
GRANT SELECT ON function_secrets, version_secrets, function_databases, version_databases TO constellation_nova;
GRANT SELECT, INSERT, UPDATE, DELETE ON layers TO constellation_nova;
GRANT SELECT, INSERT, DELETE ON layer_versions, layer_contents TO constellation_nova;
GRANT SELECT, INSERT ON layer_files TO constellation_nova;
GRANT SELECT ON function_layers, function_volumes TO constellation_nova;
GRANT SELECT, INSERT, UPDATE, DELETE ON volumes TO constellation_nova;
GRANT SELECT, INSERT, UPDATE, DELETE ON databases TO constellation_nova; -- with the passwords of their roles
GRANT SELECT, DELETE ON database_leftovers TO constellation_nova;
GRANT SELECT ON database_requests TO constellation_nova;
GRANT SELECT, INSERT, DELETE ON audit TO constellation_nova; -- nobody changes a row; they go with their tenant
GRANT SELECT, INSERT, DELETE ON builds TO constellation_nova;
GRANT UPDATE (state, error, owner, lease_until, finished_at) ON builds TO constellation_nova; -- a newer deploy ends it
GRANT SELECT (tenant, hash), DELETE ON artifacts TO constellation_nova;
GRANT SELECT, INSERT, UPDATE ON settings TO constellation_nova;
GRANT SELECT, DELETE ON notices TO constellation_nova; -- they are written by `notice` alone
GRANT SELECT, INSERT, UPDATE, DELETE ON notifications TO constellation_nova;
GRANT USAGE ON SEQUENCE notifications_seq TO constellation_nova;
GRANT SELECT, INSERT, UPDATE ON notification_reads TO constellation_nova;
GRANT EXECUTE ON FUNCTION notice(text, text, text, text, text) TO constellation_nova, constellation_comet;
GRANT SELECT, INSERT, DELETE ON setting_changes TO constellation_nova;
GRANT SELECT (tenant, key, value)
    ON settings TO constellation_comet, constellation_corona, constellation_nebula, constellation_aurora;
GRANT SELECT ON changes, executor_backends TO constellation_nova;
GRANT DELETE ON jobs, job_keys, job_pauses, call_keys, jobs_done, invocations, messages TO constellation_nova;
GRANT SELECT (tenant, namespace, function_name) ON jobs, job_keys, job_pauses, call_keys TO constellation_nova;
GRANT SELECT (tenant, namespace) ON jobs_done, messages TO constellation_nova;
GRANT SELECT (tenant, namespace) ON invocations TO constellation_nova;
GRANT SELECT (tenant, namespace, name) ON topics TO constellation_nova; -- results of functions go there

-- it writes tiers and limits; what was used it only shows.
GRANT SELECT, INSERT, UPDATE, DELETE ON tiers, tier_limits, tenant_limits TO constellation_nova;
GRANT SELECT ON tenant_usage TO constellation_nova;
GRANT SELECT (status) ON jobs TO constellation_nova;
GRANT EXECUTE ON FUNCTION limits_of(text) TO constellation_nova, constellation_comet, constellation_nebula;

-- comet runs functions, accepts jobs, and serves the routes that read and manage both.
GRANT SELECT ON tenants, functions, function_versions, function_aliases, function_alias_shares, function_code,
    function_files, function_ingress, layer_files, volumes, changes TO constellation_comet;
GRANT SELECT, INSERT ON invocations TO constellation_comet;
GRANT SELECT, INSERT, UPDATE (calls) ON tenant_usage TO constellation_comet; -- it counts calls
GRANT SELECT, INSERT, DELETE ON executor_backends TO constellation_comet; -- what it can
-- it builds code, keeps what was made, and puts it live.
GRANT SELECT, INSERT, UPDATE, DELETE ON builds TO constellation_comet;
GRANT SELECT, INSERT ON build_log TO constellation_comet;
GRANT SELECT, INSERT, UPDATE (used_at) ON artifacts TO constellation_comet;
GRANT SELECT, INSERT ON artifact_parts TO constellation_comet;
GRANT UPDATE (artifact) ON function_code TO constellation_comet;
GRANT UPDATE (handler, code_version, code_hash, pending_version, pending_hash, pending_handler, pending_error, version,
              updated_at) ON functions TO constellation_comet;
GRANT SELECT, INSERT, DELETE ON invocations_staged TO constellation_comet;
GRANT SELECT, INSERT, UPDATE, DELETE ON jobs TO constellation_comet;
GRANT SELECT ON jobs_done TO constellation_comet;
GRANT SELECT, INSERT, DELETE ON job_pauses TO constellation_comet;
GRANT SELECT, INSERT, UPDATE, DELETE ON job_keys TO constellation_comet; -- UPDATE: an expired key is taken over
GRANT SELECT, INSERT, UPDATE, DELETE ON call_keys TO constellation_comet;

-- it has interactive sandboxes; which scopes there are, the table's own constraint sees to.
GRANT SELECT, INSERT, DELETE ON sandboxes TO constellation_comet;
GRANT UPDATE (state, reason, idle_timeout_s, ports, generation, used_at, expires_at, ended_at) ON sandboxes TO constellation_comet;

-- it keeps the state of functions, and what durable executions leave on record.
GRANT SELECT, INSERT, UPDATE, DELETE ON function_state TO constellation_comet;
GRANT SELECT, INSERT, UPDATE (output, error, finished_at, topic_id) ON execution_steps TO constellation_comet;
GRANT SELECT, INSERT, DELETE ON execution_events TO constellation_comet;

-- it writes down what functions ask of databases, of those that are there.
GRANT INSERT ON database_requests TO constellation_comet;
GRANT SELECT (tenant, namespace, database, id) ON database_requests TO constellation_comet; -- as ON CONFLICT asks for
GRANT SELECT (tenant, namespace, name, size_mb, size_bytes, fullness) ON databases TO constellation_comet;

-- it keeps topics and subscriptions, and accepts messages with the jobs that deliver them.
GRANT SELECT, INSERT, DELETE ON topics, subscriptions TO constellation_comet;
GRANT UPDATE (description, retention_hours, version, updated_at) ON topics TO constellation_comet;
GRANT UPDATE (function_name, filter, enabled, is_paused, max_attempts, backoff_base_s, backoff_max_s, qualifier, version, updated_at)
    ON subscriptions TO constellation_comet;
GRANT SELECT, INSERT, DELETE ON messages TO constellation_comet;
GRANT SELECT, INSERT, UPDATE (message_id, expires_at) ON message_keys TO constellation_comet;

-- corona claims schedules and plans their next run; it fires through comet. Neither it nor nebula claims anything of a
-- suspended tenant.
GRANT SELECT (id, status) ON tenants TO constellation_corona, constellation_nebula;
GRANT SELECT ON functions, schedules TO constellation_corona;
GRANT UPDATE (owner, token, lease_until, next_run_at, last_run_at, last_job_id) ON schedules TO constellation_corona;

-- nebula claims jobs and keeps their results; it runs them through comet.
GRANT SELECT, INSERT, UPDATE, DELETE ON jobs TO constellation_nebula;
GRANT SELECT, INSERT ON jobs_done TO constellation_nebula;
GRANT SELECT ON job_pauses TO constellation_nebula;
GRANT EXECUTE ON FUNCTION queued_or_paused(text, uuid) TO constellation_nebula;
GRANT EXECUTE ON FUNCTION queue_heads(integer) TO constellation_nebula;
GRANT SELECT, DELETE ON job_keys TO constellation_nebula;
GRANT SELECT (tenant, execution_id, name) ON execution_events TO constellation_nebula;
-- it sends results where the functions want them: as jobs, or as messages with the jobs that deliver them and the steps that
-- wait for them.
GRANT SELECT (tenant, namespace, name, id, live_version, on_success, on_failure) ON functions TO constellation_nebula;
GRANT EXECUTE ON FUNCTION version_destination(text, uuid, integer, text, text) TO constellation_nebula;
GRANT EXECUTE ON FUNCTION notice_of_lost_result(text, text, text, text) TO constellation_nebula;
GRANT SELECT ON topics, subscriptions TO constellation_nebula;
GRANT INSERT ON messages TO constellation_nebula;
GRANT SELECT (published_at, id) ON messages TO constellation_nebula; -- as RETURNING asks for
GRANT SELECT, UPDATE (output, finished_at, topic_id) ON execution_steps TO constellation_nebula;

-- aurora counts, and keeps house; it reads neither payloads nor logs.
GRANT SELECT (tenant, namespace, id, function_name, status, source, attempt, run_at, lease_until, created_at)
    ON jobs TO constellation_aurora;
GRANT SELECT (tenant, namespace, id, function_name, duration_ms, finished_at, created_at)
    ON jobs_done TO constellation_aurora;
GRANT SELECT (tenant, namespace, id, function_id, function_name, function_version, runtime, node, started_at,
              duration_ms, queued_ms, cold_start, status, input_bytes, output_bytes, source, recorded_at)
    ON invocations TO constellation_aurora;
GRANT EXECUTE ON FUNCTION keep_partitions(text, integer, integer), forget_changes(integer), forget_artifacts(interval),
    forget_logs(integer), forget_audit(integer, integer), forget_notifications(integer, integer), forget_usage(integer, integer), forget_database_requests(integer, integer), forget_state(integer), forget_steps(), forget_messages(integer), forget_message_keys(integer)
    TO constellation_aurora;
