"""Templates: what a sandbox has besides the host's /usr. One for each language whose interpreter is on this host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from constellation.base.errors import ConstellationError
from constellation.comet.runtimes.registry import Installed, Registry
from constellation.comet.sandboxes.layout import AGENT, PROGRAMS
from constellation.nova.domain.runtimes import PYTHON


class TemplateUnavailable(ConstellationError):
    """There is no such template, or its interpreter is not on this host."""

    code, http_status = "template_unavailable", 422

    def __init__(self, template: str, *, known: Sequence[str]) -> None:
        super().__init__(f"there is no template {template!r}; this host has {', '.join(known) or 'none'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    agent_argv: tuple[str, ...]
    prefixes: tuple[str, ...]
    binds: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]


class Templates:
    """Of the languages that `registry` returns, which are known once the backend has started."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._registry = registry

    def get(self, name: str) -> Template:
        """Return what a sandbox of this template has.

        Raises:
            TemplateUnavailable
        """
        found = self._registry().installed
        if name not in found or PYTHON.id not in found:
            raise TemplateUnavailable(name, known=sorted(found))
        python, wanted = found[PYTHON.id], found[name]
        binds, links = _programs(wanted)
        prefixes = {str(prefix) for each in (python, wanted) for prefix in each.runtime.prefixes(each.interpreter)}
        return Template(agent_argv=(*self.python, AGENT), prefixes=tuple(sorted(prefixes)), binds=binds, links=links)

    @property
    def python(self) -> tuple[str, ...]:
        """How the agent, and what packs archives, is executed: with nothing but the standard library."""
        return (str(self._registry().installed[PYTHON.id].interpreter.path), "-I", "-S", "-X", "utf8")


def _programs(wanted: Installed) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Return what is bound and what is linked, so that the interpreter has its usual names."""
    path, prefixes = wanted.interpreter.path, wanted.runtime.prefixes(wanted.interpreter)
    names = ("python", "python3") if wanted.runtime.id == PYTHON.id else wanted.runtime.info.programs[:1]
    is_inside = path.is_relative_to("/usr") or any(path.is_relative_to(Path(prefix).resolve()) for prefix in prefixes)
    if is_inside:
        return (), tuple((str(path), f"{PROGRAMS}/{name}") for name in names if str(path) != f"{PROGRAMS}/{name}")
    return ((str(path), f"{PROGRAMS}/{names[0]}"),), ()
