"""Databases: names, references, addresses of administrators, and where servers may be."""

from __future__ import annotations

import pytest

from constellation.base.errors import InvalidRequest
from constellation.nova.domain.database import (
    MAX_BOUND,
    DatabaseLimits,
    Fullness,
    Tls,
    check_database_name,
    check_limits,
    check_references,
    check_size,
    fullness_of,
    guest_dsn,
    may_connect,
    read_address,
    read_networks,
    references,
    resolved,
    size_within,
)
from constellation.nova.domain.quota import QuotaExceeded


def test_a_variable_stands_for_the_address_of_a_socket_without_a_credential():
    env = {"DATABASE_URL_MAIN": "$DATABASE:orders", "PLAIN": "x", "ALMOST": "a $DATABASE:orders"}
    assert references(env) == {"DATABASE_URL_MAIN": "orders"}
    assert resolved(env) == {**env, "DATABASE_URL_MAIN": "postgresql:///orders?host=/run/db/orders"}
    assert guest_dsn("a-b") == "postgresql:///a-b?host=/run/db/a-b"


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", "a b", "a" * 64, "-a", "a\n", "."])
def test_names_that_are_no_file_names_are_refused(name):
    with pytest.raises(InvalidRequest):
        check_database_name(name)
    with pytest.raises(InvalidRequest):
        check_references({"A": f"$DATABASE:{name}"})


def test_a_function_has_a_few_databases():
    check_references({f"D{n}": f"$DATABASE:d{n}" for n in range(MAX_BOUND)})
    with pytest.raises(InvalidRequest):
        check_references({f"D{n}": f"$DATABASE:d{n}" for n in range(MAX_BOUND + 1)})


def test_an_instance_has_no_more_sessions_than_all_together():
    with pytest.raises(InvalidRequest):
        check_limits(DatabaseLimits(max_sessions=2, instance_sessions=3))


def test_an_address_is_read():
    address = read_address("postgresql://adm%40in:p%3Aw%2F@db.example.org:6432/or%20ders?sslmode=verify-full\n")
    assert (address.user, address.password) == ("adm@in", "p:w/")
    assert (address.host, address.port, address.database, address.tls) == (
        "db.example.org", 6432, "or ders", Tls.VERIFY_FULL,
    )  # fmt: skip
    assert "p:w/" not in repr(address)
    assert read_address("postgres://u:p@[::1]/d").port == 5432
    assert read_address("postgres://u:p@h/d").tls is Tls.REQUIRE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "mysql://u:hunter2@h/d",
        "postgresql:///d?host=/run/postgres&password=hunter2&user=u",
        "postgresql://u:hunter2@%2Frun%2Fpostgres/d",
        "postgresql://u:hunter2@h/",
        "postgresql://u@h/d",
        "postgresql://u:hunter2@h:x/d",
        "postgresql://u:hunter2@h/d?sslmode=prefer",
        "postgresql://u:hunter2@h/d?options=-crole%3Dx",
        "postgresql://u:hunter2@h/d?sslrootcert=/etc/passwd",
        "postgresql://u%00:hunter2@h/d",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(text):
    with pytest.raises(InvalidRequest) as refused:
        read_address(text)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "::", "fe80::1%eth0", "::ffff:127.0.0.1", "224.0.0.1"]
)
def test_this_host_and_its_link_are_not_reached_unless_that_is_allowed(address):
    assert not may_connect(address, ())
    assert may_connect(address, read_networks("0.0.0.0/0, ::/0"))


def test_other_hosts_are_reached():
    assert may_connect("10.1.2.3", ())
    assert may_connect("2001:db8::1", ())
    assert not may_connect("127.0.0.1", read_networks("127.0.1.0/24"))


@pytest.mark.parametrize(
    ("used_mb", "before", "after"),
    [
        (89, "ok", "ok"), (90, "ok", "nearly_full"), (100, "ok", "full"), (250, "nearly_full", "full"),
        (89, "nearly_full", "nearly_full"), (84, "nearly_full", "ok"), (99, "full", "full"), (94, "full", "nearly_full"),
        (10, "full", "ok"),
    ],
)  # fmt: skip
def test_how_full_a_database_is_does_not_go_to_and_fro(used_mb, before, after):
    assert fullness_of(used_mb << 20, 100, Fullness(before)) is Fullness(after)


def test_a_size_is_bounded_and_of_the_platforms_own_server():
    check_size(DatabaseLimits(size_mb=100), is_own=True, max_mb=100)
    check_size(DatabaseLimits(), is_own=False, max_mb=100)
    for limits, is_own in ((DatabaseLimits(size_mb=101), True), (DatabaseLimits(size_mb=16), False)):
        with pytest.raises(InvalidRequest):
            check_size(limits, is_own=is_own, max_mb=100)


@pytest.mark.parametrize(
    ("wanted_mb", "most_mb", "before_mb", "gets_mb"),
    [
        (None, None, 0, 1024), (None, 4096, 0, 1024), (None, 256, 0, 256), (256, 256, 0, 256), (4096, None, 0, 4096),
        (512, 256, 1024, 512), (257, 256, 0, None), (1025, 256, 1024, None), (16, 8, 0, None), (None, 8, 0, None),
        (None, 0, 0, None),
    ],
)  # fmt: skip
def test_a_database_is_as_large_as_its_tenant_may_have_it_and_what_is_larger_may_shrink(
    wanted_mb, most_mb, before_mb, gets_mb
):
    if gets_mb is not None:
        assert size_within(wanted_mb, usual_mb=1024, most_mb=most_mb, before_mb=before_mb) == gets_mb
        return
    with pytest.raises(QuotaExceeded) as refused:
        size_within(wanted_mb, usual_mb=1024, most_mb=most_mb, before_mb=before_mb)
    used = wanted_mb or 16
    assert refused.value.extras == {"dimension": "database_mb", "used": used, "limit": most_mb}
