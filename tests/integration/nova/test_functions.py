from __future__ import annotations

import base64
import io
import random
import zipfile

import anyio
import pytest

from constellation.nova.domain.function import code_hash
from constellation.nova.domain.runtimes import RUNTIMES

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_a_function_lives_from_create_to_delete(nova):
    created = await nova.deploy("hello", env={"A": "1"}, memory_mb=256)
    assert created["code_version"] == 1
    assert created["version"] == 1
    assert created["handler"] == "main.handler"
    assert created["memory_mb"] == 256
    assert (created["tenant"], created["namespace"]) == ("default", "default")
    assert created["created_at"].endswith("Z")

    read = await nova.http.get("/functions/hello", headers=nova.admin())
    assert read.status_code == 200
    assert read.json() == created

    assert created["preload"] == []
    assert created["backend"] == "auto"
    modules = ["numpy", "pkg.sub_1"]
    preloading = await nova.http.patch(
        "/functions/hello", json={"preload": modules, "backend": "docker"}, headers=nova.admin()
    )
    assert (preloading.json()["preload"], preloading.json()["backend"]) == (modules, "docker")
    changed = await nova.http.patch("/functions/hello", json={"timeout_s": 5, "halted": True}, headers=nova.admin())
    assert changed.status_code == 200
    assert changed.json()["timeout_s"] == 5
    assert changed.json()["halted"] is True
    assert changed.json()["version"] == 3
    assert changed.json()["code_version"] == 1
    assert changed.json()["env"] == {"A": "1"}
    assert changed.json()["preload"] == modules

    gone = await nova.http.delete("/functions/hello", headers=nova.admin())
    assert gone.json() == {"status": "deleted", "name": "hello"}
    for method in ("GET", "PATCH", "DELETE"):
        missing = await nova.http.request(method, "/functions/hello", json={}, headers=nova.admin())
        assert missing.status_code == 404
        assert missing.json()["code"] == "not_found"


async def test_the_version_prefix_is_stripped(nova):
    await nova.deploy("hello")
    assert (await nova.http.get("/v1/functions/hello", headers=nova.admin())).status_code == 200


async def test_code_comes_back_as_it_was_sent(nova):
    files = {
        "app.py": b64("from lib.greet import hi\n\n\ndef go(e, c):\n    return hi()\n"),
        "lib/greet.py": b64("x = 1\n"),
    }
    answer = await nova.http.post(
        "/functions",
        json={"name": "many", "runtime": "python", "files": files, "handler": "app.go"},
        headers=nova.admin(),
    )
    assert answer.status_code == 201, answer.text
    code = (await nova.http.get("/functions/many/code", headers=nova.admin())).json()
    assert code["files"] == files
    assert code["code"] is None
    assert code["code_hash"] == code_hash({path: base64.b64decode(text) for path, text in files.items()})
    assert code["function_id"] == answer.json()["id"]

    text = "def handler(event, context):\n    return 'gr\u00fc\u00df'\n"
    await nova.deploy("one", code=text)
    single = (await nova.http.get("/functions/one/code", headers=nova.admin())).json()
    assert single["code"] == text
    assert list(single["files"]) == ["main.py"]

    blob = base64.b64encode(b"\xff\xfe\x00").decode()
    await nova.http.post(
        "/functions", json={"name": "bin", "runtime": "python", "files": {"main.so": blob}}, headers=nova.admin()
    )
    assert (await nova.http.get("/functions/bin/code", headers=nova.admin())).json()["files"] == {"main.so": blob}


async def test_only_changed_code_gets_a_new_code_version(nova):
    created = await nova.deploy("hello")
    same = "def handler(event, context):\n    return event\n"
    other = same.replace("event\n", "1\n")
    first = (await nova.http.put("/functions/hello/code", json={"code": other}, headers=nova.admin())).json()
    assert first["code_version"] == 2
    assert first["code_hash"] != created["code_hash"]
    again = (await nova.http.put("/functions/hello/code", json={"code": other}, headers=nova.admin())).json()
    assert again["code_version"] == 2
    patched = (await nova.http.patch("/functions/hello", json={"code": same}, headers=nova.admin())).json()
    assert patched["code_version"] == 3
    assert patched["code_hash"] == created["code_hash"]
    moved = await nova.http.put(
        "/functions/hello/code", json={"files": {"a.py": b64("go = print\n")}, "handler": "a.go"}, headers=nova.admin()
    )
    assert (moved.json()["handler"], moved.json()["code_version"]) == ("a.go", 4)


async def test_large_code_is_taken_and_too_large_code_refused(nova):
    noise = base64.b64encode(bytes(9 << 20)).decode()
    body = {"name": "big", "runtime": "python", "files": {"main.py": b64("def handler(e, c): pass\n"), "data": noise}}
    answer = await nova.http.post("/functions", json=body, headers=nova.admin(), timeout=30)
    assert answer.status_code == 201, answer.text
    body = {
        "name": "bigger",
        "runtime": "python",
        "files": {"main.py": b64("x"), "data": noise, "more": noise[: 3 << 20]},
    }
    answer = await nova.http.post("/functions", json=body, headers=nova.admin(), timeout=30)
    assert answer.status_code == 413
    assert answer.json()["limit_bytes"] == 10 << 20


async def test_a_conditional_change_needs_the_row_it_read(nova):
    await nova.deploy("hello")
    first = await nova.http.patch("/functions/hello", json={"version": 1, "memory_mb": 64}, headers=nova.admin())
    assert first.status_code == 200
    stale = await nova.http.patch("/functions/hello", json={"version": 1, "memory_mb": 96}, headers=nova.admin())
    assert stale.status_code == 409
    assert stale.json()["code"] == "version_conflict"
    assert (await nova.http.get("/functions/hello", headers=nova.admin())).json()["memory_mb"] == 64


async def test_of_two_conditional_changes_at_once_one_wins(nova):
    await nova.deploy("hello")
    statuses: list[int] = []

    async def change(memory_mb: int) -> None:
        body = {"version": 1, "memory_mb": memory_mb}
        statuses.append((await nova.http.patch("/functions/hello", json=body, headers=nova.admin())).status_code)

    async with anyio.create_task_group() as tasks:
        for memory_mb in (64, 65, 66, 67):
            tasks.start_soon(change, memory_mb)
    assert sorted(statuses) == [200, 409, 409, 409]
    assert (await nova.http.get("/functions/hello", headers=nova.admin())).json()["version"] == 2


async def test_unconditional_changes_of_different_fields_at_once_all_hold(nova):
    await nova.deploy("hello")
    bodies = [{"memory_mb": 200}, {"cpu_millis": 300}, {"max_pids": 40}, {"description": "both"}]
    statuses = []

    async def change(body: dict[str, object]) -> None:
        statuses.append((await nova.http.patch("/functions/hello", json=body, headers=nova.admin())).status_code)

    async with anyio.create_task_group() as tasks:
        for body in bodies:
            tasks.start_soon(change, body)
    assert statuses == [200] * 4
    function = (await nova.http.get("/functions/hello", headers=nova.admin())).json()
    assert {key: function[key] for body in bodies for key in body} == {k: v for body in bodies for k, v in body.items()}
    assert function["version"] == 5


async def test_a_name_is_taken_once(nova):
    await nova.deploy("hello")
    statuses = []

    async def create() -> None:
        body = {"name": "race", "runtime": "node", "code": "exports.handler = () => 1"}
        statuses.append((await nova.http.post("/functions", json=body, headers=nova.admin())).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(create)
    assert sorted(statuses) == [201, 409, 409, 409]


async def test_a_change_of_nothing_changes_nothing(nova):
    created = await nova.deploy("hello")
    assert (await nova.http.patch("/functions/hello", json={}, headers=nova.admin())).json() == created


async def test_capacity_is_set_read_and_reset(nova):
    await nova.deploy("hello")
    default = (await nova.http.get("/functions/hello/capacity", headers=nova.admin())).json()
    assert default["shed_status_code"] == 429
    wanted = {
        "max_inflight": 5,
        "max_queue_depth": 0,
        "max_queue_wait_s": 1.5,
        "shed_status_code": 503,
        "retry_after_s": 7,
        "breaker_error_percent": 50,
        "breaker_min_samples": 5,
        "breaker_window_s": 30.0,
        "breaker_open_s": 0.1,
        "breaker_probes": 3,
    }
    assert set(default) == set(wanted)
    assert default["breaker_error_percent"] == 0
    put = await nova.http.put("/functions/hello/capacity", json=wanted, headers=nova.admin())
    assert put.status_code == 200
    assert put.json() == wanted
    assert (await nova.http.get("/functions/hello", headers=nova.admin())).json()["capacity"] == wanted
    assert (await nova.http.delete("/functions/hello/capacity", headers=nova.admin())).json() == default


async def test_lists_are_paged_searched_and_counted(nova):
    for place in range(5):
        await nova.deploy(f"f{place}", description="the third" if place == 3 else "")
    await nova.http.post(
        "/functions",
        json={"name": "js", "runtime": "node", "code": "exports.handler = async () => 1"},
        headers=nova.admin(),
    )

    async def names(query: str) -> tuple[list[str], dict[str, object]]:
        page = (await nova.http.get(f"/functions{query}", headers=nova.admin())).json()
        return [item["name"] for item in page["items"]], page["pagination"]

    assert await names("") == (
        ["f0", "f1", "f2", "f3", "f4", "js"],
        {"limit": 100, "offset": 0, "returned": 6, "has_more": False, "total": 6},
    )
    assert await names("?limit=2&offset=1") == (
        ["f1", "f2"],
        {"limit": 2, "offset": 1, "returned": 2, "has_more": True, "total": 6, "next_offset": 3},
    )
    assert (await names("?offset=99"))[0] == []
    assert (await names("?search=THIRD"))[0] == ["f3"]
    assert (await nova.http.get("/functions?search=%25", headers=nova.admin())).status_code == 400
    assert (await names("?runtime=node"))[0] == ["js"]
    runtimes = (await nova.http.get("/runtimes", headers=nova.admin())).json()
    assert [item["id"] for item in runtimes["items"]] == sorted(RUNTIMES)
    assert {item["id"]: item["functions_count"] for item in runtimes["items"] if item["functions_count"]} == {
        "node": 1,
        "python": 5,
    }
    assert all(bool(item["reason"]) == (item["status"] == "unavailable") for item in runtimes["items"])


async def test_head_answers_without_a_body(nova):
    await nova.deploy("hello")
    answer = await nova.http.head("/functions/hello", headers=nova.admin())
    assert answer.status_code == 200
    assert answer.content == b""
    assert (await nova.http.head("/functions/nope", headers=nova.admin())).status_code == 404


async def test_the_openapi_document_needs_no_identity(nova):
    answer = await nova.http.get("/openapi.json", headers=nova.service())
    assert answer.status_code == 200
    assert answer.json()["openapi"] == "3.1.0"


async def test_requests_are_counted(nova):
    await nova.deploy("hello")
    await nova.http.get("/functions/nope", headers=nova.admin())
    value = nova.registry.get_sample_value
    assert value("constellation_nova_requests_total", {"operation": "create_function", "status": "201"}) == 1
    assert value("constellation_nova_requests_total", {"operation": "get_function", "status": "404"}) == 1


def zipped(files: dict[str, bytes]) -> str:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for path, content in files.items():
            made.writestr(path, content)
    return base64.b64encode(out.getvalue()).decode()


async def test_code_comes_in_archives_and_its_files_are_listed(nova):
    files = {"main.py": b"def handler(e, c): pass\n", "lib/Words.txt": "é".encode() * 9, "lib/a": b""}
    body = {"name": "f", "runtime": "python", "archive": zipped(files)}
    made = await nova.http.post("/functions", json=body, headers=nova.admin())
    assert made.status_code == 201, made.text
    listed = (await nova.http.get("/functions/f/files", headers=nova.admin())).json()
    assert [(each["path"], each["size_bytes"]) for each in listed["items"]] == [
        ("lib/Words.txt", 18),
        ("lib/a", 0),
        ("main.py", 24),
    ]
    second = (await nova.http.get("/functions/f/files?limit=1&offset=1", headers=nova.admin())).json()
    assert ([each["path"] for each in second["items"]], second["pagination"]["total"]) == (["lib/a"], 3)
    encoded = {path: base64.b64encode(content).decode() for path, content in files.items()}
    assert (await nova.http.get("/functions/f/code", headers=nova.admin())).json()["files"] == encoded

    for method, path in (("PUT", "/functions/f/code"), ("PATCH", "/functions/f")):
        again = await nova.http.request(method, path, json={"archive": zipped(files)}, headers=nova.admin())
        assert (again.status_code, again.json()["code_version"]) == (200, 1), again.text
    other = {"archive": zipped({"app.py": b"def run(e, c): pass\n"}), "handler": "app.run"}
    changed = await nova.http.put("/functions/f/code", json=other, headers=nova.admin())
    assert (changed.json()["code_version"], changed.json()["handler"]) == (2, "app.run")

    refused = [
        ({"archive": "no base64"}, "archive"),
        ({"archive": base64.b64encode(b"no archive").decode()}, "archive"),
        ({"archive": zipped({"../main.py": b"x", "app.py": b"x"})}, "files"),
        ({"archive": zipped({"other.py": b"x"})}, "handler"),
        ({"archive": zipped(files), "code": "x"}, "code"),
        ({"archive": zipped(files), "files": encoded}, "code"),
    ]
    for wanted, field in refused:
        answer = await nova.http.put("/functions/f/code", json=wanted, headers=nova.admin())
        assert (answer.status_code, answer.json().get("field")) == (400, field), answer.text
    large = zipped({"app.py": random.Random(1).randbytes(6 << 20), "b": random.Random(2).randbytes(5 << 20)})
    answer = await nova.http.put("/functions/f/code", json={"archive": large}, headers=nova.admin())
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large"), answer.text
