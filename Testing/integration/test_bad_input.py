"""What a user may get wrong: each gives its message and exit code, and leaves no file."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from modality_synthesis.cli import app


def head(shape=(40, 44, 38), spacing=4.0, values=None, affine=None) -> nib.Nifti1Image:
    distance = np.linalg.norm(np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2, axis=0)
    values = np.where(distance < 15, 100.0, 0.0) if values is None else values
    return nib.Nifti1Image(values.astype(np.float32), np.diag([spacing] * 3 + [1.0]) if affine is None else affine)


def damaged(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.nii.gz"
    rng = np.random.default_rng(0)
    if kind == "missing":
        return path
    if kind == "truncated":
        nib.save(head(values=rng.normal(100, 10, (40, 44, 38))), path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "corrupt":
        nib.save(head(values=rng.normal(100, 10, (40, 44, 38))), path)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    elif kind == "garbage":
        path.write_bytes(gzip.compress(b"no volume at all"))
    elif kind == "4-D":
        nib.save(nib.Nifti1Image(rng.normal(size=(20, 20, 20, 3)).astype(np.float32), np.eye(4)), path)
    elif kind == "NaN":
        values = rng.normal(100, 10, (40, 44, 38))
        values[3, 4, 5] = np.nan
        nib.save(head(values=values), path)
    elif kind == "constant":
        nib.save(head(values=np.full((40, 44, 38), 7.0)), path)
    elif kind == "spacing":
        nib.save(head(spacing=400.0), path)
    elif kind == "sheared":
        affine = np.array([[4, 2, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1.0]])
        image = head(affine=affine)
        image.set_qform(None, 0)
        nib.save(image, path)
    elif kind == "CT":
        values = np.where(head().get_fdata() > 0, 40.0, -1000.0)
        nib.save(head(values=values), path)
    elif kind == "no brain":
        nib.save(head(), path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "missing.nii.gz"),
        ("truncated", "truncated.nii.gz"),
        ("corrupt", "corrupt.nii.gz"),
        ("garbage", "garbage.nii.gz"),
        ("4-D", "4-D"),
        ("NaN", "NaN"),
        ("constant", "constant"),
        ("spacing", "400"),
        ("sheared", "sheared.nii.gz"),
        ("CT", "this is a CT"),
        ("no brain", "as in a label map or a mask"),
    ],
)
def test_bad_volumes(tmp_path, kind, message):
    source, output = damaged(kind, tmp_path), tmp_path / "out" / "pet.nii.gz"
    result = CliRunner().invoke(app, ["synthesize", str(source), "--to", "FDG-PET", "-o", str(output)])
    assert result.exit_code == 1
    error = next(line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert message in error
    assert "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path != source] == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--to", "TAU-PETT"], 2, "'TAU-PETT' is no modality. Did you mean TAU-PET?"),
        (["--model", "demo-t1w-fgd"], 1, "Did you mean 'demo-t1w-fdg'"),
        (["--model", "demo-t1w-fdg", "--to", "TAU-PET"], 2, "makes FDG-PET, not TAU-PET"),
        ([], 2, "Say what to make"),
        (["--to", "FDG-PET", "--device", "gpu"], 2, "Unknown device 'gpu'"),
        (["--to", "FDG-PET", "--device", "cuda:99"], 2, "cuda:99"),
        (["--to", "FDG-PET", "--space", "moon"], 2, "moon"),
        (["--to", "FDG-PET", "--clinical", "age=71"], 1, "takes no clinical variable 'age'"),
        (["--to", "FDG-PET", "--clinical", "age"], 2, "NAME=VALUE"),
    ],
)
def test_bad_requests_are_answered_before_anything_is_computed(tmp_path, sample_head, arguments, code, message):
    output = tmp_path / "pet.nii.gz"
    result = CliRunner().invoke(app, ["synthesize", str(sample_head), "-o", str(output), *arguments])
    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["pet.txt", "pet.mgz"])
def test_an_output_that_cannot_be_written_is_refused_at_once(tmp_path, sample_head, name):
    arguments = ["synthesize", str(sample_head), "--to", "FDG-PET", "-o", str(tmp_path / name)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (1, 2)
    assert name in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_preview_that_cannot_be_written_is_refused_before_the_volume_is_made(tmp_path, sample_head):
    arguments = ["--to", "FDG-PET", "-o", str(tmp_path / "pet.nii"), "--preview", str(tmp_path / "p.docx")]
    result = CliRunner().invoke(app, ["synthesize", str(sample_head), *arguments])
    assert result.exit_code in (1, 2)
    assert "p.docx" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_errors_in_json_follow_the_worker_protocol(tmp_path):
    import json

    arguments = [
        "synthesize",
        str(tmp_path / "no.nii"),
        "--to",
        "FDG-PET",
        "-o",
        str(tmp_path / "o.nii"),
        "--progress",
        "json",
    ]
    result = CliRunner().invoke(app, arguments)
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["type"] == "error"
    assert last["code"] == "BAD_INPUT"
    assert "no.nii" in last["message"]
    assert result.exit_code == 1
