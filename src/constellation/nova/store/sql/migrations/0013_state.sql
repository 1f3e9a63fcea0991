-- What functions keep between calls, and executions that go on where they stopped: their steps and events.

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

-- A durable execution is a job whose runs are recorded step by step, and which may wait between two of them.
ALTER TABLE jobs
    ADD COLUMN is_durable boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT jobs_status_check,
    ADD CONSTRAINT jobs_status_check CHECK (status IN ('queued', 'running', 'paused', 'dead', 'cancelled'));
ALTER TABLE jobs_done ADD COLUMN is_durable boolean NOT NULL DEFAULT false;

CREATE TABLE execution_steps (
    tenant        text NOT NULL,
    execution_id  uuid NOT NULL,
    seq           integer NOT NULL CHECK (seq >= 0),
    kind          text NOT NULL CHECK (kind IN ('run', 'sleep', 'event')),
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    due_at        timestamptz, -- when a sleep is over, or an event is waited for no longer
    output        bytea CHECK (octet_length(output) <= 262144),
    error         bytea CHECK (octet_length(error) <= 262144),
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    PRIMARY KEY (tenant, execution_id, seq)
);

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
