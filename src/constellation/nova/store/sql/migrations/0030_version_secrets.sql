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

CREATE OR REPLACE FUNCTION keep_function_secrets() RETURNS trigger
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

CREATE OR REPLACE FUNCTION keep_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO public.function_versions (tenant, function_id, version, code_version, settings)
    VALUES (NEW.tenant, NEW.id, NEW.newest_version, NEW.code_version, public.versioned(NEW));
    INSERT INTO public.version_secrets (tenant, namespace, secret, function_id, version)
    SELECT NEW.tenant, NEW.namespace, secret, NEW.id, NEW.newest_version FROM public.secrets_in(NEW.env) AS secret;
    RETURN NULL;
END $$;

-- Of versions that there are; a secret that was deleted before is not missed.
INSERT INTO version_secrets (tenant, namespace, secret, function_id, version)
SELECT f.tenant, f.namespace, secret, f.id, made.version
FROM function_versions AS made
JOIN functions AS f ON f.tenant = made.tenant AND f.id = made.function_id
CROSS JOIN LATERAL secrets_in(made.settings->'env') AS secret
WHERE EXISTS (SELECT FROM secrets AS s WHERE s.tenant = f.tenant AND s.namespace = f.namespace AND s.name = secret);
