"""Changes of a row that another change may overtake."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from constellation.base.errors import PreconditionFailed, VersionConflict
from constellation.nova.api.request import ApiRequest
from constellation.nova.api.tags import check_match
from constellation.nova.domain.function import Function
from constellation.nova.store.functions import Functions

T = TypeVar("T")
_ATTEMPTS = 5  # chosen: nobody is overtaken this often in a row but by a fault


async def until_written(change: Callable[[], Awaitable[T]]) -> T:
    """Run a change that reads its row anew each time, and again when another one overtook it.

    Raises:
        VersionConflict: it was overtaken in each of five attempts.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return await change()
        except VersionConflict:
            continue
    return await change()


async def change_function(
    functions: Functions,
    call: ApiRequest[Any],
    change: Callable[[Function], Awaitable[Function]],
    *,
    is_conditional: bool = False,
) -> Function:
    """Read the function that a request names, and change it; who set no condition is not bothered with another change.

    Args:
        change: writes over the row that it is handed.
        is_conditional: `change` has a condition of its own on the row.

    Raises:
        NotFound: there is no such function.
        PreconditionFailed: it is not, or not any more, what the request's If-Match says.
        VersionConflict: it was overtaken.
    """

    async def attempt() -> Function:
        function = await functions.get(*call.scope, call.params["name"])
        check_match(function, call.if_match)
        return await change(function)

    if call.if_match is not None:
        try:
            return await attempt()
        except VersionConflict as error:
            raise PreconditionFailed("function", call.params["name"]) from error
    return await (attempt() if is_conditional else until_written(attempt))
