"""What a plane tells the gateway about a request, for the audit: names, and never values."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from msgspec import UNSET, Struct, structs

from constellation.routes.route import Route

# Headers of an answer; what begins with "nova-" goes no further than the gateway.
MADE, FIELDS = "nova-made", "nova-fields"


def told_of(route: Route, body: Any, answer: Any) -> dict[str, str]:
    """Return the headers: the name of what a POST to a collection has made, and which fields the body had."""
    told: dict[str, str] = {}
    if route.method == "POST" and route.status == 201 and not route.template.endswith("}"):
        made = getattr(answer, "name", None) or getattr(answer, "id", None)
        if made is not None:
            told[MADE] = quote(str(made)[:256], safe="")
    if isinstance(body, Struct) and route.method != "GET":
        told[FIELDS] = ",".join(_given(body))
    return {name: value for name, value in told.items() if value}


def _given(body: Struct) -> list[str]:
    """A field that is as it would be without being given is not told apart from one that was not given."""
    return [
        field.name
        for field in structs.fields(body)
        if (value := getattr(body, field.name)) is not UNSET and value != field.default
    ]
