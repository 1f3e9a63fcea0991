"""Functions that are container images: to build one is to find, or pull, the image and pin what it is now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.to_thread

from constellation.base.ids import uuid7
from constellation.comet.backend.contract import RuntimeUnavailable, SandboxStartFailed
from constellation.comet.builds.contract import Builder, BuilderUnavailable, BuildFailed, BuildRequest
from constellation.nova.domain.image import ImageReference, read_image
from constellation.nova.domain.runtimes import IMAGE


class Resolver(Protocol):
    async def resolve(self, image: ImageReference, *, tenant: str, told: Callable[[str], None]) -> ImageReference:
        """Return an image with the digest that it has now; what happens meanwhile is told by the line.

        Raises:
            RuntimeUnavailable: it can not be had, or can not be run.
            SandboxStartFailed: nothing of the kind runs here.
        """
        ...


class ImageBuilder:
    """Implements `Builder` for images, and passes everything else on."""

    def __init__(self, resolver: Resolver, others: Builder) -> None:
        self._resolver, self._others = resolver, others

    async def find(self) -> None:
        await self._others.find()

    def toolchain(self, runtime: str) -> str:
        if runtime != IMAGE.id:
            return self._others.toolchain(runtime)
        return f"image {uuid7()}"  # no two deployments are equal: what a tag stands for may have changed

    async def build(self, request: BuildRequest, *, log: Callable[[bytes], None]) -> str | None:
        """Have sources built; of an image, leave its pinned name, which becomes the function's handler.

        Raises:
            BuildFailed, BuilderUnavailable
        """
        if request.runtime != IMAGE.id:
            return await self._others.build(request, log=log)
        try:
            with anyio.fail_after(request.timeout_s):
                pinned = await self._resolver.resolve(
                    read_image(request.handler), tenant=request.tenant, told=lambda line: log(f"{line}\n".encode())
                )
        except TimeoutError as error:
            raise BuildFailed(f"the image was not there within {request.timeout_s:g} s") from error
        except RuntimeUnavailable as error:
            raise BuildFailed(error.reason) from error
        except SandboxStartFailed as error:
            raise BuilderUnavailable(IMAGE.id, reason=str(error)) from error
        log(f"{pinned.text}\n".encode())
        await anyio.to_thread.run_sync((request.output / IMAGE.id).write_text, f"{pinned.text}\n")
        return pinned.text
