"""Volumes, sidecars, tables and names that somebody made to do harm: bombs, lies about sizes, pipes, other people's
files, formulas and control characters."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import seeds
import SimpleITK as sitk

from modality_synthesis import environment
from modality_synthesis.console import LineReporter
from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.batch_page import write_batch_page
from modality_synthesis.evaluation.figures.style import figure_bytes, new_figure, value_window
from modality_synthesis.foreign_weights import load_foreign_weights
from modality_synthesis.json_files import read_json_object
from modality_synthesis.models import download as downloads
from modality_synthesis.models import install_model
from modality_synthesis.models.package import write_package
from modality_synthesis.progress import Reporter
from modality_synthesis.synthesis.batch import Row
from modality_synthesis.tables import read_table, unsafe_name
from modality_synthesis.training.recipe import read_recipe, recorded
from modality_synthesis.volumes import (
    atomic_files,
    atomic_folder,
    file_sha256,
    read_image,
    read_mark,
    read_sidecar,
    sniff,
    write_rows,
    write_sidecar,
)
from modality_synthesis.volumes import payload as payloads
from modality_synthesis.volumes.dicom_files import _Within
from modality_synthesis.volumes.stated import stated_modalities


def nifti(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, 6) if path.suffix == ".gz" else content)
    return path


def changed(content: bytes, place: int, form: str, *values: float) -> bytes:
    data = bytearray(content)
    struct.pack_into(form, data, place, *values)
    return bytes(data)


def refusal(path: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert path.name.split(".")[0] in str(caught.value)
    return str(caught.value)


# Bombs and lies


def test_what_follows_the_announced_voxels_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "_RATIO_MATTERS_FROM", 1 << 16)
    few = nifti(tmp_path / "few.nii.gz", seeds.volume(".nii") + bytes(1 << 12))
    assert read_image(few).GetSize() == (12, 10, 9)
    assert "unpacks to far more" in refusal(nifti(tmp_path / "bomb.nii.gz", seeds.volume(".nii") + bytes(1 << 20)))


def test_a_compressed_block_is_unpacked_piece_by_piece() -> None:
    packed = io.BytesIO(gzip.compress(bytes(40 << 20), 6))
    assert max(len(block) for block in payloads._unpacked(packed)) <= 1 << 20


def test_a_size_that_no_file_of_this_length_can_hold(tmp_path: Path) -> None:
    content = changed(seeds.volume(".nii"), 42, "<hhh", 1000, 1000, 1000)
    assert "unpacks to far more" in refusal(nifti(tmp_path / "a.nii.gz", content))
    assert "truncated" in refusal(nifti(tmp_path / "b.nii", content))
    assert "more than any head" in refusal(nifti(tmp_path / "c.nii", changed(content, 42, "<hhh", *[32767] * 3)))


@pytest.mark.parametrize("place", [280, 284, 292, 296, 312, 320])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1e38])
def test_an_sform_that_kept_itk_going_for_ever(tmp_path: Path, place: int, value: float) -> None:
    """ITK's decomposition of a matrix with an infinite entry never ends."""
    path = nifti(tmp_path / "a.nii", changed(seeds.volume(".nii"), place, "<f", value))
    assert read_image(path).GetSize() == (12, 10, 9)  # by its qform


def dicom(folder: Path, contents: list[bytes]) -> Path:
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f"{number}.dcm").write_bytes(content)
    return folder


def test_a_deflated_data_set_of_zeros(tmp_path: Path) -> None:
    header, data = seeds.deflated_parts()
    bomb = seeds.deflated_again(header, data + bytes(40 << 20))
    folder = dicom(tmp_path / "bomb", [*seeds.dicom_slices("deflated")[:8], bomb])
    with pytest.raises(BadInputError, match=r"8\.dcm unpacks to far more"):
        read_image(folder)
    assert read_mark(folder / "8.dcm") is None


@pytest.mark.parametrize(("keyword", "value"), [("NumberOfFrames", 2**31), ("Rows", 65535), ("Columns", 65535)])
@pytest.mark.parametrize("form", ["explicit", "deflated", "rle"])
def test_pixels_that_a_file_has_no_room_for(tmp_path: Path, keyword: str, value: int, form: str) -> None:
    import pydicom

    data = pydicom.dcmread(io.BytesIO(seeds.dicom_slices(form)[0]))
    setattr(data, keyword, value)
    if form == "deflated" and keyword != "NumberOfFrames":
        data.NumberOfFrames = 1000
    if form == "rle" and keyword != "NumberOfFrames":
        data.NumberOfFrames = 1000
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    with pytest.raises(BadInputError, match="too small"):
        read_image(dicom(tmp_path / "a", [stream.getvalue(), *seeds.dicom_slices(form)[1:]]))


def test_a_fragment_longer_than_its_file(tmp_path: Path) -> None:
    content = seeds.dicom_slices("rle")[0]
    place = content.index(b"\xfe\xff\x00\xe0", content.index(b"\xe0\x7f\x10\x00")) + 8
    place = content.index(b"\xfe\xff\x00\xe0", place) + 4
    lying = changed(content, place, "<I", 0xFFFFFFF0)
    rest = list(seeds.dicom_slices("rle")[1:])
    sound = sitk.GetArrayFromImage(read_image(dicom(tmp_path / "a", [content, *rest])))
    folder = dicom(tmp_path / "b", [lying, *rest])
    assert (sitk.GetArrayFromImage(read_image(folder)) == sound).all()
    with (folder / "0.dcm").open("rb") as stream:
        within = _Within(stream)
        within.seek(100)
        assert len(within.read(0xFFFFFFF0)) == len(content) - 100
        assert within.read(1 << 40) == b""


def test_a_compressed_image_of_another_size_than_its_header_s(tmp_path: Path) -> None:
    content = seeds.dicom_slices("jpeg2000")[0]
    lying = changed(content, content.index(b"\xff\x4f\xff\x51") + 8, ">II", 60000, 60000)
    folder = dicom(tmp_path / "a", [lying, *seeds.dicom_slices("jpeg2000")[1:]])
    with pytest.raises(BadInputError, match=r"0\.dcm.*60000x60000 pixels"):
        read_image(folder)


def test_a_large_cohort_is_read_in_proportion_to_its_rows(tmp_path: Path) -> None:
    table = tmp_path / "c.csv"
    table.write_text("subject,session,T1w\n" + "".join(f"s{n},v,a{n}.nii\n" for n in range(5000)))
    assert len(read_cohort(table)) == 5000
    with table.open("ab") as stream:
        stream.truncate(65 << 20)
    with pytest.raises(BadInputError, match="larger than 64 MB"):
        read_cohort(table)


# Pipes, and data of others


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.dcm"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    for ask in (read_image, sniff, file_sha256):
        with pytest.raises(BadInputError, match="pipe or device"):
            ask(tmp_path / name)
    assert read_mark(tmp_path / name) is None
    assert [said for said in stated_modalities(tmp_path / name) if said.where != "file name"] == []


def test_pipes_beside_a_volume_and_as_recipe(tmp_path: Path) -> None:
    volume = nifti(tmp_path / "a.nii", seeds.volume(".nii"))
    os.mkfifo(tmp_path / "a.json")
    os.mkfifo(tmp_path / "r.yaml")
    assert read_sidecar(volume) == {}
    with pytest.raises(BadInputError, match="pipe or device"):
        read_recipe(tmp_path / "r.yaml")


def detached(folder: Path, ending: str, named: str, data: str = "a.raw") -> Path:
    folder.mkdir(exist_ok=True)
    kind = ".nrrd" if ending in (".nhdr", ".nrrd") else ".mha"
    header, voxels = seeds.divided(seeds.volume(kind), b"\n\n" if kind == ".nrrd" else b"LOCAL\n")
    line = f"\ndata file: {named}\n\n".encode()
    text = header.rstrip(b"\n") + line if kind == ".nrrd" else header.replace(b"LOCAL", named.encode())
    (folder / f"a{ending}").write_bytes(text)
    (folder / data).write_bytes(voxels)
    return folder / f"a{ending}"


@pytest.mark.parametrize("ending", [".nhdr", ".nrrd", ".mhd", ".mha"])
def test_a_header_reads_its_own_folder_only(tmp_path: Path, ending: str) -> None:
    inside = detached(tmp_path / "in", ending, "a.raw")
    assert read_image(inside).GetSize() == (12, 10, 9)
    for named in ("../in/a.raw", str(tmp_path / "in" / "a.raw"), "/etc/passwd"):
        path = detached(tmp_path / "out", ending, named)
        assert "outside its own folder" in refusal(path)
        if ending in (".nhdr", ".mhd"):
            with pytest.raises(BadInputError, match="outside"):
                file_sha256(path)


@pytest.mark.parametrize("ending", [".nhdr", ".nrrd", ".mhd", ".mha"])
def test_a_hash_covers_detached_voxels(tmp_path: Path, ending: str) -> None:
    path = detached(tmp_path / "a", ending, "a.raw")
    before = file_sha256(path)
    data = bytearray((tmp_path / "a" / "a.raw").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a" / "a.raw").write_bytes(data)
    assert file_sha256(path) != before


# JSON of others

ODD = ["[]", "3", '"x"', "null", '{"a":' * 100_000, "{", '{"Model": 3, "Findings": 4, "Warnings": 5, "Quality": "x"}']


@pytest.mark.parametrize("text", ODD)
def test_an_odd_sidecar_says_nothing(tmp_path: Path, text: str) -> None:
    volume = nifti(tmp_path / "a.nii", seeds.volume(".nii"))
    (tmp_path / "a.json").write_text(text)
    assert read_sidecar(volume) == {}
    assert stated_modalities(volume) == []
    page = write_batch_page(tmp_path, [Row("s", "", "skipped", "a.nii")])
    assert "a.nii" in page.read_text()


@pytest.mark.parametrize("window", ['"x"', "[1]", "[2, 1]", "[null, 1]", "[NaN, 1]", '["0", "1"]', "[0, 1e999]", "7"])
def test_a_window_that_is_none_is_measured_instead(tmp_path: Path, window: str) -> None:
    volume = nifti(tmp_path / "a.nii", seeds.volume(".nii"))
    (tmp_path / "a.json").write_text(f'{{"DisplayWindow": {window}, "Units": "SUVR"}}')
    record = read_sidecar(volume)
    assert record == {"Units": "SUVR"}
    assert value_window(json.loads(window), np.linspace(0, 2, 50))[1] == pytest.approx(2, abs=0.05)


def test_a_json_beyond_all_measure_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modality_synthesis.json_files.LARGEST_BYTES", 100)
    (tmp_path / "a.json").write_text(json.dumps({"a": "x" * 200}))
    with pytest.raises(ValueError, match="larger"):
        read_json_object(tmp_path / "a.json")


@pytest.mark.parametrize(
    "override",
    ["x=[", "training.epochs={a: *b}", "training.epochs=2001-99-99", "x={[]: 1}", "a=" + "9" * 5000, "x=\x1b"],
)
def test_an_override_that_is_no_yaml(override: str) -> None:
    with pytest.raises(BadInputError, match="is not YAML") as caught:
        read_recipe(seeds.ROOT / "Training/recipes/demo-t1w-fdg.yaml", [override])
    assert len(str(caught.value)) < 400


def test_aliases_that_multiply(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "r.yaml").write_text("\n".join(lines))
    with pytest.raises(BadInputError, match="too large"):
        read_recipe(tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text("a: &a [*a]")
    with pytest.raises(BadInputError):
        read_recipe(tmp_path / "r.yaml")


# What is shown

NASTY = "scan\x1b]0;owned\x07\x1b[2J\u202egnp.exe"


def test_a_terminal_gets_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LineReporter()
    reporter.status(NASTY)
    reporter.warning(NASTY)
    reporter.progress(0.5, NASTY)
    reporter.finished(1, 2, "Checking", NASTY)
    said = capsys.readouterr().err
    assert said.count(r"scan\x1b]0;owned\x07\x1b[2J\u202egnp.exe") == 4
    assert not any(sign in said for sign in "\x1b\x07\u202e")
    assert environment.shown("µ × °\nÄ") == "µ × °\nÄ"


def test_a_dollar_sign_is_no_formula() -> None:
    figure = new_figure(2, 1)
    figure.text(0, 0, r"$\frac$ SUVR$")
    assert figure_bytes(figure, "png").startswith(b"\x89PNG")


FORMULAS = ["=cmd|' /C calc'!A0", "@SUM(1+1)", "+1+1", "-a1", "=1+1"]


def test_a_spreadsheet_runs_no_cell(tmp_path: Path) -> None:
    kept = ["-1.5", "+2", "-", "1e-3", "- a", "'quoted'", "sub-01"]
    write_rows(tmp_path / "t.csv", [{"subject": "s", "message": text} for text in FORMULAS + kept])
    written = [row["message"] for row in csv.DictReader((tmp_path / "t.csv").open(newline=""))]
    assert written == [f"'{text}" for text in FORMULAS] + kept
    assert [row["message"] for row in read_table(tmp_path / "t.csv", "table").records] == FORMULAS + kept
    assert all(unsafe_name(text) for text in ("=a", "@a", "+a"))


# Privacy


def test_records_of_a_training_name_no_folders() -> None:
    recipe = read_recipe(
        seeds.ROOT / "Training/recipes/demo-t1w-fdg.yaml",
        ["cohort=/home/jane/study/cohort.tsv", "start_from=C:\\Users\\Jane\\models\\m"],
    )
    told = json.dumps(recorded(recipe))
    assert "cohort.tsv" in told
    assert "jane" not in told.lower()


def test_logs_of_a_training_name_no_computer(tmp_path: Path) -> None:
    from modality_synthesis.training.callbacks import NamelessLogger

    logger = NamelessLogger(tmp_path, name="", version="")
    logger.log_metrics({"loss": 1.0}, 0)
    logger.finalize("success")
    (file,) = tmp_path.rglob("events*")
    assert ".training." in file.name
    assert socket.gethostname() not in file.name
    assert socket.gethostname().encode() not in file.read_bytes()


def test_what_stays_on_this_machine_sees_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"file")

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    try:
        address = f"http://127.0.0.1:{server.server_port}/m.zip?token=secret"
        assert downloads.download(address, tmp_path / "m.zip", Reporter()).read_bytes() == b"file"
    finally:
        server.shutdown()
        server.server_close()


def test_old_torch_reads_no_foreign_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    torch.save({"a": torch.ones(1)}, tmp_path / "w.pth")
    assert set(load_foreign_weights(tmp_path / "w.pth")) == {"a"}
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(BadInputError, match=r"torch>=2\.10"):
        load_foreign_weights(tmp_path / "w.pth")


# Two at once


def test_volume_and_sidecar_of_two_writers_do_not_mix(tmp_path: Path) -> None:
    ready = threading.Barrier(2)

    def write(number: int) -> None:
        for _ in range(5):
            ready.wait(20)
            with atomic_files():
                volume = tmp_path / "x.csv"
                write_rows(volume, [{"writer": number}])
                write_sidecar(volume, {"Writer": number, "GeneratedBy": [{"Name": "modality-synthesis"}]})
            ready.wait(20)
            assert read_sidecar(volume)["Writer"] == int(read_table(volume, "table").records[0]["writer"])

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, [1, 2]))


def test_a_folder_that_somebody_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_folder(tmp_path / "m", new=True) as temporary:
            (temporary / "a").write_text("second")
            (tmp_path / "m").mkdir()
            (tmp_path / "m" / "a").write_text("first")

    with pytest.raises(BadInputError, match="another run"):
        write()
    assert (tmp_path / "m" / "a").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_of_two_installs_without_replace_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from modality_synthesis.models import transfer

    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(tmp_path / "store"))
    card = {key: value for key, value in seeds.cards()[0].items() if key not in ("weights", "baselines")}
    for name in ("one", "two"):
        write_package(tmp_path / name, {**card, "id": "m", "name": name}, {"w": torch.ones(2)})
    looked = transfer._refuse_replacing

    def meanwhile(place: Path, package: object) -> None:
        looked(place, package)  # type: ignore[arg-type]
        monkeypatch.setattr(transfer, "_refuse_replacing", looked)
        install_model(tmp_path / "one")

    monkeypatch.setattr(transfer, "_refuse_replacing", meanwhile)
    with pytest.raises(BadInputError, match="another run"):
        install_model(tmp_path / "two")
    assert json.loads((tmp_path / "store" / "m" / "model.json").read_text())["name"] == "one"
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["m"]
