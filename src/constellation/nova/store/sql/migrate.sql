-- name: lock
-- Lets one migrator at a time through, until the transaction ends.
SELECT pg_advisory_xact_lock(7236837000);

-- name: create_history
-- The table of what was applied.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: history
-- What was applied, in order.
-- index: schema_migrations_pkey
SELECT version, name, sha256 FROM schema_migrations ORDER BY version;

-- name: record
-- Remembers a migration.
INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3);
