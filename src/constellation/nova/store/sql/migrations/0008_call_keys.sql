-- Idempotency keys of calls that somebody waits for, with the answer to give again.

CREATE TABLE call_keys (
    tenant        text NOT NULL,
    namespace     text NOT NULL,
    function_name text NOT NULL,
    key           text NOT NULL CHECK (length(key) BETWEEN 1 AND 256),
    fingerprint   bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    token         uuid NOT NULL, -- fencing: of the one call that may answer
    lease_until   timestamptz, -- while it runs
    request_id    uuid,
    output        bytea,
    error         bytea,
    duration_ms   double precision,
    cold_start    boolean,
    code_version  text,
    is_kept       boolean NOT NULL DEFAULT true, -- false: the answer was too large
    expires_at    timestamptz NOT NULL,
    CHECK ((lease_until IS NULL) = (request_id IS NOT NULL)),
    PRIMARY KEY (tenant, namespace, function_name, key)
);
CREATE INDEX call_keys_expired ON call_keys (expires_at);
