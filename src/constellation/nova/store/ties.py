"""What functions are tied to by constraints of the database, and what it means when one does not hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from constellation.nova.domain.database import DatabaseUnknown
from constellation.nova.domain.layer import LayerUnknown
from constellation.nova.domain.secret import SecretUnknown
from constellation.nova.domain.volume import VolumeTaken, VolumeUnknown
from constellation.nova.store.databases import USES as DATABASE_USES
from constellation.nova.store.layers import USES as LAYER_USES
from constellation.nova.store.secrets import USES as SECRET_USES
from constellation.nova.store.volumes import ONCE as VOLUME_ONCE
from constellation.nova.store.volumes import USES as VOLUME_USES


@asynccontextmanager
async def tied() -> AsyncIterator[None]:
    """Say what it means when a function would have what was deleted meanwhile, or what another has."""
    try:
        yield
    except asyncpg.ForeignKeyViolationError as error:
        if error.constraint_name in SECRET_USES:
            raise SecretUnknown from error
        if error.constraint_name == LAYER_USES:
            raise LayerUnknown from error
        if error.constraint_name in DATABASE_USES:
            raise DatabaseUnknown from error
        if error.constraint_name == VOLUME_USES:
            raise VolumeUnknown from error
        raise
    except asyncpg.CheckViolationError as error:
        if error.constraint_name == VOLUME_ONCE:
            raise VolumeTaken from error
        raise
