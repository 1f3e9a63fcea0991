"""Where packages come from: one registry a language, and the hosts that its downloads come from besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from constellation.nova.config.sections import BuildSettings

_PORTS = {"https": 443, "http": 80}
PROXY_PORT = 3128  # inside a build's own network: nobody else listens there


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A registry; its URL has been checked. Without one there is none, and builds that need it fail."""

    url: str
    hosts: tuple[str, ...] = ()  # HOST or HOST:PORT

    @property
    def endpoints(self) -> frozenset[tuple[str, int]]:
        """Host and port of the registry and of each other host."""
        if not self.url:
            return frozenset()
        parts = urlsplit(self.url.removeprefix("sparse+"))
        found = {(parts.hostname or "", parts.port or _PORTS[parts.scheme])}
        for text in self.hosts:
            host, _, port = text.partition(":")
            found.add((host.lower(), int(port) if port else _PORTS[parts.scheme]))
        return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The registries that builds may reach."""

    pip: Source
    npm: Source
    go: Source
    cargo: Source
    maven: Source

    def of(self, names: tuple[str, ...]) -> tuple[Source, ...]:
        """Return those that a toolchain asks for by name."""
        by_name = {"pip": self.pip, "npm": self.npm, "go": self.go, "cargo": self.cargo, "maven": self.maven}
        return tuple(by_name[name] for name in names)

    def env(self) -> Mapping[str, str]:
        """Return what tells the tools where to ask; each reads its own."""
        proxy = f"http://127.0.0.1:{PROXY_PORT}"
        return {
            "HTTP_PROXY": proxy,
            "HTTPS_PROXY": proxy,
            "http_proxy": proxy,
            "https_proxy": proxy,
            "PIP_INDEX_URL": self.pip.url,
            "npm_config_registry": self.npm.url,
            "npm_config_proxy": proxy,
            "npm_config_https_proxy": proxy,
            "GOPROXY": self.go.url or "off",
            "CARGO_INDEX": self.cargo.url,
            "MAVEN_URL": self.maven.url,
        }


def sources_of(builds: BuildSettings) -> Sources:
    """Return the registries of a configuration."""
    told = builds.sources
    return Sources(
        pip=Source(url=told.pip, hosts=_hosts(told.pip_hosts)),
        npm=Source(url=told.npm, hosts=_hosts(told.npm_hosts)),
        go=Source(url=told.go, hosts=_hosts(told.go_hosts)),
        cargo=Source(url=told.cargo, hosts=_hosts(told.cargo_hosts)),
        maven=Source(url=told.maven, hosts=_hosts(told.maven_hosts)),
    )


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(host.strip() for host in text.split(",") if host.strip())
