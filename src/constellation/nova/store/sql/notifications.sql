-- name: serialize
-- Lets one fold at a time through, and no deletion of a namespace meanwhile.
SELECT lock_changes();

-- name: take
-- Up to $1 notices out of the outbox, folded by what they are about.
-- index: notices_in_order
WITH taken AS (
    DELETE FROM notices
    WHERE (tenant, id) IN (SELECT tenant, id FROM notices ORDER BY id LIMIT $1)
    RETURNING tenant, namespace, kind, subject, detail, at, id
)
SELECT tenant, namespace, kind, subject, (array_agg(detail ORDER BY id DESC))[1] AS detail, count(*) AS count,
       min(at) AS first_at, max(at) AS last_at
FROM taken
GROUP BY tenant, namespace, kind, subject
ORDER BY max(id);

-- name: fold
-- What happened to one thing, added to what is known of it; nothing when its tenant or namespace is gone.
-- index: notifications_tenant_namespace_kind_subject_key
INSERT INTO notifications AS held (tenant, namespace, kind, subject, detail, count, first_at, last_at, id, seq)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, nextval('notifications_seq')
WHERE ($1 = '' OR EXISTS (SELECT FROM tenants WHERE id = $1))
  AND ($2 = '' OR EXISTS (SELECT FROM namespaces WHERE tenant = $1 AND name = $2))
ON CONFLICT (tenant, namespace, kind, subject) DO UPDATE
    SET detail = excluded.detail, count = held.count + excluded.count, last_at = excluded.last_at, seq = excluded.seq;

-- name: notice
-- Tells of something that no transaction of its own wrote.
SELECT notice($1, $2, $3, $4, $5);

-- name: expiring_keys
-- Tells of keys that expire within the days of one of the stages $1 and have not been told of since it began. Keys of
-- the platform are the tenant's that they are kept in.
-- index: api_keys_pkey
SELECT notice(k.tenant, '', 'key_expiring', k.name,
              CASE WHEN k.expires_at <= now() THEN 'it expired ' ELSE 'it expires ' END
              || to_char(k.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'))
FROM api_keys AS k
CROSS JOIN LATERAL (
    SELECT max(k.expires_at - make_interval(days => days)) AS began
    FROM unnest($1::integer[]) AS days
    WHERE k.expires_at - make_interval(days => days) <= now()
) AS stage
WHERE k.enabled AND k.expires_at > now() - interval '7 days' AND stage.began IS NOT NULL
  AND NOT EXISTS (SELECT FROM notifications AS told
                  WHERE told.tenant = k.tenant AND told.namespace = '' AND told.kind = 'key_expiring'
                    AND told.subject = k.name AND told.last_at >= stage.began);

-- name: list
-- What a reader, $3, may see: of the tenants $1, and ($2 null) of all namespaces; the newest first. Null leaves out: $4
-- kinds, $5 subject, $6 since; $7 only what is not read.
-- index: notifications_in_order
SELECT told.tenant, told.namespace, told.id, told.kind, told.subject, told.detail, told.count, told.first_at,
       told.last_at, told.seq, CASE WHEN seen.seq >= told.seq THEN seen.read_at END AS read_at
FROM notifications AS told
LEFT JOIN notification_reads AS seen ON seen.tenant = told.tenant AND seen.id = told.id AND seen.reader = $3
WHERE told.tenant = ANY ($1::text[])
  AND ($2::text IS NULL OR told.namespace = $2)
  AND ($4::text[] IS NULL OR told.kind = ANY ($4))
  AND ($5::text IS NULL OR told.subject = $5)
  AND ($6::timestamptz IS NULL OR told.last_at >= $6)
  AND NOT ($7 AND coalesce(seen.seq >= told.seq, false))
ORDER BY told.seq DESC
LIMIT $8 OFFSET $9;

-- name: count
-- How many `list` has in all, counted up to $8.
-- index: notifications_in_order
SELECT count(*)
FROM (SELECT FROM notifications AS told
      LEFT JOIN notification_reads AS seen ON seen.tenant = told.tenant AND seen.id = told.id AND seen.reader = $3
      WHERE told.tenant = ANY ($1::text[])
        AND ($2::text IS NULL OR told.namespace = $2)
        AND ($4::text[] IS NULL OR told.kind = ANY ($4))
        AND ($5::text IS NULL OR told.subject = $5)
        AND ($6::timestamptz IS NULL OR told.last_at >= $6)
        AND NOT ($7 AND coalesce(seen.seq >= told.seq, false))
      LIMIT $8) AS counted;

-- name: after
-- What happened after number $3, in order, as `list` otherwise.
-- index: notifications_in_order
SELECT told.tenant, told.namespace, told.id, told.kind, told.subject, told.detail, told.count, told.first_at,
       told.last_at, told.seq, NULL::timestamptz AS read_at
FROM notifications AS told
WHERE told.tenant = ANY ($1::text[]) AND ($2::text IS NULL OR told.namespace = $2) AND told.seq > $3
ORDER BY told.seq
LIMIT $4;

-- name: newest
-- The number of what happened last.
-- index: notifications_in_order
SELECT coalesce(max(seq), 0) FROM notifications WHERE tenant = ANY ($1::text[]);

-- name: read
-- That a reader has read one, or ($4 null) all that it may see and has not read.
-- index: notifications_pkey or notifications_in_order
INSERT INTO notification_reads AS held (tenant, id, reader, seq)
SELECT told.tenant, told.id, $3, told.seq
FROM notifications AS told
LEFT JOIN notification_reads AS seen ON seen.tenant = told.tenant AND seen.id = told.id AND seen.reader = $3
WHERE told.tenant = ANY ($1::text[]) AND ($2::text IS NULL OR told.namespace = $2)
  AND ($4::uuid IS NULL OR told.id = $4)
  AND ($4::uuid IS NOT NULL OR coalesce(seen.seq < told.seq, true))
ON CONFLICT (tenant, id, reader) DO UPDATE SET seq = excluded.seq, read_at = now();
