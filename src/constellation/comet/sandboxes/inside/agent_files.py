"""The agent's part that reads and writes files."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat

from agent import DATA, END, FRAME_BYTES, HEAD, Refused, Wire

ENTRIES = 10_000  # chosen: of one listing
LISTING_BYTES = 4 << 20
PATH_BYTES = 4096


class Files:
    """Paths are absolute, or below the home directory."""

    def __init__(self, home: str) -> None:
        self.home = home

    def path(self, text: object) -> str:
        if not isinstance(text, str) or not text or "\0" in text or len(os.fsencode(text)) > PATH_BYTES:
            raise Refused("invalid", "the path must be text of at most 4096 bytes without NUL")
        return os.path.join(self.home, text)

    async def serve(self, wire: Wire, request: dict[str, object]) -> None:
        path = self.path(request.get("path"))
        match request.get("op"):
            case "read":
                await self.read(wire, path, int(request["offset"]), request.get("length"))
            case "write":
                await self.write(wire, path, int(request["mode"]), request.get("offset"))
            case "list":
                await wire.say(HEAD, items=listing(path))
            case "stat":
                await wire.say(HEAD, **facts(path, os.lstat(path)))
            case "mkdir":
                os.makedirs(path, int(request["mode"]), exist_ok=True)
                await wire.say(HEAD, **facts(path, os.lstat(path)))
            case "move":
                to = self.path(request.get("to"))
                os.rename(path, to)
                await wire.say(HEAD, **facts(to, os.lstat(to)))
            case "delete":
                delete(path, is_recursive=bool(request.get("recursive")))
                await wire.say(HEAD)
            case other:
                raise Refused("invalid", f"there is no operation {other!r}")

    async def read(self, wire: Wire, path: str, offset: int, length: object) -> None:
        # Not blocking: a pipe without a writer would else hold everything up.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise Refused("EISDIR" if stat.S_ISDIR(found.st_mode) else "invalid", "it is not a plain file")
            left = int(length) if isinstance(length, int) else None
            await wire.say(HEAD, size=found.st_size)
            while left is None or left > 0:
                piece = os.pread(fd, FRAME_BYTES if left is None else min(left, FRAME_BYTES), offset)
                if not piece:
                    break
                offset += len(piece)
                left = None if left is None else left - len(piece)
                await wire.send(DATA, piece)
                await asyncio.sleep(0)  # a file without an end must not starve the others
            await wire.send(END)
        finally:
            os.close(fd)

    async def write(self, wire: Wire, path: str, mode: int, offset: object) -> None:
        """A whole file appears at once, or not at all; with an offset, a part of one is written in place."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        is_whole = not isinstance(offset, int)
        target = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.part") if is_whole else path
        flags = os.O_EXCL if is_whole else os.O_NONBLOCK
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_NOCTTY | os.O_CLOEXEC | flags, 0o600 if is_whole else mode)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Refused("invalid", "it is not a plain file")
            at = 0 if is_whole else int(offset)
            while True:
                kind, body = await wire.receive()
                if kind == END:
                    break
                view = memoryview(body)
                while view:
                    wrote = os.pwrite(fd, view, at)
                    at, view = at + wrote, view[wrote:]
            if is_whole:
                os.fchmod(fd, mode)
                if os.path.isdir(path):
                    raise Refused("EISDIR", "it is a directory")
                os.rename(target, path)
            found = facts(path, os.fstat(fd))
        except BaseException:
            if is_whole:
                os.unlink(target)
            raise
        finally:
            os.close(fd)
        await wire.say(HEAD, **found)


def facts(path: str, found: os.stat_result) -> dict[str, object]:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "other")
    return {
        "name": os.path.basename(path.rstrip("/")) or "/",
        "path": path,
        "kind": kind,
        "size": found.st_size,
        "mode": stat.S_IMODE(found.st_mode),
        "modified_at_s": found.st_mtime,
        "target": os.readlink(path) if kind == "link" else None,
    }


def listing(path: str) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    size = 0
    with os.scandir(path) as found:
        for entry in found:
            if len(items) == ENTRIES:
                raise Refused("EFBIG", f"the directory has more than {ENTRIES} entries")
            try:
                items.append(facts(entry.path, entry.stat(follow_symlinks=False)))
            except FileNotFoundError:
                continue  # gone in between
            size += 200 + 6 * (len(entry.path) + len(str(items[-1]["target"])))  # at most, as JSON
            if size > LISTING_BYTES:
                raise Refused("EFBIG", f"the listing is longer than {LISTING_BYTES} bytes")
    return sorted(items, key=lambda item: str(item["name"]))


def delete(path: str, *, is_recursive: bool) -> None:
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
    elif is_recursive:
        shutil.rmtree(path)
    else:
        os.rmdir(path)
