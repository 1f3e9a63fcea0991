"""The routes of secrets and master keys."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import Page
from constellation.routes.models.secrets import MasterKeyBody, SecretBody, SecretCreate, SecretPut
from constellation.routes.route import PAGING, Query, Route, nova

P = Permission
_SECRET = "/secrets/{name}"  # noqa: S105  # a path

SECRETS: tuple[Route, ...] = (
    nova("create_secret", "POST", "/secrets", P.SECRET_MANAGE, "Keep a value that functions of the namespace can use",
            status=201, request=SecretCreate, response=SecretBody, max_body_bytes=1 << 20),
    nova("list_secrets", "GET", "/secrets", P.SECRET_READ, "Secrets by name, and who uses them; never their values",
            response=Page[SecretBody], query=(*PAGING, Query(name="search", about="part of the name"))),
    nova("get_secret", "GET", _SECRET, P.SECRET_READ, "One secret, without its value", response=SecretBody),
    nova("put_secret", "PUT", _SECRET, P.SECRET_MANAGE,
            "Keep a value, or replace it: instances that have the old one finish their calls and go",
            request=SecretPut, response=SecretBody, max_body_bytes=1 << 20),
    nova("delete_secret", "DELETE", _SECRET, P.SECRET_MANAGE, "Delete a secret that no function uses",
            response=Deleted),
    nova("list_master_keys", "GET", "/master-keys", P.SECRET_MANAGE,
            "Keys that seal the secrets of all tenants, newest first, and how many secrets each still seals",
            response=Page[MasterKeyBody], query=PAGING),
    nova("rotate_master_key", "POST", "/master-keys", P.SECRET_MANAGE,
            "Seal with a new master key; secrets that older ones sealed follow in the background", status=201,
            response=MasterKeyBody),
)  # fmt: skip
