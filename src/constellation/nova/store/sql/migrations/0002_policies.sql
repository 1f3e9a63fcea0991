-- What the guard chain asks besides: a function's breaker, and how often a key may call.

ALTER TABLE api_keys
    ADD COLUMN rate_per_s double precision NOT NULL DEFAULT 0 CHECK (rate_per_s BETWEEN 0 AND 1000000),
    ADD COLUMN burst      integer NOT NULL DEFAULT 0 CHECK (burst BETWEEN 0 AND 1000000);

ALTER TABLE functions
    ADD COLUMN breaker_error_percent integer NOT NULL DEFAULT 0 CHECK (breaker_error_percent BETWEEN 0 AND 100),
    ADD COLUMN breaker_min_samples   integer NOT NULL DEFAULT 20 CHECK (breaker_min_samples BETWEEN 1 AND 100000),
    ADD COLUMN breaker_window_s      double precision NOT NULL DEFAULT 10 CHECK (breaker_window_s BETWEEN 1 AND 3600),
    ADD COLUMN breaker_open_s        double precision NOT NULL DEFAULT 5 CHECK (breaker_open_s BETWEEN 0.1 AND 3600),
    ADD COLUMN breaker_probes        integer NOT NULL DEFAULT 1 CHECK (breaker_probes BETWEEN 1 AND 100);
