"""Data-plane routes as zenith reaches them: `ProxyHTTP` into the Quart app."""

from __future__ import annotations

import json

import anyio
import pytest

from constellation.nova.domain.access import Role
from constellation.nova.store.jobs import Failure, Jobs
from constellation.nova.store.pool import connect
from constellation.routes.registry import ROUTES
from constellation.routes.route import Plane, Transport

from .conftest import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

sandbox = [pytest.mark.sandbox, pytest.mark.slow]


def events_of(body: bytes) -> list[tuple[str, str]]:
    """Return (kind, data) of each server-sent event."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = [line.partition(": ")[::2] for line in block.splitlines() if line and not line.startswith(":")]
        if fields:
            kind = next((value for name, value in fields if name == "event"), "message")
            found.append((kind, "\n".join(value for name, value in fields if name == "data")))
    return found


class TestLog:
    async def test_the_log_is_followed_without_gaps(self, thin):
        await thin.deploy("echo", "")
        async with thin.open("GET", "/functions/echo/logs/stream") as stream:
            assert (await stream.recv_message()).status == 200
            ids = [(await thin.invoke("echo", n)).request_id for n in range(50)]
            body = b""
            with anyio.fail_after(20):
                while body.count(b"event: log") < 50:
                    body += (await stream.recv_message()).body
            await stream.cancel()
        assert sorted(json.loads(data)["id"] for _, data in events_of(body)) == sorted(ids)

    async def test_the_past_comes_first_when_asked_for(self, thin):
        await thin.deploy("echo", "")
        first = (await thin.invoke("echo", 1)).request_id
        await recorded(thin, 1)
        async with thin.open("GET", "/functions/echo/logs/stream", query="since=2020-01-01T00:00:00Z") as stream:
            await stream.recv_message()
            second = (await thin.invoke("echo", 2)).request_id
            body = b""
            with anyio.fail_after(20):
                while body.count(b"event: log") < 2:
                    body += (await stream.recv_message()).body
            await stream.cancel()
        assert [json.loads(data)["id"] for _, data in events_of(body)] == [first, second]

    async def test_filters_and_pages(self, thin):
        await thin.deploy("echo", "")
        await thin.deploy("other", "")
        ids = [(await thin.invoke("echo", n)).request_id for n in range(3)]
        await thin.invoke("other", 1)
        await recorded(thin, 4)

        async def page(path, query=""):
            return (await thin.http("GET", path, query=query)).json()

        everything = await page("/invocations")
        assert everything["pagination"] == {"limit": 100, "offset": 0, "returned": 4, "has_more": False, "total": 4}
        mine = await page("/functions/echo/invocations", "limit=2")
        assert [item["id"] for item in mine["items"]] == [ids[2], ids[1]]
        assert (mine["pagination"]["has_more"], mine["pagination"]["next_offset"]) == (True, 2)
        assert len((await page("/invocations", "function=other"))["items"]) == 1
        assert (await page("/invocations", "status=failed"))["items"] == []
        assert len((await page("/functions/echo/logs", "status=ok&since=2020-01-01T00:00:00%2B02:00"))["items"]) == 3
        assert (await page("/functions/echo/logs", "since=2100-01-01T00:00:00Z"))["items"] == []
        assert len((await page("/functions/echo/logs", f"request_id={ids[0]}"))["items"]) == 1
        assert (await page("/functions/other/logs", f"request_id={ids[0]}"))["items"] == []


async def recorded(comet, count):
    with anyio.fail_after(10):
        while (await comet.http("GET", "/invocations")).json()["pagination"]["total"] < count:
            await anyio.sleep(0.02)


async def called(comet, count):
    await comet.deploy("echo", "")
    for n in range(count):
        await comet.invoke("echo", n)
    await recorded(comet, count)


class TestJobs:
    async def test_a_durable_call_is_committed_before_the_answer(self, thin):
        await thin.deploy("echo", "")
        answer = await thin.http("POST", "/functions/echo/invoke-async", body={"payload": {"n": 1}, "max_attempts": 5})
        job = answer.json()
        assert (answer.status, answer.headers["location"]) == (202, f"/async-invocations/{job['id']}")
        assert (job["status"], job["payload"], job["max_attempts"], job["source"]) == ("queued", {"n": 1}, 5, "api")
        assert (await thin.http("GET", answer.headers["location"])).json() == job
        for path in ("/async-invocations", "/functions/echo/async-invocations"):
            listed = (await thin.http("GET", path, query="status=queued")).json()
            assert [item["id"] for item in listed["items"]] == [job["id"]]
        assert (await thin.http("GET", "/async-invocations", query="status=dead")).json()["items"] == []
        assert (await thin.http("DELETE", answer.headers["location"])).status == 204
        assert (await thin.http("GET", answer.headers["location"])).status == 404

    async def test_an_idempotency_key_makes_one_job(self, thin):
        await thin.deploy("echo", "")
        answers = []

        async def call(key_in_header: bool):
            headers = {"Idempotency-Key": "k1"} if key_in_header else {}
            body = {"payload": 1} if key_in_header else {"payload": 1, "idempotency_key": "k1"}
            answers.append(await thin.http("POST", "/functions/echo/invoke-async", body=body, headers=headers))

        async with anyio.create_task_group() as tasks:
            for n in range(6):
                tasks.start_soon(call, n % 2 == 0)
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sorted(answer.status for answer in answers) == [200] * 5 + [202]
        replays = [answer for answer in answers if answer.status == 200]
        assert {answer.headers["x-idempotency-status"] for answer in replays} == {"replay"}

    async def test_a_dead_job_is_put_back_in_line(self, thin, database):
        await thin.deploy("echo", "")
        job = (await thin.http("POST", "/functions/echo/invoke-async", body={"payload": 1})).json()
        where = f"/async-invocations/{job['id']}"
        refused = await thin.http("POST", where + "/retry")
        assert (refused.status, refused.json()["code"]) == (409, "state_conflict")
        async with connect(database.dsn("nebula"), application="tests") as nebula:
            jobs = Jobs(nebula)

            async def kill():
                [claim] = await jobs.claim(owner="w", lease_s=30, limit=1)
                failure = Failure(
                    claim=claim, request_id=None, error=b'{"code":"timeout"}', duration_ms=1.0, retry_after_s=None
                )
                assert await jobs.fail([failure])

            await kill()
            dead = (await thin.http("GET", where)).json()
            assert (dead["status"], dead["error"]) == ("dead", {"code": "timeout"})
            again = (await thin.http("POST", where + "/retry", body={"max_attempts": 7})).json()
            assert (again["status"], again["attempt"], again["max_attempts"]) == ("queued", 0, 7)
            await kill()
            redriven = await thin.http("POST", "/async-invocations/dlq/retry-all", query="function=echo")
            assert redriven.json() == {"retried": 1}
            assert (await thin.http("GET", where)).json()["status"] == "queued"

    async def test_a_paused_queue_stands_still_until_it_is_resumed(self, thin, database):
        await thin.deploy("echo", "")
        await thin.deploy("other", "")
        jobs = {}
        for name in ("echo", "other"):
            jobs[name] = (await thin.http("POST", f"/functions/{name}/invoke-async", body={"payload": 1})).json()["id"]
        async with connect(database.dsn("nebula"), application="tests") as nebula:
            queue = Jobs(nebula)

            async def claimed():
                claims = await queue.claim(owner="w", lease_s=30, limit=10)
                await queue.release(claims)
                return sorted(claim.job.function_name for claim in claims)

            paused = (await thin.http("POST", "/functions/echo/async-invocations/pause")).json()
            assert (paused["function"], paused["is_paused"], paused["queued"]) == ("echo", True, 1)
            assert await claimed() == ["other"]
            whole = (await thin.http("GET", "/async-invocations/summary")).json()
            assert (whole["is_paused"], whole["queued"], list(whole["paused_functions"])) == (False, 2, ["echo"])
            assert (await thin.http("POST", "/async-invocations/pause")).json()["is_paused"] is True
            assert await claimed() == []
            assert await queue.seconds_to_next() is None  # so that nobody asks again and again
            assert (await thin.http("GET", "/functions/other/async-invocations/summary")).json()["is_paused"] is True
            await thin.http("POST", "/async-invocations/resume")
            assert await claimed() == ["other"]
            assert (await thin.http("GET", "/async-invocations/summary", namespace="elsewhere")).json()["queued"] == 0
            await thin.http("POST", "/functions/echo/async-invocations/resume")
            assert await claimed() == ["echo", "other"]
            assert await queue.seconds_to_next() == 0

    async def test_one_job_is_taken_out_of_line_and_put_back(self, thin, database):
        await thin.deploy("echo", "")
        job = (await thin.http("POST", "/functions/echo/invoke-async", body={"payload": 1})).json()
        where = f"/async-invocations/{job['id']}"
        assert (await thin.http("POST", where + "/resume")).status == 409
        assert (await thin.http("POST", where + "/pause")).json()["status"] == "paused"
        assert (await thin.http("POST", where + "/pause")).json()["code"] == "state_conflict"
        async with connect(database.dsn("nebula"), application="tests") as nebula:
            jobs = Jobs(nebula)
            assert await jobs.claim(owner="w", lease_s=30, limit=1) == ()
            assert (await thin.http("POST", where + "/resume")).json()["status"] == "queued"
            [claim] = await jobs.claim(owner="w", lease_s=30, limit=1)
            assert str(claim.job.id) == job["id"]

    @pytest.mark.parametrize(
        ("body", "headers", "status", "field"),
        [
            ({"payload": 1, "colour": "red"}, {}, 400, "colour"),
            ({"max_attempts": 0}, {}, 400, "max_attempts"),
            ({"max_attempts": "three"}, {}, 400, "max_attempts"),
            (b"{", {}, 400, None),
            (b'{"payload": NaN}', {}, 400, None),
            ([], {}, 400, None),
            ({"idempotency_key": "a"}, {"Idempotency-Key": "b"}, 400, "idempotency_key"),
            ({"payload": "x" * (1 << 20)}, {}, 413, None),
            (b"payload=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, None),
        ],
    )
    async def test_what_makes_no_sense_is_refused(self, thin, body, headers, status, field):
        await thin.deploy("echo", "")
        answer = await thin.http("POST", "/functions/echo/invoke-async", body=body, headers=headers)
        assert answer.status == status, answer.body
        assert answer.headers["content-type"] == "application/problem+json"
        if field is not None:
            assert answer.json()["field"] == field
        assert (await thin.http("GET", "/async-invocations")).json()["items"] == []

    async def test_what_would_be_refused_later_is_refused_now(self, thin):
        await thin.deploy("halted", "", halted=True)
        for name, status in (("halted", 403), ("missing", 404)):
            answer = await thin.http("POST", f"/functions/{name}/invoke-async", body={"payload": 1})
            assert answer.status == status


class TestStatistics:
    async def test_figures_of_calls(self, thin):
        await called(thin, 5)
        whole = (await thin.http("GET", "/functions/echo/metrics", query="range=15m")).json()
        assert (whole["total"]["calls"], whole["total"]["errors"], whole["total"]["cold_starts"]) == (5, 0, 1)
        assert whole["statuses"] == {"ok": 5}
        assert whole["step_s"] == 30
        assert sum(step["calls"] for step in whole["series"]) == 5
        assert whole["since"] <= whole["series"][0]["at"] <= whole["until"]
        total = whole["total"]
        assert 0 < total["p50_ms"] <= total["p95_ms"] <= total["p99_ms"] <= total["max_ms"]
        assert (await thin.http("GET", "/metrics/timeseries")).json()["total"]["calls"] == 5
        elsewhere = (await thin.http("GET", "/metrics/timeseries", namespace="other")).json()
        assert (elsewhere["total"]["calls"], elsewhere["total"]["p50_ms"], elsewhere["series"]) == (0, None, [])

    async def test_what_is_slow_and_what_fails(self, thin):
        await called(thin, 3)
        found = (await thin.http("GET", "/functions/echo/diagnostics")).json()
        assert (found["total"]["calls"], found["error_rate"], found["statuses"]) == (3, 0, {"ok": 3})
        assert (found["slow_threshold_ms"], found["slow_calls"]) == (500, [])

    async def test_what_speaks_against_the_settings(self, thin):
        await called(thin, 3)
        found = (await thin.http("GET", "/functions/echo/recommendations")).json()
        assert (found["calls"], found["days"], found["version"], found["recommendations"]) == (3, 7, 1, [])
        months = (await thin.http("GET", "/functions/echo/recommendations", query="days=90")).json()
        assert months["days"] == 30  # so long calls are kept
        elsewhere = await thin.http("GET", "/functions/echo/recommendations", namespace="other")
        assert (elsewhere.status, elsewhere.json()["code"]) == (404, "not_found")
        for days in ("0", "91", "x"):
            refused = await thin.http("GET", "/functions/echo/recommendations", query=f"days={days}")
            assert (refused.status, refused.json()["field"]) == (400, "days")

    async def test_days_and_cost(self, thin):
        await called(thin, 4)
        for path in ("/functions/echo/heatmap", "/metrics/heatmap"):
            [day] = (await thin.http("GET", path, query="days=2")).json()["days"]
            assert (day["calls"], day["errors"]) == (4, 0)
        cost = (await thin.http("GET", "/functions/echo/cost")).json()
        assert cost["calls"] == 4
        assert cost["calls_cost"] == pytest.approx(4 * 2e-7)
        assert cost["total_cost"] == pytest.approx(cost["calls_cost"] + cost["gb_seconds"] * 1.667e-5)
        summary = (await thin.http("GET", "/cost/summary")).json()
        assert [each["function"] for each in summary["functions"]] == ["echo"]
        assert summary["total_cost"] == pytest.approx(cost["total_cost"])

    @pytest.mark.parametrize("range_", ["", "0m", "5", "5s", "1000d", "-1h", "5m5m"])
    async def test_a_range_that_makes_no_sense_is_refused(self, thin, range_):
        answer = await thin.http("GET", "/metrics/timeseries", query=f"range={range_}")
        assert (answer.status, answer.json()["field"]) == (400, "range")

    async def test_instances_are_begun_before_calls_come(self, thin):
        await thin.deploy("echo", "")
        begun = await thin.http("POST", "/functions/echo/prewarm", body={"target": 2})
        assert begun.status == 202
        assert begun.json()["booting"] + begun.json()["ready"] == 2

        async def ready():
            [stats] = (await thin.http("GET", "/stats")).json()["functions"]
            return stats["idle"] == 2

        await eventually(ready)
        again = (await thin.http("POST", "/functions/echo/prewarm", body={"target": 2})).json()
        assert (again["ready"], again["booting"]) == (2, 0)
        assert (await thin.http("POST", "/functions/echo/prewarm", body={"target": 0})).status == 400
        await thin.deploy("halted", "", halted=True)
        assert (await thin.http("POST", "/functions/halted/prewarm")).json()["code"] == "halted"


class TestRequests:
    @pytest.mark.parametrize(
        ("path", "query", "field"),
        [
            ("/invocations", "limit=0", "limit"),
            ("/invocations", "limit=501", "limit"),
            ("/invocations", "offset=-1", "offset"),
            ("/invocations", "limit=1&limit=2", "limit"),
            ("/invocations", "since=yesterday", "since"),
            ("/invocations", "since=0001-01-01T00:00:00%2B01:00", "since"),
            ("/invocations", "since=2025-01-01T00:00:00", "since"),
            ("/invocations", "request_id=7", "request_id"),
            ("/invocations", "status=no%00", "status"),
            ("/invocations", "colour=red", "colour"),
            ("/async-invocations", "status=odd", "status"),
            ("/async-invocations/not-a-uuid", "", "id"),
            ("/functions/a%2Fb/logs", "", "name"),
            ("/functions/%00/logs", "", "name"),
        ],
    )
    async def test_a_bad_question_names_its_field(self, thin, path, query, field):
        answer = await thin.http("GET", path, query=query)
        assert (answer.status, answer.json()["field"]) == (400, field), answer.body

    async def test_unknown_paths_and_methods(self, thin):
        assert (await thin.http("GET", "/functions")).json()["code"] == "route_not_found"  # nova's
        answer = await thin.http("PUT", "/async-invocations")
        assert (answer.status, answer.headers["allow"]) == (405, "GET")

    async def test_each_route_asks_for_its_permission(self, thin):
        nobody = {"role": Role.VIEWER}
        for route in ROUTES:
            if route.plane is not Plane.COMET or route.transport is not Transport.PROXY:
                continue
            path = route.template.replace("{", "").replace("}", "")
            answer = await thin.http(route.method, path, tenant="default", **nobody) if not route.streams else None
            if answer is not None and route.permission.value in ("function:invoke", "config:read"):
                assert (answer.status, answer.json()["code"]) == (403, "forbidden"), route.operation

    async def test_backends_and_stats(self, thin):
        await thin.deploy("echo", "")
        await thin.invoke("echo", 1)
        [backend] = (await thin.http("GET", "/backends")).json()["backends"]
        assert (backend["name"], backend["available"], backend["is_default"]) == ("fake", True, True)
        stats = (await thin.http("GET", "/stats")).json()
        assert stats["functions"] == [
            {"function": "echo", "idle": 1, "busy": 0, "booting": 0, "inflight": 0, "queued": 0}
        ]
        assert (await thin.http("GET", "/stats", namespace="other")).json()["functions"] == []
