-- Objectives of functions, and which of them people were told that they are missed.

CREATE TABLE function_slos (
    tenant               text NOT NULL,
    function_id          uuid NOT NULL,
    enabled              boolean NOT NULL,
    window_s             integer NOT NULL CHECK (window_s BETWEEN 60 AND 86400),
    min_samples          integer NOT NULL CHECK (min_samples BETWEEN 1 AND 100000),
    success_rate_pct     double precision CHECK (success_rate_pct BETWEEN 0 AND 100),
    p95_duration_ms      double precision CHECK (p95_duration_ms > 0),
    cold_start_rate_pct  double precision CHECK (cold_start_rate_pct BETWEEN 0 AND 100),
    breached             text[] NOT NULL DEFAULT '{}'
                         CHECK (breached <@ '{success_rate_pct,p95_duration_ms,cold_start_rate_pct}'),
    breached_at          timestamptz,
    version              bigint NOT NULL DEFAULT 1, -- moves with each change, of the policy or of what is missed
    CHECK ((breached = '{}') = (breached_at IS NULL)),
    PRIMARY KEY (tenant, function_id),
    FOREIGN KEY (tenant, function_id) REFERENCES functions ON DELETE CASCADE
);
CREATE INDEX function_slos_enabled ON function_slos (tenant, function_id) WHERE enabled;

ALTER TABLE notifications DROP CONSTRAINT notifications_kind_check;
ALTER TABLE notifications ADD CONSTRAINT notifications_kind_check
    CHECK (kind IN ('build_failed', 'canary_rolled_back', 'breaker_opened', 'call_dead', 'delivery_dead',
                    'schedule_failed', 'key_expiring', 'secrets_resealed', 'database_nearly_full',
                    'database_full', 'destination_failed', 'slo_breached', 'slo_met'));
