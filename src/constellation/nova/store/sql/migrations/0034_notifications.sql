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
                                             'schedule_failed', 'key_expiring', 'secrets_resealed')),
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
