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

CREATE OR REPLACE FUNCTION keep_function_databases() RETURNS trigger
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

CREATE OR REPLACE FUNCTION keep_version() RETURNS trigger
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

-- Of versions that there are; a database that was deleted before is not missed.
INSERT INTO version_databases (tenant, namespace, database, function_id, version)
SELECT f.tenant, f.namespace, database, f.id, made.version
FROM function_versions AS made
JOIN functions AS f ON f.tenant = made.tenant AND f.id = made.function_id
CROSS JOIN LATERAL databases_in(made.settings->'env') AS database
WHERE EXISTS (SELECT FROM databases AS d WHERE d.tenant = f.tenant AND d.namespace = f.namespace AND d.name = database);
