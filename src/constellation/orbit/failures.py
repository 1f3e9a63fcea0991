"""Exit codes, and what a failure tells the person at the terminal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from constellation.client import ApiProblem, BadArgument, BadReply, ClientError, NoAnswer, Unreachable


class Exit(IntEnum):
    """What a script may rely on."""

    OK = 0
    FUNCTION_FAILED = 1  # the handler raised, ran over its time or lost its instance
    USAGE = 2  # the command line or a local file is wrong
    NOT_FOUND = 3
    REFUSED = 4  # no or a wrong credential, no permission, or a request that the platform does not accept
    SERVER = 5  # it can not be reached, or failed
    BUG = 70  # orbit's own fault
    INTERRUPTED = 130  # Ctrl-C


class OrbitError(Exception):
    """Something that orbit itself found wrong; `hint` says what to do."""

    exit = Exit.USAGE

    def __init__(self, message: str, *, hint: str = "", exit: Exit | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if exit is not None:
            self.exit = exit


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    message: str
    hint: str
    exit: Exit


# Problems that say how the function ended, not how the platform is.
_OF_THE_FUNCTION = frozenset(
    {"timeout", "server_not_ready", "instance_died", "output_invalid", "handler_load_failed", "compile_failed"}
)
_HOW_TO_START = (
    "Start a platform here with `make up` or `constellation up`, or name another one: --server URL, ZENITH_URL, "
    "or `orbit config set server URL`."
)
_HOW_TO_GIVE_A_KEY = (
    "Give an API key: --api-key KEY, NOVA_API_KEY, or `orbit config set api_key -` to store one. "
    "The first start of a platform prints an admin key."
)


def explain(error: ClientError | OrbitError) -> Explanation:
    """Return what to print and how to exit."""
    match error:
        case OrbitError():
            return Explanation(message=str(error), hint=error.hint, exit=error.exit)
        case ApiProblem():
            return Explanation(message=str(error), hint=_hint(error), exit=_exit(error))
        case Unreachable():
            return Explanation(message=str(error), hint="" if error.is_sent else _HOW_TO_START, exit=Exit.SERVER)
        case NoAnswer():
            return Explanation(message=str(error), hint="The work may still be going on.", exit=Exit.SERVER)
        case BadReply():
            hint = "Is this address a Constellation gateway of the same version?"
            return Explanation(message=str(error), hint=hint, exit=Exit.SERVER)
        case BadArgument():
            return Explanation(message=str(error), hint="", exit=Exit.USAGE)
        case _:
            return Explanation(message=str(error), hint="", exit=Exit.SERVER)


def _exit(problem: ApiProblem) -> Exit:
    if problem.code in _OF_THE_FUNCTION:
        return Exit.FUNCTION_FAILED
    if problem.status == 404:
        return Exit.NOT_FOUND
    return Exit.REFUSED if problem.status < 500 else Exit.SERVER


def _hint(problem: ApiProblem) -> str:
    if problem.status == 401:
        return _HOW_TO_GIVE_A_KEY
    if problem.code == "version_conflict":
        return "Somebody changed it meanwhile: run the command again."
    if problem.retry_after_s is not None:
        return f"Try again in {problem.retry_after_s} s."
    stack = problem.body.get("stack")
    return stack.rstrip() if isinstance(stack, str) else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean ...?" for names like `name`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else ""
