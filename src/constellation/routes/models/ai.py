"""Bodies of the AI routes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

Runtime = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[a-z0-9_]+$")]
Code = Annotated[str, Meta(min_length=1, max_length=200_000)]


class AiGenerate(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    description: Annotated[str, Meta(min_length=1, max_length=20_000, description="what the function is to do")]
    runtime: Runtime = "python"


class AiCode(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Either the name of a function, or code and its language."""

    function: Annotated[str, Meta(max_length=64)] = ""
    code: Annotated[str, Meta(max_length=200_000)] = ""
    runtime: Runtime = "python"


class AiExplain(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    request_id: Annotated[UUID, Meta(description="of a call that failed, as its answer and the log have it")]


class AiAnalyze(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    function: Annotated[str, Meta(min_length=1, max_length=64)]
    days: Annotated[int, Meta(ge=1, le=90, description="how many days of calls are looked at")] = 1


class AiStatus(Struct, kw_only=True, frozen=True):
    is_on: bool
    model: str
    has_key: bool


class AiPiece(Struct, kw_only=True, frozen=True):
    """Data of the event `piece`."""

    text: str


class AiEnd(Struct, kw_only=True, frozen=True):
    """Data of the event `done`."""

    model: str
    is_cut: bool  # the model wrote more than is passed on
