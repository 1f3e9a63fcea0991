"""Each error code has one owner, one HTTP status and one gRPC status."""

from __future__ import annotations

import importlib
import pkgutil

import constellation
from constellation.base.errors import ConstellationError
from constellation.rpc.problems import status_of


def _load_everything():
    for module in pkgutil.walk_packages(constellation.__path__, "constellation."):
        if ".worker" not in module.name and ".zygote_" not in module.name:
            importlib.import_module(module.name)


def test_every_error_states_its_code_and_maps_to_a_grpc_status():
    _load_everything()
    assert len(ConstellationError._by_code) > 20
    for code, owner in ConstellationError._by_code.items():
        assert owner.code == code
        assert 400 <= owner.http_status <= 599
        error = Exception.__new__(owner)
        assert status_of(error).value != 0
