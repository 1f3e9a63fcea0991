-- A variable may stand for a file of a secret too.

CREATE OR REPLACE FUNCTION keep_function_secrets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    used text[] := ARRAY(SELECT DISTINCT substring(value FROM '^\$SECRET(?:_FILE)?:(.*)$')
                         FROM jsonb_each_text(NEW.env) WHERE value ~ '^\$SECRET(_FILE)?:');
BEGIN
    DELETE FROM public.function_secrets
    WHERE tenant = NEW.tenant AND namespace = NEW.namespace AND function_name = NEW.name AND secret <> ALL (used);
    INSERT INTO public.function_secrets (tenant, namespace, secret, function_name)
    SELECT NEW.tenant, NEW.namespace, secret, NEW.name FROM unnest(used) AS secret
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
