"""Try several solutions of one task at once: each in a fork of one prepared sandbox, the fastest that is right wins."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from constellation.client import Client, ExecEnd, SandboxCreate, SandboxExec, SandboxFile

CHECK = """
import random, time
from solution import primes
assert primes(30) == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29], "wrong"
began = time.process_time()
primes(int(open("limit").read()))
print(f"{time.process_time() - began:.3f}")
"""
SOLUTIONS = {
    "sieve": """
def primes(n):
    is_prime = bytearray([1]) * n
    for p in range(2, int(n ** 0.5) + 1):
        if is_prime[p]:
            is_prime[p * p::p] = bytes(len(range(p * p, n, p)))
    return [p for p in range(2, n) if is_prime[p]]
""",
    "division": """
def primes(n):
    return [p for p in range(2, n) if all(p % d for d in range(2, int(p ** 0.5) + 1))]
""",
    "wrong": """
def primes(n):
    return [2] + list(range(3, n, 2))
""",
}


def run(client: Client, sandbox_id: object, command: str) -> tuple[ExecEnd | None, str]:
    """Run a command and return how it ended and what it wrote."""
    text, end = "", None
    with client.exec_sandbox(sandbox_id, SandboxExec(command=command, timeout_s=120)) as pieces:
        for piece in pieces:
            text += (piece.stdout or "") + (piece.stderr or "")
            end = piece.exit or end
    return end, text


def attempt(client: Client, prepared: object, code: str) -> float | None:
    """Return how long a solution takes, None when it is wrong. Whatever it does, it does to its own fork."""
    fork = client.fork_sandbox(prepared, ttl_s=300).sandbox
    try:
        client.write_sandbox_file(fork.id, "solution.py", code.encode())
        end, text = run(client, fork.id, "python check.py")
        return float(text) if end is not None and end.exit_code == 0 else None
    finally:
        client.delete_sandbox(fork.id)


def main() -> None:
    server = os.environ.get("ZENITH_URL", "http://localhost:9000")
    with Client(server, api_key=os.environ.get("NOVA_API_KEY")) as client:
        files = [SandboxFile(path="check.py", text=CHECK), SandboxFile(path="limit", text=sys.argv[1])]
        prepared = client.create_sandbox(SandboxCreate(memory_mb=128, disk_mb=16, ttl_s=600, files=files))
        try:
            with ThreadPoolExecutor() as pool:
                taken = dict(
                    zip(SOLUTIONS, pool.map(lambda code: attempt(client, prepared.id, code), SOLUTIONS.values()))
                )
        finally:
            client.delete_sandbox(prepared.id)
    for name, seconds in sorted(taken.items(), key=lambda item: item[1] or float("inf")):
        print(f"{name:<10}", "wrong" if seconds is None else f"{seconds:.3f} s")


if __name__ == "__main__":
    main()
