-- A default that differs by row has COPY put rows in one by one, in many short turns instead of few long ones.
ALTER TABLE invocations ALTER COLUMN recorded_at SET DEFAULT clock_timestamp();
ALTER TABLE invocations_staged ALTER COLUMN recorded_at SET DEFAULT clock_timestamp();
