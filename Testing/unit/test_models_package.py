"""Packages on disk: written whole or not at all, and verified to the byte."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save
from test_models_card import MAE, example

from modality_synthesis.errors import BadInputError, HashMismatchError
from modality_synthesis.models import load_weights, open_package, verify_package, write_package
from modality_synthesis.models.contents import belongs

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
WEIGHTS = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.tensor([1.5])}


def facts(**changes: object) -> dict:
    """What a caller of `write_package` knows: a card without weights."""
    return {key: value for key, value in example(**changes).items() if key != "weights"}


@pytest.fixture
def package(tmp_path):
    return write_package(tmp_path / "made" / "tiny", facts(), WEIGHTS)


def redeclare(package, content: bytes) -> None:
    """Other weights under the card's own hash, as someone who builds a package by hand could."""
    package.weights_path.write_bytes(content)
    path = package.folder / "model.json"
    card = json.loads(path.read_text())
    card["weights"]["sha256"] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(card))


def test_shared_strided_and_half_precision_tensors_survive(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    weights = {
        "base": base,
        "tied": base,
        "transposed": base.T,
        "slice": base[:, ::2],
        "half": base.to(torch.bfloat16),
        "count": torch.tensor(7),
    }
    package = write_package(tmp_path / "tiny", facts(), weights)
    loaded = load_weights(verify_package(package.folder))
    assert loaded.keys() == weights.keys()
    for name, value in weights.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value)
    assert package.card.weights.parameters == 24 * 4 + 12 + 1


def test_what_is_returned_is_what_is_read(tmp_path):
    training = {**example()["training"], "recipe": {"window": (1, 2)}}
    written = write_package(tmp_path / "tiny", facts(training=training), WEIGHTS)
    assert open_package(written.folder) == written


def test_the_same_package_is_written_to_the_same_bytes(tmp_path):
    one, two = (write_package(tmp_path / name / "tiny", facts(), WEIGHTS).folder for name in "ab")
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


@pytest.mark.parametrize("place", [0, 8, -1])
def test_one_changed_byte_anywhere_in_the_weights_is_found(package, place):
    content = bytearray(package.weights_path.read_bytes())
    content[place] ^= 1
    package.weights_path.write_bytes(content)
    for check in (load_weights, lambda opened: verify_package(opened.folder)):
        with pytest.raises(HashMismatchError, match="SHA-256"):
            check(package)


def test_a_right_hash_does_not_excuse_wrong_contents(package):
    for content, message in (
        (save({"a": torch.zeros(3)}), "holds 3 numbers, but its card says 13"),
        (b"\x80\x04K\x01.", "not a safetensors file"),
        (save(WEIGHTS)[:-1], "not a safetensors file"),
    ):
        redeclare(package, content)
        opened = open_package(package.folder)
        for check in (load_weights, lambda opened: verify_package(opened.folder)):
            with pytest.raises(BadInputError, match=message):
                check(opened)


def test_missing_weights_and_missing_packages_say_so(package, tmp_path):
    package.weights_path.unlink()
    for check in (load_weights, lambda opened: verify_package(opened.folder)):
        with pytest.raises(BadInputError, match=r"has no weights\.safetensors"):
            check(package)
    with pytest.raises(BadInputError, match="not a model package"):
        open_package(tmp_path / "absent")
    archive = tmp_path / "x.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(BadInputError, match="Install it first"):
        open_package(archive)


@pytest.mark.parametrize("name", ["run.py", "weights.pt", "model.pkl", "MODEL.json", "x.tar.json"])
def test_other_files_do_not_belong(package, name):
    (package.folder / name).write_bytes(b"x")
    with pytest.raises(BadInputError, match="does not belong"):
        verify_package(package.folder)


def test_folders_and_links_do_not_belong(package, tmp_path):
    (package.folder / "extra.json").mkdir()
    with pytest.raises(BadInputError, match=r"extra\.json.*does not belong"):
        verify_package(package.folder)
    (package.folder / "extra.json").rmdir()
    (tmp_path / "elsewhere").write_text("x")
    (package.folder / "LICENSE").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInputError, match=r"LICENSE.*does not belong"):
        verify_package(package.folder)


def test_names_that_lead_elsewhere_do_not_belong():
    assert belongs("splits.json")
    for name in ("", "..", "../a.json", "a/b.json", "a\\b.json", "C:a.json", "a.json\n", "a.json\0", "é.json"):
        assert not belongs(name)


def test_extra_files_are_taken_when_they_belong(tmp_path):
    extra = {"LICENSE": b"text", "splits.json": b"{}", "preview.png": PNG}
    package = write_package(tmp_path / "tiny", facts(), WEIGHTS, extra)
    verify_package(package.folder)
    assert all((package.folder / name).read_bytes() == content for name, content in extra.items())
    assert "(preview.png)" in (package.folder / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"run.py": b""}, "does not belong"),
        ({"../LICENSE": b""}, "does not belong"),
        ({"model.json": b"{}"}, "written from the card"),
        ({"preview.png": b"GIF89a"}, "not a PNG"),
        ({"a.json": b"", "A.json": b""}, "twice"),
        ({f"n{index}.json": b"" for index in range(40)}, "more than 32 files"),
    ],
)
def test_a_refused_package_leaves_nothing(tmp_path, extra, message):
    with pytest.raises(BadInputError, match=message):
        write_package(tmp_path / "made" / "tiny", facts(), WEIGHTS, extra)
    assert not (tmp_path / "made").exists()


def test_a_card_that_json_cannot_hold_does_not_replace_a_good_package(package):
    before = {path.name: path.read_bytes() for path in package.folder.iterdir()}
    for change in (
        {"metrics": [{**MAE, "value": math.nan}]},
        {"metrics": [{**MAE, "value": math.inf}]},
        {"generator": {"name": "x", "parameters": {"a": math.nan}}},
        {"generator": {"name": "x", "parameters": {"a": object()}}},
        {"preprocessing": {"target": {"scale": math.nan}}},
    ):
        with pytest.raises(BadInputError, match=r"model\.json"):
            write_package(package.folder, facts(**change), WEIGHTS)
    assert {path.name: path.read_bytes() for path in package.folder.iterdir()} == before


def test_an_interval_that_cannot_be_computed_is_unknown(tmp_path):
    metric = {**MAE, "low": math.nan, "high": math.nan}
    written = write_package(tmp_path / "tiny", facts(metrics=[metric]), WEIGHTS)
    assert open_package(written.folder).card.metrics[0].low is None


def test_a_folder_with_something_else_in_it_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(BadInputError, match="not replaced"):
        write_package(tmp_path / "thesis", facts(), WEIGHTS)
    with pytest.raises(BadInputError, match="is a file"):
        write_package(tmp_path / "thesis" / "chapter.txt", facts(), WEIGHTS)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def test_an_older_package_is_replaced_whole(package):
    (package.folder / "splits.json").write_text("{}")
    write_package(package.folder, facts(version="1.1.0"), {"c": torch.zeros(2)})
    assert verify_package(package.folder).card.version == "1.1.0"
    assert not (package.folder / "splits.json").exists()
    assert [path.name for path in package.folder.parent.iterdir()] == ["tiny"]


def test_verifying_needs_no_torch(package):
    code = (
        "import sys; from modality_synthesis.models import verify_package\n"
        f"verify_package({str(package.folder)!r})\nprint('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_reading_cards_loads_nothing_heavy(package):
    code = (
        "import sys; from modality_synthesis.models import list_models, open_package\n"
        f"open_package({str(package.folder)!r}); list_models()\n"
        "print([name for name in ('torch', 'monai', 'SimpleITK', 'numpy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
