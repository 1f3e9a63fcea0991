"""The command tree, and the frame around every command: shared options, errors, exit codes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from constellation.client import ClientError
from constellation.orbit.commands import (
    access,
    ai,
    aliases,
    audit,
    builds,
    canary,
    databases,
    docs,
    executions,
    figures,
    functions,
    gateway,
    ingress,
    jobs,
    layers,
    logs,
    notifications,
    people,
    platform,
    platform_settings,
    quotas,
    sandbox,
    schedules,
    secrets,
    service_accounts,
    settings,
    slo,
    source,
    state,
    topics,
    urls,
    versions,
    volumes,
)
from constellation.orbit.failures import Exit, OrbitError
from constellation.orbit.session import Host, Session

_HELP = (
    "Deploy and call functions on a Constellation platform.\n\n"
    "The options below may stand anywhere on the line. They win over the environment (ZENITH_URL, NOVA_API_KEY, "
    "NOVA_TENANT, NOVA_NAMESPACE, NOVA_OUTPUT), which wins over the profile of `orbit config`.\n\n"
    "Exit codes: 0 done; 1 the function failed; 2 the command line or a local file is wrong; 3 not found; 4 refused "
    "(credential, permission, or the request itself); 5 the server can not be reached or failed; 130 Ctrl-C."
)
_SHARED = ("-o", "--output", "--server", "--api-key", "--tenant", "--namespace", "--profile")


def hoisted(args: Sequence[str]) -> list[str]:
    """Move the shared options to the front, so that they may stand behind the command too.

    What follows "--" is left alone.
    """
    front: list[str] = []
    rest: list[str] = []
    at = 0
    while at < len(args):
        arg = args[at]
        if arg == "--":
            rest += args[at:]
            break
        if arg in _SHARED:
            front += args[at : at + 2]
            at += 2
        elif arg.partition("=")[0] in _SHARED[1:] or (arg.startswith("-o") and len(arg) > 2):
            front.append(arg)
            at += 1
        else:
            rest.append(arg)
            at += 1
    return front + rest


class RootGroup(TyperGroup):
    """`orbit` itself: what every command goes through."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, hoisted(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ClientError, OrbitError) as error:
            Session.of(ctx).fail(error)
        except KeyboardInterrupt:
            raise typer.Exit(int(Exit.INTERRUPTED)) from None


app = typer.Typer(
    cls=RootGroup, help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich"
)


@app.callback()
def root(
    context: typer.Context,
    output: Annotated[str, typer.Option("--output", "-o", help="table, json or yaml")] = "",
    server: Annotated[str, typer.Option(help="address of the gateway")] = "",
    api_key: Annotated[str, typer.Option(help="credential; a stored one stays out of the process list")] = "",
    tenant: Annotated[str, typer.Option(help="tenant to act in")] = "",
    namespace: Annotated[str, typer.Option(help="namespace to act in")] = "",
    profile: Annotated[str, typer.Option(help="profile of the config file")] = "",
) -> None:
    host = context.obj if isinstance(context.obj, Host) else Host(env=os.environ, home=Path.home())
    flags = {"output": output, "server": server, "api_key": api_key, "tenant": tenant, "namespace": namespace}
    session = Session(host, flags=flags, profile=profile or None)
    context.obj = session
    context.call_on_close(session.close)


source.register(app)
functions.register(app)
versions.register(app)
app.add_typer(aliases.app, name="alias")
app.add_typer(canary.app, name="canary")
figures.register(app)
logs.register(app)
app.add_typer(builds.app, name="builds")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(schedules.app, name="schedules")
app.add_typer(urls.app, name="url")
app.add_typer(gateway.domains, name="domains")
app.add_typer(gateway.app, name="gateway")
app.add_typer(docs.app, name="docs")
app.add_typer(ingress.app, name="ingress")
app.add_typer(slo.app, name="slo")
app.add_typer(jobs.app, name="async")
app.add_typer(executions.app, name="executions")
app.add_typer(state.app, name="state")
app.add_typer(secrets.app, name="secrets")
app.add_typer(platform_settings.app, name="settings")
app.add_typer(notifications.app, name="notifications")
app.add_typer(layers.app, name="layers")
app.add_typer(ai.app, name="ai")
app.add_typer(databases.app, name="databases")
app.add_typer(volumes.app, name="volumes")
app.add_typer(topics.app, name="topics")
app.add_typer(topics.subscriptions, name="subscriptions")
app.command("publish")(topics.publish)
app.add_typer(access.keys, name="keys")
people.register(app)
app.add_typer(service_accounts.app, name="service-accounts")
app.add_typer(access.tenants, name="tenants")
app.add_typer(quotas.tiers, name="tiers")
app.add_typer(access.namespaces, name="namespaces")
audit.register(app)
platform.register(app)
app.add_typer(settings.app, name="config")
