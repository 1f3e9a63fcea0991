-- Canaries: aliases that go over to another version in steps.

CREATE TABLE function_canaries (
    tenant             text NOT NULL,
    function_id        uuid NOT NULL,
    id                 uuid NOT NULL,
    alias              text NOT NULL,
    old_version        integer NOT NULL,
    new_version        integer NOT NULL,
    steps              integer[] NOT NULL CHECK (cardinality(steps) BETWEEN 1 AND 20),
    step_s             double precision NOT NULL CHECK (step_s BETWEEN 1 AND 604800),
    min_calls          integer NOT NULL CHECK (min_calls BETWEEN 1 AND 1000000),
    max_error_percent  double precision NOT NULL CHECK (max_error_percent BETWEEN 0 AND 100),
    max_p95_ratio      double precision NOT NULL CHECK (max_p95_ratio BETWEEN 1 AND 1000),
    state              text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'promoted', 'rolled_back', 'cancelled')),
    step               integer NOT NULL DEFAULT 0,
    reason             text NOT NULL DEFAULT '',
    stepped_at         timestamptz NOT NULL DEFAULT now(),
    created_at         timestamptz NOT NULL DEFAULT now(),
    ended_at           timestamptz,
    CHECK ((state = 'running') = (ended_at IS NULL)),
    PRIMARY KEY (tenant, function_id, id),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE
);
CREATE UNIQUE INDEX function_canaries_running ON function_canaries (tenant, function_id) WHERE state = 'running';
