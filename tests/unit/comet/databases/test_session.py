"""What of a guest's first packet reaches the server."""

from __future__ import annotations

import pytest

from constellation.comet.databases.session import parameters_of
from constellation.comet.databases.wire import Refused, Startup


def first(**parameters):
    return Startup(minor=0, options=(), parameters=parameters)


def test_user_and_options_are_left_out_and_what_is_harmless_is_passed_on():
    given = first(
        user="postgres",
        database="orders",
        options="-c role=postgres -c statement_timeout=0",
        session_authorization="postgres",
        role="postgres",
        application_name="x" * 1000,
        client_encoding="UTF8",
        DateStyle="ISO",
    )
    passed = parameters_of(given, name="orders")
    assert passed == {"application_name": "x" * 256, "client_encoding": "UTF8", "datestyle": "ISO"}


@pytest.mark.parametrize("given", [first(), first(user="u"), first(user="u", database="u"), first(database="orders")])
def test_a_guest_need_not_know_the_name_of_its_database(given):
    assert parameters_of(given, name="orders") == {}


@pytest.mark.parametrize("name", ["postgres", "other", "fn_0123", "template1"])
def test_no_other_database_is_reached(name):
    with pytest.raises(Refused) as refused:
        parameters_of(first(user="u", database=name), name="orders")
    assert refused.value.code == "3D000"


@pytest.mark.parametrize("value", ["true", "on", "database", "1", "yes"])
def test_there_is_no_replication(value):
    with pytest.raises(Refused):
        parameters_of(first(user="u", replication=value), name="orders")
