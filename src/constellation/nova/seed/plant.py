"""Deploy the example of a first start."""

from __future__ import annotations

import structlog

from constellation.base.errors import AlreadyExists
from constellation.base.ids import uuid7
from constellation.nova.domain.deploy import check_source
from constellation.nova.domain.function import Function
from constellation.nova.domain.names import DEFAULT_NAMESPACE, DEFAULT_TENANT
from constellation.nova.domain.runtimes import PYTHON
from constellation.nova.seed.hello_python import SOURCE
from constellation.nova.store.functions import Functions

log = structlog.get_logger()

NAME = "hello-python"


async def plant(functions: Functions) -> None:
    """Create `hello-python` in default/default. Called only by the start that made the first administrator, so a user
    who deletes it never sees it again.
    """
    source = check_source({PYTHON.entry_file: SOURCE.encode()}, PYTHON.default_handler)
    function = Function(
        tenant=DEFAULT_TENANT,
        namespace=DEFAULT_NAMESPACE,
        name=NAME,
        id=uuid7(),
        runtime=PYTHON.id,
        handler=source.handler,
        description="Greets whoever the event names.",
    )
    try:
        await functions.create(function, source.files)
    except AlreadyExists:
        return
    log.info("function.seeded", function=NAME)
