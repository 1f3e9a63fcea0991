"""Options that several commands take, and how their texts are read."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
import typer

from constellation.orbit.failures import OrbitError

FunctionName = Annotated[str, typer.Argument(metavar="NAME", help="name of the function")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="id of the async invocation")]
BuildId = Annotated[str, typer.Argument(metavar="ID", help="id of the build")]
Agreed = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
_RULE = re.compile(r"(?:(?P<protocol>tcp|udp):)?(?P<place>[^:]+)(?::(?P<ports>\d{1,5}(?:,\d{1,5})*))?")
_PERIOD = re.compile(r"(\d+)(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def network_of(egress: str | None, allow: Sequence[str] | None) -> dict[str, Any] | None:
    """Return the network policy that "--egress" and "--allow" mean; None when neither is given.

    Raises:
        OrbitError: a rule can not be read.
    """
    if egress is None and not allow:
        return None
    network: dict[str, Any] = {"egress": egress or "allow-list"}
    if allow:
        network["allow"] = [_rule_of(text) for text in allow]
    return network


def _rule_of(text: str) -> dict[str, Any]:
    match = _RULE.fullmatch(text)
    if match is None:
        raise OrbitError(
            f"--allow {text!r} is no rule",
            hint="Such are api.example.org:443, 10.1.0.0/16:5432,5433, udp:time.test:123.",
        )
    ports = [int(port) for port in match["ports"].split(",")] if match["ports"] else []
    kind = "cidr" if "/" in match["place"] else "host"
    return {kind: match["place"], "ports": ports, "protocol": match["protocol"] or "tcp"}


def destinations_of(**given: str | None) -> dict[str, dict[str, str] | None] | None:
    """Return the destinations that "--on-success" and "--on-failure" mean; None when neither is given."""
    found: dict[str, dict[str, str] | None] = {}
    for field, text in given.items():
        if text is None:
            continue
        kind, _, target = text.partition(":")
        if text != "none" and (kind not in ("function", "topic") or not target):
            raise OrbitError(
                f"--{field.replace('_', '-')} {text!r} is no destination",
                hint="Such are function:audit, topic:results and none.",
            )
        found[field] = {"type": kind, "target": target} if target else None
    return found or None


def event_of(data: str | None) -> msgspec.Raw:
    """Return the JSON that "-d" means: the text itself, "@file", "-" for standard input; `{}` when absent.

    Raises:
        OrbitError: it can not be read or is not JSON.
    """
    if data is None:
        return msgspec.Raw(b"{}")
    what = "-d"
    try:
        if data == "-":
            what, content = "standard input", sys.stdin.buffer.read()
        elif data.startswith("@"):
            what, content = data[1:], Path(data[1:]).read_bytes()
        else:
            content = data.encode()
        msgspec.json.decode(content)
    except OSError as error:
        raise OrbitError(f"{what}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        hint = "Text needs quotes inside the quotes of the shell: -d '\"text\"'." if what == "-d" else ""
        raise OrbitError(f"{what} is not JSON: {error}", hint=hint) from error
    return msgspec.Raw(content)


def seconds_of(text: str) -> int:
    """Return the seconds in "90s", "10m", "24h" or "30d"."""
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise OrbitError(f"{text!r} is not a period such as 90s, 10m, 24h or 30d")
    return int(timedelta(**{_UNITS[match[2]]: int(match[1])}).total_seconds())


def since_of(text: str | None, now: datetime) -> datetime | None:
    """Return the instant that "--since" means: a period before now, or an RFC 3339 instant."""
    if text is None:
        return None
    if _PERIOD.fullmatch(text):
        return now - timedelta(seconds=seconds_of(text))
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise OrbitError(
            f"{text!r} is neither a period such as 10m nor an instant such as 2030-01-31T08:00:00Z"
        ) from error
    return instant if instant.tzinfo else instant.astimezone()


def pairs_of(texts: Sequence[str]) -> dict[str, str]:
    """Return the mapping that several "K=V" mean."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise OrbitError(f"{text!r} is not NAME=VALUE")
        pairs[name] = value
    return pairs


def id_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise OrbitError(f"{text!r} is not an id") from error
