-- The functions of a tenant were counted anew with each one that was added, which took as long as it had functions; their
-- number is kept.
CREATE OR REPLACE FUNCTION refuse_beyond_quota() RETURNS trigger
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
