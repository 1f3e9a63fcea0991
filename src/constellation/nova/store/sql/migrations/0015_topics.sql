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
CREATE TABLE messages_default PARTITION OF messages DEFAULT;

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

ALTER TABLE jobs
    ADD COLUMN subscription_id uuid,
    ADD COLUMN message_id uuid,
    ADD CHECK ((subscription_id IS NULL) = (message_id IS NULL));
ALTER TABLE jobs_done
    ADD COLUMN subscription_id uuid,
    ADD COLUMN message_id uuid;
CREATE INDEX jobs_by_subscription ON jobs (tenant, subscription_id, id DESC) WHERE subscription_id IS NOT NULL;
CREATE INDEX jobs_done_by_subscription ON jobs_done (tenant, subscription_id, id DESC) WHERE subscription_id IS NOT NULL;

-- In which state a job stands in line again: a delivery of a subscription that is paused waits for its resumption.
CREATE FUNCTION queued_or_paused(of_tenant text, of_subscription uuid) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN of_subscription IS NOT NULL AND EXISTS (
        SELECT FROM subscriptions WHERE tenant = of_tenant AND id = of_subscription AND is_paused
    ) THEN 'paused' ELSE 'queued' END
$$;

-- Makes the day partitions from yesterday to `ahead` days on, and drops those older than `keep` days.
CREATE OR REPLACE FUNCTION keep_partitions(parent text, ahead integer, keep integer) RETURNS void
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
SELECT keep_partitions('messages', 7, 31);
