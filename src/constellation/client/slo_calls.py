"""Calls about the objectives of functions."""

from __future__ import annotations

from constellation.client.call import Call, call
from constellation.routes.models import slos as m


def get_slo(name: str) -> Call[m.SloPolicyBody]:
    """What a function is to keep to; not enabled when nothing is set."""
    return call("get_slo", m.SloPolicyBody, params={"name": name})


def put_slo(name: str, policy: m.SloPolicyBody) -> Call[m.SloPolicyBody]:
    """Set what a function is to keep to; people are told when it does not."""
    return call("put_slo", m.SloPolicyBody, params={"name": name}, body=policy)


def delete_slo(name: str) -> Call[m.SloPolicyBody]:
    """Ask nothing of a function any more."""
    return call("delete_slo", m.SloPolicyBody, params={"name": name})


def slo_status(name: str) -> Call[m.SloStatus]:
    """How the calls of the window that ends now do, and what people were told."""
    return call("slo_status", m.SloStatus, params={"name": name})
