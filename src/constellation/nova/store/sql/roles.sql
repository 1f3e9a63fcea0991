-- name: exists
-- Whether a role is there.
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1);

-- name: may_create
-- Whether we may make roles.
SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user;

-- name: name_role
-- Hands a role's name and password verifier to the next statement, which can take no arguments.
SELECT set_config('constellation.role', $1, true), set_config('constellation.verifier', $2, true);

-- name: create
-- Makes the role that was named.
DO $$ BEGIN
    EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L',
                   current_setting('constellation.role'), current_setting('constellation.verifier'));
END $$;

-- name: set_password
-- Changes the password of the role that was named.
DO $$ BEGIN
    EXECUTE format('ALTER ROLE %I LOGIN PASSWORD %L',
                   current_setting('constellation.role'), current_setting('constellation.verifier'));
END $$;

-- name: create_owner
-- Makes the role that was named, as the owner of migrations: it makes the planes' roles.
DO $$ BEGIN
    EXECUTE format('CREATE ROLE %I LOGIN CREATEROLE PASSWORD %L',
                   current_setting('constellation.role'), current_setting('constellation.verifier'));
END $$;

-- name: database_exists
-- Whether a database is there.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1);

-- name: create_database
-- Makes the database of an embedded server.
CREATE DATABASE constellation OWNER constellation_owner;
