"""A query of what tenants have says of which tenant: one that does not is not written, unless it stands here with its reason."""

from __future__ import annotations

import re
from importlib import resources

from constellation.nova.store.queries import parse, read

FOR_ALL = {
    "workers take what is due of every tenant, and write under the claims that they hold": {
        "builds.claim", "builds.list_spent", "builds.put_back_silent", "builds.renew", "call_keys.renew", "canaries.running",
        "jobs.claim", "jobs.complete", "jobs.expire_leases", "jobs.fail", "jobs.release", "jobs.renew", "jobs.seconds_to_next",
        "notifications.take", "schedules.claim", "schedules.seconds_to_next", "steps.lock_runs", "steps.suspend",
    },
    "rows bring their tenant with them": {
        "audit.insert", "invocations.insert", "invocations.insert_staged", "jobs.insert",
        "databases.insert_requests",
        "quotas.add_calls", "sandboxes.used",
    },
    "what is over is forgotten, whosever it was": {
        "call_keys.forget", "jobs.forget_keys", "logins.forget_old", "sandboxes.forget", "sessions.forget_ended",
        "provider_sessions.forget_ended",
    },
    "a secret that only its holder knows says whose it is": {
        "api_keys.get_by_hash", "docs.read_share", "sessions.get_by_hash",
    },
    "a provider that the platform trusts says which of its own sessions are over": {
        "provider_sessions.end_of_sid", "provider_sessions.end_of_subject",
    },
    "planes follow and serve all tenants": {
        "changes.after", "changes.bounds", "functions.list_kept_warm", "functions.list_runtimes", "gateway.domain_at",
        "gateway.domains_after", "sandboxes.adopt", "sandboxes.of_node",
        "sandboxes.suspended", "volumes.ids",
        "databases.leftovers", "databases.own", "settings.values", "slos.enabled",
    },
    "what is the platform's: hosts, master keys, its first administrator, its figures": {
        "api_keys.exists", "bindings.has_platform_admin", "gateway.claimed", "jobs.totals", "messages.waiting",
        "notifications.expiring_keys", "secrets.master_keys", "secrets.outdated",
        "secrets.reseal_setting",
        "secrets.sealed_settings",
    },
}  # fmt: skip
NO_QUERIES = {"columns.sql", "grants.sql", "schema.sql"}
_TABLE = re.compile(r"^CREATE TABLE (?P<name>\w+) \((?P<columns>.*?)\n\)", re.MULTILINE | re.DOTALL)
_USED = re.compile(r"\b(?:FROM|JOIN|UPDATE|INTO|USING)\s+(?:ONLY\s+)?(\w+)")
# The tenant is an argument: compared with, or the first thing that is written.
_BOUND = re.compile(
    r"\btenant\s*=\s*(?:ANY\s*\()?\$\d|INSERT INTO \w+(?: AS \w+)?\s*\(tenant\b[^)]*\)\s*(?:VALUES \(\$1|SELECT (?:DISTINCT )?\$1)"
)


def tenants_tables() -> set[str]:
    found = {each["name"]: each["columns"] for each in _TABLE.finditer(read("schema.sql"))}
    return {name for name, columns in found.items() if re.search(r"^\s+tenant\s", columns, re.MULTILINE)}


def test_a_query_says_of_which_tenant():
    tables = tenants_tables()
    assert len(tables) > 40
    unbound, tied = set(), set()
    for file in resources.files("constellation.nova.store").joinpath("sql").iterdir():
        if not file.name.endswith(".sql") or file.name in NO_QUERIES:
            continue
        for query in parse(read(file.name)).values():
            used = [name for name in _USED.findall(query.sql) if name in tables]
            name = f"{file.name.removesuffix('.sql')}.{query.name}"
            if used and _BOUND.search(query.sql) is None:
                unbound.add(name)
            # Each table of it is held to the tenant, too, by name or by what it is joined with.
            elif len(re.findall(r"\btenant\b", query.sql)) < len(used):
                tied.add(name)
    assert unbound == set().union(*FOR_ALL.values())
    assert tied == set()
