"""Whatever fails at whatever step of any command: the files of the user stay as they were, names and contents.

Every command is run with its heavy computing replaced by what it computed once. A failure (disk full, SIGTERM) is put
at each step that changes a folder; the quick form takes some of the steps, the long form all of them.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from folder_states import State, failing_at, state
from preprocessed_people import write_model

from modality_synthesis.datasets import alignment, bids, cohort_check
from modality_synthesis.datasets.alignment import align_cohort
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.errors import BadInputError, CancelledError, ModalitySynthesisError, UsageError
from modality_synthesis.evaluation import scoring, tables
from modality_synthesis.evaluation.comparison import compare
from modality_synthesis.evaluation.document import Document, Section
from modality_synthesis.evaluation.figures import difference
from modality_synthesis.evaluation.figures.style import new_figure, save_figure
from modality_synthesis.evaluation.folds import fold_table, write_fold_table
from modality_synthesis.evaluation.report_figures import picture
from modality_synthesis.evaluation.slicewise import write_slice_scores
from modality_synthesis.evaluation.study import Evaluation, write_evaluation
from modality_synthesis.generators import build_generator
from modality_synthesis.models import ModelPackage, export_model, install_model
from modality_synthesis.models.package import verify_package
from modality_synthesis.parallel import parallel_map
from modality_synthesis.simulation import cohort as simulated
from modality_synthesis.simulation import subject as simulated_subject
from modality_synthesis.synthesis import batch, export_dicom, pipeline
from modality_synthesis.synthesis.batch import synthesize_batch
from modality_synthesis.training import report as training_reports
from modality_synthesis.volumes import Mark, atomic_files, atomic_output, read_sidecar, write_image, write_sidecar

Command = Callable[[Path, float], object]
Check = Callable[[State, State, Path], None]
OWN = {"GeneratedBy": [{"Name": "modality-synthesis", "Version": "0.1.0"}]}
RECORD = {
    **OWN,
    "SyntheticData": True,
    "Model": {"id": "m", "version": "1.0.0", "weights_sha256": "0" * 64},
    "Route": {"source": "T1w", "target": "FDG-PET"},
    "Quantity": "SUVR",
    "Units": "SUVR",
    "DisplayWindow": [0, 2],
}


def image(value: float, size: int = 8) -> sitk.Image:
    made = sitk.GetImageFromArray(np.random.default_rng(int(value)).random((size,) * 3).astype(np.float32) + value)
    made.SetSpacing((4.0,) * 3)
    return made


def volume(path: Path, value: float) -> Path:
    write_image(image(value), path)
    return path


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    parameters = {"channels": [4, 8], "stem_stride": 1}
    generator = build_generator("residual-unet", parameters)
    return write_model(tmp_path_factory.mktemp("models") / "mini", "residual-unet", parameters, generator)


def write_synthesis(path: Path, value: float) -> None:
    """What `synthesize` does at its end."""
    spread = path.with_name("sd.nii.gz")
    files = [pipeline._File(file, image(value), RECORD, "SYNTHETIC") for file in (path, spread)]
    with atomic_files():
        pipeline._write(files, None)
        with atomic_output(path.with_name("preview.png")) as temporary:
            temporary.write_bytes(b"%d" % value)


@pytest.fixture
def commands(
    tmp_path: Path, package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[Command, Check]]:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    # The phantoms are noise; what is wrong with inputs has tests of its own.
    monkeypatch.setattr(cohort_check, "check_visit", lambda *_, **__: [])
    for name, value in (("made", 1), ("real", 2), ("t1", 3)):
        volume(inputs / f"{name}.nii.gz", value)
    with atomic_files():
        volume(inputs / "pet.nii.gz", 1)
        write_sidecar(inputs / "pet.nii.gz", RECORD)
    (inputs / "cohort.csv").write_text("subject,T1w,CT\na,t1.nii.gz,real.nii.gz\nb,t1.nii.gz,real.nii.gz\n")
    (inputs / "bids" / "sub-1" / "anat").mkdir(parents=True)
    volume(inputs / "bids" / "sub-1" / "anat" / "sub-1_T1w.nii.gz", 1)

    def synthesis(folder: Path, value: float) -> None:
        write_synthesis(folder / "pet.nii.gz", value)

    def suvr(folder: Path, value: float) -> None:
        inside = np.ones((8, 8, 8), dtype=bool)
        monkeypatch.setattr(tables, "_way_to_template", lambda *_: (sitk.Transform(), None))
        grid = tables.AtlasGrid(image(value), np.zeros((8, 8, 8), dtype=np.uint16), inside, (slice(0, 8),) * 3)
        monkeypatch.setattr(tables.AtlasGrid, "of", lambda *_: grid)
        monkeypatch.setattr(tables, "_reference", lambda *_: (inside, 100.0, "pons"))
        monkeypatch.setattr(tables, "region_table", lambda *_, **__: ({"region": "pons", "suvr": value},))
        tables.suvr(image(value), folder / "suvr.csv", template_space=True, image=folder / "suvr.nrrd")

    def batches(folder: Path, value: float) -> None:
        def instead(source: Path, target: Path, **_: object) -> None:
            pipeline._write([pipeline._File(target, image(value), RECORD, "SYNTHETIC")], None)

        monkeypatch.setattr(batch, "synthesize", instead)
        monkeypatch.setattr(batch, "parallel_map", in_this_process)
        rows = synthesize_batch(inputs / "cohort.csv", folder, model=package)
        failed = [row.message for row in rows if row.state == "failed"]
        if failed:
            raise BadInputError(failed[0])

    def aligned(folder: Path, value: float) -> None:
        found = SimpleNamespace(
            shift_mm=1.0, rotation_degrees=1.0, stretch=(1.0, 1.0), mutual_information=(0.4, 0.5), transform=None
        )
        head = SimpleNamespace(image=None, native=None, foreground=None, modality="CT")
        monkeypatch.setattr(alignment._Head, "of", lambda *_: head)
        monkeypatch.setattr(alignment, "register_pair", lambda *_, **__: found)
        monkeypatch.setattr(alignment, "moved_volume", lambda *_: image(value))
        monkeypatch.setattr(alignment, "_dice", lambda *_: 0.95)
        monkeypatch.setattr(alignment, "_save_check", lambda *a: write_picture(a[3], value))
        rows = align_cohort(inputs / "cohort.csv", folder, fixed="CT", moving=["T1w"], jobs=1)
        failed = [row.reason for row in rows if row.state == "failed"]
        if failed:
            raise BadInputError(failed[0])

    def simulation(folder: Path, value: float) -> None:
        monkeypatch.setattr(simulated_subject, "load_head", lambda *_: image(value))
        monkeypatch.setattr(simulated_subject, "random_shape", lambda head, *_: head)
        monkeypatch.setattr(simulated_subject, "atrophy", lambda head, *_: head)
        monkeypatch.setattr(simulated_subject, "_simulate", lambda *_: image(value))
        monkeypatch.setattr(simulated_subject, "_truth", lambda *_: {"simulated": True, "value": value})
        simulated.simulate_cohort(3, folder, modalities=("T1w",), jobs=1)

    def figure(folder: Path, value: float) -> None:
        drawn = new_figure(1, 1)
        drawn.text(0, 0, str(value))
        save_figure(drawn, folder / "figure.png", [])

    def difference_picture(folder: Path, value: float) -> None:
        marks = SimpleNamespace(mark=Mark("m", f"{value:g}"), reference_mark=None)
        monkeypatch.setattr(difference, "difference_panels", lambda *_, **__: SimpleNamespace(comparison=marks))
        monkeypatch.setattr(difference, "difference_figure", lambda *_, **__: new_figure(2, 1))
        difference.draw_difference(inputs / "made.nii.gz", inputs / "real.nii.gz", folder / "difference.png")

    def evaluation(folder: Path, value: float) -> None:
        task, settings = SimpleNamespace(pair=SimpleNamespace(visit=Visit("a"))), SimpleNamespace(folder=folder)
        scoring._write(task, settings, scoring.Record(f"{value:g}"), {"plane": np.full(3, value)})
        people = list("abcdef")
        scores = {
            name: {key: [factor * value + number for number in range(6)] for key in ("MAE", "PSNR", "SSIM", "NCC")}
            for factor, name in enumerate(("mean", "m"), start=1)
        }
        found = Evaluation(("m",), "test", 2.0, "SUVR", people, people, scores)
        with atomic_files():
            write_evaluation(found, folder)

    def training_report(folder: Path, value: float) -> None:
        run = SimpleNamespace(path=folder, recipe=lambda: None, inputs=list, facts=lambda: SimpleNamespace(epochs=1))
        monkeypatch.setattr(training_reports, "RunFolder", lambda _: run)
        monkeypatch.setattr(training_reports, "LOG", inputs / "cohort.csv")
        monkeypatch.setattr(training_reports, "_document", lambda *_: document(value))
        training_reports.write_report(folder)

    def imported(folder: Path, value: float) -> None:
        """What `models import` does once it has the checkpoint's weights."""
        generator = build_generator("residual-unet", {"channels": [4, 8], "stem_stride": 1, "final_bias": value})
        write_model(folder / "imported", "residual-unet", {"channels": [4, 8], "stem_stride": 1}, generator)

    def folds(folder: Path, value: float) -> None:
        table = fold_table(["1", "2"], ["a", "b"], {"MAE": [value, value]}, names=["1", "2"])
        write_fold_table(table, folder / "folds.md")

    def slices(folder: Path, value: float) -> None:
        made, real = inputs / "made.nii.gz", inputs / "real.nii.gz"
        write_slice_scores(made, real, inputs / "t1.nii.gz", (0.0, 4.0 + value), folder / "slices.json")

    def install(folder: Path, value: float) -> None:
        monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(folder))
        install_model(package.folder, replace=True)

    def comparison(folder: Path, value: float) -> None:
        made, real = inputs / "made.nii.gz", inputs / "real.nii.gz"
        compare(made, real, folder / "maps", difference=folder / "d.nii.gz", data_range=value + 1)

    all_of_it: dict[str, tuple[Command, Check]] = {
        "synthesize": (synthesis, unchanged),
        "suvr": (suvr, unchanged),
        "compare": (comparison, unchanged),
        "export": (lambda folder, value: export_dicom(inputs / "pet.nii.gz", folder / f"dicom{value:g}"), unchanged),
        "cohort": (
            lambda folder, value: bids.write_bids_cohort(inputs / "bids", folder / "cohort.tsv"),
            unchanged,
        ),
        "figures": (figure, unchanged),
        "figures difference": (difference_picture, unchanged),
        "report": (training_report, unchanged),
        "models import": (imported, unchanged),
        "evaluate": (evaluation, visits_and_tables_are_whole),
        "figures folds": (folds, unchanged),
        "figures slices": (slices, unchanged),
        "models export": (lambda folder, value: export_model(package.folder, folder / "model.zip"), unchanged),
        "models install": (install, unchanged_or_installed),
        "batch": (
            batches,
            rows_are_whole(["{row}/{row}_FDG-PET.nii.gz", "{row}/{row}_FDG-PET.json"], ["batch.csv", "qc.tsv"]),
        ),
        "align": (
            aligned,
            rows_are_whole(
                ["{row}/{row}_T1w.nii.gz", "{row}/{row}_T1w_check.png"], ["alignment.csv", "cohort.csv", "qc.tsv"]
            ),
        ),
        "simulate": (
            simulation,
            rows_are_whole(
                [
                    "{row}/anat/{row}_T1w.nii.gz",
                    "{row}/truth/{row}_dseg.nii.gz",
                    "{row}/truth/{row}_truth.json",
                ],
                ["cohort.tsv", "dataset_description.json"],
            ),
        ),
    }

    def command(name: str) -> tuple[Command, Check]:
        run, check = all_of_it[name]
        return (as_the_command_line_does(run) if check is unchanged else run), check

    return command


def as_the_command_line_does(command: Command) -> Command:
    def run(folder: Path, value: float) -> None:
        with atomic_files(final=True):
            command(folder, value)

    return run


def in_this_process(work: Callable[..., object], items: Sequence[object], **options: object) -> object:
    return parallel_map(work, items, **{**options, "isolate": False, "jobs": 1})  # type: ignore[arg-type]


def write_picture(path: Path, value: float) -> None:
    with atomic_output(path) as temporary:
        temporary.write_bytes(b"%d" % value)


def unchanged(before: State, after: State, folder: Path) -> None:
    assert after == before


def unchanged_or_installed(before: State, after: State, folder: Path) -> None:
    if after != before:
        verify_package(folder / "mini")
        assert {name.split("/")[0] for name in after} == {"mini", "notes.txt"}


def visits_and_tables_are_whole(before: State, after: State, folder: Path) -> None:
    """A finished visit stays, with both its files; the tables are all old or all new."""
    names = {name for name in {*before, *after} if before.get(name) not in ("folder",) and after.get(name) != "folder"}
    visits = {name for name in names if name.startswith("subjects/")}
    for some in (visits, names - visits - {"notes.txt"}):
        assert len({after.get(name) == before.get(name) for name in some}) <= 1, some
    assert set(before) <= set(after)
    assert after["notes.txt"] == before["notes.txt"]


@lru_cache
def document(value: float) -> Document:
    drawn = new_figure(1, 1)
    drawn.text(0, 0, str(value))
    return Document(f"Report {value:g}", "", [], [Section("One", pictures=[picture("one", "", "", drawn)])])


def rows_are_whole(files: list[str], tables: list[str]) -> Check:
    """Finished rows stay, with all their files; the tables are what they were, or new."""

    def check(before: State, after: State, folder: Path) -> None:
        names = {name.split("/")[0] for name in {*before, *after} if "/" in name}
        known = {text.format(row=row) for row in names for text in files} | set(tables)
        folders = {"/".join(name.split("/")[:depth]) for name in known for depth in range(1, name.count("/") + 1)}
        for row in names:
            whole = [text.format(row=row) for text in files]
            assert len({after.get(name) == before.get(name) for name in whole}) == 1, row
        assert {name for name in after if name not in known | folders} == {
            name for name in before if name not in known | folders
        }
        assert {name for name in before if name not in after} == set()

    return check


NAMES = [
    "synthesize", "suvr", "compare", "export", "cohort", "figures", "figures folds", "figures slices",
    "models export", "models install", "models import", "batch", "align", "simulate", "figures difference", "evaluate",
    "report",
]  # fmt: skip
QUICK = 6


pytestmark = pytest.mark.usefixtures("handlers_as_before")


def cancel(number: int, frame: object) -> None:
    raise CancelledError


def full(name: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def check_failures(
    command: Command,
    check: Check,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    most: int | None,
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    command(old, 5)
    with failing_at(monkeypatch, -1, full, old) as steps:
        command(old, 6)
    total = len(steps)
    chosen = range(1, total + 1) if most is None else sorted({round(n) for n in np.linspace(1, total, most)})
    failures = 0
    for failure in (full, lambda name: signal.raise_signal(signal.SIGTERM)):
        for earlier in (True, False) if most is None else (failure is not full,):
            for number in chosen:
                folder = tmp_path / f"{failure.__name__} {earlier} {number}"
                folder.mkdir()
                if earlier:
                    command(folder, 5)
                (folder / "notes.txt").write_text("the user's")
                before = state(folder)
                signal.signal(signal.SIGTERM, cancel)
                with failing_at(monkeypatch, number, failure, folder):
                    try:
                        command(folder, 7)
                    except (ModalitySynthesisError, CancelledError, OSError):
                        failures += 1
                        check(before, state(folder), folder)
                if failure is not full:  # what a full disk refuses to remove, the next run does
                    assert not any(".ms-" in name for name in state(folder, own=True))
                for file in folder.rglob("*.nii.gz"):
                    read_sidecar(file)  # no volume with another one's sidecar
    assert failures >= len(list(chosen))


@pytest.mark.parametrize("name", ["report.html", "report.pdf", "figures/one.svg"])
def test_a_report_does_not_replace_what_it_is_made_from(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's own file under another name: a link."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / name).symlink_to(tmp_path / "run.json")
    monkeypatch.setattr(training_reports, "LOG", tmp_path / "run.json")
    monkeypatch.setattr(training_reports.RunFolder, "recipe", lambda _: None)
    monkeypatch.setattr(training_reports.RunFolder, "facts", lambda _: SimpleNamespace(epochs=1))
    monkeypatch.setattr(training_reports, "_document", lambda *_: document(1))
    with pytest.raises(UsageError, match="would replace it"):
        training_reports.write_report(tmp_path)
    assert (tmp_path / "run.json").read_text() == "{}"


@pytest.mark.parametrize("name", NAMES)
def test_a_failure_at_some_steps(
    name: str, commands: Callable[[str], tuple[Command, Check]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, check = commands(name)
    check_failures(command, check, tmp_path, monkeypatch, most=QUICK)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_failure_at_every_step(
    name: str, commands: Callable[[str], tuple[Command, Check]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, check = commands(name)
    check_failures(command, check, tmp_path, monkeypatch, most=None)
