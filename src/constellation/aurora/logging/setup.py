"""Configure structlog for a plane's process."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from constellation.nova.config.sections import Settings

_SECRET_FIELD = re.compile(r"authorization|token|secret|password|api_?key|identity|dsn|cookie", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"sk_[A-Za-z0-9]{16,}|Bearer\s+\S+|postgres(?:ql)?://\S+")
HIDDEN = "[hidden]"


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide fields with a secret's name and texts that look like one."""
    for name, value in event.items():
        if _SECRET_FIELD.search(name):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = hide(value)
    return event


def hide(text: str) -> str:
    """Return a text without what looks like a credential."""
    return _SECRET_TEXT.sub(HIDDEN, text)


def set_level(level: str) -> None:
    """Have loggers tell what is at least this important from now on."""
    structlog.configure(wrapper_class=_logger_from(level))


def follow_level(settings: Settings) -> None:
    """Have loggers tell what these settings say; for `InForce.watch`."""
    set_level(settings.platform.log_level)


def configure(*, plane: str, level: str, json: bool) -> None:
    """Send this process's log to standard error, one line an event.

    Traces are plain: a formatter that prints local variables would print credentials.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([structlog.processors.format_exc_info] if json else []),
            redact,
            renderer,
        ],
        wrapper_class=_logger_from(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,  # the level can change
    )
    structlog.contextvars.bind_contextvars(plane=plane)
    # Libraries log through the standard module: only what matters reaches our stream.
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format=f"%(asctime)s {plane} %(name)s %(levelname)s %(message)s"
    )


def _logger_from(level: str) -> Any:
    return structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
