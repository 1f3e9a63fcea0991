"""What changed in the configuration, numbered in commit order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ChangeKind(StrEnum):
    FUNCTION = "function"
    API_KEY = "api_key"
    TENANT = "tenant"
    NAMESPACE = "namespace"
    PRINCIPAL = "principal"
    SECRET = "secret"  # noqa: S105  # a kind of thing
    DATABASE = "database"
    DOMAIN = "domain"  # or a route of it
    SETTING = "setting"  # that can be set at run time; with an empty tenant the platform's


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of `changes`: a thing was created, changed or deleted; read it again."""

    seq: int
    kind: ChangeKind
    tenant: str
    namespace: str  # "" for a tenant or a namespace
    # the function's, key's or namespace's name; a domain's host; for a tenant its display name; for a principal its subject
    name: str
    at: datetime
