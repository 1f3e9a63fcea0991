-- People: users with passwords, their sessions, and who has which role where.

CREATE TABLE users (
    tenant         text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name           text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._@+-]{0,127}$'),
    display_name   text NOT NULL DEFAULT '',
    password_hash  text NOT NULL, -- argon2id, with its parameters and salt
    is_platform    boolean NOT NULL DEFAULT false, -- acts in any tenant
    enabled        boolean NOT NULL DEFAULT true,
    version        bigint NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

-- A tenant's own roles, besides the built-in ones.
CREATE TABLE roles (
    tenant       text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name         text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    description  text NOT NULL DEFAULT '',
    permissions  text[] NOT NULL CHECK (cardinality(permissions) BETWEEN 1 AND 256),
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

-- Who has a role, or is denied what it permits; never changed, only made and deleted.
CREATE TABLE role_bindings (
    tenant      text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id          uuid NOT NULL,
    subject     text NOT NULL CHECK (subject ~ '^[a-z-]+:.{1,255}$'),
    role        text NOT NULL,
    effect      text NOT NULL DEFAULT 'allow' CHECK (effect IN ('allow', 'deny')),
    namespace   text NOT NULL DEFAULT '*', -- a pattern
    functions   text[] NOT NULL DEFAULT '{}' CHECK (cardinality(functions) <= 32), -- patterns; none: all
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, subject, role, effect, namespace, functions)
);
CREATE INDEX role_bindings_by_role ON role_bindings (tenant, role);

-- Who is logged in. The token is known by its SHA-256 only.
CREATE TABLE sessions (
    tenant      text NOT NULL,
    id          uuid NOT NULL,
    user_name   text NOT NULL,
    token_hash  bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    address     text NOT NULL, -- where the login came from
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, user_name) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX sessions_by_user ON sessions (tenant, user_name, id);
CREATE INDEX sessions_ended ON sessions (expires_at);

-- Logins that failed lately, by account and by address (tenant ''); a restart forgets none.
CREATE TABLE login_failures (
    tenant    text NOT NULL,
    source    text NOT NULL,
    failures  integer NOT NULL,
    last_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, source)
);
CREATE INDEX login_failures_old ON login_failures (last_at);

ALTER TABLE api_keys DROP CONSTRAINT api_keys_role_check; -- a tenant's own role too
ALTER TABLE api_keys ADD CONSTRAINT api_keys_role_check CHECK (role ~ '^[a-z0-9][a-z0-9_-]{0,63}$');

-- A change of what a caller may do: its name is the subject, or '' for all of a tenant's.
CREATE FUNCTION record_principal_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(OLD, NEW));
    subject text := CASE TG_ARGV[0]
        WHEN 'role' THEN ''
        WHEN 'binding' THEN changed->>'subject'
        WHEN 'session' THEN 'session:' || (changed->>'tenant') || '/' || (changed->>'id')
        ELSE CASE WHEN (changed->>'is_platform')::boolean THEN 'platform-user:' ELSE 'user:' END || (changed->>'name')
    END;
BEGIN
    INSERT INTO public.changes (seq, kind, tenant, namespace, name)
    VALUES (nextval('public.changes_seq'), 'principal', changed->>'tenant', '', subject);
    NOTIFY changes;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION record_principal_change() FROM PUBLIC;
CREATE TRIGGER users_before_change BEFORE INSERT OR UPDATE OR DELETE ON users EXECUTE FUNCTION before_change();
CREATE TRIGGER roles_before_change BEFORE INSERT OR UPDATE OR DELETE ON roles EXECUTE FUNCTION before_change();
CREATE TRIGGER role_bindings_before_change BEFORE INSERT OR UPDATE OR DELETE ON role_bindings
    EXECUTE FUNCTION before_change();
CREATE TRIGGER users_changed AFTER UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION record_principal_change('user');
CREATE TRIGGER roles_changed AFTER UPDATE OR DELETE ON roles
    FOR EACH ROW EXECUTE FUNCTION record_principal_change('role');
CREATE TRIGGER role_bindings_changed AFTER INSERT OR DELETE ON role_bindings
    FOR EACH ROW EXECUTE FUNCTION record_principal_change('binding');
-- A login changes nothing for others; the end of a session that was not over does.
CREATE TRIGGER sessions_before_change BEFORE DELETE ON sessions EXECUTE FUNCTION before_change();
CREATE TRIGGER sessions_changed AFTER DELETE ON sessions
    FOR EACH ROW WHEN (OLD.expires_at > now()) EXECUTE FUNCTION record_principal_change('session');
