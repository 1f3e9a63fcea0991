-- Code that is built before it runs: builds and their logs, what they made, and the version that waits for one.

CREATE TABLE artifacts (
    tenant      text NOT NULL,
    hash        text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    size_bytes  integer NOT NULL CHECK (size_bytes BETWEEN 0 AND 268435456),
    parts       integer NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    used_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, hash)
);

CREATE TABLE artifact_parts (
    tenant   text NOT NULL,
    hash     text NOT NULL,
    part     integer NOT NULL,
    content  bytea NOT NULL CHECK (octet_length(content) BETWEEN 1 AND 1048576),
    PRIMARY KEY (tenant, hash, part),
    FOREIGN KEY (tenant, hash) REFERENCES artifacts ON DELETE CASCADE
);
ALTER TABLE artifact_parts ALTER COLUMN content SET STORAGE EXTERNAL;

ALTER TABLE function_code
    ADD COLUMN artifact text,
    ADD FOREIGN KEY (tenant, artifact) REFERENCES artifacts;
CREATE INDEX function_code_built ON function_code (tenant, artifact) WHERE artifact IS NOT NULL;

ALTER TABLE functions
    ADD COLUMN pending_version integer,
    ADD COLUMN pending_hash    text,
    ADD COLUMN pending_handler text,
    ADD COLUMN pending_error   text,
    ADD CHECK (pending_version > code_version),
    ADD CHECK (num_nulls(pending_version, pending_hash, pending_handler) IN (0, 3)),
    ADD CHECK (pending_error IS NULL OR pending_version IS NOT NULL);

CREATE TABLE builds (
    tenant         text NOT NULL,
    namespace      text NOT NULL,
    id             uuid NOT NULL,
    function_id    uuid NOT NULL,
    function_name  text NOT NULL,
    code_version   integer NOT NULL,
    code_hash      text NOT NULL,
    runtime        text NOT NULL,
    handler        text NOT NULL,
    state          text NOT NULL DEFAULT 'pending'
                   CHECK (state IN ('pending', 'compiling', 'success', 'failed', 'cancelled')),
    error          text,
    cache_key      text,
    is_cached      boolean NOT NULL DEFAULT false,
    artifact       text,
    attempt        integer NOT NULL DEFAULT 0,
    owner          text,
    token          bigint NOT NULL DEFAULT 0, -- fencing: each claim takes the next
    lease_until    timestamptz,
    log_bytes      integer NOT NULL DEFAULT 0,
    log_parts      integer NOT NULL DEFAULT 0,
    log_truncated  boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    started_at     timestamptz,
    finished_at    timestamptz,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, function_id, code_version) REFERENCES function_code ON DELETE CASCADE
);
CREATE INDEX builds_pending ON builds (tenant, id) WHERE state = 'pending';
CREATE INDEX builds_leased ON builds (lease_until) WHERE state = 'compiling';
CREATE INDEX builds_by_function ON builds (tenant, function_id, id DESC);
CREATE INDEX builds_made ON builds (tenant, cache_key) WHERE state = 'success';

CREATE TABLE build_log (
    tenant    text NOT NULL,
    build_id  uuid NOT NULL,
    part      integer NOT NULL,
    content   bytea NOT NULL,
    PRIMARY KEY (tenant, build_id, part),
    FOREIGN KEY (tenant, build_id) REFERENCES builds ON DELETE CASCADE
);

-- Forgets what no version of any function's code uses. One that was just made, or found again, may be about to be used.
CREATE FUNCTION forget_artifacts(keep interval) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    DELETE FROM public.artifacts
    WHERE used_at < now() - keep
      AND NOT EXISTS (SELECT FROM public.function_code
                      WHERE function_code.tenant = artifacts.tenant AND function_code.artifact = artifacts.hash)
$$;
REVOKE ALL ON FUNCTION forget_artifacts(interval) FROM PUBLIC;
