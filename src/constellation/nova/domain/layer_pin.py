"""How a function keeps which version of a layer it uses."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_-]{0,63}):(?P<version>[1-9][0-9]{0,8})@(?P<hash>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPin:
    """One version of a layer as a function uses it. The trigger `keep_function_layers` reads its text, too."""

    name: str
    version: int
    hash: str  # SHA-256 of the files, hex

    def __str__(self) -> str:
        return f"{self.name}:{self.version}@{self.hash}"

    @property
    def shown(self) -> str:
        return f"{self.name}:{self.version}"

    @classmethod
    def parse(cls, text: str) -> LayerPin:
        """Return what a row of the database has."""
        found = _PIN.fullmatch(text)
        assert found is not None, text
        return cls(name=found["name"], version=int(found["version"]), hash=found["hash"])
