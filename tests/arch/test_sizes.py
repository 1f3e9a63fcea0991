"""Modules stay small enough to hold in mind, and are named by the trade."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_LINES = 450  # chosen: the architecture says "about 400"
CONTRACTS = {"native/include/ct_abi.h"}  # one header for all of C and Python, a section a part
PATTERNS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handlers"}


def _sources() -> list[Path]:
    # include/ holds the one header of the contract with Python, a section for each part of the core
    python = [p for p in (ROOT / "src").rglob("*.py") if "gen" not in p.parts]
    return python + [p for p in (ROOT / "native").rglob("*.[ch]") if not {"build", "include"} & set(p.parts)]


def test_no_module_outgrows_one_subject():
    grown = {str(p.relative_to(ROOT)): n for p in _sources() if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert not grown.keys() - CONTRACTS


def test_modules_are_named_by_the_trade():
    assert not [p for p in _sources() if PATTERNS & {p.stem, *p.relative_to(ROOT).parts[:-1]}]
