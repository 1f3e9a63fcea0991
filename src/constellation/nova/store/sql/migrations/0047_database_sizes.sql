-- How large a database of the platform's own server may become, and how large it was when it was measured last.

ALTER TABLE databases
    ADD COLUMN size_mb integer CHECK (size_mb BETWEEN 16 AND 1048576), -- the most; null: on a server of somebody else's
    ADD COLUMN size_bytes bigint, -- measured; null: not yet
    ADD COLUMN fullness text NOT NULL DEFAULT 'ok' CHECK (fullness IN ('ok', 'nearly_full', 'full')); -- full: nothing is added
UPDATE databases SET size_mb = 1024 WHERE admin_secret IS NULL;

ALTER TABLE notifications DROP CONSTRAINT notifications_kind_check;
ALTER TABLE notifications ADD CONSTRAINT notifications_kind_check
    CHECK (kind IN ('build_failed', 'canary_rolled_back', 'breaker_opened', 'call_dead', 'delivery_dead', 'schedule_failed',
                    'key_expiring', 'secrets_resealed', 'database_nearly_full', 'database_full'));
