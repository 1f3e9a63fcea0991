"""What tenants may use: `tenants usage|limit|tier` and `tiers`."""

from __future__ import annotations

from typing import Annotated

import typer

from constellation.client import QuotaSet, TenantUpdate, TierBody, TierLimit, TierPut, UsageBody
from constellation.orbit.commands.access import TenantName, tenants
from constellation.orbit.commands.arguments import Agreed
from constellation.orbit.failures import OrbitError
from constellation.orbit.output import Column
from constellation.orbit.session import Session

tiers = typer.Typer(help="Limits that many tenants have.", no_args_is_help=True)

TierName = Annotated[str, typer.Argument(metavar="TIER")]
_NO_LIMIT, _OF_TIER = "none", "tier"


@tenants.command("usage")
def usage(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="the one in use when absent")] = "",
) -> None:
    """Show what a tenant uses of what it may."""
    session = Session.of(context)
    columns = [
        Column[UsageBody]("DIMENSION", lambda each: each.dimension),
        Column[UsageBody]("USED", lambda each: "" if each.used is None else f"{each.used:.15g}"),
        Column[UsageBody]("LIMIT", lambda each: _limit(each.limit, each.burst)),
        Column[UsageBody]("WHAT", lambda each: each.about),
    ]
    session.output.rows(list(session.client.list_usage(tenant or session.tenant)), columns, empty="Nothing is limited.")


@tenants.command("limit")
def limit(
    context: typer.Context,
    tenant: TenantName,
    dimension: Annotated[str, typer.Argument(metavar="DIMENSION", help="as `tenants usage` names it")],
    most: Annotated[str, typer.Argument(metavar="LIMIT", help='a number; "none": no limit; "tier": that of its tier')],
    burst: Annotated[int, typer.Option(help="of a rate: at once after a quiet time; 0: one second's worth")] = 0,
) -> None:
    """Give a tenant a limit of its own, or its tier's again."""
    session = Session.of(context)
    if most == _OF_TIER:
        session.output.item(session.client.delete_quota(tenant, dimension))
        return
    value = None if most == _NO_LIMIT else _number(most)
    session.output.item(session.client.put_quota(tenant, dimension, QuotaSet(limit=value, burst=burst)))


@tenants.command("tier")
def tier_of(context: typer.Context, tenant: TenantName, tier: TierName) -> None:
    """Give a tenant the limits of a tier."""
    session = Session.of(context)
    session.output.made(session.client.update_tenant(tenant, TenantUpdate(tier=tier)), f"{tenant} is {tier}")


@tiers.command("list")
def list_tiers(context: typer.Context) -> None:
    """List tiers with their limits."""
    session = Session.of(context)
    columns = [
        Column[TierBody]("NAME", lambda tier: tier.name),
        Column[TierBody]("LIMITS", lambda tier: ", ".join(map(_told, tier.limits)) or "none"),
        Column[TierBody]("DESCRIPTION", lambda tier: tier.description),
    ]
    session.output.rows(list(session.client.list_tiers()), columns, empty="There are no tiers.")


@tiers.command("set")
def set_tier(
    context: typer.Context,
    tier: TierName,
    limits: Annotated[
        list[str] | None,
        typer.Option("--limit", help="DIMENSION=NUMBER, of a rate DIMENSION=NUMBER:BURST; what is not named has none"),
    ] = None,
    description: Annotated[str, typer.Option(help="what it is for")] = "",
) -> None:
    """Make a tier, or put new limits in place of all that it has."""
    session = Session.of(context)
    wanted = TierPut(description=description, limits=[_tier_limit(text) for text in limits or []])
    session.output.item(session.client.put_tier(tier, wanted))


@tiers.command("delete")
def delete_tier(context: typer.Context, tier: TierName, is_agreed: Agreed = False) -> None:
    """Delete a tier that no tenant has."""
    session = Session.of(context)
    session.confirm(f"Delete the tier {tier}?", is_agreed=is_agreed)
    session.output.made(session.client.delete_tier(tier), f"deleted {tier}")


def _tier_limit(text: str) -> TierLimit:
    dimension, _, most = text.partition("=")
    value, _, burst = most.partition(":")
    # A name that is no dimension is refused by the server, which says which there are.
    return TierLimit(dimension=dimension, limit=_number(value), burst=int(_number(burst or "0")))  # type: ignore[arg-type]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise OrbitError(f"{text!r} is no number", hint='Give a number, "none" or "tier".') from None


def _limit(value: float | None, burst: int) -> str:
    return "" if value is None else f"{value:.15g}" + (f" ({burst} at once)" if burst else "")


def _told(limit: TierLimit) -> str:
    return f"{limit.dimension} {_limit(limit.limit, limit.burst)}"
