"""The whole node in one exposition: every plane's families and whether it is up."""

from __future__ import annotations

import anyio
import structlog
from anyio import CapacityLimiter, to_thread
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from constellation.aurora.metrics.merge import Exposition, ExpositionInvalid, FunctionLabels, merge, parse
from constellation.aurora.observability.collect import Collected, PlaneCollector, PlaneState
from constellation.base.errors import Overloaded

log = structlog.get_logger()

MAX_SCRAPES = 4  # chosen: Prometheus pairs and a person's curl; more at once are refused


class Overview:
    """Collects and merges on demand; nothing is kept between scrapes but which functions have a label."""

    def __init__(self, planes: PlaneCollector, *, node: str, max_function_labels: int) -> None:
        self._planes, self._node = planes, node
        self._functions = FunctionLabels(limit=max_function_labels)
        self._merging = anyio.Lock()
        self._merge_threads = CapacityLimiter(1)
        self._scrapes = 0

    async def exposition(self) -> bytes:
        """Return one exposition of all planes.

        Raises:
            Overloaded: `MAX_SCRAPES` are in hand already.
        """
        if self._scrapes >= MAX_SCRAPES:
            raise Overloaded("metrics", limit=MAX_SCRAPES)
        self._scrapes += 1
        try:
            collected = await self._planes.metrics()
            async with self._merging:
                # A thousand functions are a second of parsing: in a thread, so that health is answered meanwhile.
                return await to_thread.run_sync(self._merge, collected, limiter=self._merge_threads)
        finally:
            self._scrapes -= 1

    async def health(self) -> tuple[PlaneState, ...]:
        return await self._planes.health()

    def _merge(self, collected: Collected) -> bytes:
        invalid: set[str] = set()
        families: list[Metric] = []
        for exposition in collected.expositions:
            families.extend(self._parsed(exposition, invalid))
        nodes = {exposition.plane: exposition.node for exposition in collected.expositions}
        up = GaugeMetricFamily(
            "constellation_plane_up", "1 when the plane answered this scrape", labels=("plane", "node")
        )
        for state in collected.states:
            is_up = state.is_up and state.plane not in invalid
            up.add_metric((state.plane, nodes.get(state.plane, self._node)), float(is_up))
        return merge([*families, up], self._functions)

    @staticmethod
    def _parsed(exposition: Exposition, invalid: set[str]) -> list[Metric]:
        try:
            return parse(exposition)
        except ExpositionInvalid as error:
            invalid.add(exposition.plane)
            log.warning("metrics.invalid", of=exposition.plane, reason=str(error))
            return []
