"""What a command works with: settings, output, and a connection that is opened when it is first needed."""

from __future__ import annotations

import functools
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

import typer

from constellation.client import ApiProblem, AsyncClient, Client, ClientError, Connection
from constellation.orbit import profiles
from constellation.orbit.failures import Exit, OrbitError, explain, nearest
from constellation.orbit.output import Output


def _connect(at: Connection) -> Client:
    return Client(at.server, api_key=at.api_key, tenant=at.tenant, namespace=at.namespace)


def _connect_async(at: Connection) -> AsyncClient:
    return AsyncClient(at.server, api_key=at.api_key, tenant=at.tenant, namespace=at.namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What orbit takes from the machine it runs on; `main` makes the real one."""

    env: Mapping[str, str]
    home: Path
    connect: Callable[[Connection], Client] = _connect
    connect_async: Callable[[Connection], AsyncClient] = _connect_async
    browse: Callable[[str], object] = webbrowser.open

    @property
    def config_path(self) -> Path:
        return profiles.config_path(self.env, self.home)


class Session:
    """One run of one command."""

    def __init__(self, host: Host, *, flags: Mapping[str, str], profile: str | None) -> None:
        self.host, self.flags, self.profile = host, flags, profile

    @classmethod
    def of(cls, context: typer.Context) -> Self:
        session = context.find_object(cls)
        assert session is not None  # the root command made it
        return session

    @functools.cached_property
    def settings(self) -> dict[str, profiles.Setting]:
        stored = profiles.load(self.host.config_path)
        return profiles.resolve(flags=self.flags, env=self.host.env, profiles=stored, profile=self.profile)

    @functools.cached_property
    def output(self) -> Output:
        return Output(self.settings["output"].value)

    @functools.cached_property
    def client(self) -> Client:
        return self.host.connect(self._connection)

    def open_async(self) -> AsyncClient:
        """Return a client that the caller closes."""
        return self.host.connect_async(self._connection)

    @property
    def _connection(self) -> Connection:
        def value(key: str) -> str | None:
            return self.settings[key].value if key in self.settings else None

        return Connection(
            server=self.settings["server"].value,
            api_key=profiles.credential(self.settings),
            tenant=value("tenant"),
            namespace=value("namespace"),
        )

    @property
    def tenant(self) -> str:
        """The tenant that requests act in."""
        return self.settings["tenant"].value if "tenant" in self.settings else self.client.whoami().tenant

    def store(self, key: str, value: str | None) -> str:
        """Keep a setting in the profile in use, or remove it for None; return the profile's name."""
        path = self.host.config_path
        stored = profiles.load(path)
        profile = self.profile or self.host.env.get("ORBIT_PROFILE") or stored.current
        profiles.save(path, stored.with_value(profile, key, value))
        return profile

    def fail(self, error: ClientError | OrbitError) -> NoReturn:
        """Print what went wrong and what to do, and end with the fitting exit code."""
        try:
            output = self.output
        except OrbitError:  # the settings themselves are what went wrong
            output = Output("table")
        told = explain(error)
        output.error(told.message, told.hint or self._suggestion(error))
        raise typer.Exit(int(told.exit))

    def _suggestion(self, error: ClientError | OrbitError) -> str:
        if not isinstance(error, ApiProblem) or error.status != 404 or error.body.get("kind") != "function":
            return ""
        name = str(error.body.get("name", ""))
        try:
            known = [function.name for function in self.client.list_functions()]
        except ClientError:
            return ""
        return nearest(name, known) or "`orbit list` shows the functions of this namespace."

    def confirm(self, question: str, *, is_agreed: bool) -> None:
        """Ask before something is destroyed.

        Raises:
            OrbitError: nobody can be asked.
            typer.Exit: the answer is no.
        """
        if is_agreed:
            return
        try:
            answer = typer.confirm(question, err=True)
        except typer.Abort as error:
            raise OrbitError(f"{question} Nobody answered.", hint="Give --yes to agree beforehand.") from error
        if not answer:
            raise typer.Exit(int(Exit.USAGE))

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()
