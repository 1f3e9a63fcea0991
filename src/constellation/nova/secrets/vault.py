"""The one place where values are sealed and opened, and where its master keys come from.

The keys are what `NOVA_SECRETS_KEY` says, or those of a file in the state directory that nova makes. A rotation writes
the new key into the file before anything is sealed with it; what older keys have sealed is then sealed anew in the
background, and again after each start until nothing is left, so a kill at any instant costs nothing.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskStatus

from constellation.base.errors import ConstellationError, StateConflict
from constellation.base.statedir import write_private
from constellation.nova.config.live import PLATFORM, known_keys
from constellation.nova.domain.secret import Sealed, Secret
from constellation.nova.secrets.envelope import Place, SecretDamaged, open_sealed, resealed, seal
from constellation.nova.secrets.keyring import Keyring, fingerprint, keyring_of, new_keyring
from constellation.nova.store.secrets import MasterKey, Outdated, Secrets

log = structlog.get_logger()

KEY_FILE = "secrets.keys"
BATCH = 200  # chosen: secrets that one transaction seals anew; a few milliseconds
RETRY_S = 5.0  # chosen: the database is away
SAFETY_POLL_S = 300.0  # chosen: another nova with the same database may still write with an older key


SECRET_KEYS = [key for key, each in known_keys().items() if each.facts.is_secret]
Resealed = Callable[[int, int], Awaitable[None]]


class MasterKeyMismatch(ConstellationError):
    """The key of a version is not the one that this database's secrets were sealed with."""

    code, http_status = "master_key_mismatch", 409

    def __init__(self, version: int, *, where: str) -> None:
        super().__init__(
            f"{where}: master key {version} is not the one that the secrets in this database were sealed with; "
            f"give nova that key back, and a new one the number of a new version"
        )


class Vault:
    """Seals and opens. `run` must be running for a rotation to come to its end."""

    def __init__(self, keyring: Keyring, secrets: Secrets, *, file: Path | None, resealed: Resealed) -> None:
        """Hold `keyring`; with a `file` it is kept there and can be rotated. `resealed` is told when a rotation is over."""
        self._keyring, self._secrets, self._file, self._resealed = keyring, secrets, file, resealed
        self._rotating = anyio.Lock()
        self._outdated = anyio.Event()

    @property
    def newest(self) -> int:
        """The version of the master key that seals."""
        return self._keyring.newest

    async def create(self, place: Place, value: bytes) -> Secret:
        """Keep a new secret. Raises as `Secrets.create`."""
        return await self._secrets.create(*place, seal(self._keyring, place, value))

    async def put(self, place: Place, value: bytes) -> Secret:
        """Keep a secret, or its new value. Raises as `Secrets.put`."""
        return await self._secrets.put(*place, seal(self._keyring, place, value))

    async def reveal(self, tenant: str, namespace: str, names: Collection[str]) -> Mapping[str, str]:
        """Return the values of some secrets.

        Raises:
            NotFound: one does not exist.
            MasterKeyMissing, SecretDamaged: one can not be opened.
        """
        found = await self._secrets.sealed(tenant, namespace, names)
        return {
            name: open_sealed(self._keyring, (tenant, namespace, name), sealed).decode()
            for name, sealed in found.items()
        }

    def seal_setting(self, key: str, value: str) -> str:
        """Return the value of a setting as it is kept."""
        return _text(seal(self._keyring, _place(key), value.encode()))

    def open_setting(self, key: str, text: str) -> str:
        """Return the value of a setting that was sealed. Raises `MasterKeyMissing`, `SecretDamaged`."""
        return open_sealed(self._keyring, _place(key), _sealed(key, text)).decode()

    def seal(self, place: Place, value: bytes) -> Sealed:
        """Encrypt what is kept elsewhere than among the secrets."""
        return seal(self._keyring, place, value)

    def open(self, place: Place, sealed: Sealed) -> bytes:
        """Return what `seal` was given. Raises `MasterKeyMissing`, `SecretDamaged`."""
        return open_sealed(self._keyring, place, sealed)

    async def master_keys(self) -> tuple[MasterKey, ...]:
        """Return the keys that there have been, the newest first."""
        return await self._secrets.master_keys()

    def has(self, version: int) -> bool:
        """Tell whether what this key has sealed can be opened."""
        return version in self._keyring.keys

    async def rotate(self) -> int:
        """Seal with a new master key from now on; return its version. What older keys sealed follows.

        Raises:
            StateConflict: the keys are configured, so whoever configures them adds one.
        """
        file = self._file
        if file is None:
            raise StateConflict(
                "master key",
                str(self.newest),
                state="configured (NOVA_SECRETS_KEY)",
                wanted="rotated there: put a new key in front of it, as in 2:NEW,1:OLD, and restart nova",
            )
        async with self._rotating:
            renewed = self._keyring.with_new_key()
            await to_thread.run_sync(write_private, file, renewed.text() + "\n")
            self._keyring = renewed  # before the database knows it: no second key ever has this number
            await self._secrets.note_master_keys(_fingerprints(renewed))
        log.info("master_key.rotated", version=renewed.newest)
        self._outdated.set()
        return renewed.newest

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Seal anew what older keys have sealed, until cancelled."""
        task_status.started()
        while True:
            self._outdated = anyio.Event()
            try:
                await self._reseal()
                wait_s = SAFETY_POLL_S
            except ConstellationError as error:  # the supervision point: it goes on where it stopped
                log.warning("secrets.not_resealed", reason=str(error))
                wait_s = RETRY_S
            with anyio.move_on_after(wait_s):
                await self._outdated.wait()

    async def _reseal(self) -> None:
        done = 0
        damaged: set[Place] = set()
        while True:
            keyring = self._keyring
            batch = await self._secrets.outdated(
                newest=keyring.newest, readable=list(keyring.keys), limit=BATCH + len(damaged)
            )
            renewed: list[tuple[Outdated, Sealed]] = []
            for old in batch:
                if old.place in damaged:
                    continue
                try:
                    renewed.append((old, resealed(keyring, old.place, old.sealed)))
                except SecretDamaged as error:
                    damaged.add(old.place)
                    log.warning("secret.damaged", tenant=old.place[0], namespace=old.place[1], reason=str(error))
            if not renewed:
                break
            await self._secrets.reseal(renewed)
            done += len(renewed)
        done += await self._reseal_settings(self._keyring)
        if done:
            log.info("secrets.resealed", count=done, version=keyring.newest)
            await self._resealed(keyring.newest, done)

    async def _reseal_settings(self, keyring: Keyring) -> int:
        done = 0
        for key, text in (await self._secrets.sealed_settings(SECRET_KEYS)).items():
            try:
                sealed = _sealed(key, text)
                if sealed.key_version == keyring.newest or sealed.key_version not in keyring.keys:
                    continue
                done += await self._secrets.reseal_setting(key, text, _text(resealed(keyring, _place(key), sealed)))
            except SecretDamaged as error:
                log.warning("setting.damaged", setting=key, reason=str(error))
        return done


async def _nobody(_version: int, _count: int) -> None:
    return


async def open_vault(secrets: Secrets, *, state_dir: Path, configured: str, resealed: Resealed = _nobody) -> Vault:
    """Return the vault of a platform; without configured keys its own are read, or made.

    Args:
        resealed: told which key seals how many secrets that another one did.

    Raises:
        MasterKeyInvalid: what is configured, or the file, holds no keys.
        MasterKeyMismatch: a key is not the one that this database knows by its number.
    """
    known = {each.version: each for each in await secrets.master_keys()}
    file = None if configured else state_dir / KEY_FILE
    where = "NOVA_SECRETS_KEY" if file is None else str(file)

    def keyring() -> Keyring:
        if file is None:
            return keyring_of(configured, where=where)
        try:
            return keyring_of(file.read_text(), where=where)
        except FileNotFoundError:
            # When a file was lost, what it sealed is lost with it, and its number is never used again.
            made = new_keyring(max(known, default=0) + 1)
            write_private(file, made.text() + "\n")
            return made

    keys = await to_thread.run_sync(keyring)
    for version, known_by in _fingerprints(keys).items():
        if version in known and known[version].fingerprint != known_by:
            raise MasterKeyMismatch(version, where=where)
    await secrets.note_master_keys(_fingerprints(keys))
    for version, row in known.items():
        if version not in keys.keys and row.secrets_count:
            log.error("master_key.missing", version=version, secrets=row.secrets_count, where=where)
    return Vault(keys, secrets, file=file, resealed=resealed)


def _fingerprints(keyring: Keyring) -> dict[int, bytes]:
    return {version: fingerprint(key) for version, key in keyring.keys.items()}


def _place(key: str) -> Place:
    return PLATFORM, "settings", key


def _text(sealed: Sealed) -> str:
    return f"{sealed.key_version}:{b64encode(sealed.key).decode()}:{b64encode(sealed.value).decode()}"


def _sealed(key: str, text: str) -> Sealed:
    try:
        version, inner, value = text.split(":")
        return Sealed(key_version=int(version), key=b64decode(inner), value=b64decode(value))
    except ValueError as error:
        raise SecretDamaged(key) from error
