-- The modules that a function's instances start with imported.

ALTER TABLE functions
    ADD COLUMN preload text[] NOT NULL DEFAULT '{}' CHECK (cardinality(preload) <= 16);
