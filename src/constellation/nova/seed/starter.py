"""What a tenant begins with when it is to be of use at once: accounts of programs that have roles, and a function to call."""

from __future__ import annotations

from constellation.base.ids import uuid7
from constellation.nova.domain.access import ANY, Role
from constellation.nova.domain.grants import Effect
from constellation.nova.domain.people import Binding, service_account_subject
from constellation.nova.seed.hello_python import hello_python
from constellation.nova.store.seeds import TenantSeed

_ACCOUNTS = {
    Role.OPERATOR: "deploys functions, calls them and looks after them",
    Role.INVOKER: "calls functions",
    Role.VIEWER: "looks at everything and changes nothing",
}


def starter(tenant: str, *, by: str) -> TenantSeed:
    """Return the seed of a new tenant. `by`: the subject who makes it."""
    hello = hello_python(tenant)
    return TenantSeed(
        function=hello.function,
        files=hello.files,
        accounts={role.value: about for role, about in _ACCOUNTS.items()},
        bindings=[
            Binding(
                tenant=tenant,
                id=uuid7(),
                subject=service_account_subject(role.value),
                role=role.value,
                effect=Effect.ALLOW,
                namespace=ANY,
                functions=(),
                created_by=by,
            )
            for role in _ACCOUNTS
        ],
    )
