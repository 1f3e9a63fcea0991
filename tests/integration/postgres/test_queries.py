"""Every named query is understood by the server and is answered by the index that it counts on."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from constellation.nova.store.pool import Database
from constellation.nova.store.queries import parse, read

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

NO_QUERIES = {"columns.sql", "grants.sql", "schema.sql"}
SAMPLES = {
    "text": "'t7'",
    "uuid": "uuid7_floor(now())",
    "timestamp with time zone": "now()",
    "bytea": "'1'",
    "boolean": "true",
    "name": "'constellation_nova'",
    "jsonb": "'{}'",
    "quota_dimension": "'functions'",
    "integer": "7",
    "bigint": "7",
    "double precision": "7",
}

# As many rows as the planner needs to see that an index is worth it.
FILL = """
INSERT INTO tenants (id) SELECT 't' || t FROM generate_series(1, 20) t;
INSERT INTO namespaces SELECT 't' || t, 'n' || n FROM generate_series(1, 20) t, generate_series(1, 3) n;
INSERT INTO api_keys (tenant, namespace, name, key_hash, role)
    SELECT 't' || t, 'n1', 'k' || k, sha256(('t' || t || 'k' || k)::bytea), 'viewer'
    FROM generate_series(1, 20) t, generate_series(1, 30) k;
INSERT INTO functions (tenant, namespace, name, id, runtime, handler, code_version, code_hash, min_replicas)
    SELECT 't' || t, 'n' || n, 'f' || f, gen_random_uuid(), (ARRAY['python', 'node', 'go', 'php'])[f % 4 + 1], 'h', 1, '', (f = 1)::int
    FROM generate_series(1, 20) t, generate_series(1, 3) n, generate_series(1, 40) f;
INSERT INTO function_docs (tenant, namespace, name, content) SELECT tenant, namespace, name, name FROM functions;
INSERT INTO doc_shares (tenant, namespace, function_name, id, token_hash, created_by, expires_at)
    SELECT tenant, namespace, name, gen_random_uuid(), sha256((id::text || s)::bytea), 's', now()
    FROM functions, generate_series(1, 2) s;
INSERT INTO function_search SELECT tenant, namespace, name, runtime, to_tsvector('simple', name || ' ' || tenant) FROM functions;
INSERT INTO function_counts SELECT t.tenant, t.name, 'r' || r, r FROM namespaces t, generate_series(1, 20) r;
INSERT INTO function_code (tenant, function_id, version, hash, size_bytes)
    SELECT tenant, id, v, '', 1 FROM functions, generate_series(1, 3) v;
INSERT INTO function_versions (tenant, function_id, version, code_version, settings)
    SELECT tenant, id, v, v % 3 + 1, '{}' FROM functions, generate_series(2, 20) v;
INSERT INTO function_aliases (tenant, function_id, name) SELECT tenant, id, 'a' || a FROM functions, generate_series(1, 3) a;
INSERT INTO function_alias_shares SELECT tenant, function_id, name, 2, 100 FROM function_aliases;
INSERT INTO function_canaries (tenant, function_id, id, alias, old_version, new_version, steps, step_s, min_calls,
                               max_error_percent, max_p95_ratio, state, ended_at)
    SELECT tenant, id, gen_random_uuid(), 'a1', 1, 2, '{10}', 60, 20, 5, 1.5, 'promoted', now() FROM functions, generate_series(1, 3);
INSERT INTO function_slos (tenant, function_id, enabled, window_s, min_samples) SELECT tenant, id, name = 'f1', 900, 20 FROM functions;
INSERT INTO function_files SELECT tenant, function_id, version, 'main.py', '1' FROM function_code;
INSERT INTO builds (tenant, namespace, id, function_id, function_name, code_version, code_hash, runtime, handler, state,
                    cache_key, artifact, lease_until)
    SELECT f.tenant, f.namespace, gen_random_uuid(), f.id, f.name, v, '', 'python', 'h',
           CASE v WHEN 1 THEN 'success' WHEN 2 THEN 'pending' ELSE 'compiling' END, f.id::text, sha256(f.id::text::bytea)::text,
           CASE v WHEN 3 THEN now() + random() * interval '1 day' END
    FROM functions f, generate_series(1, 3) v;
INSERT INTO build_log SELECT tenant, id, part, '1' FROM builds, generate_series(1, 5) part;
INSERT INTO artifacts (tenant, hash, size_bytes, parts)
    SELECT tenant, encode(sha256(id::text::bytea), 'hex'), 1, 3 FROM functions;
INSERT INTO artifact_parts SELECT tenant, hash, part, '1' FROM artifacts, generate_series(0, 2) part;
INSERT INTO schedules (tenant, namespace, id, function_name, cron, next_run_at)
    SELECT tenant, namespace, gen_random_uuid(), name, '@hourly', now() + random() * interval '1 day' FROM functions;
INSERT INTO domains (tenant, namespace, host)
    SELECT 't' || t, 'n' || n, 'h' || h || '.n' || n || '.t' || t || '.example.org'
    FROM generate_series(1, 20) t, generate_series(1, 3) n, generate_series(1, 30) h;
INSERT INTO gateway_routes (tenant, namespace, id, host, path, shape, function_name, auth)
    SELECT tenant, namespace, gen_random_uuid(), host, '/p' || p, '/p' || p, 'f' || p, 'none'
    FROM domains, generate_series(1, 20) p;
INSERT INTO jobs (tenant, namespace, id, function_name, payload, status, subject, source, max_attempts,
                  backoff_base_s, backoff_max_s, run_at, lease_until)
    SELECT 't' || j % 20 + 1, 'n' || j % 3 + 1, gen_random_uuid(), 'f' || j % 40 + 1, '1',
           CASE j % 10 WHEN 0 THEN 'dead' WHEN 1 THEN 'running' ELSE 'queued' END, 's', 'api', 3, 1, 1,
           now() + (random() - 0.5) * interval '1 day', CASE j % 10 WHEN 1 THEN now() END
    FROM generate_series(1, 20000) j;
INSERT INTO jobs_done (tenant, namespace, id, function_name, payload, subject, source, attempt, max_attempts,
                       backoff_base_s, backoff_max_s, finished_at, call_depth, call_chain, created_at)
    SELECT tenant, namespace, uuidv7(random() * interval '-1 day'), function_name, payload, subject, source, 1, 3, 1, 1,
           now(), 0, '{}', now()
    FROM jobs;
INSERT INTO job_keys
    SELECT tenant, namespace, function_name, id::text, id, now() + random() * interval '1 day' FROM jobs;
INSERT INTO job_pauses SELECT tenant, namespace, name FROM functions;
INSERT INTO call_keys (tenant, namespace, function_name, key, fingerprint, token, lease_until, expires_at)
    SELECT tenant, namespace, function_name, id::text, sha256(id::text::bytea), id, now(),
           now() + random() * interval '1 day'
    FROM jobs;
INSERT INTO invocations (tenant, namespace, id, function_id, function_name, function_version, runtime, node,
                         started_at, duration_ms, queued_ms, cold_start, status, input_bytes, output_bytes, log,
                         log_truncated, source)
    SELECT tenant, namespace, uuidv7(random() * interval '-1 day'), gen_random_uuid(), function_name, 1, 'python', 'n',
           now(), 1, 1, false, 'ok', 1, 1, '', false, 'http'
    FROM jobs;
INSERT INTO function_state (tenant, namespace, is_shared, store, key, value, version, expires_at, function_name)
    SELECT tenant, namespace, false, name, 'k' || k, '1', 1, CASE k % 2 WHEN 0 THEN now() + interval '1 day' END, name
    FROM functions, generate_series(1, 3) k;
INSERT INTO execution_steps (tenant, execution_id, seq, kind, name, due_at)
    SELECT tenant, id, seq, 'event', 'e', now() FROM jobs, generate_series(0, 2) seq WHERE status = 'running';
INSERT INTO execution_events (tenant, execution_id, id, name, payload)
    SELECT tenant, id, gen_random_uuid(), 'e', '1' FROM jobs WHERE status = 'running';
INSERT INTO sandboxes (tenant, namespace, id, template, state, memory_mb, cpu_millis, disk_mb, processes, idle_timeout_s,
                       on_idle, node, expires_at, ended_at)
    SELECT 't' || b % 20 + 1, 'n' || b % 3 + 1, uuidv7(random() * interval '-1 day'), 'python',
           CASE b % 4 WHEN 0 THEN 'running' WHEN 1 THEN 'paused' ELSE 'ended' END, 64, 1000, 64, 64, 0, 'pause',
           'node-' || b % 100, now(), CASE WHEN b % 4 > 1 THEN now() - random() * interval '1 day' END
    FROM generate_series(1, 20000) b;
INSERT INTO topics (tenant, namespace, id, name)
    SELECT 't' || t, 'n' || n, gen_random_uuid(), 'c' || c
    FROM generate_series(1, 20) t, generate_series(1, 3) n, generate_series(1, 5) c;
INSERT INTO subscriptions (tenant, namespace, id, name, topic_name, function_name)
    SELECT tenant, namespace, gen_random_uuid(), topics.name || 's' || s, topics.name, 'f' || s
    FROM topics, generate_series(1, 4) s;
INSERT INTO messages (tenant, namespace, topic_id, id, payload, publisher)
    SELECT tenant, namespace, id, uuidv7(random() * interval '-1 day'), '1', 'p' FROM topics, generate_series(1, 20);
INSERT INTO message_keys SELECT tenant, topic_id, id::text, id, now() FROM messages;
INSERT INTO jobs (tenant, namespace, id, function_name, payload, status, subject, source, max_attempts,
                  backoff_base_s, backoff_max_s, run_at, subscription_id, message_id)
    SELECT tenant, namespace, gen_random_uuid(), function_name, '1', CASE d % 3 WHEN 0 THEN 'dead' ELSE 'paused' END, 's',
           'api', 3, 1, 1, now(), id, gen_random_uuid()
    FROM subscriptions, generate_series(1, 5) d;
INSERT INTO jobs_done (tenant, namespace, id, function_name, payload, subject, source, attempt, max_attempts, backoff_base_s,
                       backoff_max_s, finished_at, call_depth, call_chain, created_at, subscription_id, message_id)
    SELECT tenant, namespace, uuidv7(random() * interval '-1 day'), function_name, payload, subject, source, 1, 3, 1, 1,
           now(), 0, '{}', now(), subscription_id, message_id
    FROM jobs WHERE subscription_id IS NOT NULL;
INSERT INTO service_accounts (tenant, name)
    SELECT 't' || t, 'a' || a FROM generate_series(1, 20) t, generate_series(1, 50) a;
INSERT INTO api_key_uses SELECT tenant, name, now() FROM api_keys;
INSERT INTO users (tenant, name, password_hash)
    SELECT 't' || t, 'u' || u, 'x' FROM generate_series(1, 20) t, generate_series(1, 50) u;
INSERT INTO user_identities (tenant, user_name, issuer, subject) SELECT tenant, name, 'i', name FROM users;
INSERT INTO roles (tenant, name, permissions)
    SELECT 't' || t, 'r' || r, '{log:read}' FROM generate_series(1, 20) t, generate_series(1, 50) r;
INSERT INTO role_bindings (tenant, id, subject, role, created_by)
    SELECT 't' || t, uuidv7(random() * interval '-1 day'), 'user:u' || s, 'r' || s % 50, 'x'
    FROM generate_series(1, 20) t, generate_series(1, 500) s;
INSERT INTO sessions (tenant, id, user_name, token_hash, address, expires_at)
    SELECT 't' || t, uuidv7(random() * interval '-1 day'), 'u' || s % 50 + 1, sha256(('t' || t || 's' || s)::bytea), '',
           now() + (random() - 0.1) * interval '1 day'
    FROM generate_series(1, 20) t, generate_series(1, 500) s;
INSERT INTO provider_sessions (tenant, id, user_name, provider, issuer, subject, sid, id_token, expires_at)
    SELECT tenant, id, user_name, 'p', 'i', user_name || tenant, id::text, 'x', expires_at FROM sessions;
INSERT INTO login_failures SELECT 't' || t, 'user:u' || u, 1, now() - random() * interval '1 day'
    FROM generate_series(1, 20) t, generate_series(1, 500) u;
INSERT INTO secrets (tenant, namespace, name, key_version, sealed_key, sealed_value)
    SELECT 't' || t, 'n' || n, 's' || s, 1, '1', '1' FROM generate_series(1, 20) t, generate_series(1, 3) n, generate_series(1, 5) s;
INSERT INTO version_secrets
    SELECT f.tenant, f.namespace, 's' || s, made.function_id, made.version
    FROM function_versions made JOIN functions f ON f.tenant = made.tenant AND f.id = made.function_id, generate_series(1, 2) s;
INSERT INTO secrets (tenant, namespace, name, key_version, sealed_key, sealed_value)
    SELECT 't' || t, 'n' || n, 'admin', 1, '', '' FROM generate_series(1, 20) t, generate_series(1, 3) n;
INSERT INTO databases (tenant, namespace, name, kind, access, admin_secret, database_name, role_name, key_version, sealed_key,
                       sealed_value, max_sessions, instance_sessions, statement_timeout_s, idle_transaction_s, max_rows,
                       max_bytes, statements_per_s)
    SELECT 't' || t, 'n' || n, 'd' || d, 'postgres', 'write', CASE d % 2 WHEN 0 THEN 'admin' END, 'd',
           't' || t || 'n' || n || 'd' || d, d, '', '', 1, 1, 1, 1, 1, 1024, 1
    FROM generate_series(1, 20) t, generate_series(1, 3) n, generate_series(1, 30) d;
INSERT INTO function_databases SELECT tenant, name, 'd' || f, 'f' || f
    FROM namespaces, generate_series(1, 20) f WHERE tenant <> 'default';
INSERT INTO version_databases
    SELECT f.tenant, f.namespace, 'd' || d, made.function_id, made.version
    FROM function_versions made JOIN functions f ON f.tenant = made.tenant AND f.id = made.function_id, generate_series(1, 2) d;
INSERT INTO database_leftovers SELECT 't' || t, 'n1', 'r' || r, 'd', 'admin'
    FROM generate_series(1, 20) t, generate_series(1, 50) r;
INSERT INTO database_requests
    SELECT tenant, namespace, name, uuidv7(random() * interval '-1 day'), 'f', '1', 's', 'SELECT', 'succeeded', '', 1, 1, 1
    FROM databases, generate_series(1, 10);
INSERT INTO layers (tenant, name, newest_version) SELECT 't' || t, 'l' || l, 3 FROM generate_series(1, 20) t, generate_series(1, 30) l;
INSERT INTO layer_contents SELECT tenant, encode(sha256(name::bytea), 'hex'), 1, 1 FROM layers;
INSERT INTO layer_files SELECT tenant, hash, 'p' || p, '1' FROM layer_contents, generate_series(1, 3) p;
INSERT INTO layer_versions (tenant, name, version, hash)
    SELECT tenant, name, v, encode(sha256(name::bytea), 'hex') FROM layers, generate_series(1, 3) v;
INSERT INTO function_layers SELECT tenant, id, 0, 'l' || l, l % 3 + 1 FROM functions, generate_series(1, 30) l;
INSERT INTO volumes (tenant, namespace, name, id, size_mb, access)
    SELECT 't' || t, 'n' || n, 'v' || v, gen_random_uuid(), 8, 'read_write'
    FROM generate_series(1, 20) t, generate_series(1, 3) n, generate_series(1, 30) v;
INSERT INTO function_volumes SELECT tenant, namespace, 'v' || v, id, 0, true FROM functions, generate_series(1, 30) v;
INSERT INTO notifications (tenant, namespace, id, kind, subject, detail, count, first_at, last_at, seq)
    SELECT tenant, namespace, gen_random_uuid(), 'call_dead', name, '', 1, now(), now(), row_number() OVER () FROM functions;
INSERT INTO notification_reads SELECT tenant, id, 'r' || r, 1 FROM notifications, generate_series(1, 3) r;
CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, name text, sha256 text);
ANALYZE;
"""


def query_files() -> list[str]:
    files = resources.files("constellation.nova.store").joinpath("sql").iterdir()
    return sorted(file.name for file in files if file.name.endswith(".sql") and file.name not in NO_QUERIES)


async def test_every_query_uses_the_indexes_that_it_states(db: Database) -> None:
    async with db.transaction() as tx:
        for statement in (
            FILL.strip().removesuffix(";").split(";\n")
        ):  # each within the time that a statement has, also on a busy machine
            await tx.run_script(statement)
    children = await db.fetch(
        "SELECT parent.relname AS parent, child.relname AS child FROM pg_inherits "
        "JOIN pg_class AS parent ON parent.oid = inhparent JOIN pg_class AS child ON child.oid = inhrelid"
    )
    parents = {row["child"]: row["parent"] for row in children}
    missed = []
    for file in query_files():
        for query in parse(read(file)).values():
            plan = "\n".join(
                [await explain(db, query.sql, mode) for mode in ("force_generic_plan", "force_custom_plan")]
            )
            words = set(re.sub(r"[:,()]", " ", plan).split())
            used = words | {parents[word] for word in words if word in parents}
            missed += [
                f"{file}: {query.name} without {set(names)}:\n{plan}" for names in query.indexes if not names & used
            ]
    assert not missed, "\n".join(missed)


async def explain(db: Database, sql: str, mode: str) -> str:
    """Return the plan of a statement, for any arguments or for samples; nothing for what has no plan."""
    if sql.startswith(("DO", "CREATE", "LOCK")):
        return ""
    async with db.transaction() as tx:
        # Some tables are small even here, and scanning those would be cheapest.
        await tx.run_script(f"SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = {mode}")
        await tx.run_script(f"PREPARE asked AS {sql}")
        types = await tx.fetch_value("SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'asked'")
        samples = [f"'{{}}'::{name}" if name.endswith("[]") else f"{SAMPLES[name]}::{name}" for name in types]
        call = f"({', '.join(samples)})" if samples else ""
        plan = await tx.fetch(f"EXPLAIN (COSTS OFF) EXECUTE asked{call}")
        await tx.run_script("DEALLOCATE asked")
    return "\n".join(row[0] for row in plan)
