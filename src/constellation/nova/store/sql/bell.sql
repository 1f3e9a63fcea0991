-- name: ring
-- Wakes the listeners of a channel, without payload.
SELECT pg_notify($1, '');
