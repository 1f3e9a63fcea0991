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
-- How a role goes whose grants went with their database, and the one that holds what it owned while it is full.
SELECT ARRAY[format('DROP ROLE IF EXISTS %I', $1::text), format('DROP ROLE IF EXISTS %I', $1::text || '_held')];

-- name: sizes
-- How large some databases are.
SELECT datname AS name, pg_database_size(oid) AS size_bytes FROM pg_database WHERE datname = ANY ($1::text[]);

-- name: shut_statements
-- How nobody begins a session in the database $2 as the role $1 any more.
SELECT ARRAY[format('REVOKE CONNECT ON DATABASE %I FROM %I', $2::text, $1::text)];

-- name: end_sessions_and_wait
-- Ends the sessions of a role $1, each within five seconds; whether all are gone.
SELECT coalesce(bool_and(pg_terminate_backend(pid, 5000)), true) FROM pg_stat_activity WHERE usename = $1;

-- name: displace_statements
-- How all that the role $1 owns becomes that of another, which nobody logs in as. Names of roles pass over to new ones.
SELECT ARRAY[format('ALTER ROLE %I RENAME TO %I', $1::text, $1::text || '_held'),
             format('ALTER ROLE %I NOLOGIN', $1::text || '_held')];

-- name: hold_statements
-- How the role $1, new and without rights, may read everything in this very database $2, and delete where that runs
-- nothing of what functions made as those who own it: no trigger, rule, expression or type of theirs, here or in tables
-- that a deletion goes on to. What functions made runs as whoever calls it, and what everybody may is taken back; with one
-- role there is that makes no difference.
WITH RECURSIVE space AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
), tables AS (
    SELECT c.oid, c.relkind FROM pg_class AS c JOIN space ON space.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm')
), odd AS (
    SELECT t.oid FROM tables AS t JOIN pg_class AS c ON c.oid = t.oid
    WHERE c.relkind <> 'r' OR c.relhasrules OR c.relhassubclass OR c.relrowsecurity
       OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)
       OR EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND (indexprs IS NOT NULL OR indpred IS NOT NULL))
       OR EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = c.oid)
       OR EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = c.oid AND confdeltype IN ('n', 'd'))
       OR EXISTS (SELECT FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                    AND (a.attgenerated = 'v' OR y.typnamespace <> 'pg_catalog'::regnamespace AND y.typtype <> 'e'))
    UNION
    SELECT f.confrelid FROM odd JOIN pg_constraint AS f ON f.contype = 'f' AND f.conrelid = odd.oid
), statements AS (
    SELECT 1 AS turn, format('ALTER ROUTINE %s SECURITY INVOKER', p.oid::regprocedure) AS said
    FROM pg_proc AS p JOIN space ON space.oid = p.pronamespace WHERE p.prosecdef
    UNION ALL
    SELECT 2, unnest(ARRAY[
        format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', nspname),
        format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC', nspname),
        format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM PUBLIC', nspname),
        format('GRANT USAGE ON SCHEMA %I TO %I', nspname, $1::text),
        format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', nspname, $1::text),
        format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', nspname, $1::text)])
    FROM space
    UNION ALL
    SELECT 3, format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', oid::regprocedure)
    FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
      AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lowrite', 'lo_truncate', 'lo_truncate64')
    UNION ALL
    SELECT 4, format('ALTER TABLE %s SET (autovacuum_enabled = false)', oid::regclass)
    FROM tables JOIN odd USING (oid)
    WHERE relkind IN ('r', 'm')
    UNION ALL
    SELECT 5, format('GRANT DELETE, TRUNCATE ON TABLE %s TO %I', oid::regclass, $1::text)
    FROM tables
    WHERE oid NOT IN (SELECT oid FROM odd)
    UNION ALL
    SELECT 6, format('GRANT CONNECT ON DATABASE %I TO %I', $2::text, $1::text)
)
SELECT array_agg(said ORDER BY turn) FROM statements;

-- name: is_held
-- Whether all is done that holds the database $2: the role $1 gets into it as the last of that.
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text || '_held') AND has_database_privilege($1::text, $2::text, 'CONNECT');

-- name: compact_statements
-- How tables of this very database that the role $1 may delete from give back what dead rows, over a tenth, take there.
SELECT array_agg(format('VACUUM (FULL, ANALYZE) %s', c.oid::regclass))
FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
WHERE c.relkind = 'r' AND has_table_privilege($1::text, c.oid, 'DELETE')
  AND s.n_dead_tup > 100 AND s.n_dead_tup * 10 > s.n_live_tup;

-- name: release_statements
-- How the role $1, which was new, makes place again for the one that owns everything.
SELECT ARRAY[format('DROP OWNED BY %I', $1::text), format('DROP ROLE %I', $1::text),
             format('ALTER ROLE %I RENAME TO %I', $1::text || '_held', $1::text)]
       || ARRAY(SELECT format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', oid::regprocedure)
                FROM pg_proc
                WHERE pronamespace = 'pg_catalog'::regnamespace
                  AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lowrite', 'lo_truncate', 'lo_truncate64'))
       || ARRAY(SELECT format('ALTER TABLE %s RESET (autovacuum_enabled)', oid::regclass)
                FROM pg_class
                WHERE relkind IN ('r', 'm') AND reloptions @> ARRAY['autovacuum_enabled=false']);

-- name: drop_database_statements
-- How a database $1 goes, with everybody in it.
SELECT ARRAY[format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text)];
