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

CREATE FUNCTION keep_function_databases() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    used text[] := ARRAY(SELECT DISTINCT substr(value, 11) FROM jsonb_each_text(NEW.env) WHERE value LIKE '$DATABASE:%');
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
