-- name: insert
-- Which session of a provider one of ours is, before it begins.
INSERT INTO provider_sessions (tenant, id, user_name, provider, issuer, subject, sid, id_token, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: get
-- What is known of a session's provider.
-- index: provider_sessions_pkey
SELECT tenant, id, user_name, provider, issuer, subject, sid, id_token, expires_at
FROM provider_sessions
WHERE tenant = $1 AND id = $2;

-- name: end_of_sid
-- One session of an issuer ($2), of whoever it is ($3, or ''), as a provider of ours ($4) knows it; those begun by then ($5).
-- index: provider_sessions_by_sid or provider_sessions_by_subject
DELETE FROM provider_sessions
WHERE issuer = $1 AND sid = $2 AND sid <> '' AND ($3 = '' OR subject = $3) AND provider = $4 AND created_at <= $5
RETURNING tenant, id, user_name;

-- name: end_of_subject
-- All sessions of somebody ($2) whom an issuer knows, as a provider of ours ($3) does; those begun by then ($4).
-- index: provider_sessions_by_subject
DELETE FROM provider_sessions
WHERE issuer = $1 AND subject = $2 AND provider = $3 AND created_at <= $4
RETURNING tenant, id, user_name;

-- name: forget_ended
-- Up to a hundred that are over.
-- index: provider_sessions_ended
DELETE FROM provider_sessions
WHERE ctid = ANY (ARRAY(SELECT ctid FROM provider_sessions WHERE expires_at <= now() ORDER BY expires_at LIMIT 100));
