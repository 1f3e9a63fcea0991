-- Users who log in at a provider of OpenID Connect: whom its issuer means. They need no password.

ALTER TABLE users ALTER COLUMN password_hash DROP NOT NULL;

CREATE TABLE user_identities (
    tenant      text NOT NULL,
    user_name   text NOT NULL,
    issuer      text NOT NULL CHECK (length(issuer) <= 2000),
    subject     text CHECK (length(subject) <= 255), -- null: expected, and not yet met
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, user_name),
    UNIQUE (tenant, issuer, subject),
    FOREIGN KEY (tenant, user_name) REFERENCES users ON DELETE CASCADE
);
