"""A model that writes, reviews and explains: `ai`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from constellation.client import AiEnd
from constellation.orbit.commands.arguments import FunctionName
from constellation.orbit.failures import OrbitError
from constellation.orbit.session import Session

app = typer.Typer(
    help="A model behind an endpoint of the operator's (orbit settings set ai.base_url …) writes, reviews and explains.",
    no_args_is_help=True,
)

Runtime = Annotated[str, typer.Option(help="the language of the code")]
About = Annotated[str, typer.Argument(metavar="NAME|FILE", help="a function, or a file with code")]
Answer = AbstractContextManager[Iterator[str | AiEnd]]


@app.command("status")
def status(context: typer.Context) -> None:
    """Show whether AI is on, and which model answers."""
    session = Session.of(context)
    session.output.item(session.client.ai_status())


@app.command("generate")
def generate(
    context: typer.Context,
    description: Annotated[str, typer.Argument(metavar="TEXT", help="what the function is to do; - reads it")],
    runtime: Runtime = "python",
) -> None:
    """Have a function written."""
    text = sys.stdin.read() if description == "-" else description
    _show(Session.of(context).client.ai_generate(text, runtime=runtime))


@app.command("review")
def review(context: typer.Context, about: About, runtime: Runtime = "python") -> None:
    """Have a function, or the code of a file, reviewed."""
    function, code = _material(about)
    _show(Session.of(context).client.ai_review(function=function, code=code, runtime=runtime))


@app.command("tests")
def write_tests(context: typer.Context, about: About, runtime: Runtime = "python") -> None:
    """Have tests written for a function, or for the code of a file."""
    function, code = _material(about)
    _show(Session.of(context).client.ai_tests(function=function, code=code, runtime=runtime))


@app.command("explain")
def explain(
    context: typer.Context,
    request_id: Annotated[
        UUID, typer.Argument(metavar="REQUEST_ID", help="of a call that failed; `orbit logs` has it")
    ],
) -> None:
    """Have it said why a call failed, from its error, its log and the sources."""
    _show(Session.of(context).client.ai_explain(request_id))


@app.command("analyze")
def analyze(
    context: typer.Context,
    name: FunctionName,
    days: Annotated[int, typer.Option(min=1, max=90, help="how many days of calls are looked at")] = 1,
) -> None:
    """Have it said what the calls of a function suffer from, by their figures, errors and the sources."""
    _show(Session.of(context).client.ai_analyze(name, days=days))


def _material(about: str) -> tuple[str, str]:
    """Return the function that is meant, or the code."""
    path = Path(about)
    if not path.is_file():
        return about, ""
    try:
        return "", path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OrbitError(f"{about} can not be read as text: {error}") from error


def _show(answer: Answer) -> None:
    """Print what comes as it comes."""
    with answer as pieces:
        for piece in pieces:
            if isinstance(piece, AiEnd):
                sys.stdout.write("\n")
                if piece.is_cut:
                    sys.stderr.write("The answer was longer; the rest was not taken.\n")
            else:
                sys.stdout.write(piece)
            sys.stdout.flush()
