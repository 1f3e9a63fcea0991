-- The invocation log is written faster: by COPY, with a way round for a batch that is partly there already, into
-- indexes whose pages are left full, and looked through for statistics less often.

CREATE UNLOGGED TABLE invocations_staged (LIKE invocations INCLUDING DEFAULTS);

DROP INDEX invocations_by_function;
DROP INDEX invocations_by_scope;
CREATE INDEX invocations_by_function ON invocations (tenant, namespace, function_name, id);
CREATE INDEX invocations_by_scope ON invocations (tenant, namespace, id);

-- Makes the day partitions from yesterday to `ahead` days on, and drops those older than `keep` days.
-- SECURITY DEFINER: aurora keeps house without owning the tables.
CREATE OR REPLACE FUNCTION keep_partitions(parent text, ahead integer, keep integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public SET lock_timeout = '5s' AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    part text;
    strays text := parent || '_default';
    written text := CASE parent WHEN 'jobs_done' THEN 'finished_at' ELSE 'recorded_at' END;
    first uuid;
    beyond uuid;
BEGIN
    IF parent NOT IN ('invocations', 'jobs_done') OR ahead NOT BETWEEN 0 AND 366 OR keep NOT BETWEEN 1 AND 36500 THEN
        RAISE EXCEPTION 'keep_partitions(%, %, %) is out of range', parent, ahead, keep
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(7236837002);
    FOR day IN SELECT generate_series(today - 1, today + ahead, '1 day')::date LOOP
        part := parent || '_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('public.' || part) IS NOT NULL;
        first := public.uuid7_floor(day::timestamp AT TIME ZONE 'UTC');
        beyond := public.uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS)', part, parent);
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

DO $$
DECLARE
    part text;
BEGIN
    FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'public.invocations'::regclass AND c.relname ~ '_[0-9]{8}$' LOOP
        EXECUTE format('ALTER TABLE public.%I SET (autovacuum_analyze_scale_factor = 0.5)', part);
    END LOOP;
END $$;
