-- WebAssembly has an isolator of its own.

ALTER TABLE functions DROP CONSTRAINT functions_backend_check;
ALTER TABLE functions ADD CHECK (backend IN ('auto', 'namespace', 'docker', 'wasm'));
