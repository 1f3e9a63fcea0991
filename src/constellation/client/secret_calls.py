"""The operations on secrets, as `calls`: functions from their arguments to their `Call`."""

from __future__ import annotations

from constellation.client.call import Call, call, page_call
from constellation.routes.models import secrets as s
from constellation.routes.models.functions import Deleted
from constellation.routes.models.paging import DEFAULT_LIMIT, Page


def create_secret(name: str, value: str) -> Call[s.SecretBody]:
    """Keep a new value; an `ApiProblem` of 409 when the name is taken."""
    return call("create_secret", s.SecretBody, body=s.SecretCreate(name=name, value=value))


def put_secret(name: str, value: str) -> Call[s.SecretBody]:
    """Keep a value, or replace it: instances that have the old one finish their calls and go."""
    return call("put_secret", s.SecretBody, params={"name": name}, body=s.SecretPut(value=value))


def list_secrets(*, search: str | None = None, page_size: int = DEFAULT_LIMIT) -> Call[Page[s.SecretBody]]:
    """Secrets by name, and who uses them; never their values."""
    return page_call("list_secrets", s.SecretBody, page_size=page_size, query={"search": search})


def get_secret(name: str) -> Call[s.SecretBody]:
    """One secret, without its value."""
    return call("get_secret", s.SecretBody, params={"name": name})


def delete_secret(name: str) -> Call[Deleted]:
    """Delete a secret; an `ApiProblem` of 409 says which functions still use it."""
    return call("delete_secret", Deleted, params={"name": name})


def list_master_keys(*, page_size: int = DEFAULT_LIMIT) -> Call[Page[s.MasterKeyBody]]:
    """The keys that seal secrets, newest first, and how many each still seals."""
    return page_call("list_master_keys", s.MasterKeyBody, page_size=page_size)


def rotate_master_key() -> Call[s.MasterKeyBody]:
    """Seal with a new master key; what older ones sealed follows in the background."""
    return call("rotate_master_key", s.MasterKeyBody)
