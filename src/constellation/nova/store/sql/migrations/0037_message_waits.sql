-- Steps of durable executions that wait for a message of a topic. A message with all its attributes is larger than a step's
-- own output may be.

ALTER TABLE execution_steps
    DROP CONSTRAINT execution_steps_kind_check,
    ADD CONSTRAINT execution_steps_kind_check CHECK (kind IN ('run', 'sleep', 'event', 'message')),
    DROP CONSTRAINT execution_steps_output_check,
    ADD CONSTRAINT execution_steps_output_check CHECK (octet_length(output) <= 524288),
    ADD COLUMN topic_id uuid,
    ADD COLUMN message_key text,
    ADD COLUMN filter jsonb;
CREATE INDEX execution_steps_waiting ON execution_steps (tenant, topic_id, message_key)
    WHERE topic_id IS NOT NULL AND finished_at IS NULL;
