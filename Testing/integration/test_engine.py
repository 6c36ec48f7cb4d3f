"""The training engine on volumes of 16 voxels a side: best weights, resume, processes, folds, report, bad input."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import save
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets import cache, cohort_check, read_cohort
from modality_synthesis.datasets.visit_check import Request
from modality_synthesis.errors import BadInputError, ModalitySynthesisError, UsageError
from modality_synthesis.generators.residual_unet import ResidualUNet
from modality_synthesis.models import load_weights
from modality_synthesis.progress import Reporter
from modality_synthesis.training import callbacks, read_recipe, train, write_report
from modality_synthesis.training.module import GeneratorModule
from modality_synthesis.volumes import file_sha256

from .conftest import MINI_RECIPE

SIDE = 16
SPLITS = ("train",) * 4 + ("validation",) + ("test",)


def phantom(number: int) -> dict[str, np.ndarray]:
    """A ball of a brain with smooth contrast; the target is a bent copy of the source."""
    rng = np.random.default_rng(number)
    grid = np.linspace(-1, 1, SIDE)
    z, y, x = np.meshgrid(grid, grid, grid, indexing="ij")
    brain = z**2 + y**2 + x**2 < 0.8
    a, b, c = rng.uniform(1, 3, 3)
    source = np.where(brain, 0.6 + 0.3 * np.sin(a * z) * np.cos(b * y) * np.cos(c * x), 0)
    target = np.where(brain, 1.8 * source**2 + 0.1, 0)
    return {
        "source": source.astype(np.float16),
        "target": target.astype(np.float16),
        "brain": brain.astype(np.uint8),
        "region": np.ones_like(brain, dtype=np.uint8),
        "grid": np.diag([8.0, 8.0, 8.0, 1.0]),
        "to_native": np.eye(4),
    }


def write_phantom(pair: cache.Pair, **_: object) -> cache.Row:
    pair.path.write_bytes(save(phantom(int(pair.visit.subject.removeprefix("sub-")))))
    row = cache.Row((), file_sha256(pair.path))
    cache._write_row(pair.path, row)
    return row


def find_nothing(visit: object, request: object) -> list:
    return []


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> tuple[Path, Path]:
    """Recipe and cohort table; the volumes are preprocessed already."""
    folder = tmp_path_factory.mktemp("ready")
    names = ("T1w", "FDG-PET")
    with (folder / "cohort.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["subject", "split", "simulated", *names])
        writer.writeheader()
        for number, split in enumerate(SPLITS):
            files = {name: f"sub-{number}_{name}.nii.gz" for name in names}
            for file in files.values():
                (folder / file).touch()
            writer.writerow({"subject": f"sub-{number}", "split": split, "simulated": "yes", **files})
    recipe = {
        **MINI_RECIPE,
        "cohort": str(folder / "cohort.csv"),
        "training": {**MINI_RECIPE["training"], "augment": False},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    settings = read_recipe(folder / "tiny.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_preprocess", write_phantom)
        patch.setattr(cohort_check, "check_visit", find_nothing)
        visits = list(read_cohort(folder / "cohort.csv"))
        cohort_check.screen(visits, Request(names, names, "SUVR"), folder / ".cache", jobs=1)
        cache.preprocess_pairs(visits, *names, settings.preprocessing, folder / ".cache", quantity="SUVR", jobs=1)
    return folder / "tiny.yaml", folder / "cohort.csv"


def run(ready, folder, *overrides, **options):
    return train(ready[0], folder, overrides=overrides, accelerator="cpu", jobs=1, **options)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "logs" / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def finished(ready, with_report, tmp_path_factory):
    """A run of four epochs with validations, pictures, test scores, report."""
    heard = []
    reporter = Reporter()
    reporter.emit_status = heard.append
    with with_report():
        result = run(ready, tmp_path_factory.mktemp("run") / "run", "training.epochs=4", reporter=reporter)
    return result, heard


def test_the_log_has_a_row_per_epoch_with_losses_figures_rate_and_time(finished):
    rows = table(finished[0].folder)
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    for name in ("train/generator/loss", "train/generator/mse", "validation/MAE", "learning_rate", "seconds"):
        assert all(float(row[name]) >= 0 for row in rows), name
    assert float(rows[-1]["train/generator/loss"]) < float(rows[0]["train/generator/loss"])
    terms = [float(rows[0][f"train/generator/{name}"]) for name in ("mse", "ssim")]
    assert sum(terms) == pytest.approx(float(rows[0]["train/generator/loss"]), rel=1e-5)


def test_the_start_says_what_is_trained_by_which_losses_on_whom(finished):
    text = "\n".join(finished[1])
    assert "residual-unet, on CPU, 32-true" in text
    assert "Patients: 4 train, 1 validation, 1 test" in text
    assert "Loss: mse x 1" in text
    assert "Loss: ssim x 0.1; data_range 2.0" in text


def test_the_report_is_one_page_that_needs_nothing_else(finished):
    page = (finished[0].folder / "report.html").read_text()
    assert "Research use only, not for diagnosis" in page
    images = re.findall(r"<img [^>]*>", page)
    # Losses, validation and learning rate for light and for dark pages, the only validation subject.
    assert len(images) == 8
    for image in images:
        assert re.search(r'src="data:image/png;base64,[A-Za-z0-9+/=]{1000,}"', image)
        assert re.search(r'alt="[^"]{10,}"', image)
    outside = re.sub(r'src="data:[^"]*"', "", page)
    assert "<script" not in outside
    assert not re.search(r"(src|url)\s*[=(]", outside)
    # Links lead to a section, or to the figures' files beside the page.
    links = re.findall(r'href="([^"]*)"', outside)
    assert all(link.startswith("#") or (finished[0].folder / link).is_file() for link in links)
    assert {Path(link).suffix for link in links if "figures/" in link} == {".pdf", ".svg", ".png"}
    for fact in ("4 train, 1 validation, 1 test", "mse x 1", "CPU, 32-true", "population mean", "sub-"):
        assert (fact in outside) == (fact != "sub-"), fact


def test_the_report_can_be_made_again(finished):
    page = finished[0].folder / "report.html"
    before = page.read_bytes()
    page.unlink()
    result = CliRunner().invoke(app, ["report", str(finished[0].folder)])
    assert result.exit_code == 0, result.output
    assert page.read_bytes() == before
    with pytest.raises(BadInputError, match="no training run"):
        write_report(finished[0].folder / "logs")


def test_tensorboard_shows_pictures_of_validation_subjects(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished[0].folder / "logs"), size_guidance={"images": 0})
    events.Reload()
    assert events.Tags()["images"] == ["validation subject 1"]
    assert {"validation/MAE", "train/generator/loss", "learning rate/generator"} <= set(events.Tags()["scalars"])


def test_the_best_weights_are_packaged_not_the_last(ready, tmp_path):
    """A learning rate that explodes after two epochs: what is packaged is what two epochs gave."""
    settings = ("optimizer.schedule.name=constant", "optimizer.warmup=0", "training.average_decay=null")
    two = run(ready, tmp_path / "two", *settings, "training.epochs=2", "training.keep=last", evaluate_test=False)

    class Exploding(callbacks.History):
        def on_train_epoch_start(self, trainer, module):
            super().on_train_epoch_start(trainer, module)
            if trainer.current_epoch >= 2:
                module.lr_schedulers().base_lrs = [1.0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modality_synthesis.training.run.History", Exploding)
        four = run(ready, tmp_path / "four", *settings, "training.epochs=4", evaluate_test=False)
    figures = [float(row["validation/MAE"]) for row in table(four.folder)]
    assert figures.index(min(figures)) == 1
    facts = json.loads((four.folder / "run.json").read_text())
    assert facts["best_epoch"] == 2
    assert facts["best_value"] == pytest.approx(min(figures))
    assert four.package.card.training.recipe["best_epoch"] == 2
    for name, value in load_weights(two.package).items():
        assert torch.equal(load_weights(four.package)[name], value), name


@pytest.mark.parametrize("schedule", ["cosine", pytest.param("{name: plateau, patience: 0}", marks=pytest.mark.long)])
def test_a_resumed_run_equals_an_uninterrupted_one_in_everything(ready, tmp_path, monkeypatch, schedule):
    class Stop(Exception):
        pass

    settings = (f"optimizer.schedule={schedule}", "training.epochs=3", "training.augment=true")
    whole = run(ready, tmp_path / "whole", *settings, evaluate_test=False)
    original = callbacks.SaveLast.on_train_epoch_end

    def stop_after_the_second_epoch(self, trainer, module):
        original(self, trainer, module)
        if trainer.current_epoch == 1:
            raise Stop

    monkeypatch.setattr(callbacks.SaveLast, "on_train_epoch_end", stop_after_the_second_epoch)
    with pytest.raises(Stop):
        run(ready, tmp_path / "halved", *settings)
    monkeypatch.undo()
    resumed = run(ready, tmp_path / "halved", *settings, evaluate_test=False, resume=True)
    for name, value in load_weights(whole.package).items():
        assert torch.equal(load_weights(resumed.package)[name], value), name
    rows = [[{**row, "seconds": ""} for row in table(result.folder)] for result in (whole, resumed)]
    assert rows[0] == rows[1]
    facts = [json.loads((result.folder / "run.json").read_text()) for result in (whole, resumed)]
    assert facts[0]["best_epoch"] == facts[1]["best_epoch"]


@pytest.mark.long
def test_accumulated_batches_are_one_large_batch(ready, tmp_path):
    """Also the last step of an epoch, which has fewer batches than the others (4 = 3 + 1)."""
    settings = ("training.epochs=2", "optimizer.name=sgd", "optimizer.gradient_clip=null", "training.keep=last")
    for accumulate, size in ((4, 4), (3, 3)):
        small = run(
            ready,
            tmp_path / f"accumulated {size}",
            *settings,
            f"optimizer.accumulate={accumulate}",
            evaluate_test=False,
        )
        large = run(ready, tmp_path / f"large {size}", *settings, f"training.batch_size={size}", evaluate_test=False)
        for name, value in load_weights(large.package).items():
            torch.testing.assert_close(load_weights(small.package)[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_two_processes_learn_what_one_learns_from_batches_twice_as_large(ready, tmp_path):
    """Weights, losses and figures, through gloo on the CPU; there are fewer validation subjects than processes."""
    settings = ["training.epochs=2", "training.keep=last", "optimizer.name=sgd", "optimizer.learning_rate=0.05"]
    one = run(ready, tmp_path / "one", *settings, "training.batch_size=2")
    command = [sys.executable, "-m", "modality_synthesis.cli", "train", str(ready[0]), *settings]
    command += ["-o", str(tmp_path / "two"), "--accelerator", "cpu", "--devices", "2", "--jobs", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "--progress", "json"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert [message["type"] for message in messages].count("result") == 1
    two = Path(messages[-1]["files"]["run"])
    for single, double in zip(table(one.folder), table(two), strict=True):
        assert single.keys() == double.keys()
        for name in single.keys() - {"seconds"}:
            assert float(double[name]) == pytest.approx(float(single[name]), rel=1e-4), name
    from modality_synthesis.models import open_package

    for name, value in load_weights(open_package(messages[-1]["files"]["package"])).items():
        torch.testing.assert_close(value, load_weights(one.package)[name], rtol=1e-4, atol=1e-6)
    assert json.loads((two / "run.json").read_text())["processes"] == 2


@pytest.mark.long
def test_all_folds_test_every_patient_once_and_end_in_a_table(ready, tmp_path):
    arguments = ["train", str(ready[0]), "training.epochs=1", "-o", str(tmp_path / "cv"), "--folds", "3"]
    result = CliRunner().invoke(app, [*arguments, "--accelerator", "cpu", "--jobs", "1"])
    assert result.exit_code == 0, result.output
    tested, scores, means = [], [], []
    for number in (1, 2, 3):
        folder = tmp_path / "cv" / f"fold-{number}"
        parts = json.loads((folder / "splits.json").read_text())
        assert sorted(itertools.chain(*parts.values())) == [f"sub-{index}" for index in range(6)]
        with (folder / "evaluation" / "metrics.csv").open() as stream:
            rows = [row for row in csv.DictReader(stream) if row["predictor"] == "mini"]
        assert sorted(row["subject"] for row in rows) == parts["test"]
        tested += parts["test"]
        scores += [float(row["MAE"]) for row in rows]
        means.append(statistics.mean(float(row["MAE"]) for row in rows))
    assert sorted(tested) == [f"sub-{index}" for index in range(6)]
    table = (tmp_path / "cv" / "folds.csv").read_text()
    mae = next(row for row in csv.DictReader(table.splitlines()) if row["metric"] == "MAE")
    assert float(mae["fold 2"]) == pytest.approx(means[1], rel=1e-3)
    assert float(mae["average of folds"]) == pytest.approx(statistics.mean(means), rel=1e-3)
    assert float(mae["SD over patients"]) == pytest.approx(statistics.stdev(scores), rel=1e-2)
    assert mae["mean over patients"] in result.stdout
    # The same table of the run folders, by name.
    runs = [str(tmp_path / "cv" / f"fold-{number}") for number in (1, 2, 3)]
    by_hand = CliRunner().invoke(app, ["figures", "folds", *runs, "-o", str(tmp_path / "table.csv")])
    assert by_hand.exit_code == 0, by_hand.output
    assert (tmp_path / "table.csv").read_text() == table
    # Nothing is left to do, and nothing is done.
    again = CliRunner().invoke(app, [*arguments, "--accelerator", "cpu", "--resume"])
    assert again.exit_code == 0, again.output


def test_folds_of_a_network_that_learned_nothing_end_in_a_table_too(ready, tmp_path, monkeypatch):
    """A constant volume has no correlation with anything: that cell is empty, the others are not."""
    monkeypatch.setattr(ResidualUNet, "forward", lambda self, source, clinical=None: 0 * source + self.bias)
    arguments = ["train", str(ready[0]), "training.epochs=1", "-o", str(tmp_path / "cv"), "--folds", "2"]
    result = CliRunner().invoke(app, [*arguments, "--accelerator", "cpu", "--jobs", "1", "--progress", "json"])
    assert result.exit_code == 0, result.output
    with (tmp_path / "cv" / "folds.csv").open() as stream:
        rows = {row["metric"]: row for row in csv.DictReader(stream)}
    assert rows["NCC"]["fold 1"] == rows["NCC"]["SD over patients"] == ""
    assert (rows["NCC"]["patients"], rows["MAE"]["patients"]) == ("0", "6")
    assert float(rows["MAE"]["fold 1"]) > 0
    assert "| NCC | – | – |" in (tmp_path / "cv" / "folds.md").read_text(encoding="utf-8")
    summary = json.loads(result.stdout.splitlines()[-1])["summary"]
    assert summary["NCC"]["mean"] is None


def test_one_fold_is_tested_on_its_own_patients(ready, tmp_path):
    result = run(ready, tmp_path, "training.epochs=1", part=(2, 3))
    assert result.package.card.training.recipe["fold"] == "2/3"
    with (result.folder / "evaluation" / "metrics.csv").open() as stream:
        subjects = {row["subject"] for row in csv.DictReader(stream)}
    assert sorted(subjects) == json.loads((result.folder / "splits.json").read_text())["test"]


def test_training_stops_without_progress_but_not_before_the_least_epochs(ready, with_report, tmp_path, monkeypatch):
    monkeypatch.setattr(GeneratorModule, "on_validation_epoch_end", worse_and_worse)
    settings = ("training.epochs=9", "training.patience=1", "training.minimum_epochs=4")
    with with_report():
        result = run(ready, tmp_path / "early", *settings, evaluate_test=False)
    facts = json.loads((result.folder / "run.json").read_text())
    assert facts["epochs"] == 4
    assert facts["stopped_early"]
    assert facts["best_epoch"] == 1
    assert "stopped early" in (result.folder / "report.html").read_text()
    # It is over: resuming trains no further.
    again = run(ready, tmp_path / "early", *settings, evaluate_test=False, resume=True)
    assert json.loads((again.folder / "run.json").read_text())["epochs"] == 4


def worse_and_worse(module) -> None:
    module.figures = {"validation/MAE": 1.0 + module.current_epoch}


def test_clinical_variables_and_regions_reach_the_generator(ready, tmp_path, monkeypatch):
    from modality_synthesis.datasets.pairs import PairDataset
    from modality_synthesis.generators.residual_unet import ResidualUNet

    seen = []

    def sample(self, index, original=PairDataset.__getitem__):
        found = original(self, index)
        return {**found, "clinical": torch.tensor([0.5, float("nan")]), "regions": found["brain"]}

    def training_step(self, phase, batch, criterion, original=ResidualUNet.training_step):
        seen.append(("training", batch))
        return original(self, phase, batch, criterion)

    def synthesize(self, batch, progress=None, original=ResidualUNet.synthesize):
        seen.append(("validation", batch))
        return original(self, batch, progress)

    monkeypatch.setattr(PairDataset, "__getitem__", sample)
    monkeypatch.setattr(ResidualUNet, "training_step", training_step)
    monkeypatch.setattr(ResidualUNet, "synthesize", synthesize)
    run(ready, tmp_path, "training.epochs=1", "training.batch_size=2", evaluate_test=False)
    assert {kind for kind, _ in seen} == {"training", "validation"}
    for kind, batch in seen:
        size = 2 if kind == "training" else 1
        assert batch.clinical.shape == (size, 2)
        assert batch.regions.shape == (size, 1, SIDE, SIDE, SIDE)


def test_a_standardized_target_is_scored_in_its_own_units(ready, tmp_path, monkeypatch):
    from modality_synthesis.datasets.pairs import PairDataset

    def sample(self, index, original=PairDataset.__getitem__):
        found = original(self, index)
        return {**found, "target": (found["target"] - 0.7) / 0.01, "scaling": torch.tensor([0.01, 0.7])}

    settings = ("training.epochs=1", "optimizer.learning_rate=1e-9", "training.average_decay=null")
    monkeypatch.setattr(PairDataset, "__getitem__", sample)
    scaled = run(ready, tmp_path, *settings, evaluate_test=False)
    # The untrained network gives about 0, which is 0.7 in units: the error is that of guessing 0.7 in the brain.
    brain = phantom(4)["brain"] > 0
    guess = float(np.abs(phantom(4)["target"].astype(float)[brain] - 0.7).mean())
    assert float(table(scaled.folder)[0]["validation/MAE"]) == pytest.approx(guess, abs=0.02)


def test_compiled_networks_keep_the_names_of_their_weights(ready, tmp_path, monkeypatch):
    compiled = []

    def compile_eagerly(function, *arguments, original=torch.compile, **options):
        compiled.append(function)
        return original(function, *arguments, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    settings = ("training.epochs=1", "training.keep=last")
    quick = run(ready, tmp_path / "compiled", *settings, "training.compile=true", evaluate_test=False)
    assert len(compiled) == 1
    monkeypatch.undo()
    plain = run(ready, tmp_path / "plain", *settings, evaluate_test=False)
    for name, value in load_weights(plain.package).items():
        torch.testing.assert_close(load_weights(quick.package)[name], value, rtol=1e-3, atol=1e-5)


def test_gradients_are_clipped(ready, tmp_path):
    settings = ("training.epochs=1", "training.batch_size=4", "optimizer.name=sgd", "optimizer.learning_rate=1.0")
    settings += ("optimizer.weight_decay=0", "optimizer.warmup=0", "training.average_decay=null")
    before = run(ready, tmp_path / "0", *settings, "optimizer.gradient_clip=1e-12", evaluate_test=False)
    after = run(ready, tmp_path / "1", *settings, "optimizer.gradient_clip=0.001", evaluate_test=False)
    first, second = load_weights(before.package), load_weights(after.package)
    moved = sum(float(((second[name] - first[name]).double() ** 2).sum()) for name in first) ** 0.5
    assert moved == pytest.approx(0.001, rel=0.02)


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        (["training.batch_size=5"], {}, r"batch_size 5 is larger than the training data \(4 samples\)"),
        ([], {"part": (4, 3)}, "no fold 4 of 3"),
        ([], {"part": (1, 7)}, "7 folds need at least 7 patients; the table has 6"),
        ([], {"strategy": "horovod"}, "Unknown strategy 'horovod'"),
        (["optimizer.schedule=cosinus"], {}, "optimizer.schedule"),
        (["optimizer.schedule={name: step}"], {}, "every"),
        (["training.precision=16-mixed"], {}, "16-mixed needs a GPU"),
        (["training.monitor=validation/FID"], {}, "training.monitor"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_trained(ready, tmp_path, overrides, options, message):
    with pytest.raises(BadInputError, match=message):
        run(ready, tmp_path / "run", *overrides, **options)
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_devices_that_do_not_exist_are_refused(ready, tmp_path):
    with pytest.raises(UsageError, match="No CUDA device"):
        train(ready[0], tmp_path, accelerator="gpu", devices=2)


def test_a_training_starts_from_the_weights_of_a_package(ready, finished, tmp_path):
    package = finished[0].package
    still = ("training.epochs=1", "optimizer.learning_rate=1e-12", "optimizer.weight_decay=0")
    made = run(ready, tmp_path / "run", f"start_from={package.folder}", *still).package
    before, after = load_weights(package), load_weights(made)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    assert made.card.training.recipe["started_from"]["weights_sha256"] == package.card.weights.sha256
    with pytest.raises(BadInputError, match="do not fit the recipe's generator"):
        run(ready, tmp_path / "other", f"start_from={package.folder}", "generator.parameters.channels=[8, 8]", *still)
    with pytest.raises(BadInputError, match="is a residual-unet, the recipe trains a unet"):
        run(ready, tmp_path / "unet", f"start_from={package.folder}", "generator={name: unet}", *still)


def test_a_run_is_not_resumed_with_another_recipe_or_other_patients(ready, finished):
    folder = finished[0].folder
    changed = "losses=[{name: mse}, {name: ssim, weight: 0.2, parameters: {data_range: 2.0}}]"
    with pytest.raises(BadInputError, match=r"begun with losses\.1\.weight = 0\.1, not 0\.2"):
        run(ready, folder, "training.epochs=4", changed, resume=True)
    with pytest.raises(BadInputError, match=r"begun with training\.epochs = 4, not 5"):
        run(ready, folder, "training.epochs=5", resume=True)
    with pytest.raises(BadInputError, match="other patients"):
        run(ready, folder, "training.epochs=4", part=(1, 3), resume=True)


def test_a_training_that_diverges_says_so_and_keeps_its_last_good_checkpoint(ready, tmp_path):
    settings = ("training.epochs=3", "optimizer.name=sgd", "optimizer.learning_rate=1e30", "optimizer.warmup=0")
    with pytest.raises(ModalitySynthesisError, match=r"diverged: .* epoch [12]\. Lower optimizer\.learning_rate"):
        run(ready, tmp_path, *settings, "optimizer.gradient_clip=null", "training.average_decay=null")
