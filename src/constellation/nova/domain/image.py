"""References to container images: `[registry/]name[:tag][@digest]`, as functions name what they run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from constellation.base.errors import InvalidRequest

MAX_IMAGE_CHARS = 400  # below what a handler may have
USUAL_TAG = "latest"
_REGISTRY = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?(?::[0-9]{1,5})?"
_SEGMENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<repository>(?:{_REGISTRY}/)?{_SEGMENT}(?:/{_SEGMENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """What one names. The digest says which image it is, whatever the tag stands for by then."""

    repository: str
    tag: str  # "" where a digest alone was given
    digest: str = ""  # "sha256:…"

    @property
    def name(self) -> str:
        """Repository and tag."""
        return f"{self.repository}:{self.tag}" if self.tag else self.repository

    @property
    def text(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else self.name

    @property
    def by_digest(self) -> str:
        """What a daemon or a registry finds it by, if it has its digest."""
        return f"{self.repository}@{self.digest}" if self.digest else self.name

    @property
    def registry(self) -> str:
        """The host that serves it, as credentials are kept by."""
        first, slash, _ = self.repository.partition("/")
        is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
        return first if is_host else "docker.io"

    @property
    def full_repository(self) -> str:
        """The repository with its registry, which a daemon leaves out of its own."""
        if self.registry != "docker.io":
            return self.repository
        path = self.repository.removeprefix("docker.io/")
        return f"docker.io/{path if '/' in path else f'library/{path}'}"

    def pinned(self, digest: str) -> ImageReference:
        return replace(self, digest=digest)


def read_image(text: str, *, field: str = "image") -> ImageReference:
    """Return what a reference names; without tag and digest, the tag `latest`.

    Raises:
        InvalidRequest: it is none, or the bare id of an image.
    """
    found = _REFERENCE.fullmatch(text) if len(text) <= MAX_IMAGE_CHARS else None
    if found is None or found["repository"] == "sha256":
        raise InvalidRequest(
            f"{text[:80]!r} is no image; one looks like registry/name:tag or name@sha256:…", field=field
        )
    tag = found["tag"] or ("" if found["digest"] else USUAL_TAG)
    return ImageReference(repository=found["repository"], tag=tag, digest=found["digest"] or "")


def is_allowed(image: ImageReference, patterns: Sequence[str], *, tenant: str) -> bool:
    """Say whether functions of a tenant may name an image: a pattern is of a repository, or of one and a tag.

    `*` in it is any text, `{tenant}` the tenant.
    """
    return any(
        fnmatchcase(name, pattern.replace("{tenant}", tenant))
        for name in (image.repository, image.name)
        for pattern in patterns
    )
