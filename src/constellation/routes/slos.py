"""The routes of what functions are to keep to."""

from __future__ import annotations

from constellation.nova.domain.access import Permission
from constellation.routes.models.slos import SloPolicyBody, SloStatus
from constellation.routes.route import FUNCTION, Route, nova

P = Permission
_SLO = FUNCTION + "/slo"

SLOS: tuple[Route, ...] = (
    nova("get_slo", "GET", _SLO, P.FUNCTION_READ, "What a function is to keep to; not enabled when nothing is set",
         response=SloPolicyBody),
    nova("put_slo", "PUT", _SLO, P.FUNCTION_UPDATE, "Set what a function is to keep to",
         request=SloPolicyBody, response=SloPolicyBody),
    nova("delete_slo", "DELETE", _SLO, P.FUNCTION_UPDATE, "Ask nothing of a function any more", response=SloPolicyBody),
    nova("slo_status", "GET", _SLO + "/status", P.METRICS_READ,
         "How the calls of the window that ends now do, and what people were told", response=SloStatus),
)  # fmt: skip
