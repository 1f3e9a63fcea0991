-- What a gateway route says of its requests besides their path: addresses, pages of other origins, sizes, rates, answers.

ALTER TABLE gateway_routes ADD COLUMN policy jsonb NOT NULL DEFAULT '{}';
