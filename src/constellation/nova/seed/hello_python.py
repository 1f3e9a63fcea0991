"""`hello-python`, the function that every new platform, and a tenant that is made with a seed, answers with."""

from __future__ import annotations

from constellation.base.ids import uuid7
from constellation.nova.domain.deploy import check_source
from constellation.nova.domain.function import Function
from constellation.nova.domain.names import DEFAULT_NAMESPACE, DEFAULT_TENANT
from constellation.nova.domain.runtimes import PYTHON
from constellation.nova.store.bootstrap import Seed

SOURCE = '''\
def handler(event, context):
    """Greet whoever the event names."""
    name = (event or {}).get("name", "world")
    return {"message": f"Hello, {name}!"}
'''


def hello_python(tenant: str = DEFAULT_TENANT) -> Seed:
    """Return the function in a tenant's default namespace, with its code."""
    source = check_source(PYTHON, {PYTHON.entry_file: SOURCE.encode()}, PYTHON.default_handler)
    function = Function(
        tenant=tenant,
        namespace=DEFAULT_NAMESPACE,
        name="hello-python",
        id=uuid7(),
        runtime=PYTHON.id,
        handler=source.handler,
        description="Greets whoever the event names.",
    )
    return Seed(function=function, files=source.files)
