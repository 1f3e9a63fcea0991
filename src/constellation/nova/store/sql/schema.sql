-- The spine: tenants, keys, functions and their code, schedules, jobs, invocations, and the change log.
-- Every table has its tenant in its key; nothing refers across tenants.

CREATE TABLE tenants (
    id          text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    name        text NOT NULL DEFAULT '',
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE namespaces (
    tenant      text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name        text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

-- A key acts in its tenant and in one namespace, or in any ('*'); a platform key acts in any tenant.
CREATE TABLE api_keys (
    tenant      text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    namespace   text NOT NULL,
    name        text NOT NULL,
    key_hash    bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    role        text NOT NULL CHECK (role ~ '^[a-z0-9][a-z0-9_-]{0,63}$'), -- a built-in one, or one of the tenant's
    is_platform boolean NOT NULL DEFAULT false,
    enabled     boolean NOT NULL DEFAULT true,
    expires_at  timestamptz,
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    rate_per_s  double precision NOT NULL DEFAULT 0 CHECK (rate_per_s BETWEEN 0 AND 1000000),
    burst       integer NOT NULL DEFAULT 0 CHECK (burst BETWEEN 0 AND 1000000),
    PRIMARY KEY (tenant, name)
);

CREATE TABLE functions (
    tenant               text NOT NULL,
    namespace            text NOT NULL,
    name                 text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'),
    id                   uuid NOT NULL,
    runtime              text NOT NULL,
    handler              text NOT NULL,
    description          text NOT NULL DEFAULT '',
    memory_mb            integer NOT NULL DEFAULT 128 CHECK (memory_mb BETWEEN 32 AND 10240),
    cpu_millis           integer NOT NULL DEFAULT 1000 CHECK (cpu_millis BETWEEN 10 AND 64000),
    max_pids             integer NOT NULL DEFAULT 64 CHECK (max_pids BETWEEN 8 AND 4096),
    timeout_s            double precision NOT NULL DEFAULT 30 CHECK (timeout_s BETWEEN 0.01 AND 900),
    init_timeout_s       double precision NOT NULL DEFAULT 10 CHECK (init_timeout_s BETWEEN 0.01 AND 900),
    min_replicas         integer NOT NULL DEFAULT 0 CHECK (min_replicas >= 0),
    max_replicas         integer NOT NULL DEFAULT 10 CHECK (max_replicas BETWEEN 1 AND 10000),
    instance_concurrency integer NOT NULL DEFAULT 1 CHECK (instance_concurrency BETWEEN 1 AND 1000),
    max_payload_bytes    integer NOT NULL DEFAULT 6291456 CHECK (max_payload_bytes BETWEEN 0 AND 6291456),
    halted               boolean NOT NULL DEFAULT false,
    max_inflight         integer NOT NULL DEFAULT 0 CHECK (max_inflight >= 0),
    max_queue_depth      integer NOT NULL DEFAULT 1000 CHECK (max_queue_depth >= 0),
    max_queue_wait_s     double precision NOT NULL DEFAULT 30 CHECK (max_queue_wait_s >= 0),
    shed_status_code     integer NOT NULL DEFAULT 429 CHECK (shed_status_code IN (429, 503)),
    retry_after_s        integer NOT NULL DEFAULT 1 CHECK (retry_after_s >= 0),
    env                  jsonb NOT NULL DEFAULT '{}',
    code_version         integer NOT NULL,
    code_hash            text NOT NULL,
    version              bigint NOT NULL DEFAULT 1,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    breaker_error_percent integer NOT NULL DEFAULT 0 CHECK (breaker_error_percent BETWEEN 0 AND 100),
    breaker_min_samples  integer NOT NULL DEFAULT 20 CHECK (breaker_min_samples BETWEEN 1 AND 100000),
    breaker_window_s     double precision NOT NULL DEFAULT 10 CHECK (breaker_window_s BETWEEN 1 AND 3600),
    breaker_open_s       double precision NOT NULL DEFAULT 5 CHECK (breaker_open_s BETWEEN 0.1 AND 3600),
    breaker_probes       integer NOT NULL DEFAULT 1 CHECK (breaker_probes BETWEEN 1 AND 100),
    preload              text[] NOT NULL DEFAULT '{}' CHECK (cardinality(preload) <= 16),
    backend              text NOT NULL DEFAULT 'auto' CHECK (backend IN ('auto', 'namespace', 'docker', 'wasm')),
    -- Code that was deployed and must be built before it is live; the error is that of its build.
    pending_version      integer,
    pending_hash         text,
    pending_handler      text,
    pending_error        text,
    mode                 text NOT NULL DEFAULT 'process' CHECK (mode IN ('process', 'isolated')),
    log_retention_days   integer NOT NULL DEFAULT 0 CHECK (log_retention_days BETWEEN 0 AND 3650),
    -- What its instances reach of the network.
    egress               text NOT NULL DEFAULT 'none' CHECK (egress IN ('none', 'allow-list', 'internet')),
    egress_allow         jsonb NOT NULL DEFAULT '[]', -- rules {host or cidr, ports, protocol}
    egress_deny          text[] NOT NULL DEFAULT '{}' CHECK (cardinality(egress_deny) <= 64),
    -- Of its versions: the one that calls run (0: nothing was built yet), and the numbers that were given last.
    live_version         integer NOT NULL DEFAULT 0,
    newest_version       integer NOT NULL DEFAULT 0,
    newest_code_version  integer NOT NULL DEFAULT 0,
    kept_versions        integer NOT NULL DEFAULT 100 CHECK (kept_versions BETWEEN 1 AND 1000),
    tags                 jsonb NOT NULL DEFAULT '{}', -- text by key
    layers               text[] NOT NULL DEFAULT '{}' CHECK (cardinality(layers) <= 6), -- name:version@hash
    mounts               jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_array_length(mounts) <= 8), -- {volume, path, read_only}
    -- Where the results of its durable calls go: function:NAME, topic:NAME, or nowhere.
    on_success           text NOT NULL DEFAULT '' CHECK (on_success ~ '^((function|topic):[A-Za-z0-9][A-Za-z0-9._-]{0,127})?$'),
    on_failure           text NOT NULL DEFAULT '' CHECK (on_failure ~ '^((function|topic):[A-Za-z0-9][A-Za-z0-9._-]{0,127})?$'),
    CHECK (min_replicas <= max_replicas),
    CHECK (pending_version > code_version),
    CHECK (num_nulls(pending_version, pending_hash, pending_handler) IN (0, 3)),
    CHECK (pending_error IS NULL OR pending_version IS NOT NULL),
    CONSTRAINT functions_isolated_check CHECK (mode <> 'isolated' OR instance_concurrency = 1),
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);
CREATE INDEX functions_kept_warm ON functions (tenant, namespace, name) WHERE min_replicas > 0;
CREATE INDEX functions_forgetting ON functions (tenant, namespace, name) WHERE log_retention_days > 0;

-- What the backends of each comet can, told at its start.
CREATE TABLE executor_backends (
    node           text NOT NULL,
    name           text NOT NULL, -- of the backend
    is_available   boolean NOT NULL,
    egress_reason  text NOT NULL, -- why its instances reach no network; empty: they can
    seen_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node, name)
);

-- What builds made: a packed tree in parts. Equal trees of a tenant are one; two tenants never share one.
CREATE TABLE artifacts (
    tenant      text NOT NULL,
    hash        text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    size_bytes  integer NOT NULL CHECK (size_bytes BETWEEN 0 AND 268435456),
    parts       integer NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    used_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, hash)
);

CREATE TABLE artifact_parts (
    tenant   text NOT NULL,
    hash     text NOT NULL,
    part     integer NOT NULL,
    content  bytea NOT NULL CHECK (octet_length(content) BETWEEN 1 AND 1048576),
    PRIMARY KEY (tenant, hash, part),
    FOREIGN KEY (tenant, hash) REFERENCES artifacts ON DELETE CASCADE
);
ALTER TABLE artifact_parts ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE function_code (
    tenant       text NOT NULL,
    function_id  uuid NOT NULL,
    version      integer NOT NULL,
    hash         text NOT NULL,
    size_bytes   integer NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    artifact     text, -- what runs instead of the files
    PRIMARY KEY (tenant, function_id, version),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE,
    FOREIGN KEY (tenant, artifact) REFERENCES artifacts
);
CREATE INDEX function_code_built ON function_code (tenant, artifact) WHERE artifact IS NOT NULL;

CREATE TABLE function_files (
    tenant       text NOT NULL,
    function_id  uuid NOT NULL,
    version      integer NOT NULL,
    path         text NOT NULL,
    content      bytea NOT NULL,
    PRIMARY KEY (tenant, function_id, version, path),
    FOREIGN KEY (tenant, function_id, version) REFERENCES function_code ON DELETE CASCADE
);

-- What functions were each time their code or configuration changed; written by a trigger, so no way of changing one goes
-- round it.
-- The code is what function_code and function_files have under its number; no code that a version names is dropped.
CREATE TABLE function_versions (
    tenant        text NOT NULL,
    function_id   uuid NOT NULL,
    version       integer NOT NULL CHECK (version > 0),
    code_version  integer NOT NULL,
    settings      jsonb NOT NULL, -- the columns of the row, as `versioned` picks them
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, function_id, version),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE,
    FOREIGN KEY (tenant, function_id, code_version) REFERENCES function_code DEFERRABLE INITIALLY DEFERRED
);

-- Names under which versions of a function are called, each with its share of the calls.
CREATE TABLE function_aliases (
    tenant       text NOT NULL,
    function_id  uuid NOT NULL,
    name         text NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9_-]{0,63}$'),
    is_sticky    boolean NOT NULL DEFAULT false,
    description  text NOT NULL DEFAULT '',
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, function_id, name),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE
);

CREATE TABLE function_alias_shares (
    tenant       text NOT NULL,
    function_id  uuid NOT NULL,
    alias        text NOT NULL,
    version      integer NOT NULL,
    weight       integer NOT NULL CHECK (weight BETWEEN 0 AND 100), -- percent
    PRIMARY KEY (tenant, function_id, alias, version),
    FOREIGN KEY (tenant, function_id, alias) REFERENCES function_aliases ON DELETE CASCADE,
    FOREIGN KEY (tenant, function_id, version) REFERENCES function_versions DEFERRABLE INITIALLY DEFERRED
);

-- Aliases that go over to another version in steps.
CREATE TABLE function_canaries (
    tenant             text NOT NULL,
    function_id        uuid NOT NULL,
    id                 uuid NOT NULL,
    alias              text NOT NULL,
    old_version        integer NOT NULL,
    new_version        integer NOT NULL,
    steps              integer[] NOT NULL CHECK (cardinality(steps) BETWEEN 1 AND 20),
    step_s             double precision NOT NULL CHECK (step_s BETWEEN 1 AND 604800),
    min_calls          integer NOT NULL CHECK (min_calls BETWEEN 1 AND 1000000),
    max_error_percent  double precision NOT NULL CHECK (max_error_percent BETWEEN 0 AND 100),
    max_p95_ratio      double precision NOT NULL CHECK (max_p95_ratio BETWEEN 1 AND 1000),
    state              text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'promoted', 'rolled_back', 'cancelled')),
    step               integer NOT NULL DEFAULT 0,
    reason             text NOT NULL DEFAULT '',
    stepped_at         timestamptz NOT NULL DEFAULT now(),
    created_at         timestamptz NOT NULL DEFAULT now(),
    ended_at           timestamptz,
    CHECK ((state = 'running') = (ended_at IS NULL)),
    PRIMARY KEY (tenant, function_id, id),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE
);
CREATE UNIQUE INDEX function_canaries_running ON function_canaries (tenant, function_id) WHERE state = 'running';

-- Objectives of functions, and which of them people were told that they are missed.
CREATE TABLE function_slos (
    tenant               text NOT NULL,
    function_id          uuid NOT NULL,
    enabled              boolean NOT NULL,
    window_s             integer NOT NULL CHECK (window_s BETWEEN 60 AND 86400),
    min_samples          integer NOT NULL CHECK (min_samples BETWEEN 1 AND 100000),
    success_rate_pct     double precision CHECK (success_rate_pct BETWEEN 0 AND 100),
    p95_duration_ms      double precision CHECK (p95_duration_ms > 0),
    cold_start_rate_pct  double precision CHECK (cold_start_rate_pct BETWEEN 0 AND 100),
    breached             text[] NOT NULL DEFAULT '{}'
                         CHECK (breached <@ '{success_rate_pct,p95_duration_ms,cold_start_rate_pct}'),
    breached_at          timestamptz,
    version              bigint NOT NULL DEFAULT 1, -- moves with each change, of the policy or of what is missed
    CHECK ((breached = '{}') = (breached_at IS NULL)),
    PRIMARY KEY (tenant, function_id),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE
);
CREATE INDEX function_slos_enabled ON function_slos (tenant, function_id) WHERE enabled;

-- Builds go with the code that they build.
CREATE TABLE builds (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    id             uuid NOT NULL,
    function_id    uuid NOT NULL,
    function_name  text NOT NULL,
    code_version   integer NOT NULL,
    code_hash      text NOT NULL,
    runtime        text NOT NULL,
    handler        text NOT NULL,
    state          text NOT NULL DEFAULT 'pending'
                   CHECK (state IN ('pending', 'compiling', 'success', 'failed', 'cancelled')),
    error          text,
    cache_key      text,
    is_cached      boolean NOT NULL DEFAULT false,
    artifact       text,
    attempt        integer NOT NULL DEFAULT 0,
    owner          text,
    token          bigint NOT NULL DEFAULT 0, -- fencing: each claim takes the next
    lease_until    timestamptz,
    log_bytes      integer NOT NULL DEFAULT 0,
    log_parts      integer NOT NULL DEFAULT 0,
    log_truncated  boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    started_at     timestamptz,
    finished_at    timestamptz,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, function_id, code_version) REFERENCES function_code ON DELETE CASCADE
);
CREATE INDEX builds_pending ON builds (tenant, id) WHERE state = 'pending';
CREATE INDEX builds_leased ON builds (lease_until) WHERE state = 'compiling';
CREATE INDEX builds_by_function ON builds (tenant, function_id, id DESC);
CREATE INDEX builds_made ON builds (tenant, cache_key) WHERE state = 'success';

CREATE TABLE build_log (
    tenant    text NOT NULL,
    build_id  uuid NOT NULL,
    part      integer NOT NULL,
    content   bytea NOT NULL,
    PRIMARY KEY (tenant, build_id, part),
    FOREIGN KEY (tenant, build_id) REFERENCES builds ON DELETE CASCADE
);

-- Stores of functions go with their function; shared ones belong to the namespace. Versions grow for ever, also over
-- a key that was deleted meanwhile, so that a version once seen never means another value.
CREATE TABLE function_state (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    is_shared      boolean NOT NULL,
    store          text NOT NULL CHECK (store ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'), -- of a function: its name
    key            text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 512),
    value          bytea NOT NULL CHECK (octet_length(value) <= 262144),
    version        bigint NOT NULL,
    expires_at     timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    function_name  text,
    CHECK ((function_name IS NULL) = is_shared AND (is_shared OR function_name = store)),
    PRIMARY KEY (tenant, namespace, is_shared, store, key),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE,
    FOREIGN KEY (tenant, namespace, function_name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE INDEX function_state_expired ON function_state (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE schedules (
    tenant        text NOT NULL,
    namespace     text NOT NULL,
    id            uuid NOT NULL,
    function_name text NOT NULL,
    cron          text NOT NULL,
    time_zone     text NOT NULL DEFAULT 'UTC',
    input         bytea NOT NULL DEFAULT 'null',
    enabled       boolean NOT NULL DEFAULT true,
    next_run_at   timestamptz,
    last_run_at   timestamptz,
    last_job_id   uuid,
    owner         text,
    token         bigint NOT NULL DEFAULT 0, -- fencing: each claim takes the next
    lease_until   timestamptz,
    version       bigint NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    qualifier     text NOT NULL DEFAULT '' CHECK (length(qualifier) <= 64), -- a version or an alias; empty: the live version
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, namespace, function_name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE INDEX schedules_due ON schedules (next_run_at) WHERE enabled AND next_run_at IS NOT NULL;
CREATE INDEX schedules_leased ON schedules (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX schedules_by_function ON schedules (tenant, namespace, function_name);

-- Topics, who subscribes to them, and their messages. A delivery is a job that knows its subscription and message.

CREATE TABLE topics (
    tenant           text NOT NULL,
    namespace        text NOT NULL,
    id               uuid NOT NULL,
    name             text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
    description      text NOT NULL DEFAULT '',
    retention_hours  integer NOT NULL DEFAULT 168 CHECK (retention_hours BETWEEN 1 AND 720),
    version          bigint NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);

CREATE TABLE subscriptions (
    tenant          text NOT NULL,
    namespace       text NOT NULL,
    id              uuid NOT NULL,
    name            text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
    topic_name      text NOT NULL,
    function_name   text NOT NULL,
    filter          jsonb NOT NULL DEFAULT '{}', -- attribute: {equals, prefixes}
    enabled         boolean NOT NULL DEFAULT true,
    is_paused       boolean NOT NULL DEFAULT false,
    max_attempts    integer NOT NULL DEFAULT 3 CHECK (max_attempts BETWEEN 1 AND 100),
    backoff_base_s  double precision NOT NULL DEFAULT 1,
    backoff_max_s   double precision NOT NULL DEFAULT 60,
    version         bigint NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    qualifier       text NOT NULL DEFAULT '' CHECK (length(qualifier) <= 64), -- of the function: a version, an alias; '': live
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace, topic_name) REFERENCES topics (tenant, namespace, name) ON DELETE CASCADE,
    FOREIGN KEY (tenant, namespace, function_name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE INDEX subscriptions_by_topic ON subscriptions (tenant, namespace, topic_name);
CREATE INDEX subscriptions_by_function ON subscriptions (tenant, namespace, function_name);

-- Partitioned by id, as jobs_done.
CREATE TABLE messages (
    tenant        text NOT NULL,
    namespace     text NOT NULL,
    topic_id      uuid NOT NULL,
    id            uuid NOT NULL,
    key           text NOT NULL DEFAULT '',
    payload       bytea NOT NULL CHECK (octet_length(payload) <= 262144),
    attributes    jsonb NOT NULL DEFAULT '{}',
    publisher     text NOT NULL,
    call_depth    integer NOT NULL DEFAULT 0,
    call_chain    text[] NOT NULL DEFAULT '{}',
    published_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);
CREATE INDEX messages_by_topic ON messages (tenant, topic_id, id);

-- Idempotency keys of publishers. Unique across partitions, so they have a table of their own.
CREATE TABLE message_keys (
    tenant      text NOT NULL,
    topic_id    uuid NOT NULL,
    key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 256),
    message_id  uuid NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, topic_id, key),
    FOREIGN KEY (tenant, topic_id) REFERENCES topics ON DELETE CASCADE
);
CREATE INDEX message_keys_expired ON message_keys (expires_at);

-- Live jobs. What succeeded moves to jobs_done in the transaction that completes it.
CREATE TABLE jobs (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    id             uuid NOT NULL,
    function_name  text NOT NULL,
    payload        bytea NOT NULL,
    status         text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'paused', 'dead', 'cancelled')),
    subject        text NOT NULL,
    source         text NOT NULL,
    attempt        integer NOT NULL DEFAULT 0,
    max_attempts   integer NOT NULL CHECK (max_attempts BETWEEN 1 AND 100),
    backoff_base_s double precision NOT NULL,
    backoff_max_s  double precision NOT NULL,
    run_at         timestamptz NOT NULL DEFAULT now(),
    owner          text,
    token          bigint NOT NULL DEFAULT 0, -- fencing: each claim takes the next
    lease_until    timestamptz,
    request_id     uuid,
    error          bytea,
    duration_ms    double precision,
    started_at     timestamptz,
    finished_at    timestamptz,
    call_depth     integer NOT NULL DEFAULT 0,
    call_chain     text[] NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL DEFAULT now(),
    is_durable     boolean NOT NULL DEFAULT false,
    subscription_id uuid, -- a delivery's
    message_id     uuid,
    qualifier      text NOT NULL DEFAULT '' CHECK (length(qualifier) <= 64), -- a version or an alias; empty: the live version
    CHECK ((subscription_id IS NULL) = (message_id IS NULL)),
    PRIMARY KEY (tenant, id)
);
CREATE INDEX jobs_due ON jobs (run_at) WHERE status = 'queued';
CREATE INDEX jobs_queued ON jobs (tenant, namespace, function_name, run_at) WHERE status = 'queued'; -- fair claims
CREATE INDEX jobs_dead ON jobs (tenant, namespace, id) WHERE status = 'dead';
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE status = 'running';
CREATE INDEX jobs_by_function ON jobs (tenant, namespace, function_name, id DESC);
CREATE INDEX jobs_by_subscription ON jobs (tenant, subscription_id, id DESC) WHERE subscription_id IS NOT NULL;

-- Partitioned by id: a UUIDv7 begins with its millisecond, so a range of ids is a range of time and a look-up prunes.
CREATE TABLE jobs_done (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    id             uuid NOT NULL,
    function_name  text NOT NULL,
    payload        bytea NOT NULL,
    subject        text NOT NULL,
    source         text NOT NULL,
    attempt        integer NOT NULL,
    max_attempts   integer NOT NULL,
    backoff_base_s double precision NOT NULL,
    backoff_max_s  double precision NOT NULL,
    request_id     uuid,
    output         bytea,
    duration_ms    double precision,
    started_at     timestamptz,
    finished_at    timestamptz NOT NULL,
    call_depth     integer NOT NULL,
    call_chain     text[] NOT NULL,
    created_at     timestamptz NOT NULL,
    is_durable     boolean NOT NULL DEFAULT false,
    subscription_id uuid, -- a delivery's
    message_id     uuid,
    qualifier      text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, id)
) PARTITION BY RANGE (id);
CREATE INDEX jobs_done_by_function ON jobs_done (tenant, namespace, function_name, id DESC);
CREATE INDEX jobs_done_by_subscription ON jobs_done (tenant, subscription_id, id DESC) WHERE subscription_id IS NOT NULL;

-- The steps of jobs that are durable: runs that are recorded, and may wait in between.
CREATE TABLE execution_steps (
    tenant        text NOT NULL,
    execution_id  uuid NOT NULL,
    seq           integer NOT NULL CHECK (seq >= 0),
    kind          text NOT NULL CHECK (kind IN ('run', 'sleep', 'event', 'message')),
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    due_at        timestamptz, -- when a sleep is over, or an event is waited for no longer
    output        bytea CHECK (octet_length(output) <= 524288), -- a message with its attributes
    error         bytea CHECK (octet_length(error) <= 262144),
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    topic_id      uuid, -- whose message is waited for; null: it is not looked for
    message_key   text,
    filter        jsonb, -- as of a subscription
    PRIMARY KEY (tenant, execution_id, seq)
);
CREATE INDEX execution_steps_waiting ON execution_steps (tenant, topic_id, message_key)
    WHERE topic_id IS NOT NULL AND finished_at IS NULL;

-- Events that came and that no step has taken yet.
CREATE TABLE execution_events (
    tenant        text NOT NULL,
    execution_id  uuid NOT NULL,
    id            uuid NOT NULL,
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    payload       bytea NOT NULL CHECK (octet_length(payload) <= 262144),
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, execution_id, id)
);

-- Unique across partitions, so it has a table of its own.
CREATE TABLE job_keys (
    tenant        text NOT NULL,
    namespace     text NOT NULL,
    function_name text NOT NULL,
    key           text NOT NULL CHECK (length(key) BETWEEN 1 AND 256),
    job_id        uuid NOT NULL,
    expires_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant, namespace, function_name, key)
);
CREATE INDEX job_keys_expired ON job_keys (expires_at);

-- Queues of durable calls that stand still: of one function, or with an empty name of a whole namespace.
CREATE TABLE job_pauses (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    function_name  text NOT NULL,
    since          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, function_name),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);

-- In which state a job stands in line again: a delivery of a subscription that is paused waits for its resumption.
CREATE FUNCTION queued_or_paused(of_tenant text, of_subscription uuid) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN of_subscription IS NOT NULL AND EXISTS (
        SELECT FROM subscriptions WHERE tenant = of_tenant AND id = of_subscription AND is_paused
    ) THEN 'paused' ELSE 'queued' END
$$;

-- The earliest queued job of each function whose queue moves, of up to `walk` functions with queued jobs. It goes
-- through the index jobs_queued from function to function, so a deep backlog costs no more than a short one.
CREATE FUNCTION queue_heads(walk integer)
RETURNS TABLE (tenant text, namespace text, function_name text, run_at timestamptz)
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE head AS (
        (SELECT job.tenant, job.namespace, job.function_name, job.run_at, 1 AS nth
         FROM jobs AS job
         WHERE job.status = 'queued'
         ORDER BY job.tenant, job.namespace, job.function_name, job.run_at
         LIMIT 1)
        UNION ALL
        SELECT following.tenant, following.namespace, following.function_name, following.run_at, head.nth + 1
        FROM head
        CROSS JOIN LATERAL (
            SELECT job.tenant, job.namespace, job.function_name, job.run_at
            FROM jobs AS job
            WHERE job.status = 'queued'
              AND (job.tenant, job.namespace, job.function_name) > (head.tenant, head.namespace, head.function_name)
            ORDER BY job.tenant, job.namespace, job.function_name, job.run_at
            LIMIT 1
        ) AS following
        WHERE head.nth < walk
    )
    SELECT head.tenant, head.namespace, head.function_name, head.run_at
    FROM head
    WHERE NOT EXISTS (SELECT FROM job_pauses AS paused
                      WHERE paused.tenant = head.tenant AND paused.namespace = head.namespace
                        AND paused.function_name IN ('', head.function_name))
      AND NOT EXISTS (SELECT FROM tenants WHERE tenants.id = head.tenant AND tenants.status = 'suspended')
$$;

-- Idempotency keys of calls that somebody waits for, with the answer to give again.
CREATE TABLE call_keys (
    tenant        text NOT NULL,
    namespace     text NOT NULL,
    function_name text NOT NULL,
    key           text NOT NULL CHECK (length(key) BETWEEN 1 AND 256),
    fingerprint   bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    token         uuid NOT NULL, -- fencing: of the one call that may answer
    lease_until   timestamptz, -- while it runs
    request_id    uuid,
    output        bytea,
    error         bytea,
    duration_ms   double precision,
    cold_start    boolean,
    code_version  text,
    is_kept       boolean NOT NULL DEFAULT true, -- false: the answer was too large
    expires_at    timestamptz NOT NULL,
    CHECK ((lease_until IS NULL) = (request_id IS NOT NULL)),
    PRIMARY KEY (tenant, namespace, function_name, key)
);
CREATE INDEX call_keys_expired ON call_keys (expires_at);

CREATE TABLE invocations (
    tenant           text NOT NULL,
    namespace        text NOT NULL,
    id               uuid NOT NULL,
    function_id      uuid NOT NULL,
    function_name    text NOT NULL,
    function_version integer NOT NULL,
    runtime          text NOT NULL,
    node             text NOT NULL,
    started_at       timestamptz NOT NULL,
    duration_ms      double precision NOT NULL,
    queued_ms        double precision NOT NULL,
    cold_start       boolean NOT NULL,
    status           text NOT NULL,
    error            text,
    input_bytes      integer NOT NULL,
    output_bytes     integer NOT NULL,
    log              text NOT NULL,
    log_truncated    boolean NOT NULL,
    source           text NOT NULL,
    -- Ids follow the beginning of calls, this their writing. The clock, not now(): with a default that differs by row
    -- COPY puts each row in as it comes. Otherwise it gathers a thousand and then takes a core from the calls for 3 ms.
    recorded_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, namespace, id)
) PARTITION BY RANGE (id);
-- Ascending, though it is read backwards: ids grow, so that a page is left full behind the last row and not half empty.
CREATE INDEX invocations_by_function ON invocations (tenant, namespace, function_name, id);
CREATE INDEX invocations_recorded ON invocations USING brin (recorded_at); -- rows lie in this order already

-- Where a batch that is partly in the log already is put before the rest of it goes there: in one transaction, so that
-- no row is ever committed here. No index and no WAL.
CREATE UNLOGGED TABLE invocations_staged (LIKE invocations INCLUDING DEFAULTS);

-- What changed, numbered in commit order; nova streams it and comet re-reads after it.
CREATE TABLE changes (
    seq        bigint PRIMARY KEY,
    kind       text NOT NULL, -- function, api_key, tenant, namespace, principal, secret, domain, setting, database
    tenant     text NOT NULL,
    namespace  text NOT NULL,
    name       text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now()
);
CREATE SEQUENCE changes_seq;

-- The lock makes numbers commit in order: a reader that saw n can never miss a smaller one. It is taken before the
-- first row of a statement is, so that two writers can not hold a row and the lock crosswise.
CREATE FUNCTION lock_changes() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock(7236837001)';
CREATE FUNCTION before_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM public.lock_changes();
    RETURN NULL;
END $$;
CREATE FUNCTION record_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(NEW, OLD));
BEGIN
    INSERT INTO public.changes (seq, kind, tenant, namespace, name)
    VALUES (nextval('public.changes_seq'), TG_ARGV[0],
            coalesce(changed->>'tenant', changed->>'id'), coalesce(changed->>'namespace', ''),
            coalesce(changed->>'name', ''));
    NOTIFY changes;
    RETURN NULL;
END $$;
CREATE TRIGGER functions_before_change BEFORE INSERT OR UPDATE OR DELETE ON functions EXECUTE FUNCTION before_change();
CREATE TRIGGER api_keys_before_change BEFORE INSERT OR UPDATE OR DELETE ON api_keys EXECUTE FUNCTION before_change();
CREATE TRIGGER tenants_before_change BEFORE INSERT OR UPDATE OR DELETE ON tenants EXECUTE FUNCTION before_change();
CREATE TRIGGER namespaces_before_change BEFORE INSERT OR UPDATE OR DELETE ON namespaces EXECUTE FUNCTION before_change();
CREATE TRIGGER functions_changed AFTER INSERT OR UPDATE OR DELETE ON functions
    FOR EACH ROW EXECUTE FUNCTION record_change('function');
CREATE TRIGGER api_keys_changed AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION record_change('api_key');
CREATE TRIGGER tenants_changed AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH ROW EXECUTE FUNCTION record_change('tenant');
CREATE TRIGGER namespaces_changed AFTER INSERT OR UPDATE OR DELETE ON namespaces
    FOR EACH ROW EXECUTE FUNCTION record_change('namespace');

-- What a version keeps of a function's row: how it runs, and not what it is called or how it stands.
CREATE FUNCTION versioned(f functions) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT to_jsonb(f) - ARRAY['tenant', 'namespace', 'name', 'id', 'halted', 'pending_version', 'pending_hash',
        'pending_handler', 'pending_error', 'version', 'created_at', 'updated_at', 'live_version', 'newest_version',
        'newest_code_version', 'kept_versions', 'tags']
$$;

-- Where the result of a job goes whose run was of another version than the live one, which has `of_live`.
CREATE FUNCTION version_destination(of_tenant text, of_function uuid, of_version integer, of_live text, which text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT coalesce((SELECT settings ->> which FROM public.function_versions
                     WHERE tenant = of_tenant AND function_id = of_function AND version = of_version), of_live)
$$;
REVOKE ALL ON FUNCTION version_destination(text, uuid, integer, text, text) FROM PUBLIC;

-- A changed function has the next number; one whose live version is set goes back to what that version was.
CREATE FUNCTION number_version() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.live_version := least(NEW.code_version, 1);
        NEW.newest_version := NEW.live_version;
        NEW.newest_code_version := greatest(NEW.code_version, NEW.pending_version);
        RETURN NEW;
    END IF;
    NEW.newest_version := OLD.newest_version;
    NEW.newest_code_version := greatest(OLD.newest_code_version, NEW.code_version, NEW.pending_version);
    IF NEW.code_version > 0 AND NEW.live_version = OLD.live_version
       AND public.versioned(NEW) IS DISTINCT FROM public.versioned(OLD) THEN
        NEW.newest_version := OLD.newest_version + 1;
        NEW.live_version := NEW.newest_version;
    END IF;
    RETURN NEW;
END $$;
-- Later than the row, which it refers to.
CREATE FUNCTION keep_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO public.function_versions (tenant, function_id, version, code_version, settings)
    VALUES (NEW.tenant, NEW.id, NEW.newest_version, NEW.code_version, public.versioned(NEW));
    INSERT INTO public.version_secrets (tenant, namespace, secret, function_id, version)
    SELECT NEW.tenant, NEW.namespace, secret, NEW.id, NEW.newest_version FROM public.secrets_in(NEW.env) AS secret;
    INSERT INTO public.version_databases (tenant, namespace, database, function_id, version)
    SELECT NEW.tenant, NEW.namespace, database, NEW.id, NEW.newest_version FROM public.databases_in(NEW.env) AS database;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_version() FROM PUBLIC;

CREATE TRIGGER functions_number_version BEFORE INSERT OR UPDATE ON functions
    FOR EACH ROW EXECUTE FUNCTION number_version();
CREATE TRIGGER functions_created AFTER INSERT ON functions
    FOR EACH ROW WHEN (NEW.newest_version > 0) EXECUTE FUNCTION keep_version();
CREATE TRIGGER functions_versioned AFTER UPDATE ON functions
    FOR EACH ROW WHEN (NEW.newest_version > OLD.newest_version) EXECUTE FUNCTION keep_version();

-- A change of an alias is one of its function to whoever follows; a function that is deleted says so itself.
CREATE FUNCTION record_alias_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    changed public.function_aliases := coalesce(NEW, OLD);
BEGIN
    INSERT INTO public.changes (seq, kind, tenant, namespace, name)
    SELECT nextval('public.changes_seq'), 'function', tenant, namespace, name
    FROM public.functions
    WHERE tenant = changed.tenant AND id = changed.function_id;
    NOTIFY changes;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION record_alias_change() FROM PUBLIC;
CREATE TRIGGER function_aliases_before_change BEFORE INSERT OR UPDATE OR DELETE ON function_aliases
    EXECUTE FUNCTION before_change();
CREATE TRIGGER function_aliases_changed AFTER INSERT OR UPDATE OR DELETE ON function_aliases
    FOR EACH ROW EXECUTE FUNCTION record_alias_change();

-- The smallest UUIDv7 of an instant.
CREATE FUNCTION uuid7_floor(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

-- What lies in no day's partition: a job that waited longer than jobs_done is kept, or rows that came while nobody
-- made partitions. No write fails for want of one.
CREATE TABLE invocations_default PARTITION OF invocations DEFAULT;
CREATE TABLE jobs_done_default PARTITION OF jobs_done DEFAULT;
CREATE TABLE messages_default PARTITION OF messages DEFAULT;

-- Makes the day partitions from yesterday to `ahead` days on, and drops those older than `keep` days.
-- SECURITY DEFINER: aurora keeps house without owning the tables.
CREATE FUNCTION keep_partitions(parent text, ahead integer, keep integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public SET lock_timeout = '5s' AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    part text;
    strays text := parent || '_default';
    written text := CASE parent WHEN 'jobs_done' THEN 'finished_at' WHEN 'messages' THEN 'published_at' ELSE 'recorded_at' END;
    first uuid;
    beyond uuid;
BEGIN
    IF parent NOT IN ('invocations', 'jobs_done', 'messages') OR ahead NOT BETWEEN 0 AND 366
       OR keep NOT BETWEEN 1 AND 36500 THEN
        RAISE EXCEPTION 'keep_partitions(%, %, %) is out of range', parent, ahead, keep
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(7236837002);
    FOR day IN SELECT generate_series(today - 1, today + ahead, '1 day')::date LOOP
        part := parent || '_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('public.' || part) IS NOT NULL;
        first := public.uuid7_floor(day::timestamp AT TIME ZONE 'UTC');
        beyond := public.uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, parent);
        EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', strays);
        EXECUTE format('WITH moved AS (DELETE FROM public.%I WHERE id >= %L AND id < %L RETURNING *) '
                       'INSERT INTO public.%I SELECT * FROM moved', strays, first, beyond, part);
        EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                       parent, part, first, beyond);
        IF parent = 'invocations' THEN -- what the planner is to know of a day's rows hardly changes while they come
            EXECUTE format('ALTER TABLE public.%I SET (autovacuum_analyze_scale_factor = 0.5)', part);
        END IF;
    END LOOP;
    FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = ('public.' || parent)::regclass AND c.relname ~ '_[0-9]{8}$' LOOP
        IF right(part, 8)::date < today - keep THEN
            EXECUTE format('DROP TABLE public.%I', part);
        END IF;
    END LOOP;
    EXECUTE format('DELETE FROM public.%I WHERE %I < now() - make_interval(days => $1)', strays, written) USING keep;
END $$;

-- Forgets changes older than `keep` days, but never the newest: the head does not go back.
CREATE FUNCTION forget_changes(keep integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    DELETE FROM public.changes
    WHERE at < now() - make_interval(days => keep) AND seq < (SELECT max(seq) FROM public.changes)
$$;
-- Forgets what no version of any function's code uses. One that was just made, or found again, may be about to be used.
CREATE FUNCTION forget_artifacts(keep interval) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    DELETE FROM public.artifacts
    WHERE used_at < now() - keep
      AND NOT EXISTS (SELECT FROM public.function_code
                      WHERE function_code.tenant = artifacts.tenant AND function_code.artifact = artifacts.hash)
$$;
-- Forgets up to `batch` rows of the log that their functions keep no longer, and says how many: call it until it is less.
CREATE FUNCTION forget_logs(batch integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH old AS (
        SELECT log.tenant, log.namespace, log.id
        FROM public.functions AS f
        CROSS JOIN LATERAL (
            SELECT tenant, namespace, id FROM public.invocations
            WHERE tenant = f.tenant AND namespace = f.namespace AND function_name = f.name
              AND id < public.uuid7_floor(now() - make_interval(days => f.log_retention_days))
            ORDER BY id
            LIMIT batch
        ) AS log
        WHERE f.log_retention_days > 0
        LIMIT batch
    ),
    gone AS (
        DELETE FROM public.invocations
        USING old
        WHERE invocations.tenant = old.tenant AND invocations.namespace = old.namespace AND invocations.id = old.id
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;

-- Forgets up to `most` keys whose time is up; says how many.
CREATE FUNCTION forget_state(most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH gone AS (
        DELETE FROM public.function_state
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.function_state WHERE expires_at <= now() ORDER BY expires_at LIMIT most))
          AND expires_at <= now()
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_logs(integer) FROM PUBLIC;

-- Forgets the steps and events of executions that are not there any more.
CREATE FUNCTION forget_steps() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    DELETE FROM public.execution_steps AS step
    WHERE NOT EXISTS (SELECT FROM public.jobs WHERE jobs.tenant = step.tenant AND jobs.id = step.execution_id)
      AND NOT EXISTS (SELECT FROM public.jobs_done WHERE jobs_done.tenant = step.tenant AND jobs_done.id = step.execution_id);
    DELETE FROM public.execution_events AS event
    WHERE NOT EXISTS (SELECT FROM public.jobs WHERE jobs.tenant = event.tenant AND jobs.id = event.execution_id);
$$;
REVOKE ALL ON FUNCTION forget_state(integer), forget_steps() FROM PUBLIC;

-- Forgets up to `most` messages that their topics keep no longer, and says how many: call it until it is less.
CREATE FUNCTION forget_messages(most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH old AS (
        SELECT message.tenant, message.id
        FROM public.topics AS topic
        CROSS JOIN LATERAL (
            SELECT tenant, id FROM public.messages
            WHERE tenant = topic.tenant AND topic_id = topic.id
              AND id < public.uuid7_floor(now() - make_interval(hours => topic.retention_hours))
            ORDER BY id
            LIMIT most
        ) AS message
        LIMIT most
    ),
    gone AS (
        DELETE FROM public.messages
        USING old
        WHERE messages.tenant = old.tenant AND messages.id = old.id
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;

-- Forgets up to `most` idempotency keys of publishers whose time is up; says how many.
CREATE FUNCTION forget_message_keys(most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH gone AS (
        DELETE FROM public.message_keys
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.message_keys WHERE expires_at <= now() ORDER BY expires_at LIMIT most))
          AND expires_at <= now()
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_messages(integer), forget_message_keys(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION forget_artifacts(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION forget_changes(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION keep_partitions(text, integer, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION record_change() FROM PUBLIC;
SELECT keep_partitions('invocations', 7, 30), keep_partitions('jobs_done', 7, 30), keep_partitions('messages', 7, 31);

INSERT INTO tenants (id, name) VALUES ('default', 'Default');
INSERT INTO namespaces (tenant, name) VALUES ('default', 'default');

-- Interactive sandboxes: what they are, which comet has each, and in which state.

CREATE TABLE sandboxes (
    tenant          text NOT NULL,
    namespace       text NOT NULL,
    id              uuid NOT NULL,
    template        text NOT NULL,
    state           text NOT NULL DEFAULT 'creating'
                    CHECK (state IN ('creating', 'running', 'paused', 'ending', 'ended')),
    reason          text NOT NULL DEFAULT '',
    memory_mb       integer NOT NULL CHECK (memory_mb BETWEEN 32 AND 65536),
    cpu_millis      integer NOT NULL CHECK (cpu_millis BETWEEN 10 AND 64000),
    disk_mb         integer NOT NULL CHECK (disk_mb BETWEEN 1 AND 65536),
    processes       integer NOT NULL CHECK (processes BETWEEN 16 AND 4096),
    idle_timeout_s  double precision NOT NULL CHECK (idle_timeout_s >= 0),
    on_idle         text NOT NULL CHECK (on_idle IN ('pause', 'remove')),
    env             jsonb NOT NULL DEFAULT '{}',
    ports           integer[] NOT NULL DEFAULT '{}' CHECK (cardinality(ports) <= 32),
    forked_from     uuid,
    node            text NOT NULL,
    generation      bigint NOT NULL DEFAULT 0, -- fencing: each comet that takes it over takes the next
    created_at      timestamptz NOT NULL DEFAULT now(),
    used_at         timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    backend         text NOT NULL DEFAULT 'namespace',
    image           text NOT NULL DEFAULT '',
    CHECK ((state = 'ended') = (ended_at IS NOT NULL)),
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);
CREATE INDEX sandboxes_by_namespace ON sandboxes (tenant, namespace, id DESC);
CREATE INDEX sandboxes_living ON sandboxes (tenant) WHERE state <> 'ended';
CREATE INDEX sandboxes_by_node ON sandboxes (node) WHERE state <> 'ended';
CREATE INDEX sandboxes_ended ON sandboxes (ended_at) WHERE state = 'ended';

-- How functions are reached by their URLs. A function without a row has the defaults of the columns.

CREATE TABLE function_urls (
    tenant             text NOT NULL,
    namespace          text NOT NULL,
    name               text NOT NULL, -- of the function
    enabled            boolean NOT NULL DEFAULT true,
    auth               text NOT NULL DEFAULT 'key' CHECK (auth IN ('key', 'none')),
    invoke_mode        text NOT NULL DEFAULT 'buffered' CHECK (invoke_mode IN ('buffered', 'stream')),
    allow_origins      text[] NOT NULL DEFAULT '{}' CHECK (cardinality(allow_origins) <= 64),
    allow_methods      text[] NOT NULL DEFAULT '{*}' CHECK (cardinality(allow_methods) <= 64),
    allow_headers      text[] NOT NULL DEFAULT '{}' CHECK (cardinality(allow_headers) <= 64),
    expose_headers     text[] NOT NULL DEFAULT '{}' CHECK (cardinality(expose_headers) <= 64),
    allow_credentials  boolean NOT NULL DEFAULT false,
    max_age_s          integer NOT NULL DEFAULT 0 CHECK (max_age_s BETWEEN 0 AND 86400),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace, name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE TRIGGER function_urls_before_change BEFORE INSERT OR UPDATE OR DELETE ON function_urls
    EXECUTE FUNCTION before_change();
CREATE TRIGGER function_urls_changed AFTER INSERT OR UPDATE OR DELETE ON function_urls
    FOR EACH ROW EXECUTE FUNCTION record_change('function');
-- People: users with passwords, their sessions, and who has which role where.

CREATE TABLE users (
    tenant         text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name           text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._@+-]{0,127}$'),
    display_name   text NOT NULL DEFAULT '',
    password_hash  text, -- argon2id, with its parameters and salt; null: none, it logs in at a provider
    is_platform    boolean NOT NULL DEFAULT false, -- acts in any tenant
    enabled        boolean NOT NULL DEFAULT true,
    version        bigint NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

-- Users who log in at a provider of OpenID Connect: whom its issuer means. They need no password.
CREATE TABLE user_identities (
    tenant      text NOT NULL,
    user_name   text NOT NULL,
    issuer      text NOT NULL CHECK (length(issuer) <= 2000),
    subject     text CHECK (length(subject) <= 255), -- null: expected, and not yet met
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, user_name),
    UNIQUE (tenant, issuer, subject),
    FOREIGN KEY (tenant, user_name) REFERENCES users ON DELETE CASCADE
);

-- A tenant's own roles, besides the built-in ones.
CREATE TABLE roles (
    tenant       text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name         text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    description  text NOT NULL DEFAULT '',
    permissions  text[] NOT NULL CHECK (cardinality(permissions) BETWEEN 1 AND 256),
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

-- Who has a role, or is denied what it permits; never changed, only made and deleted.
CREATE TABLE role_bindings (
    tenant      text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id          uuid NOT NULL,
    subject     text NOT NULL CHECK (subject ~ '^[a-z-]+:.{1,255}$'),
    role        text NOT NULL,
    effect      text NOT NULL DEFAULT 'allow' CHECK (effect IN ('allow', 'deny')),
    namespace   text NOT NULL DEFAULT '*', -- a pattern
    functions   text[] NOT NULL DEFAULT '{}' CHECK (cardinality(functions) <= 32), -- patterns; none: all
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, subject, role, effect, namespace, functions)
);
CREATE INDEX role_bindings_by_role ON role_bindings (tenant, role);

-- Who is logged in. The token is known by its SHA-256 only.
CREATE TABLE sessions (
    tenant      text NOT NULL,
    id          uuid NOT NULL,
    user_name   text NOT NULL,
    token_hash  bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    address     text NOT NULL, -- where the login came from
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, user_name) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX sessions_by_user ON sessions (tenant, user_name, id);
CREATE INDEX sessions_ended ON sessions (expires_at);

-- Sessions of people who logged in at a provider: which of its sessions they are, and what it is shown when they end. A row
-- is there before its session, which begins with the code that the browser carries; they go together.
CREATE TABLE provider_sessions (
    tenant      text NOT NULL,
    id          uuid NOT NULL, -- of the session
    user_name   text NOT NULL,
    provider    text NOT NULL, -- its name in the configuration
    issuer      text NOT NULL CHECK (length(issuer) <= 2000),
    subject     text NOT NULL CHECK (length(subject) <= 255),
    sid         text NOT NULL CHECK (length(sid) <= 255), -- what the provider calls its own session; '' if it does not say
    id_token    text NOT NULL, -- sealed; it is shown to the provider at a logout
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, user_name) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX provider_sessions_by_user ON provider_sessions (tenant, user_name);
CREATE INDEX provider_sessions_by_subject ON provider_sessions (issuer, subject);
CREATE INDEX provider_sessions_by_sid ON provider_sessions (issuer, sid) WHERE sid <> '';
CREATE INDEX provider_sessions_ended ON provider_sessions (expires_at);

CREATE FUNCTION forget_provider_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    DELETE FROM public.provider_sessions WHERE tenant = OLD.tenant AND id = OLD.id;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION forget_provider_session() FROM PUBLIC;
CREATE TRIGGER sessions_of_providers AFTER DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION forget_provider_session();

-- Logins that failed lately, by account and by address (tenant ''); a restart forgets none.
CREATE TABLE login_failures (
    tenant    text NOT NULL,
    source    text NOT NULL,
    failures  integer NOT NULL,
    last_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, source)
);
CREATE INDEX login_failures_old ON login_failures (last_at);

-- A change of what a caller may do: its name is the subject, or '' for all of a tenant's.
CREATE FUNCTION record_principal_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(OLD, NEW));
    subject text := CASE TG_ARGV[0]
        WHEN 'role' THEN ''
        WHEN 'binding' THEN changed->>'subject'
        WHEN 'service_account' THEN 'service-account:' || (changed->>'name')
        WHEN 'session' THEN 'session:' || (changed->>'tenant') || '/' || (changed->>'id')
        ELSE CASE WHEN (changed->>'is_platform')::boolean THEN 'platform-user:' ELSE 'user:' END || (changed->>'name')
    END;
BEGIN
    INSERT INTO public.changes (seq, kind, tenant, namespace, name)
    VALUES (nextval('public.changes_seq'), 'principal', changed->>'tenant', '', subject);
    NOTIFY changes;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION record_principal_change() FROM PUBLIC;
CREATE TRIGGER users_before_change BEFORE INSERT OR UPDATE OR DELETE ON users EXECUTE FUNCTION before_change();
CREATE TRIGGER roles_before_change BEFORE INSERT OR UPDATE OR DELETE ON roles EXECUTE FUNCTION before_change();
CREATE TRIGGER role_bindings_before_change BEFORE INSERT OR UPDATE OR DELETE ON role_bindings
    EXECUTE FUNCTION before_change();
CREATE TRIGGER users_changed AFTER UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION record_principal_change('user');
CREATE TRIGGER roles_changed AFTER UPDATE OR DELETE ON roles
    FOR EACH ROW EXECUTE FUNCTION record_principal_change('role');
CREATE TRIGGER role_bindings_changed AFTER INSERT OR DELETE ON role_bindings
    FOR EACH ROW EXECUTE FUNCTION record_principal_change('binding');
-- A login changes nothing for others; the end of a session that was not over does.
CREATE TRIGGER sessions_before_change BEFORE DELETE ON sessions EXECUTE FUNCTION before_change();
CREATE TRIGGER sessions_changed AFTER DELETE ON sessions
    FOR EACH ROW WHEN (OLD.expires_at > now()) EXECUTE FUNCTION record_principal_change('session');

-- Secrets of namespaces, sealed by nova; which functions use them; and which master keys there have been.

CREATE TABLE secrets (
    tenant        text NOT NULL,
    namespace     text NOT NULL,
    name          text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    key_version   integer NOT NULL, -- of the master key
    sealed_key    bytea NOT NULL, -- by the master key
    sealed_value  bytea NOT NULL CHECK (octet_length(sealed_value) <= 66000), -- by that key
    version       bigint NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);
CREATE INDEX secrets_by_key ON secrets (key_version);

-- What tells master keys apart; the keys are not here.
CREATE TABLE master_keys (
    version      integer PRIMARY KEY,
    fingerprint  bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- Layers: files that functions share, in versions that never change.
CREATE TABLE layers (
    tenant          text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name            text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'),
    newest_version  integer NOT NULL DEFAULT 0, -- that was ever given: no number means two things
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

-- What versions hold. Equal files of a tenant are one; two tenants never share any.
CREATE TABLE layer_contents (
    tenant       text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    hash         text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    size_bytes   integer NOT NULL CHECK (size_bytes BETWEEN 0 AND 67108864),
    files_count  integer NOT NULL,
    PRIMARY KEY (tenant, hash)
);

CREATE TABLE layer_files (
    tenant   text NOT NULL,
    hash     text NOT NULL,
    path     text NOT NULL,
    content  bytea NOT NULL,
    PRIMARY KEY (tenant, hash, path),
    FOREIGN KEY (tenant, hash) REFERENCES layer_contents ON DELETE CASCADE
);

CREATE TABLE layer_versions (
    tenant       text NOT NULL,
    name         text NOT NULL,
    version      integer NOT NULL,
    hash         text NOT NULL,
    description  text NOT NULL DEFAULT '',
    runtimes     text[] NOT NULL DEFAULT '{}', -- that may use it; none: all
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name, version),
    FOREIGN KEY (tenant, name) REFERENCES layers ON DELETE CASCADE,
    FOREIGN KEY (tenant, hash) REFERENCES layer_contents DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX layer_versions_by_hash ON layer_versions (tenant, hash);

-- Which functions, and which of their versions, use what; kept by triggers, so no way of changing a function goes round
-- it. Judged at the commit, as function_secrets is.
CREATE TABLE function_layers (
    tenant            text NOT NULL,
    function_id       uuid NOT NULL,
    function_version  integer NOT NULL, -- 0: the function as it is
    layer             text NOT NULL,
    layer_version     integer NOT NULL,
    PRIMARY KEY (tenant, function_id, function_version, layer),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE,
    CONSTRAINT function_layers_layer FOREIGN KEY (tenant, layer, layer_version) REFERENCES layer_versions
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX function_layers_by_layer ON function_layers (tenant, layer, layer_version);

CREATE FUNCTION use_layers(of_tenant text, of_function uuid, of_version integer, pins text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    DELETE FROM public.function_layers
    WHERE tenant = of_tenant AND function_id = of_function AND function_version = of_version;
    -- A pin is name:version@hash
    INSERT INTO public.function_layers (tenant, function_id, function_version, layer, layer_version)
    SELECT of_tenant, of_function, of_version, split_part(pin, ':', 1), split_part(split_part(pin, '@', 1), ':', 2)::integer
    FROM unnest(pins) AS pin
$$;
REVOKE ALL ON FUNCTION use_layers(text, uuid, integer, text[]) FROM PUBLIC;

CREATE FUNCTION keep_function_layers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM public.use_layers(NEW.tenant, NEW.id, 0, NEW.layers);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_function_layers() FROM PUBLIC;
CREATE TRIGGER functions_have_layers AFTER INSERT ON functions
    FOR EACH ROW WHEN (NEW.layers <> '{}') EXECUTE FUNCTION keep_function_layers();
CREATE TRIGGER functions_use_layers AFTER UPDATE ON functions
    FOR EACH ROW WHEN (NEW.layers <> OLD.layers) EXECUTE FUNCTION keep_function_layers();

CREATE FUNCTION keep_version_layers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM public.function_layers
        WHERE tenant = OLD.tenant AND function_id = OLD.function_id AND function_version = OLD.version;
    ELSE
        PERFORM public.use_layers(NEW.tenant, NEW.function_id, NEW.version,
                                  ARRAY(SELECT jsonb_array_elements_text(NEW.settings -> 'layers')));
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_version_layers() FROM PUBLIC;
CREATE TRIGGER function_versions_use_layers AFTER INSERT ON function_versions
    FOR EACH ROW WHEN (NEW.settings -> 'layers' <> '[]') EXECUTE FUNCTION keep_version_layers();
CREATE TRIGGER function_versions_leave_layers AFTER DELETE ON function_versions
    FOR EACH ROW WHEN (OLD.settings -> 'layers' <> '[]') EXECUTE FUNCTION keep_version_layers();

-- Volumes: directories of a namespace that outlive instances.
CREATE TABLE volumes (
    tenant       text NOT NULL,
    namespace    text NOT NULL,
    name         text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'),
    id           uuid NOT NULL, -- names its files on comet's host
    size_mb      integer NOT NULL CHECK (size_mb BETWEEN 8 AND 10240),
    access       text NOT NULL CHECK (access IN ('read_write', 'read_only', 'read_write_once')),
    description  text NOT NULL DEFAULT '',
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);

-- Which functions, and which of their versions, mount what; kept as function_layers is.
CREATE TABLE function_volumes (
    tenant            text NOT NULL,
    namespace         text NOT NULL,
    volume            text NOT NULL,
    function_id       uuid NOT NULL,
    function_version  integer NOT NULL, -- 0: the function as it is
    is_writing        boolean NOT NULL,
    PRIMARY KEY (tenant, namespace, volume, function_id, function_version),
    CONSTRAINT function_volumes_volume FOREIGN KEY (tenant, namespace, volume) REFERENCES volumes
        DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE
);
CREATE INDEX function_volumes_by_function ON function_volumes (tenant, function_id, function_version);

-- Changes of functions and volumes wait for each other (before_change), so nobody gets between the look and the write.
CREATE FUNCTION use_volumes(of_tenant text, of_function uuid, of_version integer, wanted jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    DELETE FROM public.function_volumes
    WHERE tenant = of_tenant AND function_id = of_function AND function_version = of_version;
    INSERT INTO public.function_volumes (tenant, namespace, volume, function_id, function_version, is_writing)
    SELECT of_tenant, f.namespace, mount ->> 'volume', of_function, of_version, NOT (mount ->> 'read_only')::boolean
    FROM public.functions AS f CROSS JOIN LATERAL jsonb_array_elements(wanted) AS mount
    WHERE f.tenant = of_tenant AND f.id = of_function;
    IF of_version = 0 AND EXISTS (
        SELECT FROM public.function_volumes AS mine
        JOIN public.volumes AS v ON v.tenant = mine.tenant AND v.namespace = mine.namespace AND v.name = mine.volume
        JOIN public.function_volumes AS theirs ON theirs.tenant = mine.tenant AND theirs.namespace = mine.namespace
            AND theirs.volume = mine.volume AND theirs.function_version = 0 AND theirs.function_id <> of_function
        WHERE mine.tenant = of_tenant AND mine.function_id = of_function AND mine.function_version = 0
          AND v.access = 'read_write_once'
    ) THEN
        RAISE EXCEPTION 'a volume has another function' USING ERRCODE = 'check_violation', CONSTRAINT = 'function_volumes_once';
    END IF;
END $$;
REVOKE ALL ON FUNCTION use_volumes(text, uuid, integer, jsonb) FROM PUBLIC;

CREATE FUNCTION keep_function_volumes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM public.use_volumes(NEW.tenant, NEW.id, 0, NEW.mounts);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_function_volumes() FROM PUBLIC;
CREATE TRIGGER functions_have_volumes AFTER INSERT ON functions
    FOR EACH ROW WHEN (NEW.mounts <> '[]') EXECUTE FUNCTION keep_function_volumes();
CREATE TRIGGER functions_use_volumes AFTER UPDATE ON functions
    FOR EACH ROW WHEN (NEW.mounts <> OLD.mounts) EXECUTE FUNCTION keep_function_volumes();

CREATE FUNCTION keep_version_volumes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM public.function_volumes
        WHERE tenant = OLD.tenant AND function_id = OLD.function_id AND function_version = OLD.version;
    ELSE
        PERFORM public.use_volumes(NEW.tenant, NEW.function_id, NEW.version, NEW.settings -> 'mounts');
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_version_volumes() FROM PUBLIC;
CREATE TRIGGER function_versions_use_volumes AFTER INSERT ON function_versions
    FOR EACH ROW WHEN (NEW.settings -> 'mounts' <> '[]') EXECUTE FUNCTION keep_version_volumes();
CREATE TRIGGER function_versions_leave_volumes AFTER DELETE ON function_versions
    FOR EACH ROW WHEN (OLD.settings -> 'mounts' <> '[]') EXECUTE FUNCTION keep_version_volumes();
CREATE TRIGGER volumes_before_change BEFORE INSERT OR UPDATE OR DELETE ON volumes EXECUTE FUNCTION before_change();

-- Kept by a trigger, so no way of changing a function goes round it. Judged at the commit: what deletes a namespace may
-- do so in any order.
CREATE TABLE function_secrets (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    secret         text NOT NULL,
    function_name  text NOT NULL,
    PRIMARY KEY (tenant, namespace, secret, function_name),
    CONSTRAINT function_secrets_secret FOREIGN KEY (tenant, namespace, secret) REFERENCES secrets
        DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant, namespace, function_name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE INDEX function_secrets_by_function ON function_secrets (tenant, namespace, function_name);

-- A secret that only an older version of a function uses is in use too: that version can be called, and come back.
CREATE TABLE version_secrets (
    tenant       text NOT NULL,
    namespace    text NOT NULL,
    secret       text NOT NULL,
    function_id  uuid NOT NULL,
    version      integer NOT NULL,
    PRIMARY KEY (tenant, namespace, secret, function_id, version),
    CONSTRAINT version_secrets_secret FOREIGN KEY (tenant, namespace, secret) REFERENCES secrets
        DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant, function_id, version) REFERENCES function_versions ON DELETE CASCADE
);
CREATE INDEX version_secrets_by_version ON version_secrets (tenant, function_id, version);

-- Which secrets variables stand for.
CREATE FUNCTION secrets_in(env jsonb) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT substring(value FROM '^\$SECRET(?:_FILE)?:(.*)$')
    FROM jsonb_each_text(env) WHERE value ~ '^\$SECRET(_FILE)?:'
$$;

CREATE FUNCTION keep_function_secrets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    used text[] := ARRAY(SELECT public.secrets_in(NEW.env));
BEGIN
    DELETE FROM public.function_secrets
    WHERE tenant = NEW.tenant AND namespace = NEW.namespace AND function_name = NEW.name AND secret <> ALL (used);
    INSERT INTO public.function_secrets (tenant, namespace, secret, function_name)
    SELECT NEW.tenant, NEW.namespace, secret, NEW.name FROM unnest(used) AS secret
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_function_secrets() FROM PUBLIC;
CREATE TRIGGER functions_use_secrets AFTER INSERT OR UPDATE OF env ON functions
    FOR EACH ROW EXECUTE FUNCTION keep_function_secrets();

-- A value that is sealed anew is no change.
CREATE TRIGGER secrets_before_change BEFORE INSERT OR UPDATE OF sealed_value OR DELETE ON secrets
    EXECUTE FUNCTION before_change();
CREATE TRIGGER secrets_changed AFTER INSERT OR UPDATE OF sealed_value OR DELETE ON secrets
    FOR EACH ROW EXECUTE FUNCTION record_change('secret');

-- Who changed what, and who was refused: written in batches, never changed, forgotten when their time is up.

CREATE TABLE audit (
    tenant      text NOT NULL, -- empty: of nobody who is known
    namespace   text NOT NULL,
    id          uuid NOT NULL,
    actor       text NOT NULL, -- empty: unknown
    action      text NOT NULL, -- the operation of the route
    method      text NOT NULL,
    resource    text NOT NULL, -- the path, and the name of what was made
    fields      text[] NOT NULL, -- of the request's body: which, never what
    outcome     text NOT NULL CHECK (outcome IN ('succeeded', 'refused', 'failed', 'unknown')),
    status      integer NOT NULL, -- of HTTP; 499: the caller left before the answer
    code        text NOT NULL, -- of the problem, where the gateway itself said no
    request_id  text NOT NULL,
    peer        text NOT NULL, -- address
    user_agent  text NOT NULL,
    count       integer NOT NULL DEFAULT 1, -- of refusals alike that came at once
    PRIMARY KEY (tenant, id)
);
CREATE INDEX audit_by_time ON audit (id);
CREATE INDEX audit_by_actor ON audit (tenant, actor, id);

-- Forgets up to `most` rows older than `keep` days; says how many.
CREATE FUNCTION forget_audit(keep integer, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH gone AS (
        DELETE FROM public.audit
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.audit
                                WHERE id < public.uuid7_floor(now() - make_interval(days => keep)) ORDER BY id LIMIT most))
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_audit(integer, integer) FROM PUBLIC;

-- Custom domains and the routes that the gateway serves under them.

-- A host is one tenant's in the whole platform; so are all names that a wildcard covers, which is checked when a host is
-- claimed, under the lock of the change log.
CREATE TABLE domains (
    tenant      text NOT NULL,
    namespace   text NOT NULL,
    host        text NOT NULL CHECK (host ~ '^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+$' AND length(host) <= 253),
    cover       text NOT NULL GENERATED ALWAYS AS (regexp_replace(host, '^[^.]*', '*')) STORED,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, host),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);
CREATE UNIQUE INDEX domains_by_host ON domains (host);
CREATE INDEX domains_by_cover ON domains (cover);

CREATE TABLE gateway_routes (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    id             uuid NOT NULL,
    host           text NOT NULL,
    path           text NOT NULL CHECK (length(path) BETWEEN 1 AND 512),
    shape          text NOT NULL, -- the path without the names in it
    methods        text[] NOT NULL DEFAULT '{}'
                   CHECK (methods <@ '{GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS}'::text[]), -- none: any
    function_name  text NOT NULL,
    auth           text NOT NULL CHECK (auth IN ('none', 'api_key', 'session', 'jwt', 'any')),
    enabled        boolean NOT NULL DEFAULT true,
    version        bigint NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    policy         jsonb NOT NULL DEFAULT '{}', -- addresses, pages of other origins, sizes, rates, answers
    qualifier      text NOT NULL DEFAULT '' CHECK (length(qualifier) <= 64), -- of the function: a version, an alias; '': live
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, namespace, host) REFERENCES domains ON DELETE CASCADE,
    FOREIGN KEY (tenant, namespace, function_name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE INDEX gateway_routes_by_host ON gateway_routes (tenant, namespace, host, shape);
CREATE INDEX gateway_routes_by_function ON gateway_routes (tenant, namespace, function_name);

-- A change of a route is one of its domain: gateways read a domain with all its routes.
CREATE FUNCTION record_domain_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(NEW, OLD));
BEGIN
    INSERT INTO public.changes (seq, kind, tenant, namespace, name)
    VALUES (nextval('public.changes_seq'), 'domain', changed->>'tenant', changed->>'namespace', changed->>'host');
    NOTIFY changes;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION record_domain_change() FROM PUBLIC;
CREATE TRIGGER domains_before_change BEFORE INSERT OR UPDATE OR DELETE ON domains EXECUTE FUNCTION before_change();
CREATE TRIGGER gateway_routes_before_change BEFORE INSERT OR UPDATE OR DELETE ON gateway_routes EXECUTE FUNCTION before_change();
CREATE TRIGGER domains_changed AFTER INSERT OR UPDATE OR DELETE ON domains
    FOR EACH ROW EXECUTE FUNCTION record_domain_change();
CREATE TRIGGER gateway_routes_changed AFTER INSERT OR UPDATE OR DELETE ON gateway_routes
    FOR EACH ROW EXECUTE FUNCTION record_domain_change();

-- What tenants may use: limits of tiers, a tenant's own in their place, and what it used.

-- The platform's own; no tenant writes them.
CREATE TABLE tiers (
    name         text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    description  text NOT NULL DEFAULT '',
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE DOMAIN quota_dimension AS text CHECK (VALUE IN (
    'invocations_per_s', 'key_invocations_per_s', 'invocations_per_day', 'invocations_per_month',
    'concurrent_invocations', 'publishes_per_s', 'queue_depth', 'functions', 'memory_mb', 'vcpu_milli', 'database_mb'));

-- A dimension without a row has no limit.
CREATE TABLE tier_limits (
    tier       text NOT NULL REFERENCES tiers ON DELETE CASCADE,
    dimension  quota_dimension NOT NULL,
    value      double precision NOT NULL CHECK (value >= 0 AND value < 'infinity'),
    burst      integer NOT NULL DEFAULT 0 CHECK (burst >= 0), -- of a rate; 0: one second's worth
    PRIMARY KEY (tier, dimension)
);

-- A row stands for that of the tier; without a value it lifts the limit.
CREATE TABLE tenant_limits (
    tenant     text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    dimension  quota_dimension NOT NULL,
    value      double precision CHECK (value >= 0 AND value < 'infinity'),
    burst      integer NOT NULL DEFAULT 0 CHECK (burst >= 0),
    PRIMARY KEY (tenant, dimension)
);

-- Calls that were let in, by calendar day (UTC); comets add to it.
CREATE TABLE tenant_usage (
    tenant  text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    day     date NOT NULL,
    calls   bigint NOT NULL DEFAULT 0 CHECK (calls >= 0),
    PRIMARY KEY (tenant, day)
);

INSERT INTO tiers (name, description) VALUES
    ('free', 'for trying things'),
    ('standard', 'for everyday work; what a new tenant gets'),
    ('premium', 'for much work'),
    ('unlimited', 'without limits; what the default tenant has');
INSERT INTO tier_limits (tier, dimension, value, burst) VALUES
    ('free', 'invocations_per_s', 20, 40),
    ('free', 'key_invocations_per_s', 10, 20),
    ('free', 'invocations_per_day', 100000, 0),
    ('free', 'invocations_per_month', 1000000, 0),
    ('free', 'concurrent_invocations', 20, 0),
    ('free', 'publishes_per_s', 20, 100),
    ('free', 'queue_depth', 1000, 0),
    ('free', 'functions', 25, 0),
    ('free', 'memory_mb', 8192, 0),
    ('free', 'vcpu_milli', 25000, 0),
    ('free', 'database_mb', 256, 0),
    ('standard', 'invocations_per_s', 1000, 2000),
    ('standard', 'key_invocations_per_s', 500, 1000),
    ('standard', 'concurrent_invocations', 1000, 0),
    ('standard', 'publishes_per_s', 1000, 5000),
    ('standard', 'queue_depth', 20000, 0),
    ('standard', 'functions', 1000, 0),
    ('standard', 'memory_mb', 1048576, 0),
    ('standard', 'vcpu_milli', 4000000, 0),
    ('standard', 'database_mb', 4096, 0),
    ('premium', 'invocations_per_s', 10000, 20000),
    ('premium', 'key_invocations_per_s', 5000, 10000),
    ('premium', 'publishes_per_s', 10000, 20000),
    ('premium', 'queue_depth', 100000, 0),
    ('premium', 'functions', 10000, 0);

ALTER TABLE tenants ADD COLUMN tier text NOT NULL DEFAULT 'standard' REFERENCES tiers;
UPDATE tenants SET tier = 'unlimited'; -- nobody who was there before is limited by surprise
CREATE INDEX tenants_by_tier ON tenants (tier);
CREATE INDEX tenants_suspended ON tenants (id) WHERE status = 'suspended';

-- A tenant's limits: its own, else its tier's. Definer: planes ask for it that may not read the tables.
CREATE FUNCTION limits_of(which text)
RETURNS TABLE (dimension text, value double precision, burst integer, is_own boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT own.dimension::text, own.value, own.burst, true
    FROM public.tenant_limits AS own
    WHERE own.tenant = which
    UNION ALL
    SELECT given.dimension::text, given.value, given.burst, false
    FROM public.tenants
    JOIN public.tier_limits AS given ON given.tier = tenants.tier
    WHERE tenants.id = which
      AND NOT EXISTS (SELECT FROM public.tenant_limits AS own
                      WHERE own.tenant = which AND own.dimension = given.dimension)
$$;
REVOKE ALL ON FUNCTION limits_of(text) FROM PUBLIC;

-- Memory and CPU are those of instances, which comets count: here a function that could never have any is refused. What is
-- above a limit may shrink.
CREATE FUNCTION refuse_beyond_quota() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    given record;
    used double precision;
BEGIN
    FOR given IN SELECT dimension, value FROM public.limits_of(NEW.tenant)
                 WHERE dimension IN ('memory_mb', 'vcpu_milli') AND value IS NOT NULL
    LOOP
        used := CASE given.dimension WHEN 'memory_mb' THEN NEW.memory_mb ELSE NEW.cpu_millis END;
        IF used > given.value
           AND (TG_OP = 'INSERT' OR (given.dimension = 'memory_mb' AND NEW.memory_mb > OLD.memory_mb)
                OR (given.dimension = 'vcpu_milli' AND NEW.cpu_millis > OLD.cpu_millis)) THEN
            RAISE EXCEPTION 'beyond the quota of %', given.dimension
                USING ERRCODE = 'CQ429', DETAIL = concat_ws(' ', given.dimension, used, given.value);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION refuse_beyond_quota() FROM PUBLIC;
CREATE TRIGGER functions_quota_on_insert AFTER INSERT ON functions
    FOR EACH ROW EXECUTE FUNCTION refuse_beyond_quota();
CREATE TRIGGER functions_quota_on_growth AFTER UPDATE ON functions
    FOR EACH ROW WHEN (NEW.memory_mb > OLD.memory_mb OR NEW.cpu_millis > OLD.cpu_millis)
    EXECUTE FUNCTION refuse_beyond_quota();

CREATE TRIGGER tenant_limits_before_change BEFORE INSERT OR UPDATE OR DELETE ON tenant_limits
    EXECUTE FUNCTION before_change();
CREATE TRIGGER tenant_limits_changed AFTER INSERT OR UPDATE OR DELETE ON tenant_limits
    FOR EACH ROW EXECUTE FUNCTION record_change('tenant');

-- A tenant that may work again has waiting jobs and schedules claimed at once.
CREATE FUNCTION wake_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY jobs;
    NOTIFY schedules;
    RETURN NULL;
END $$;
CREATE TRIGGER tenants_woken AFTER UPDATE ON tenants
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION wake_tenant();

-- Accounts of programs: their keys are as good as their roles, and end with them. When a key was used last.

CREATE TABLE service_accounts (
    tenant       text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name         text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    description  text NOT NULL DEFAULT '',
    enabled      boolean NOT NULL DEFAULT true,
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

ALTER TABLE api_keys ADD COLUMN service_account text;
ALTER TABLE api_keys ALTER COLUMN role DROP NOT NULL;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_service_account_fkey
    FOREIGN KEY (tenant, service_account) REFERENCES service_accounts ON DELETE CASCADE;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_bearer_check
    CHECK ((role IS NULL) = (service_account IS NOT NULL) AND NOT (is_platform AND service_account IS NOT NULL));
CREATE INDEX api_keys_by_service_account ON api_keys (tenant, service_account) WHERE service_account IS NOT NULL;

CREATE TABLE api_key_uses (
    tenant   text NOT NULL,
    name     text NOT NULL,
    used_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, name) REFERENCES api_keys ON DELETE CASCADE
);

CREATE TRIGGER service_accounts_before_change BEFORE INSERT OR UPDATE OR DELETE ON service_accounts
    EXECUTE FUNCTION before_change();
CREATE TRIGGER service_accounts_changed AFTER UPDATE OR DELETE ON service_accounts
    FOR EACH ROW EXECUTE FUNCTION record_principal_change('service_account');

-- Who may call functions. A function without a row may be called by whoever may call functions of its namespace.

CREATE TABLE function_ingress (
    tenant             text NOT NULL,
    namespace          text NOT NULL,
    name               text NOT NULL, -- of the function
    ingress_callers    text[] NOT NULL CHECK (ingress_callers <@ '{url,api,function,schedule,queue}'),
    ingress_functions  text[] NOT NULL CHECK (cardinality(ingress_functions) <= 64),
    ingress_allow      text[] NOT NULL CHECK (cardinality(ingress_allow) <= 64),
    ingress_deny       text[] NOT NULL CHECK (cardinality(ingress_deny) <= 64),
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace, name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE TRIGGER function_ingress_before_change BEFORE INSERT OR UPDATE OR DELETE ON function_ingress
    EXECUTE FUNCTION before_change();
CREATE TRIGGER function_ingress_changed AFTER INSERT OR UPDATE OR DELETE ON function_ingress
    FOR EACH ROW EXECUTE FUNCTION record_change('function');

-- How many functions there are, so that nobody needs to count them.
CREATE TABLE function_counts (
    tenant     text NOT NULL,
    namespace  text NOT NULL,
    runtime    text NOT NULL,
    functions  integer NOT NULL CHECK (functions >= 0),
    PRIMARY KEY (tenant, namespace, runtime),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE
);
CREATE FUNCTION count_functions() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO public.function_counts AS counted (tenant, namespace, runtime, functions)
        SELECT tenant, namespace, runtime, count(*) FROM changed GROUP BY tenant, namespace, runtime
        ON CONFLICT (tenant, namespace, runtime) DO UPDATE SET functions = counted.functions + EXCLUDED.functions;
    ELSE
        UPDATE public.function_counts AS counted SET functions = counted.functions - gone.functions
        FROM (SELECT tenant, namespace, runtime, count(*) AS functions FROM changed GROUP BY tenant, namespace, runtime) AS gone
        WHERE counted.tenant = gone.tenant AND counted.namespace = gone.namespace AND counted.runtime = gone.runtime;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION count_functions() FROM PUBLIC;
CREATE TRIGGER functions_counted AFTER INSERT ON functions REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_functions();
CREATE TRIGGER functions_uncounted AFTER DELETE ON functions REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_functions();

-- Functions of a tenant are limited when one is added. Whoever changes functions holds the lock of the change log by then,
-- so their number is that of all that is committed and of this change, which `functions_counted` has counted: triggers of
-- a statement are called by their names.
CREATE FUNCTION refuse_more_functions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    beyond record;
BEGIN
    SELECT given.value, counted.functions INTO beyond
    FROM (SELECT DISTINCT tenant FROM changed) AS adding
    CROSS JOIN LATERAL public.limits_of(adding.tenant) AS given
    CROSS JOIN LATERAL (SELECT sum(functions) AS functions FROM public.function_counts WHERE tenant = adding.tenant) AS counted
    WHERE given.dimension = 'functions' AND counted.functions > given.value
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'beyond the quota of functions'
            USING ERRCODE = 'CQ429', DETAIL = concat_ws(' ', 'functions', beyond.functions, beyond.value);
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION refuse_more_functions() FROM PUBLIC;
CREATE TRIGGER functions_quota_on_number AFTER INSERT ON functions REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_more_functions();

-- A page of the functions of one runtime, without a look at the others.
CREATE INDEX functions_by_runtime ON functions (tenant, namespace, runtime, name);

-- What people write about a function.
CREATE TABLE function_docs (
    tenant      text NOT NULL,
    namespace   text NOT NULL,
    name        text NOT NULL, -- of the function
    content     text NOT NULL CHECK (octet_length(content) BETWEEN 1 AND 262144),
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace, name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);

-- Links under which the docs of a function are read by whoever has them. The token is nowhere; what is kept is its hash.
CREATE TABLE doc_shares (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    function_name  text NOT NULL,
    id             uuid NOT NULL,
    title          text NOT NULL DEFAULT '',
    token_hash     bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    created_by     text NOT NULL, -- a subject
    expires_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, namespace, function_name, id),
    FOREIGN KEY (tenant, namespace, function_name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);

-- The words of functions: of names, descriptions, tags, docs and sources. Each begins with a mark of its scope, so that a
-- look-up meets the words of no other scope, and costs nothing for them.
CREATE TABLE function_search (
    tenant     text NOT NULL,
    namespace  text NOT NULL,
    name       text NOT NULL, -- of the function
    runtime    text NOT NULL,
    document   tsvector NOT NULL,
    PRIMARY KEY (tenant, namespace, name),
    FOREIGN KEY (tenant, namespace, name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE INDEX function_search_document ON function_search USING gin (document);

CREATE FUNCTION scope_mark(of_tenant text, of_namespace text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(md5(of_tenant || '/' || of_namespace), 8)
$$;
-- A tag, and its key alone, as words.
CREATE FUNCTION tag_word(key text, tagged text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '#' || md5(key || coalesce('=' || tagged, ''))
$$;
CREATE FUNCTION words_of(given text) RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT DISTINCT left(lexeme, 40)
    FROM unnest(to_tsvector('pg_catalog.simple', translate(given, $q$!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~$q$, repeat(' ', 32))))
$$;
-- The words of what is text; the first 64 KiB of it.
CREATE FUNCTION readable(content bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    head bytea := substr(content, 1, 65536);
BEGIN
    IF position('\x00'::bytea IN head) > 0 THEN
        RETURN '';
    END IF;
    FOR cut IN 0..3 LOOP -- the head may end within a character
        BEGIN
            RETURN convert_from(substr(head, 1, length(head) - cut), 'UTF8');
        EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
            EXIT WHEN length(content) <= 65536;
        END;
    END LOOP;
    RETURN '';
END $$;
-- Writes anew what the words of a function are; called with each change of them. 5,000 of its source are enough to find it.
CREATE FUNCTION index_function(of_tenant text, of_namespace text, of_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    f public.functions;
    mark text := public.scope_mark(of_tenant, of_namespace);
    source text := '';
    file record;
BEGIN
    SELECT * INTO f FROM public.functions WHERE tenant = of_tenant AND namespace = of_namespace AND name = of_name;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR file IN SELECT path, content FROM public.function_files
                WHERE tenant = of_tenant AND function_id = f.id AND version = coalesce(f.pending_version, f.code_version)
                ORDER BY path LOOP
        source := source || ' ' || file.path || ' ' || public.readable(file.content);
        EXIT WHEN octet_length(source) > 262144;
    END LOOP;
    INSERT INTO public.function_search AS indexed (tenant, namespace, name, runtime, document)
    SELECT of_tenant, of_namespace, of_name, f.runtime, array_to_tsvector(array_agg(DISTINCT mark || word))
    FROM (
        SELECT public.words_of(f.name || ' ' || regexp_replace(f.name, '([a-z0-9])([A-Z])', '\1 \2', 'g')
                               || ' ' || f.description || ' ' || f.runtime) AS word
        UNION ALL
        SELECT public.words_of(tag.key || ' ' || tag.value) FROM jsonb_each_text(f.tags) AS tag
        UNION ALL
        SELECT public.tag_word(tag.key, whole.tagged)
        FROM jsonb_each_text(f.tags) AS tag, LATERAL (VALUES (tag.value), (NULL)) AS whole (tagged)
        UNION ALL
        SELECT public.words_of(content) FROM public.function_docs
        WHERE tenant = of_tenant AND namespace = of_namespace AND name = of_name
        UNION ALL
        (SELECT word FROM public.words_of(source) AS word LIMIT 5000)
    ) AS found
    ON CONFLICT (tenant, namespace, name) DO UPDATE SET document = EXCLUDED.document, runtime = EXCLUDED.runtime
    WHERE indexed.document IS DISTINCT FROM EXCLUDED.document;
END $$;
-- What finds the functions of a scope that have words beginning with each of those of `search`, and a tag; both may be null.
CREATE FUNCTION function_query(of_tenant text, of_namespace text, search text, tag_key text, tagged text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public AS $$
    SELECT string_agg(quote_literal(public.scope_mark(of_tenant, of_namespace) || term.word) || term.kind, ' & ')::tsquery
    FROM (
        SELECT public.words_of(search) AS word, ':*' AS kind
        UNION ALL
        SELECT public.tag_word(tag_key, tagged), '' WHERE tag_key IS NOT NULL
    ) AS term
$$;

-- Settings that were set while the planes run, of the platform ('') and of tenants, and what they were before.

CREATE TABLE settings (
    tenant      text NOT NULL,
    key         text NOT NULL CHECK (length(key) BETWEEN 1 AND 100),
    value       text CHECK (length(value) <= 1000), -- null: as the planes are configured
    version     bigint NOT NULL DEFAULT 1,
    updated_by  text NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    owner       text GENERATED ALWAYS AS (nullif(tenant, '')) STORED REFERENCES tenants ON DELETE CASCADE,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX settings_by_owner ON settings (owner);

-- Version 0 is what was before the first change.
CREATE TABLE setting_changes (
    tenant   text NOT NULL,
    key      text NOT NULL,
    version  bigint NOT NULL,
    was      text,
    value    text,
    note     text NOT NULL DEFAULT '' CHECK (length(note) <= 500),
    actor    text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, key, version),
    FOREIGN KEY (tenant, key) REFERENCES settings ON DELETE CASCADE
);

-- Gateways read them again at a change; planes with a database listen for themselves.
CREATE FUNCTION record_setting_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(NEW, OLD));
BEGIN
    INSERT INTO public.changes (seq, kind, tenant, namespace, name)
    VALUES (nextval('public.changes_seq'), 'setting', changed->>'tenant', '', changed->>'key');
    NOTIFY changes;
    NOTIFY settings;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION record_setting_change() FROM PUBLIC;
CREATE TRIGGER settings_before_change BEFORE INSERT OR UPDATE OR DELETE ON settings EXECUTE FUNCTION before_change();
CREATE TRIGGER settings_changed AFTER INSERT OR UPDATE OR DELETE ON settings
    FOR EACH ROW EXECUTE FUNCTION record_setting_change();

-- What people want to know: written where it happens, in the same transaction, and folded into one row for each thing.

-- The outbox. Rows are added without a lock or a look at others, so no failure waits for another to be told.
CREATE TABLE notices (
    tenant     text NOT NULL, -- '': the platform's
    id         bigint GENERATED ALWAYS AS IDENTITY,
    namespace  text NOT NULL, -- '': of the tenant as a whole
    kind       text NOT NULL,
    subject    text NOT NULL,
    detail     text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id)
);
CREATE INDEX notices_in_order ON notices (id);

CREATE TABLE notifications (
    tenant     text NOT NULL,
    namespace  text NOT NULL,
    id         uuid NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('build_failed', 'canary_rolled_back', 'breaker_opened', 'call_dead', 'delivery_dead',
                                             'schedule_failed', 'key_expiring', 'secrets_resealed', 'database_nearly_full',
                                             'database_full', 'destination_failed', 'slo_breached', 'slo_met')),
    subject    text NOT NULL CHECK (length(subject) <= 200), -- the function, key, schedule or whatever it is about
    detail     text NOT NULL CHECK (length(detail) <= 500), -- of the last time
    count      bigint NOT NULL,
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    seq        bigint NOT NULL, -- moves each time, in the order of commits
    owner      text GENERATED ALWAYS AS (nullif(tenant, '')) STORED REFERENCES tenants ON DELETE CASCADE,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, namespace, kind, subject)
);
CREATE SEQUENCE notifications_seq;
CREATE INDEX notifications_in_order ON notifications (tenant, seq);
CREATE INDEX notifications_by_time ON notifications (last_at);
CREATE INDEX notifications_by_owner ON notifications (owner);

-- Who has read one, as it was then.
CREATE TABLE notification_reads (
    tenant   text NOT NULL,
    id       uuid NOT NULL,
    reader   text NOT NULL, -- a subject
    seq      bigint NOT NULL,
    read_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id, reader),
    FOREIGN KEY (tenant, id) REFERENCES notifications ON DELETE CASCADE
);

CREATE FUNCTION notice(tenant text, namespace text, kind text, subject text, detail text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO public.notices (tenant, namespace, kind, subject, detail)
    VALUES (tenant, namespace, kind, left(subject, 200), left(coalesce(detail, ''), 500));
    NOTIFY notices;
END $$;
REVOKE ALL ON FUNCTION notice(text, text, text, text, text) FROM PUBLIC;

-- A result that reached nobody; its job keeps it.
CREATE FUNCTION notice_of_lost_result(of_tenant text, of_namespace text, function_name text, detail text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT public.notice(of_tenant, of_namespace, 'destination_failed', function_name, detail)
$$;
REVOKE ALL ON FUNCTION notice_of_lost_result(text, text, text, text) FROM PUBLIC;

CREATE FUNCTION notice_of_build() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM public.notice(NEW.tenant, NEW.namespace, 'build_failed', NEW.function_name, NEW.error);
    RETURN NULL;
END $$;
CREATE FUNCTION notice_of_canary() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM public.notice(f.tenant, f.namespace, 'canary_rolled_back', f.name,
                          format('%s stays at version %s: %s', NEW.alias, NEW.old_version, NEW.reason))
    FROM public.functions AS f WHERE f.tenant = NEW.tenant AND f.id = NEW.function_id;
    RETURN NULL;
END $$;
CREATE FUNCTION notice_of_dead_job() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM public.notice(NEW.tenant, NEW.namespace,
                          CASE WHEN NEW.subscription_id IS NOT NULL THEN 'delivery_dead'
                               WHEN NEW.source LIKE 'schedule/%' THEN 'schedule_failed' ELSE 'call_dead' END,
                          NEW.function_name, format('call %s after %s attempts', NEW.id, NEW.attempt));
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION notice_of_build(), notice_of_canary(), notice_of_dead_job() FROM PUBLIC;
CREATE TRIGGER builds_failed AFTER UPDATE ON builds
    FOR EACH ROW WHEN (NEW.state = 'failed' AND OLD.state <> 'failed') EXECUTE FUNCTION notice_of_build();
CREATE TRIGGER canaries_rolled_back AFTER UPDATE ON function_canaries
    FOR EACH ROW WHEN (NEW.state = 'rolled_back' AND OLD.state <> 'rolled_back') EXECUTE FUNCTION notice_of_canary();
CREATE TRIGGER jobs_died AFTER UPDATE ON jobs
    FOR EACH ROW WHEN (NEW.status = 'dead' AND OLD.status <> 'dead') EXECUTE FUNCTION notice_of_dead_job();

-- Forgets up to `most` notifications of which nothing was heard for `keep` days; says how many.
CREATE FUNCTION forget_notifications(keep integer, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH gone AS (
        DELETE FROM public.notifications
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.notifications
                                WHERE last_at < now() - make_interval(days => keep) ORDER BY last_at LIMIT most))
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_notifications(integer, integer) FROM PUBLIC;

-- Databases that functions use: where they are, the role that is theirs on the server, what its sessions may; which
-- functions use them, what sessions did, and what is still to be taken down on a server.

CREATE TABLE databases (
    tenant               text NOT NULL,
    namespace            text NOT NULL,
    name                 text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    kind                 text NOT NULL CHECK (kind IN ('postgres')),
    access               text NOT NULL CHECK (access IN ('read', 'write', 'create')),
    admin_secret         text, -- a secret of the namespace, the address of an administrator; null: our own server has it
    database_name        text NOT NULL, -- on the server
    role_name            text NOT NULL, -- on the server; no other database has it
    key_version          integer NOT NULL, -- of the master key
    sealed_key           bytea NOT NULL, -- by the master key
    sealed_value         bytea NOT NULL CHECK (octet_length(sealed_value) <= 1024), -- the role's password, by that key
    is_ready             boolean NOT NULL DEFAULT false, -- the server has the role
    max_sessions         integer NOT NULL CHECK (max_sessions BETWEEN 1 AND 1000),
    instance_sessions    integer NOT NULL CHECK (instance_sessions BETWEEN 1 AND 1000),
    statement_timeout_s  double precision NOT NULL CHECK (statement_timeout_s BETWEEN 0.1 AND 3600),
    idle_transaction_s   double precision NOT NULL CHECK (idle_transaction_s BETWEEN 0.1 AND 3600),
    max_rows             bigint NOT NULL CHECK (max_rows BETWEEN 1 AND 1000000000),
    max_bytes            bigint NOT NULL CHECK (max_bytes BETWEEN 1024 AND 1099511627776),
    statements_per_s     integer NOT NULL CHECK (statements_per_s BETWEEN 1 AND 100000),
    version              bigint NOT NULL DEFAULT 1,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    size_mb              integer CHECK (size_mb BETWEEN 16 AND 1048576), -- the most; null: on a server of somebody else's
    size_bytes           bigint, -- measured; null: not yet
    fullness             text NOT NULL DEFAULT 'ok' CHECK (fullness IN ('ok', 'nearly_full', 'full')), -- full: nothing is added
    PRIMARY KEY (tenant, namespace, name),
    UNIQUE (role_name),
    FOREIGN KEY (tenant, namespace) REFERENCES namespaces ON DELETE CASCADE,
    CONSTRAINT databases_admin_secret FOREIGN KEY (tenant, namespace, admin_secret) REFERENCES secrets
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX databases_by_key ON databases (key_version);
CREATE INDEX databases_by_secret ON databases (tenant, namespace, admin_secret) WHERE admin_secret IS NOT NULL;

-- Kept by a trigger, and judged at the commit, as function_secrets.
CREATE TABLE function_databases (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    database       text NOT NULL,
    function_name  text NOT NULL,
    PRIMARY KEY (tenant, namespace, database, function_name),
    CONSTRAINT function_databases_database FOREIGN KEY (tenant, namespace, database) REFERENCES databases
        DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant, namespace, function_name) REFERENCES functions (tenant, namespace, name) ON DELETE CASCADE
);
CREATE INDEX function_databases_by_function ON function_databases (tenant, namespace, function_name);

-- A database that only an older version of a function uses is in use too: that version can be called, and come back.
CREATE TABLE version_databases (
    tenant       text NOT NULL,
    namespace    text NOT NULL,
    database     text NOT NULL,
    function_id  uuid NOT NULL,
    version      integer NOT NULL,
    PRIMARY KEY (tenant, namespace, database, function_id, version),
    CONSTRAINT version_databases_database FOREIGN KEY (tenant, namespace, database) REFERENCES databases
        DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant, function_id, version) REFERENCES function_versions ON DELETE CASCADE
);
CREATE INDEX version_databases_by_version ON version_databases (tenant, function_id, version);

-- Which databases variables stand for.
CREATE FUNCTION databases_in(env jsonb) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT substr(value, 11) FROM jsonb_each_text(env) WHERE value LIKE '$DATABASE:%'
$$;

CREATE FUNCTION keep_function_databases() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    used text[] := ARRAY(SELECT public.databases_in(NEW.env));
BEGIN
    DELETE FROM public.function_databases
    WHERE tenant = NEW.tenant AND namespace = NEW.namespace AND function_name = NEW.name AND database <> ALL (used);
    INSERT INTO public.function_databases (tenant, namespace, database, function_name)
    SELECT NEW.tenant, NEW.namespace, database, NEW.name FROM unnest(used) AS database
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION keep_function_databases() FROM PUBLIC;
CREATE TRIGGER functions_use_databases AFTER INSERT OR UPDATE OF env ON functions
    FOR EACH ROW EXECUTE FUNCTION keep_function_databases();

-- A password that is sealed anew is no change.
CREATE TRIGGER databases_before_change BEFORE INSERT OR UPDATE OF version OR DELETE ON databases
    EXECUTE FUNCTION before_change();
CREATE TRIGGER databases_changed AFTER INSERT OR UPDATE OF version OR DELETE ON databases
    FOR EACH ROW EXECUTE FUNCTION record_change('database');

-- What servers have of databases that are no more, however those went. Nova takes it down.
CREATE TABLE database_leftovers (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    role_name      text NOT NULL,
    database_name  text NOT NULL,
    admin_secret   text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, role_name)
);

CREATE FUNCTION leave_database() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO public.database_leftovers (tenant, namespace, role_name, database_name, admin_secret)
    VALUES (OLD.tenant, OLD.namespace, OLD.role_name, OLD.database_name, OLD.admin_secret);
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION leave_database() FROM PUBLIC;
CREATE TRIGGER databases_left AFTER DELETE ON databases FOR EACH ROW EXECUTE FUNCTION leave_database();

CREATE TABLE database_requests (
    tenant            text NOT NULL,
    namespace         text NOT NULL,
    database          text NOT NULL,
    id                uuid NOT NULL,
    function_name     text NOT NULL,
    function_version  text NOT NULL,
    session           text NOT NULL, -- what its requests have in common
    statement         text NOT NULL, -- its beginning, without literals
    outcome           text NOT NULL CHECK (outcome IN ('succeeded', 'failed', 'cut', 'refused')),
    code              text NOT NULL, -- SQLSTATE of what failed
    rows              bigint NOT NULL,
    bytes             bigint NOT NULL, -- of what it gave back
    duration_ms       double precision NOT NULL,
    PRIMARY KEY (tenant, namespace, database, id),
    FOREIGN KEY (tenant, namespace, database) REFERENCES databases ON DELETE CASCADE
);
CREATE INDEX database_requests_by_time ON database_requests (id);

-- Forgets up to `most` rows older than `keep` days; says how many.
CREATE FUNCTION forget_database_requests(keep integer, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH gone AS (
        DELETE FROM public.database_requests
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.database_requests
                                WHERE id < public.uuid7_floor(now() - make_interval(days => keep)) ORDER BY id LIMIT most))
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_database_requests(integer, integer) FROM PUBLIC;

-- A year's days of calls are kept, and a month more.
CREATE INDEX tenant_usage_by_day ON tenant_usage (day);

-- Forgets up to `most` days of tenants that are more than `keep` days ago; says how many. The month that a quota counts is
-- never among them.
CREATE FUNCTION forget_usage(keep integer, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH gone AS (
        DELETE FROM public.tenant_usage
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.tenant_usage
                                WHERE day < (now() AT TIME ZONE 'UTC')::date - greatest(keep, 31) ORDER BY day LIMIT most))
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION forget_usage(integer, integer) FROM PUBLIC;
