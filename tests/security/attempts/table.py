"""The table: one row an attempt, filled by the modules beside this one."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from constellation.comet.backend.contract import Outcome


class World(Enum):
    """Where the control run of an attempt happens, and with what privilege."""

    PLAIN = "as it is, outside"
    OWN = "root of a user namespace of its own, with all other namespaces fresh"
    ROOT = "the host's root, with all namespaces but the user's fresh"


Act = Callable[[Any], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Getting what a function must not get. `act` returns when it got it and raises OSError when it was refused."""

    name: str
    family: str
    act: Act
    refusals: frozenset[str]  # errno names, "signal 31", "out of memory", "timeout", or a judge's word
    world: World = World.PLAIN
    scene: Act | None = None  # control only: makes what there is to get; returns changes of the act's argument
    control: str = "got"  # how the control run ends
    never: str = ""  # why there is no control run anywhere: it would hurt the host
    needs_root: bool = False
    ground: str = ""  # "root" or "memory group": what the host must give for the promise to hold at all
    machine: str = ""  # the only architecture that has this; "" for all
    timeout_s: float = 20.0
    spec: Mapping[str, int] = field(default_factory=dict)  # limits of the instance
    judge: Callable[[Outcome], str] | None = None  # names the outcome of an attempt that the handler survived

    def text(self) -> str:
        """Return the source that runs in the sandbox and in the control."""
        functions = [each for each in (self.act, self.scene) if each is not None]
        return "\n\n".join(_without_decorators(inspect.getsource(each)) for each in functions)

    @property
    def obstacle(self) -> str:
        """Say why the control can not run here; "" when it can."""
        if self.never:
            return self.never
        if os.geteuid() != 0 and (self.needs_root or self.world is World.ROOT):
            return "the control needs root"
        return ""


def _without_decorators(source: str) -> str:
    lines = source.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("def "))
    return "\n".join(lines[start:])


class Family:
    """The rows of one module, in their order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempts: list[Attempt] = []

    def __call__(self, *refusals: str, **fields: Any) -> Callable[[Act], Act]:
        """Add the decorated function as an attempt that must end in one of `refusals`."""

        def add(act: Act) -> Act:
            name = act.__name__
            self.attempts.append(Attempt(name=name, family=self.name, act=act, refusals=frozenset(refusals), **fields))
            return act

        return add
