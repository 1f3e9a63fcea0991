"""Where packages come from: one registry a language, and the hosts that its downloads come from besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from constellation.base.errors import InvalidRequest

_PORTS = {"https": 443, "http": 80}
PROXY_PORT = 3128  # inside a build's own network: nobody else listens there


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A registry. Without a `url` there is none, and builds that need it fail."""

    url: str
    hosts: tuple[str, ...] = ()  # HOST or HOST:PORT

    @property
    def endpoints(self) -> frozenset[tuple[str, int]]:
        """Host and port of the registry and of each other host."""
        if not self.url:
            return frozenset()
        parts = urlsplit(self.url.removeprefix("sparse+"))
        if parts.scheme not in _PORTS or not parts.hostname:
            raise InvalidRequest(f"{self.url!r} must be an http or https URL", field="builds.sources")
        found = {(parts.hostname, parts.port or _PORTS[parts.scheme])}
        for text in self.hosts:
            host, _, port = text.partition(":")
            found.add((host.lower(), int(port) if port else _PORTS[parts.scheme]))
        return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The registries that builds may reach; the defaults are the public ones."""

    pip: Source = Source(url="https://pypi.org/simple", hosts=("files.pythonhosted.org",))
    npm: Source = Source(url="https://registry.npmjs.org")
    go: Source = Source(url="https://proxy.golang.org", hosts=("sum.golang.org",))
    cargo: Source = Source(url="sparse+https://index.crates.io/", hosts=("static.crates.io", "crates.io"))
    maven: Source = Source(url="https://repo.maven.apache.org/maven2", hosts=("repo1.maven.org",))

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
