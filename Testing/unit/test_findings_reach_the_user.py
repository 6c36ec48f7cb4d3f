"""What a reader has to say reaches the user, whichever command reads, in whichever process."""

from __future__ import annotations

import ast
import json
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.findings import Finding
from modality_synthesis.parallel import parallel_map
from modality_synthesis.progress import Reporter, current, reporting_to
from modality_synthesis.volumes import read_image

PACKAGE = Path(__file__).resolve().parents[2] / "Training" / "modality_synthesis"


def doubtful(path: Path, seed: int = 0) -> Path:
    """A smooth blob whose sform and qform lie 30 mm apart."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in (40, 44, 38)), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    values = 100 * np.exp(-2 * radius**2) + 5 * np.sin(7 * axes[seed % 3])
    qform = np.diag([4.0, 4.0, 4.0, 1.0])
    qform[:3, 3] = [-80, -88, -76]
    sform = qform.copy()
    sform[0, 3] += 30
    image = nib.Nifti1Image(values.astype(np.float32), sform)
    image.set_sform(sform, 2)
    image.set_qform(qform, 1)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Doubtful volumes by role, each with a name of its own, and tables that name them."""
    paths = {
        name: doubtful(tmp_path / f"{name}.nii.gz", seed=index) for index, name in enumerate(("t1", "pet", "made"))
    }
    record = {
        "SyntheticData": True, "Model": {"id": "m-1", "version": "1.0.0", "weights_sha256": "0" * 64},
        "Route": {"source": "T1w", "target": "FDG-PET"}, "Quantity": "SUVR", "Units": "SUVR", "DisplayWindow": [0, 2],
        "GeneratedBy": [{"Name": "n", "Version": "1"}], "Parameters": {"seed": 1},
    }  # fmt: skip
    (tmp_path / "made.json").write_text(json.dumps(record))
    rows = "subject,split,T1w,FDG-PET,made\n" + "".join(
        f"s{number},{split},t1.nii.gz,pet.nii.gz,made.nii.gz\n"
        for number, split in enumerate(("train", "train", "validation", "test", "test", "test"))
    )
    (tmp_path / "cohort.csv").write_text(rows)
    return {**{name: str(path) for name, path in paths.items()}, "cohort": str(tmp_path / "cohort.csv"),
            "out": str(tmp_path / "out")}  # fmt: skip


COMMANDS = [
    ("t1", ["synthesize", "{t1}", "--to", "FDG-PET", "-o", "{out}/a.nii.gz"]),
    ("t1", ["batch", "{cohort}", "--to", "FDG-PET", "-o", "{out}"]),
    ("pet", ["compare", "{made}", "{pet}"]),
    ("made", ["compare", "{made}", "{pet}"]),
    ("t1", ["compare", "{made}", "{pet}", "--mask", "{t1}"]),
    ("pet", ["suvr", "{pet}", "--template-space", "-o", "{out}/a.csv"]),
    ("t1", ["suvr", "{pet}", "--mri", "{t1}", "-o", "{out}/a.csv"]),
    ("made", ["export", "{made}", "-o", "{out}/dicom"]),
    ("t1", ["align", "{cohort}", "--fixed", "T1w", "--moving", "FDG-PET", "-o", "{out}", "--jobs", "1"]),
    ("t1", ["align", "{cohort}", "--fixed", "T1w", "--moving", "FDG-PET", "-o", "{out}", "--jobs", "2"]),
    ("t1", ["evaluate", "{cohort}", "--synthetic", "made", "--to", "FDG-PET", "-o", "{out}", "--jobs", "1"]),
    ("pet", ["figures", "difference", "{made}", "{pet}", "-o", "{out}/a.png"]),
    ("pet", ["figures", "profile", "PET={pet}", "-o", "{out}/a.png"]),
    ("t1", ["figures", "features", "{t1}", "--model", "demo-t1w-fdg", "-o", "{out}/a.png"]),
]


@pytest.mark.parametrize(("role", "command"), COMMANDS, ids=lambda value: "-".join(value[:2]) if value[1:] else value)
def test_every_command_that_reads_says_that_the_orientation_is_doubtful(
    files: dict[str, str], role: str, command: list[str]
) -> None:
    done = CliRunner().invoke(app, [part.format(**files) for part in command])
    said = " ".join((done.stdout + done.stderr).split())
    reports = [path.read_text() for path in Path(files["out"]).rglob("*.[ct]sv")]
    told = " ".join([said, *reports])
    assert f"{Path(files[role]).name}: its sform (code 2, aligned) and qform (code 1, scanner) disagree" in told, said
    assert "3D Slicer" in told
    assert done.exit_code in (0, 1, 2, 3)


def test_a_finding_is_one_line_of_json(files: dict[str, str]) -> None:
    done = CliRunner().invoke(app, ["compare", files["made"], files["pet"], "--progress", "json"])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = [line for line in lines if line["type"] == "finding" and line["code"] == "orientation"]
    assert [line["level"] for line in found] == ["look", "look"]
    assert found[0]["value"] == pytest.approx(30, abs=0.1)


def test_no_read_goes_without_a_reporter() -> None:
    """And none to a reporter that was made on the spot, where everything it is told is lost."""
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("read_image", "read_covered")
            ):
                continue
            given = next((word.value for word in node.keywords if word.arg == "reporter"), None)
            if given is None or ast.unparse(given) == "Reporter()":
                wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
        if "reporter or Reporter()" in path.read_text(encoding="utf-8"):
            wrong.append(f"{path.relative_to(PACKAGE)}: what is reported to `Reporter()` is lost; use current()")
    assert not wrong


def test_without_a_command_it_is_a_warning_of_python(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="disagree by up to 30"):
        read_image(doubtful(tmp_path / "a.nii.gz"))
    reporter = Reporter()
    with warnings.catch_warnings(), reporting_to(reporter):
        warnings.simplefilter("error")
        read_image(tmp_path / "a.nii.gz")
    assert len(reporter.warnings) == 1


def _read(path: str) -> float:
    return float(np.prod(read_image(path).GetSize()))


@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_tell_their_parent(tmp_path: Path, jobs: int) -> None:
    paths = [str(doubtful(tmp_path / f"{name}.nii.gz")) for name in ("a", "b", "a")]
    reporter = Reporter()
    assert parallel_map(_read, paths, jobs=jobs, reporter=reporter) == [40 * 44 * 38] * 3
    assert len(reporter.findings) == 2  # the same file again says nothing new
    assert [text.split(":")[0] for text in sorted(reporter.warnings)] == ["a.nii.gz", "b.nii.gz"]


def test_progress_of_nested_work_does_not_disturb_the_command() -> None:
    class Recorder(Reporter):
        shown: list[float]

        def emit_progress(self, fraction: float, stage: str) -> None:
            self.shown.append(fraction)

    recorder = Recorder()
    recorder.shown = []
    with reporting_to(recorder):
        current().progress(0.5, "nested")
        current().finding(Finding("a", "look", "doubt"))
    assert recorder.shown == []
    assert recorder.warnings == ["doubt"]
