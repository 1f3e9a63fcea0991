-- Which version of its function a subscription's deliveries run: a number or an alias, empty for the live one.

ALTER TABLE subscriptions ADD COLUMN qualifier text NOT NULL DEFAULT '' CHECK (length(qualifier) <= 64);
