"""The door of the table: what goes in comes out, and what is stale is an error."""

from __future__ import annotations

import errno

import pytest

from constellation.native import _core
from constellation.native.errors import LengthOverLimit, TableFull
from constellation.native.table import Table
from constellation.native.table_values import (
    Ask,
    Breaker,
    CallHandle,
    Detail,
    EffectKind,
    FunctionRow,
    Identity,
    Record,
    State,
    Status,
    TableOptions,
    Taker,
    Verdict,
)

OPTIONS = TableOptions(
    max_instances=2,
    max_boots=2,
    max_calls=4,
    idle_ttl_s=1.0,
    max_functions=2,
    max_identities=2,
    max_records=2,
    max_meters=2,
    bucket_bounds_s=(0.001, 1.0),
)
ROW = FunctionRow(tenant="t", namespace="n", name="ü", max_payload_bytes=10, meter=1)


@pytest.fixture
def table():
    made = Table(OPTIONS)
    made.open(is_open=True, now_ns=0)
    yield made
    assert made.check() == 0
    made.close()


@pytest.mark.parametrize(
    ("enum", "prefix"),
    [
        (Status, "ct_status"),
        (Detail, "ct_detail"),
        (State, "ct_member_state"),
        (Breaker, "ct_breaker_state"),
        (Taker, "ct_taker"),
        (EffectKind, "ct_effect_kind"),
    ],
)
def test_enums_are_the_headers(enum, prefix):
    members = dict(_core.ffi.typeof(f"enum {prefix}").relements)
    members.pop("CT_STATUS_FIRST_FREE", None)
    stem = "CT_" + ("EFFECT_" if enum is EffectKind else "MEMBER_" if enum is State else f"{enum.__name__.upper()}_")
    assert members == {f"{stem}{each.name}": each.value for each in enum}


def test_a_function_is_found_by_its_name(table):
    handle = table.put_function(ROW, now_ns=0)
    assert table.find_function("t", "n", "ü") == handle
    assert table.find_function("t", "nü", "") is None
    table.put_function(ROW, now_ns=0)
    with pytest.raises(TableFull):
        table.put_function(ROW, now_ns=0)
    with pytest.raises(LengthOverLimit):
        table.set_refusal(handle, Status.HALTED, grpc_status=7, message=b"x" * 100_000, problem=b"")


def test_a_stale_handle_is_an_error(table):
    for operation in (
        lambda: table.end(CallHandle(1), Status.OK, is_broken=False, now_ns=0),
        lambda: table.admit(7, Ask(0, "t", "s"), now_ns=0),
        lambda: table.booted(5, now_ns=0),
        lambda: table.stats(9),
    ):
        with pytest.raises(OSError) as stale:
            operation()
        assert stale.value.errno == errno.ESTALE


def test_a_life_of_an_instance(table):
    function = table.put_function(ROW, now_ns=0)
    call = table.admit(function, Ask(10, "t", "s", chain=("a", "ü2")), now_ns=0)
    assert table.lease(call, deadline_ns=100, now_ns=0) is None
    boot = table.next_effect()
    assert boot.kind is EffectKind.BOOT
    assert table.member_state(boot.member) is State.BOOTING
    assert table.booted(boot.member, now_ns=5)
    grant = table.next_effect()
    assert (grant.kind, grant.call, grant.grant.waited_ns, grant.grant.is_cold) == (EffectKind.GRANT, call, 5, True)
    assert table.node_stats().leases == 1
    table.end(call, Status.OK, is_broken=True, now_ns=7)
    assert table.next_effect().kind is EffectKind.RETIRE
    table.gone(boot.member, now_ns=8)
    assert table.next_effect() is None
    assert list(table.all_stats()) == []
    refused = table.admit(function, Ask(10, "t", "s", chain=("a", "ü")), now_ns=0)
    assert refused == Verdict(Status.RECURSION, Detail.CYCLE)


def test_unknown_codes_get_numbers_until_there_are_none_left(table):
    assert table.status("ok") == Status.OK
    first = table.status("database_unavailable")
    assert first == table.status("database_unavailable")
    assert table.status_names()[first] == "database_unavailable"
    for number in range(100):
        table.status(f"code{number}")
    assert table.status("one_more") == Status.OTHER
    assert table.status_names()[Status.OTHER] == "other"


def test_identities_come_back_until_they_expire_or_are_pushed_out(table):
    one = Identity("acme", "prod", "apikey:ü", may_invoke=True, expires_at_s=100, rate_per_s=2.5, burst=4)
    for token in (b"one", b"two", b"three"):
        table.put_identity(token, one)
    assert table.find_identity(b"three", now_s=99) == one
    assert table.find_identity(b"three", now_s=100) is None
    assert table.find_identity(b"one", now_s=0) is None
    table.clear_identities()
    assert table.find_identity(b"three", now_s=0) is None


def test_records_are_written_in_order_and_are_dropped_when_there_is_no_room(table):
    function = table.put_function(ROW, now_ns=0)
    records = [
        Record(
            request_id=bytes([number] * 16),
            function=function,
            version=3,
            started_at_us=-5,
            duration_ns=6,
            queued_ns=7,
            input_bytes=8,
            output_bytes=9,
            status=Status.OK,
            is_cold=bool(number),
            is_log_truncated=not number,
            log=b"printed\0" * number,
            error=b"{}",
            source=b"http",
        )
        for number in range(3)
    ]
    assert [table.append_record(record) for record in records] == [True, True, False]
    assert (table.records, table.records_dropped) == (2, 1)
    table.set_row_head(function, b"head")
    assert len(b"head") < table.row_room()
    into = memoryview(bytearray(1024))
    one = table.write_rows(into, 3, skip=0, limit=1)[1]
    assert table.write_rows(into, one, skip=1, limit=9)[0] == 1
    first, second = bytes(into[3:one]), bytes(into[one:])
    assert first.startswith(b"head" + bytes([0, 0, 0, 16]) + bytes(16))
    assert second.startswith(b"head" + bytes([0, 0, 0, 16]) + bytes([1] * 16))
    assert table.write_rows(into, 1020, skip=0, limit=9) == (0, 1020)
    table.forget_records(1)
    assert table.write_rows(into, 0, skip=0, limit=9)[0] == 1
    assert bytes(into).startswith(b"head" + bytes([0, 0, 0, 16]) + bytes([1] * 16))
    table.forget_records(1)
    assert (table.records, table.row_room(), table.records_dropped) == (0, 0, 1)
