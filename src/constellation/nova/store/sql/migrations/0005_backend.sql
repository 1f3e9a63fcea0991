-- Which isolator a function's instances run in.

ALTER TABLE functions
    ADD COLUMN backend text NOT NULL DEFAULT 'auto' CHECK (backend IN ('auto', 'namespace', 'docker'));
