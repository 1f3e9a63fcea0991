"""A value opens with its key and at its place, and in no other way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from constellation.nova.domain.secret import Sealed
from constellation.nova.secrets.envelope import SecretDamaged, open_sealed, resealed, seal
from constellation.nova.secrets.keyring import MasterKeyInvalid, MasterKeyMissing, fingerprint, keyring_of, new_keyring

PLACE = ("acme", "prod", "db-password")
VALUE = b"correct horse battery staple"


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_value_comes_back_and_is_not_in_what_is_stored():
    keys = new_keyring(1)
    sealed = seal(keys, PLACE, VALUE)
    assert open_sealed(keys, PLACE, sealed) == VALUE
    assert VALUE not in sealed.value + sealed.key
    assert "battery" not in repr(sealed) + repr(keys)


def test_the_same_value_never_looks_the_same_twice():
    keys = new_keyring(1)
    one, other = seal(keys, PLACE, VALUE), seal(keys, PLACE, VALUE)
    assert one.value != other.value
    assert one.key != other.key


@pytest.mark.parametrize("part", ["key", "value"])
def test_every_changed_byte_is_noticed(part):
    keys = new_keyring(1)
    sealed = seal(keys, PLACE, VALUE)
    data = getattr(sealed, part)
    for at in range(len(data)):
        with pytest.raises(SecretDamaged):
            open_sealed(keys, PLACE, replace(sealed, **{part: flipped(data, at)}))
    for size in (0, 11, 12, 27, len(data) - 1):
        with pytest.raises(SecretDamaged):
            open_sealed(keys, PLACE, replace(sealed, **{part: data[:size]}))


@pytest.mark.parametrize(
    "elsewhere", [("other", "prod", "db-password"), ("acme", "test", "db-password"), ("acme", "prod", "other")]
)
def test_a_row_opens_at_its_own_place_only(elsewhere):
    keys = new_keyring(1)
    with pytest.raises(SecretDamaged):
        open_sealed(keys, elsewhere, seal(keys, PLACE, VALUE))


def test_parts_of_two_values_do_not_mix():
    keys = new_keyring(1)
    one, other = seal(keys, PLACE, VALUE), seal(keys, PLACE, b"old value")
    with pytest.raises(SecretDamaged):
        open_sealed(keys, PLACE, Sealed(key_version=1, key=one.key, value=other.value))


def test_a_key_of_the_same_number_is_another_key():
    sealed = seal(new_keyring(1), PLACE, VALUE)
    with pytest.raises(SecretDamaged):
        open_sealed(new_keyring(1), PLACE, sealed)
    with pytest.raises(MasterKeyMissing):
        open_sealed(new_keyring(2), PLACE, sealed)


def test_a_new_master_key_seals_and_the_old_one_still_opens():
    old = new_keyring(1)
    both = old.with_new_key()
    sealed = seal(old, PLACE, VALUE)
    assert open_sealed(both, PLACE, sealed) == VALUE
    renewed = resealed(both, PLACE, sealed)
    assert (renewed.key_version, renewed.value) == (2, sealed.value)
    assert open_sealed(both, PLACE, renewed) == VALUE
    with pytest.raises(SecretDamaged):  # the number is bound in too
        open_sealed(both, PLACE, replace(renewed, key_version=1))


def test_keys_are_read_as_they_are_written():
    keys = new_keyring(3).with_new_key()
    assert keyring_of(keys.text(), where="t").keys == keys.keys
    one = keys.keys[3]
    assert keyring_of(one.hex(), where="t").keys == {1: one}
    assert keyring_of(f"2:{one.hex()}, 1:{keys.keys[4].hex()}", where="t").newest == 2
    assert fingerprint(one) != fingerprint(keys.keys[4])


@pytest.mark.parametrize(
    "text", ["", "short", "0:" + "00" * 32, "1:" + "zz" * 32, "00" * 32 + " " + "11" * 32, "1:YWJj"]
)
def test_what_is_no_key_is_refused_and_not_repeated(text):
    with pytest.raises(MasterKeyInvalid) as caught:
        keyring_of(text, where="NOVA_SECRETS_KEY")
    assert not text or text not in str(caught.value)
