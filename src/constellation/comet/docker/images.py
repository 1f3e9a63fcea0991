"""The images that functions are: which one a name stands for, whether it can be run, and how it comes to this host."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import structlog
from anyio.abc import TaskGroup

from constellation.comet.backend.contract import RuntimeUnavailable
from constellation.comet.docker.engine import Engine, EngineFailed, Image
from constellation.comet.docker.probe import why_not
from constellation.comet.docker.settings import ImageSettings
from constellation.nova.domain.image import ImageReference, is_allowed, read_image
from constellation.nova.domain.runtimes import IMAGE

_log = structlog.get_logger()
_DOCKER_HUB = ("docker.io", "https://index.docker.io/v1/", "index.docker.io")  # what credentials for it are kept under


class _Login(msgspec.Struct, kw_only=True):
    auth: str = ""  # base64 of user:password
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _Logins(msgspec.Struct, kw_only=True):
    auths: Mapping[str, _Login] = {}


class _Pull:
    """One in hand; whoever needs the same image waits with it, and goes before it ends without ending it."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.reason = ""


class Images:
    """Answers for one daemon. Pulls run in the task group, each within its own time."""

    def __init__(self, engine: Engine, settings: ImageSettings, tasks: TaskGroup) -> None:
        self._engine, self._settings, self._tasks = engine, settings, tasks
        self._pulls: dict[str, _Pull] = {}

    async def resolve(self, image: ImageReference, *, tenant: str, told: Callable[[str], None]) -> ImageReference:
        """Return an image with the digest that it has now, after a pull if the operator has it so.

        Raises:
            RuntimeUnavailable, EngineFailed
        """
        self._check_allowed(image, tenant)
        found = await self._named(image)
        if self._settings.pull == "always" or (found is None and self._settings.pull == "missing"):
            await self._pulled(image, told)
            found = await self._named(image)
        if found is None:
            raise RuntimeUnavailable(IMAGE.id, reason=_absent(image, self._settings.pull))
        _check_program(image, found)
        return image if image.digest else image.pinned(_digest_of(image, found))

    async def usable(self, text: str, *, tenant: str) -> Image:
        """Return the image that a function is pinned to, whatever its tag stands for by now.

        Raises:
            RuntimeUnavailable, EngineFailed
        """
        image = read_image(text)
        self._check_allowed(image, tenant)
        found = await self._pinned(image)
        if found is None and self._settings.pull != "never":
            await self._pulled(image, lambda _: None)
            found = await self._pinned(image)
        if found is None:
            raise RuntimeUnavailable(IMAGE.id, reason=_absent(image, self._settings.pull))
        _check_program(image, found)
        return found

    def _check_allowed(self, image: ImageReference, tenant: str) -> None:
        if not is_allowed(image, self._settings.allowed, tenant=tenant):
            allowed = ", ".join(self._settings.allowed) or "none"
            raise RuntimeUnavailable(
                IMAGE.id, reason=f"image {image.name} may not be used here; docker.functions.allowed is {allowed}"
            )

    async def _named(self, image: ImageReference) -> Image | None:
        """Look for an image by what its user says. An id counts as a digest of the name's own image alone."""
        found = await self._engine.try_image(image.by_digest)
        if found is None and image.digest:
            by_id = await self._engine.try_image(image.digest)
            if by_id is not None and any(_is_of(image, tag) for tag in by_id.repo_tags or ()):
                return by_id
        return found

    async def _pinned(self, image: ImageReference) -> Image | None:
        """Look for an image by the digest that was found for it. One that no registry ever saw has its id there."""
        found = await self._engine.try_image(image.by_digest)
        return found if found is not None or not image.digest else await self._engine.try_image(image.digest)

    async def _pulled(self, image: ImageReference, told: Callable[[str], None]) -> None:
        name = image.by_digest
        pull = self._pulls.get(name)
        if pull is None:
            pull = self._pulls[name] = _Pull()
            self._tasks.start_soon(self._pull, image, pull, told)
        else:
            told(f"{name} is being pulled already")
        await pull.ended.wait()
        if pull.reason:
            raise RuntimeUnavailable(IMAGE.id, reason=f"image {image.name} could not be pulled: {pull.reason}")

    async def _pull(self, image: ImageReference, pull: _Pull, told: Callable[[str], None]) -> None:
        name, within_s = image.by_digest, self._settings.pull_s
        pull.reason = "its pull was cut off"
        try:
            with anyio.fail_after(within_s):
                credentials = await anyio.to_thread.run_sync(credentials_of, self._settings.credentials, image.registry)
                await self._engine.pull(_addressed(image, name), credentials=credentials, told=told)
        except TimeoutError:
            pull.reason = f"it took longer than {within_s:g} s (docker.functions.timeout)"
        except EngineFailed as error:
            pull.reason = error.reason
        except (OSError, ValueError) as error:
            pull.reason = f"the credentials can not be read: {error}"
        else:
            pull.reason = ""
        finally:
            del self._pulls[name]
            pull.ended.set()
        _log.info("image.pulled", image=name, failure=pull.reason)


def _addressed(image: ImageReference, name: str) -> str:
    """Return the name with its registry, without which the client sends no credentials."""
    return image.full_repository + name.removeprefix(image.repository)


def credentials_of(path: Path | None, registry: str) -> dict[str, str] | None:
    """Return what a registry is to be shown, of a file as `docker login` writes it. Blocks.

    Raises:
        OSError, ValueError: it can not be read, or is nothing of the kind.
    """
    if path is None:
        return None
    try:
        logins = msgspec.json.decode(path.read_bytes(), type=_Logins).auths
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error
    names = _DOCKER_HUB if registry == "docker.io" else (registry, f"https://{registry}", f"http://{registry}")
    login = next((logins[name] for name in names if name in logins), None)
    if login is None:
        return None
    if login.identitytoken:
        return {"identitytoken": login.identitytoken}
    if login.auth:
        user, _, password = base64.b64decode(login.auth, validate=True).decode().partition(":")
        return {"username": user, "password": password}
    return {"username": login.username, "password": login.password}


def _absent(image: ImageReference, pull: str) -> str:
    if pull == "never":
        return f"image {image.text} is not on this host (docker pull {image.name}; docker.functions.pull is never)"
    return f"image {image.text} is not on this host, nor in its registry"


def _check_program(image: ImageReference, found: Image) -> None:
    reason = why_not(image.name, found)
    if not reason and not found.program:
        reason = f"image {image.name} has neither ENTRYPOINT nor CMD, so there is nothing to start"
    if reason:
        raise RuntimeUnavailable(IMAGE.id, reason=reason)


def _digest_of(image: ImageReference, found: Image) -> str:
    """Return what its registry knows an image by, or where none has seen it, what this host does. Pure."""
    for each in found.repo_digests or ():
        name, _, digest = each.partition("@")
        if digest and _is_of(image, f"{name}:any"):
            return digest
    return found.id


def _is_of(image: ImageReference, tagged: str) -> bool:
    """Say whether a name with a tag, as the daemon tells it, is of an image's repository. Pure."""
    repository = tagged.rpartition(":")[0]
    return ImageReference(repository=repository, tag="").full_repository == image.full_repository
