"""The whole API against its own document: whatever is sent, the answer is one that the document lists.

API_EXAMPLES: how many requests are made up for each operation (`make audit-api` has more of them).
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# What a function, or a server in a sandbox, answers through these is its own business: a 502 of theirs is no fault.
FREE = r"^/(fn|sandboxes/\{id\}/ports/\{port\})"
# Whether valid data is accepted depends on what is there, and nothing asks for a credential here. A path of fixed words may
# be one with a name in it, too, and takes the methods of both.
LEFT_OUT = ("positive_data_acceptance", "ensure_resource_availability", "use_after_free", "object_level_authorization",
            "ignored_auth", "missing_required_header", "allow_header_conformance")  # fmt: skip
SHORT = "4"  # chosen: half a minute; always the same requests, so that a failure is the change's
SEED = "20261130"
FOREVER = ("follow_logs", "follow_notifications")  # until the client hangs up


@pytest.mark.timeout(3700)
def test_every_answer_is_one_that_the_document_lists(own_platform, tmp_path):
    own_platform.deploy("x", "def handler(event, context):\n    print(event)\n    return event\n")
    config = tmp_path / "schemathesis.toml"
    left_out = "".join(f"{check}.enabled = false\n" for check in LEFT_OUT)
    free = f"[[operations]]\ninclude-path-regex = '{FREE}'\nchecks.not_a_server_error.enabled = false\n"
    socket = (
        "[[operations]]\ninclude-operation-id = 'sandbox_terminal'\nchecks.negative_data_rejection.enabled = false\n"
    )
    config.write_text(f"[checks]\n{left_out}{free}{socket}")
    examples = os.environ.get("API_EXAMPLES", SHORT)
    extent = ["--phases", "fuzzing", "--seed", SEED] if examples == SHORT else ["--phases", "coverage,fuzzing"]
    ran = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run", f"{own_platform.url}/openapi.json",
            *extent, "--max-examples", examples, "--request-timeout", "30", "--continue-on-failure",
            "--warnings", "off", "--no-shrink", *(word for name in FOREVER for word in ("--exclude-operation-id", name)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100 if examples == SHORT else 3600,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2_000:]
