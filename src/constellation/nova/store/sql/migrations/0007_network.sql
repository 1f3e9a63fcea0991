-- What a function reaches of the network, and which comets can enforce that.

ALTER TABLE functions
    ADD COLUMN egress       text NOT NULL DEFAULT 'none' CHECK (egress IN ('none', 'allow-list', 'internet')),
    ADD COLUMN egress_allow jsonb NOT NULL DEFAULT '[]', -- rules {host or cidr, ports, protocol}
    ADD COLUMN egress_deny  text[] NOT NULL DEFAULT '{}' CHECK (cardinality(egress_deny) <= 64);

CREATE TABLE executor_backends (
    node           text NOT NULL,
    name           text NOT NULL, -- of the backend
    is_available   boolean NOT NULL,
    egress_reason  text NOT NULL, -- why its instances reach no network; empty: they can
    seen_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node, name)
);
