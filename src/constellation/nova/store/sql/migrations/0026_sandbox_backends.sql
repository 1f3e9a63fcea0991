-- Where an interactive sandbox lives, and of which image it was made.
ALTER TABLE sandboxes ADD COLUMN backend text NOT NULL DEFAULT 'namespace';
ALTER TABLE sandboxes ADD COLUMN image text NOT NULL DEFAULT '';
