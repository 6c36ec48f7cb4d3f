"""The check of a whole cohort: remembered by contents, cached where it can be, told to whoever asks."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from modality_synthesis import fingerprint as fingerprint_room
from modality_synthesis.cli import app
from modality_synthesis.datasets import cache, cohort_check
from modality_synthesis.datasets.cache_folder import CACHE_VARIABLE, cache_folder
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.datasets.cohort_check import screen
from modality_synthesis.datasets.contents import INDEX, content_hashes
from modality_synthesis.datasets.visit_check import Request
from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.fingerprint import fingerprint
from modality_synthesis.preprocessing import BrainMask, ChainParameters, Normalize, TargetMapping


@pytest.fixture
def looked_at(monkeypatch):
    """The visits that were really looked at."""
    names = []

    def look(visit, request):
        names.append(visit.name)
        return [("T1w", Finding("contrast", "refuse", f"{visit.name}: no."))] if visit.name == "bad" else []

    monkeypatch.setattr(cohort_check, "check_visit", look)
    return names


def visits(folder, *names):
    for name in names:
        (folder / f"{name}.nii").write_text(name)
    return [Visit(name, volumes={"T1w": folder / f"{name}.nii"}) for name in names]


def test_what_was_found_is_remembered_until_a_volume_changes(tmp_path, looked_at):
    cohort, request = visits(tmp_path, "good", "bad"), Request()
    first = screen(cohort, request, tmp_path / ".cache", jobs=1)
    assert [visit.name for visit in first.usable()] == ["good"]
    again = screen(cohort, request, tmp_path / ".cache", jobs=1)
    assert looked_at == ["good", "bad"]
    assert [visit.name for visit in again.usable()] == ["good"]
    assert again.findings.reasons(cohort[1]) == first.findings.reasons(cohort[1])
    (tmp_path / "good.nii").write_text("other")
    screen(cohort, request, tmp_path / ".cache", jobs=1)
    assert looked_at == ["good", "bad", "good"]
    screen(cohort, Request(quantity="SUVR"), tmp_path / ".cache", jobs=1)
    assert looked_at[3:] == ["good", "bad"]


def test_a_changed_file_is_noticed_when_its_size_and_time_are_the_old_ones(tmp_path, looked_at):
    cohort = visits(tmp_path, "good")
    path = tmp_path / "good.nii"
    screen(cohort, Request(), tmp_path / ".cache", jobs=1)
    before = os.stat(path)
    path.write_text("doog")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    screen(cohort, Request(), tmp_path / ".cache", jobs=1)
    assert looked_at == ["good", "good"]


def test_a_touched_file_is_not_looked_at_again(tmp_path, looked_at):
    cohort = visits(tmp_path, "good")
    screen(cohort, Request(), tmp_path / ".cache", jobs=1)
    os.utime(tmp_path / "good.nii")
    screen(cohort, Request(), tmp_path / ".cache", jobs=1)
    assert looked_at == ["good"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": 1}'])
def test_a_damaged_memory_is_made_again(tmp_path, looked_at, damage):
    cohort = visits(tmp_path, "bad")
    screen(cohort, Request(), tmp_path / ".cache", jobs=1)
    for path in (tmp_path / ".cache" / "checks").glob("*.json"):
        path.write_bytes(damage)
    (tmp_path / ".cache" / INDEX).write_bytes(damage)
    assert screen(cohort, Request(), tmp_path / ".cache", jobs=1).usable() == []
    assert looked_at == ["bad", "bad"]


def test_another_program_looks_again(tmp_path, looked_at, monkeypatch):
    cohort = visits(tmp_path, "good")
    screen(cohort, Request(), tmp_path / ".cache", jobs=1)
    monkeypatch.setattr(fingerprint_room, "RESULTS_VERSION", 10_000)
    screen(cohort, Request(), tmp_path / ".cache", jobs=1)
    assert looked_at == ["good", "good"]


def test_hashes_are_those_of_the_contents(tmp_path):
    cohort = visits(tmp_path, "a", "b")
    shutil.copy(tmp_path / "a.nii", tmp_path / "c.nii")
    paths = [*(visit.volumes["T1w"] for visit in cohort), tmp_path / "c.nii", tmp_path / "missing.nii"]
    found = content_hashes(paths, tmp_path)
    assert found[paths[0]] == found[paths[2]] != found[paths[1]]
    assert paths[3] not in found


def test_a_fingerprint_is_of_facts_and_program(monkeypatch):
    assert fingerprint(a=1, b=[2]) == fingerprint(b=[2], a=1) != fingerprint(a=2, b=[2])
    before = fingerprint(a=1)
    monkeypatch.setattr(fingerprint_room, "__version__", "99")
    assert fingerprint(a=1) != before


# Where the cache is


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ("scan\tquality\n1\tgood\n", "a qc table has the columns"),
        ("subject\tdecision\trater\na\t\tme\n", "has the column.s. rater, .*would be lost"),
    ],
)
def test_a_table_of_somebody_else_in_the_place_of_qc_is_refused_before_a_volume_is_looked_at(
    tmp_path, looked_at, contents, said
):
    (tmp_path / "qc.tsv").write_text(contents)
    with pytest.raises(BadInputError, match=said):
        screen(visits(tmp_path, "a"), Request(), None, tables=[tmp_path / "qc.tsv"], jobs=1)
    assert looked_at == []
    assert (tmp_path / "qc.tsv").read_text() == contents


def test_the_cache_is_named_or_beside_the_table_or_the_user_s(tmp_path, monkeypatch):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    table = tmp_path / "cohort" / "cohort.csv"
    table.parent.mkdir()
    assert cache_folder(table) == table.parent / ".cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "variable"))
    assert cache_folder(table) == tmp_path / "variable"
    assert cache_folder(table, tmp_path / "named") == tmp_path / "named"


def no_room_beside(monkeypatch, *allowed):
    """Folders that cannot be written, as read-only mounts are; root may write into anything else."""
    from modality_synthesis.datasets import cache_folder as room

    real = room._objection
    monkeypatch.setattr(room, "_objection", lambda folder: real(folder) if any(
        folder.is_relative_to(place) for place in allowed) else "read-only file system")  # fmt: skip


def test_beside_a_read_only_table_the_user_s_cache_serves_and_tables_do_not_share_it(tmp_path, monkeypatch):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    no_room_beside(monkeypatch, tmp_path / "user")
    folders = {cache_folder(tmp_path / name / "cohort.csv") for name in ("one", "two")}
    assert len(folders) == 2
    assert all(folder.is_relative_to(tmp_path / "user") for folder in folders)


def test_without_any_place_the_option_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    no_room_beside(monkeypatch)
    with pytest.raises(BadInputError, match=f"--cache FOLDER.*{CACHE_VARIABLE}"):
        cache_folder(tmp_path / "cohort.csv")
    assert cache_folder(tmp_path / "cohort.csv", needed=False) is None
    with pytest.raises(BadInputError, match=r"\(--cache\) cannot be written: read-only"):
        cache_folder(tmp_path / "cohort.csv", tmp_path / "named")


# The command


def command(*arguments):
    ran = CliRunner().invoke(app, ["cohort", *map(str, arguments), "--jobs", "1", "--progress", "json"])
    return ran.exit_code, [json.loads(line) for line in ran.stdout.splitlines()]


def table(folder, *names):
    visits(folder, *names)
    path = folder / "cohort.csv"
    path.write_text("subject,T1w\n" + "".join(f"{name},{name}.nii\n" for name in names))
    return path


def test_check_says_all_and_its_code_says_how_many(tmp_path, looked_at):
    code, messages = command(table(tmp_path, "good", "fine"), "--check")
    assert (code, messages[-1]["left_out"]) == (0, 0)
    code, messages = command(table(tmp_path, "good", "bad"), "--check", "-o", tmp_path / "found" / "qc.tsv")
    assert (code, messages[-1]["left_out"], messages[-1]["visits"]) == (3, 1, 2)
    assert [row["code"] for row in messages[-1]["qc"]] == ["checked", "contrast"]
    assert "contrast" in (tmp_path / "found" / "qc.tsv").read_text()
    assert command(table(tmp_path, "bad"), "--check")[0] == 1


def test_check_writes_no_table_of_its_own_accord(tmp_path, looked_at):
    path = table(tmp_path, "bad")
    command(path, "--check")
    assert not list(tmp_path.rglob("qc.tsv"))


def test_check_hears_decisions_beside_the_table(tmp_path, looked_at):
    path = table(tmp_path, "good", "bad")
    (tmp_path / "qc.tsv").write_text("subject\tmodality\tcode\tdecision\nbad\tT1w\tcontrast\taccept\n")
    assert command(path, "--check")[0] == 0


def test_check_takes_a_bids_folder_and_leaves_no_trace_in_it(tmp_path, looked_at):
    folder = tmp_path / "bids" / "sub-good" / "anat"
    folder.mkdir(parents=True)
    (folder / "sub-good_T1w.nii").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    assert command(tmp_path / "bids", "--check")[0] == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert looked_at == ["sub-good"]


def test_the_volumes_of_a_bids_folder_are_found(tmp_path, monkeypatch):
    folder = tmp_path / "bids" / "sub-1" / "anat"
    folder.mkdir(parents=True)
    (folder / "sub-1_T1w.nii").write_text("no volume")
    monkeypatch.chdir(tmp_path)
    for place in ("bids", tmp_path / "bids"):
        code, lines = command(place, "--check")
        codes = [line["code"] for line in lines if line["type"] == "finding"] or str(lines)
        assert code == 1
        assert "missing" not in codes
        assert "unreadable" in codes


def test_a_table_without_volumes_can_not_be_used(tmp_path):
    (tmp_path / "c.csv").write_text("subject,age\nA,70\nB,71\n")
    code, lines = command(tmp_path / "c.csv", "--check")
    said = [line["message"] for line in lines if line["type"] == "finding" and line["code"] == "missing"] or str(lines)
    assert code == 1
    assert "A has no volume in the table." in str(said)


def test_what_is_no_cohort_is_an_error_of_one_line(tmp_path, looked_at):
    for place in (tmp_path / "missing.csv", tmp_path):
        code, messages = command(place, "--check")
        assert (code, messages[-1]["type"]) == (1, "error")
    code, messages = command(tmp_path)
    assert (code, messages[-1]["type"]) == (2, "error")
    assert "--check" in messages[-1]["message"]


# Preprocessed rows

CHAIN = ChainParameters(source=(BrainMask(), Normalize(method="z-score")), target=TargetMapping())


@pytest.fixture
def made(monkeypatch):
    """The visits that were really preprocessed; what comes out is made up."""
    from safetensors.numpy import save_file

    names = []

    def prepare(pair, **_):
        names.append(pair.visit.name)
        save_file({"source": np.zeros((2, 2, 2), np.float16)}, pair.path)
        row = cache.Row((), cache.file_sha256(pair.path))
        cache._write_row(pair.path, row)
        return row

    monkeypatch.setattr(cache, "_preprocess", prepare)
    return names


def pairs_of(tmp_path, **settings):
    (tmp_path / "t1.nii").touch()
    volumes = {"T1w": tmp_path / "t1.nii", "FDG-PET": tmp_path / "pet.nii"}
    chosen = {"chain": CHAIN, "quantity": "SUVR", **settings}
    return cache.preprocess_pairs([Visit("x", volumes=volumes)], "T1w", "FDG-PET", folder=tmp_path / ".cache", jobs=1,
                                  **chosen)  # fmt: skip


def test_a_row_is_preprocessed_once_and_again_for_everything_it_is_made_from(tmp_path, made, monkeypatch):
    (tmp_path / "pet.nii").write_text("pet")
    (first,) = pairs_of(tmp_path)
    pairs_of(tmp_path)
    assert made == ["x"]
    (tmp_path / "pet.nii").write_text("tep")  # another content of the same length
    (second,) = pairs_of(tmp_path)
    assert second.path != first.path
    pairs_of(tmp_path, chain=CHAIN.model_copy(update={"target": TargetMapping(mask_margin_mm=4.0)}))
    pairs_of(tmp_path, quantity=None)
    monkeypatch.setattr(fingerprint_room, "RESULTS_VERSION", 10_000)
    pairs_of(tmp_path)
    assert made == ["x"] * 5


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no row", "torn row"])
def test_a_damaged_row_is_made_again(tmp_path, made, damage):
    (tmp_path / "pet.nii").write_text("pet")
    (pair,) = pairs_of(tmp_path)
    content, row = pair.path.read_bytes(), pair.path.with_suffix(".json")
    if damage == "truncated":
        pair.path.write_bytes(content[:-4])
    elif damage == "flipped":
        pair.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "no row":
        row.unlink()
    else:
        row.write_text(row.read_text()[:10])
    pairs_of(tmp_path)
    assert made == ["x", "x"]
    pairs_of(tmp_path)
    assert made == ["x", "x"]


def test_refusals_are_remembered_with_the_row(tmp_path):
    """Nothing like a head: refused while preparing, and from the memory the next time."""
    rng = np.random.default_rng(0)
    for name in ("t1.nii", "pet.nii"):
        image = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(rng.normal(100, 20, (24, 24, 24))), 2.0)
        image.SetSpacing((8.0,) * 3)
        sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat32), str(tmp_path / name))
    with pytest.raises(BadInputError):
        pairs_of(tmp_path)
    visit = Visit("x", volumes={"T1w": tmp_path / "t1.nii", "FDG-PET": tmp_path / "pet.nii"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort_check, "check_visit", lambda visit, request: [])
        screening = screen([visit], Request(), None, jobs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_preprocess", lambda pair, **_: pytest.fail("the row was made again"))
        kept = cache.preprocess_pairs(
            [visit], "T1w", "FDG-PET", CHAIN, tmp_path / ".cache", quantity="SUVR", screening=screening, jobs=1
        )
    assert kept == []
    assert [visit.name for visit in screening.left_out] == ["x"]
