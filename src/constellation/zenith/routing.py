"""From a method and a raw path to a route."""

from __future__ import annotations

from urllib.parse import unquote

from constellation.base.errors import MethodNotAllowed, RouteNotFound
from constellation.routes.registry import Match, RouteTable, strip_version
from constellation.routes.route import Transport

_REMEMBERED = 4096  # chosen: functions in use on one gateway; a match is about 300 bytes


class Router:
    """The route table with a memory: the same few paths are asked for all day."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._known: dict[tuple[str, str], Match] = {}

    def find(self, method: str, path: str) -> Match:
        """Return the route of a percent-encoded path without `/v1`.

        Raises:
            RouteNotFound: no route has it, or its encoded parts would mean another path once decoded.
            MethodNotAllowed: it has others, named in `allow`.
        """
        known = self._known.get((method, path))
        if known is not None:
            return known
        found = self._table.match(method, path)
        if found is None:
            raise RouteNotFound(path)
        if isinstance(found, list):
            raise MethodNotAllowed(method, path, allow=[*found, "HEAD"] if "GET" in found else found)
        # The planes behind match the decoded path: a name that hides a slash or a dot segment would be
        # authorised here as one route and served there as another.
        # What follows a port's own is neither read here nor there.
        named = [value for name, value in found.params.items() if name != "rest"]
        if found.route.transport is not Transport.FUNCTION_URL and any(map(_hides_path, named)):
            raise RouteNotFound(path)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[method, path] = found
        return found


def _hides_path(value: str) -> bool:
    plain = unquote(value)
    return plain in (".", "..") or "/" in plain or "\\" in plain or "\0" in plain


__all__ = ["Router", "strip_version"]
