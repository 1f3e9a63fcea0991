-- What is called later may name a version or an alias, as a call that is answered at once does. A durable execution names
-- the version that it began with.

ALTER TABLE jobs ADD COLUMN qualifier text NOT NULL DEFAULT '' CHECK (length(qualifier) <= 64);
ALTER TABLE jobs_done ADD COLUMN qualifier text NOT NULL DEFAULT '';
ALTER TABLE schedules ADD COLUMN qualifier text NOT NULL DEFAULT '' CHECK (length(qualifier) <= 64);
