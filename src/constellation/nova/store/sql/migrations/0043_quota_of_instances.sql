-- Quotas of memory and CPU are of the instances that there are, which comets count.

-- Functions of a tenant are counted when one is added. Whoever changes functions holds the lock of the change log by then, so
-- the count is that of all that is committed and of this change. Memory and CPU are those of instances, which comets count:
-- here one that could never have any is refused. What is above a limit may shrink.
CREATE OR REPLACE FUNCTION refuse_beyond_quota() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    given record;
    used double precision;
BEGIN
    FOR given IN SELECT dimension, value FROM public.limits_of(NEW.tenant)
                 WHERE dimension IN ('functions', 'memory_mb', 'vcpu_milli') AND value IS NOT NULL
    LOOP
        used := CASE given.dimension
                WHEN 'memory_mb' THEN NEW.memory_mb
                WHEN 'vcpu_milli' THEN NEW.cpu_millis
                ELSE (SELECT count(*) FROM public.functions WHERE tenant = NEW.tenant) END;
        IF used > given.value
           AND (TG_OP = 'INSERT' OR (given.dimension = 'memory_mb' AND NEW.memory_mb > OLD.memory_mb)
                OR (given.dimension = 'vcpu_milli' AND NEW.cpu_millis > OLD.cpu_millis)) THEN
            RAISE EXCEPTION 'beyond the quota of %', given.dimension
                USING ERRCODE = 'CQ429', DETAIL = concat_ws(' ', given.dimension, used, given.value);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
