"""Properties of what reads others' files: any text, any JSON, any bytes end in a value or in one line."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import seeds
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.environment import shown
from modality_synthesis.errors import BadInputError
from modality_synthesis.models.reading import parse_card
from modality_synthesis.models.text import card_text
from modality_synthesis.tables import read_table
from modality_synthesis.training.recipe import read_recipe
from modality_synthesis.volumes import metaimage, nrrd, read_image, read_sidecar, write_rows
from modality_synthesis.volumes.sidecars import sound

pytestmark = pytest.mark.filterwarnings("ignore")
quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

# Anything but half a character, which no file in UTF-8 holds.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in items for found in paths(inner, (*path, key)))]


@st.composite
def altered(draw: st.DrawFn, sound: dict[str, Any]) -> dict[str, Any]:
    """A sound JSON with one value replaced by any other."""
    data = json.loads(json.dumps(sound))
    *parents, last = draw(st.sampled_from([path for path in paths(data) if path]))
    place = data
    for key in parents:
        place = place[key]
    place[last] = draw(values)
    return data


def one_line(error: BadInputError) -> None:
    assert str(error).strip()
    assert len(str(error)) < 2000


def read(name: str, content: bytes | str, reader: Any) -> Any:
    """What a reader makes of a file; None when it refuses it properly."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            return reader(path)
        except BadInputError as error:
            one_line(error)
            return None


@quick
@given(altered(seeds.cards()[1]))
def test_any_card(card: dict[str, Any]) -> None:
    try:
        read_back = parse_card(json.dumps(card).encode(), "model.json")
    except BadInputError as error:
        one_line(error)
        return
    assert card_text(read_back)
    assert parse_card(read_back.model_dump_json().encode(), "model.json") == read_back


@quick
@given(altered(yaml.safe_load(seeds.recipes()[0])))
def test_any_recipe(recipe: dict[str, Any]) -> None:
    read("r.yaml", json.dumps(recipe), read_recipe)


@quick
@given(altered(seeds.SIDECAR))
def test_any_sidecar(record: dict[str, Any]) -> None:
    kept = sound(record)
    assert sound(kept) == kept
    assert isinstance(kept.get("Model", {}), dict)
    assert isinstance(kept.get("Findings", []), list)
    assert read("a.json", json.dumps(record), lambda path: read_sidecar(path.with_suffix(".nii"))) is not None


rows = st.lists(st.lists(texts, min_size=3, max_size=3), min_size=1, max_size=5)


@quick
@given(rows)
def test_any_cells_come_back(cells: list[list[str]]) -> None:
    """What is written is read again, up to spaces, invisible characters and words for numbers."""
    printable = [["".join(filter(str.isprintable, cell)).strip(" \"'#") for cell in row] for row in cells]
    clean = [[cell if cell.isascii() else "x" for cell in row] for row in printable if any(row)]
    records = [{"subject": f"s{number}", "note": f"{row[0]}", "more": f"x{row[1]}"} for number, row in enumerate(clean)]

    def both(path: Path) -> list[dict[str, str]]:
        write_rows(path, records)
        return read_table(path, "table", ("subject",)).records

    if records:
        found = read("t.csv", "", both)
        assert [row["subject"] for row in found] == [row["subject"] for row in records]
        assert [row["more"] for row in found] == [row["more"] for row in records]


@quick
@given(st.binary(max_size=200) | texts.map(str.encode) | rows.map(lambda rows: "\n".join(map(",".join, rows)).encode()))
def test_any_table(content: bytes) -> None:
    read("t.csv", b"subject,age,T1w\n" + content, read_cohort)
    read("t.csv", content, lambda path: read_table(path, "table"))


NRRD = ["sizes", "type", "encoding", "space", "space directions", "byte skip", "kinds", "space origin", "data file"]
META = [
    "DimSize",
    "NDims",
    "ElementType",
    "ElementSpacing",
    "TransformMatrix",
    "Offset",
    "HeaderSize",
    "CompressedData",
]


@quick
@given(st.dictionaries(st.sampled_from(NRRD), texts))
def test_any_nrrd_header(fields: dict[str, str]) -> None:
    sound = {"type": "short", "sizes": "8 8 8", "encoding": "raw", "space": "left-posterior-superior"}
    lines = "".join(f"{key}: {value}\n" for key, value in {**sound, **fields}.items())
    content = f"NRRD0004\n{lines}\n".encode() + bytes(range(256)) * 4
    read("a.nrrd", content, read_image)
    read("a.nrrd", content, nrrd.read_grid)


@quick
@given(st.dictionaries(st.sampled_from(META), texts))
def test_any_metaimage_header(fields: dict[str, str]) -> None:
    sound = {"ObjectType": "Image", "NDims": "3", "DimSize": "8 8 8", "ElementType": "MET_SHORT"}
    lines = "".join(f"{key} = {value}\n" for key, value in {**sound, **fields}.items())
    content = f"{lines}ElementDataFile = LOCAL\n".encode() + bytes(range(256)) * 4
    read("a.mha", content, read_image)
    read("a.mha", content, metaimage.read_grid)


@quick
@given(st.binary(min_size=40, max_size=312), st.integers(0, 300))
def test_any_nifti_header(content: bytes, place: int) -> None:
    sound = seeds.volume(".nii")
    kept = content[: 344 - place] if place < 344 else b""
    read("a.nii", sound[:place] + kept + sound[place + len(kept) :], read_image)


@settings(quick, max_examples=20)
@given(st.text(max_size=40))
def test_any_text_is_shown_without_controls(text: str) -> None:
    assert all(letter.isprintable() or letter in "\n\t" or not letter.isascii() for letter in shown(text))
    assert shown(shown(text)) == shown(text)
