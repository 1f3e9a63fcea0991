"""How functions are reached: by their URLs, through every plane."""

from __future__ import annotations

import time

import httpx

STREAMS = """
import time
def handler(event, context):
    yield {"statusCode": 207, "headers": {"Content-Type": "text/event-stream"}}
    for at in range(600):
        yield "data: %d\\n\\n" % at
        time.sleep(0.05)
"""


def test_a_url_answers_as_its_function_produces_and_a_client_that_leaves_stops_it(platform):
    platform.deploy("ticks", STREAMS, timeout_s=60)
    put = platform.http.put("/functions/ticks/url", json={"invoke_mode": "stream"})
    assert put.status_code == 200, put.text
    began_s = time.monotonic()

    def is_streaming() -> bool:
        with platform.http.stream("GET", "/fn/ticks") as answer:
            return answer.status_code == 207 and next(answer.iter_bytes()).startswith(b"data: 0\n\n")

    platform.eventually(is_streaming, within_s=10)
    assert time.monotonic() - began_s < 25  # all of it takes 30

    def is_free() -> bool:
        stats = platform.http.get("/stats").json()
        return all(f["inflight"] == 0 for f in stats["functions"] if f["function"] == "ticks")

    platform.eventually(is_free)


def test_a_url_that_is_open_to_anybody(platform):
    assert platform.http.post("/tenants", json={"id": "plum"}).status_code in (201, 409)
    scope = {"X-Nova-Tenant": "plum", "X-Nova-Namespace": "default"}
    code = "def handler(event, context):\n    return {'statusCode': 200, 'body': context.tenant + event['path']}\n"
    platform.deploy("page", code, headers=scope)
    stranger = httpx.Client(base_url=platform.url, trust_env=False, timeout=20, headers={"Via": "1.1 proxy"})
    with stranger:
        assert stranger.get("/url/plum/default/page/a").status_code == 401
        put = platform.http.put("/functions/page/url", json={"auth": "none"}, headers=scope)
        path = put.json()["path"]
        answer = platform.eventually(lambda: (found := stranger.get(path + "/a")).status_code == 200 and found)
        assert answer.text == "plum/a"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert stranger.post("/functions/page/invoke", json=1).status_code == 401


def test_a_function_that_only_its_url_and_one_other_function_may_call(platform):
    platform.deploy("inner", "def handler(event, context):\n    return 'inner'\n")
    platform.deploy("outer", "def handler(event, context):\n    return context.invoke('inner', event)\n")
    assert platform.output("inner") == "inner"
    policy = {"callers": ["url", "function"], "functions": ["out*"], "deny": ["192.0.2.0/24"]}
    put = platform.http.put("/functions/inner/ingress", json=policy)
    assert put.status_code == 200, put.text

    def refused(path: str) -> bool:
        answer = platform.http.post(path, json={})
        return answer.status_code == 403 and answer.json()["code"] == "ingress_denied"

    platform.eventually(lambda: refused("/functions/inner/invoke"))
    assert refused("/functions/inner/invoke-stream")
    assert refused("/functions/inner/invoke-async")
    assert refused("/functions/inner/invoke-durable")
    assert platform.http.get("/fn/inner").json() == "inner"
    assert platform.output("outer") == "inner"
    platform.http.put("/functions/inner/ingress", json=policy | {"deny": ["127.0.0.0/8", "::1/128"]})
    platform.eventually(lambda: platform.http.get("/fn/inner").status_code == 403)
    platform.http.delete("/functions/inner/ingress")
    platform.eventually(lambda: platform.http.post("/functions/inner/invoke", json={}).status_code == 200)
