"""docs/robustness.md and SECURITY.md name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parents[1]
PAGES = (TESTING.parent / "docs" / "robustness.md", TESTING.parent / "SECURITY.md")
_NAMED = re.compile(r"(?P<file>[A-Za-z_/]*test_\w+\.py)?::(?P<name>test_\w+|…)|(?P<alone>[A-Za-z_/]*test_\w+\.py)")


def rows() -> list[str]:
    lines = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    heads = ("| situation", "| threat", "|---")
    return [line for line in lines if line.startswith("| ") and not line.startswith(heads)]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in TESTING.rglob("test_*.py")}


def test_every_row_names_a_test() -> None:
    above = False
    for row in rows():
        cell = row.rstrip().rstrip("|").rpartition("|")[2]
        assert _NAMED.search(cell) or (above and cell.strip().startswith("same")), row
        above = True


def test_the_tests_that_are_named_exist(sources: dict[str, str]) -> None:
    file = ""
    for row in rows():
        for found in _NAMED.finditer(row.rpartition("|")[0].rpartition("|")[2]):
            file = Path(found["file"] or found["alone"] or file).name
            assert file in sources, row
            if found["name"] and found["name"] != "…":
                assert f"def {found['name']}" in sources[file], f"{file}::{found['name']}"
