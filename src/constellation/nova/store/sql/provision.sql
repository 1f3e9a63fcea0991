-- What nova asks of a server for functions' databases, as an administrator there. Statements that take names are
-- made by the server, which quotes them.

-- name: close_statements
-- How everybody loses what a new server gives them of its own databases.
SELECT ARRAY['REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC'];

-- name: has_role
-- Whether the server has a role.
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1);

-- name: has_database
-- Whether the server has a database.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1);

-- name: role_statements
-- How a role $1 with the password verifier $2 and at most $3 sessions comes to be: it inherits nothing, and is no
-- member of anything. $4 and $5 are milliseconds.
SELECT ARRAY[
    format('CREATE ROLE %I LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS '
           'CONNECTION LIMIT %s PASSWORD %L', $1::text, $3::integer, $2::text),
    format('ALTER ROLE %I SET statement_timeout = %s', $1::text, $4::bigint),
    format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %s', $1::text, $5::bigint)];

-- name: limit_statements
-- How a role $1 gets the password verifier $2, at most $3 sessions and the limits $4 and $5.
SELECT ARRAY[
    format('ALTER ROLE %I LOGIN CONNECTION LIMIT %s PASSWORD %L', $1::text, $3::integer, $2::text),
    format('ALTER ROLE %I RESET ALL', $1::text),
    format('ALTER ROLE %I SET statement_timeout = %s', $1::text, $4::bigint),
    format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %s', $1::text, $5::bigint)];

-- name: own_role_statements
-- What our own server bounds besides, which takes a superuser: files of a role's sorts, $2 KiB.
SELECT ARRAY[format('ALTER ROLE %I SET temp_file_limit = %s', $1::text, $2::bigint)];

-- name: database_statements
-- How a database $1 comes to be.
SELECT ARRAY[format('CREATE DATABASE %I TEMPLATE template0', $1::text),
             format('REVOKE ALL ON DATABASE %I FROM PUBLIC', $1::text)];

-- name: connect_statements
-- How a role $1 may use the database $2, and with $3 make things in it.
SELECT ARRAY[format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', $2::text, $1::text)]
       || CASE WHEN $3::boolean THEN ARRAY[format('GRANT CREATE ON DATABASE %I TO %I', $2::text, $1::text),
                                           format('GRANT CREATE ON SCHEMA public TO %I', $1::text)]
               ELSE ARRAY[]::text[] END;

-- name: grant_statements
-- How a role $1 may use what is in the schema public, and what the administrator will make there; with $2 change it.
SELECT ARRAY[format('GRANT USAGE ON SCHEMA public TO %I', $1::text),
             format('GRANT %s ON ALL TABLES IN SCHEMA public TO %I', allowed.tables, $1::text),
             format('GRANT %s ON ALL SEQUENCES IN SCHEMA public TO %I', allowed.sequences, $1::text),
             format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT %s ON TABLES TO %I', allowed.tables, $1::text),
             format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT %s ON SEQUENCES TO %I', allowed.sequences, $1::text)]
FROM (SELECT CASE WHEN $2::boolean THEN 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE' ELSE 'SELECT' END AS tables,
             CASE WHEN $2::boolean THEN 'USAGE, SELECT' ELSE 'SELECT' END AS sequences) AS allowed;

-- name: lock_out_statements
-- How nobody gets in as the role $1 any more.
SELECT ARRAY[format('ALTER ROLE %I NOLOGIN PASSWORD NULL', $1::text),
             format('GRANT %I TO CURRENT_USER', $1::text)];

-- name: end_sessions
-- Ends the sessions of a role.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1;

-- name: owned
-- How many things a role owns, in whichever database.
SELECT count(*) FROM pg_shdepend
WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
  AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = $1);

-- name: forget_role_statements
-- How a role $1 that owns nothing goes.
SELECT ARRAY[format('DROP OWNED BY %I', $1::text), format('DROP ROLE %I', $1::text)];

-- name: drop_role_statements
-- How a role goes whose grants went with their database.
SELECT ARRAY[format('DROP ROLE IF EXISTS %I', $1::text)];

-- name: drop_database_statements
-- How a database $1 goes, with everybody in it.
SELECT ARRAY[format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text)];
