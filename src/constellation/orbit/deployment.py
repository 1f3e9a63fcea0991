"""From a directory or a file to a live function: read it, compare it with what is there, change what differs."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from constellation.client import ApiProblem, Client, FunctionBody
from constellation.orbit import bundle, manifest
from constellation.orbit.failures import OrbitError
from constellation.orbit.languages import PROVIDED, Language, handler_of, language_of
from constellation.orbit.output import counted
from constellation.orbit.subscribing import subscribe

IMAGE = "image"  # the runtime of functions that are container images
_BAD_IN_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_PARTLY_TAKEN_NAMES = ("main", "index", "handler", "app")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is to be deployed: facts that are stated or inferred, and the code."""

    name: str
    stated: manifest.Manifest
    files: Mapping[str, bytes]
    is_env_whole: bool  # False: `env` came from the command line alone, so it adds to what the function has


class Change(msgspec.Struct, kw_only=True, frozen=True):
    """One difference; of `env` only names are told, since values may be secrets."""

    field: str
    before: str
    after: str


class Deployed(msgspec.Struct, kw_only=True, frozen=True):
    """What a deployment did."""

    action: str  # "created", "updated" or "unchanged"
    changes: list[Change]
    files: int
    size_bytes: int
    function: FunctionBody


def read_source(path: Path, given: Mapping[str, Any], *, runtimes: Callable[[], Mapping[str, str]]) -> Source:
    """Read a function from its directory or its one file, and infer what nobody stated.

    Args:
        path: the directory or file.
        given: facts from the command line; they win over the manifest.
        runtimes: asked for file extension -> runtime id when the extension is none that orbit knows.

    Raises:
        OrbitError: there is nothing to deploy, or what is missing can not be inferred.
    """
    is_env_whole = False
    if path.is_dir():
        stated = manifest.read(path)
        is_env_whole = "env" in stated.facts
        stated = stated.with_facts(given)
        files = (
            {} if stated.is_image else bundle.collect(path, include=stated.files.include, exclude=stated.files.exclude)
        )
        entry = _entry(files, stated.facts.get("handler"), stated.facts.get("runtime"))
        stem = path.resolve().name
    elif path.is_file() and "image" in given:
        raise OrbitError(
            f"{path} is code, and --image says that an image is the function", hint="Leave one of them out."
        )
    elif path.is_file():
        stated = manifest.Manifest(path=path).with_facts(given)
        files = bundle.single(path)
        entry = path.name
        stem = path.stem if path.stem not in _PARTLY_TAKEN_NAMES else path.resolve().parent.name
    else:
        raise OrbitError(f"there is no {path}")
    facts: dict[str, Any] = {}
    if "runtime" not in stated.facts and not stated.is_image:
        facts["runtime"] = _runtime(path, entry, runtimes)
    if "handler" not in stated.facts and entry is not None and language_of(entry) is not None:
        facts["handler"] = handler_of(entry, files[entry].decode("utf-8", "replace"))
    if "name" not in stated.facts:
        facts["name"] = _BAD_IN_NAME.sub("-", stem).strip("-_")[:64]
    stated = stated.with_facts(facts)
    return Source(name=str(stated.facts["name"]), stated=stated, files=files, is_env_whole=is_env_whole)


def deploy(client: Client, source: Source) -> Deployed:
    """Create the function and its subscriptions, or change what differs; nothing is sent when nothing does.

    Raises:
        OrbitError: a fact is out of range, or the existing function has another runtime.
    """
    deployed = _deploy_function(client, source)
    done = [
        Change(field=f"subscription {name}", before="-", after=what)
        for name, what in subscribe(client, source.name, source.stated.subscriptions)
    ]
    if not done:
        return deployed
    action = "updated" if deployed.action == "unchanged" else deployed.action
    return msgspec.structs.replace(deployed, action=action, changes=[*deployed.changes, *done])


def _deploy_function(client: Client, source: Source) -> Deployed:
    encoded = bundle.encoded(source.files)
    creation = source.stated.creation(files=encoded)  # checks every fact, also for an update
    try:
        existing = client.get_function(source.name)
    except ApiProblem as problem:
        if problem.status != 404 or problem.body.get("kind", "function") != "function":
            raise
        return _report("created", [], source, client.create_function(creation))
    runtime = IMAGE if source.stated.is_image else creation.runtime
    if existing.runtime != runtime:
        raise OrbitError(
            f"{source.name} runs on {existing.runtime}, and a function keeps its runtime",
            hint=f"Delete it first (`orbit delete {source.name}`), or deploy under another --name.",
        )
    wanted = msgspec.to_builtins(creation)
    facts = {name: wanted[name] for name in source.stated.facts if name not in ("name", "runtime")}
    present = msgspec.to_builtins(existing)
    if "env" in facts and not source.is_env_whole:
        facts["env"] = {**existing.env, **facts["env"]}
    if "async_destinations" in facts:  # the one that is not named stays
        facts["async_destinations"] = {**present["async_destinations"], **source.stated.facts["async_destinations"]}
    if "layers" in facts:
        facts["layers"] = tuple(_pinned(client, each) for each in facts["layers"])
    differing = {name: value for name, value in facts.items() if present[name] != value}
    changes = [_change(name, present[name], value) for name, value in differing.items()]
    if not source.stated.is_image:
        live = client.get_code(source.name)
        if live.files != encoded:
            differing["files"] = encoded
            changes.append(_code_change(live.files, source.files))
    if not changes:
        return _report("unchanged", [], source, existing)
    update = source.stated.update(differing, version=existing.version)
    return _report("updated", changes, source, client.update_function(source.name, update))


def _pinned(client: Client, layer: str) -> str:
    """Return which version of a layer the platform would pin."""
    return layer if ":" in layer else f"{layer}:{client.get_layer(layer).version}"


def _report(action: str, changes: list[Change], source: Source, function: FunctionBody) -> Deployed:
    total = sum(map(len, source.files.values()))
    return Deployed(action=action, changes=changes, files=len(source.files), size_bytes=total, function=function)


def _change(name: str, before: Any, after: Any) -> Change:
    if name != "env":
        return Change(field=name, before=_shown(before), after=_shown(after))
    signs = [f"+{key}" for key in after if key not in before]
    signs += [f"~{key}" for key in after if key in before and before[key] != after[key]]
    signs += [f"-{key}" for key in before if key not in after]
    return Change(field="env", before=f"{len(before)} set", after=" ".join(signs))


def _code_change(before: Mapping[str, str], after: Mapping[str, bytes]) -> Change:
    signs = [f"+{name}" for name in after if name not in before]
    signs += [f"~{name}" for name in after if name in before and b64decode(before[name]) != after[name]]
    signs += [f"-{name}" for name in before if name not in after]
    shown = " ".join(signs[:8]) + (f" and {len(signs) - 8} more" if len(signs) > 8 else "")
    return Change(field="code", before=counted(len(before), "file"), after=shown)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _entry(files: Mapping[str, bytes], handler: str | None, runtime: str | None) -> str | None:
    if PROVIDED.starter in files and runtime in (None, PROVIDED.runtime):
        return PROVIDED.starter
    if handler is not None:
        module = handler.rpartition(".")[0].replace(".", "/")
        found = [name for name in files if name.rpartition(".")[0] == module and language_of(name) is not None]
        return found[0] if found else None
    sources = [name for name in files if "/" not in name and language_of(name) is not None]
    languages: list[Language] = [language for name in sources if (language := language_of(name)) is not None]
    for language in languages:
        for entry in language.entries:
            if entry in sources:
                return entry
    return sources[0] if len(sources) == 1 else None


def _runtime(path: Path, entry: str | None, runtimes: Callable[[], Mapping[str, str]]) -> str:
    if entry is not None:
        language = language_of(entry)
        if language is not None:
            return language.runtime
        known = runtimes()
        suffix = Path(entry).suffix
        if suffix in known:
            return known[suffix]
    raise OrbitError(
        f"{path}: which runtime is this, and where is its handler?",
        hint=f"Name them: --runtime and --handler, or `runtime:` and `handler:` in {bundle.MANIFEST_NAME}.",
    )
