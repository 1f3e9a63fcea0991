-- Which version or alias of its function a gateway route calls, and whom it serves: holders of sessions or of tokens too.

ALTER TABLE gateway_routes ADD COLUMN qualifier text NOT NULL DEFAULT '' CHECK (length(qualifier) <= 64);
ALTER TABLE gateway_routes DROP CONSTRAINT gateway_routes_auth_check;
ALTER TABLE gateway_routes ADD CONSTRAINT gateway_routes_auth_check
    CHECK (auth IN ('none', 'api_key', 'session', 'jwt', 'any'));
