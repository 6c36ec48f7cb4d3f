"""The training engine: recipe and cohort in, model package out; resume continues bit for bit."""

from __future__ import annotations

import csv
import errno
import json
import os

import pytest
import torch
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets import read_cohort
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation import evaluate
from modality_synthesis.evaluation.baselines import COPY, LINEAR, MEAN
from modality_synthesis.evaluation.metrics import METRICS
from modality_synthesis.models import load_weights, open_package, verify_package
from modality_synthesis.training import read_recipe, train
from modality_synthesis.training.run import TrainingResult
from modality_synthesis.volumes import read_image

UNSAFE = "../escape"


@pytest.fixture(scope="module")
def command(mini_cohort, mini_recipe, tmp_path_factory):
    """(what `train` printed as JSON lines, its exit code, its run folder): three epochs, one row's id names no file."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    table = mini_cohort.with_name("with_an_unsafe_row.csv")
    lines = mini_cohort.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1].replace("sub-0,", f"{UNSAFE},")]) + "\n")
    arguments = ["train", mini_recipe, "--cohort", table, "-o", folder, "--accelerator", "cpu", "--jobs", "1"]
    ran = CliRunner().invoke(app, [*map(str, arguments), "--progress", "json"])
    return [json.loads(line) for line in ran.stdout.splitlines()], ran.exit_code, folder


@pytest.fixture(scope="module")
def trained(command):
    """A finished run of three epochs."""
    _, _, folder = command
    return TrainingResult(folder, open_package(folder / "package" / "mini"))


def test_an_id_that_names_no_file_costs_its_row(command):
    messages, code, folder = command
    assert code == 3
    assert messages[-1]["left_out"] == [UNSAFE]
    told = " ".join(message["message"] for message in messages if message["type"] == "warning")
    assert f"{UNSAFE} is left out: Line 8 of the table: the subject '{UNSAFE}' cannot name a file" in told
    assert "1 of 7 visits left out" in told
    assert UNSAFE in (folder / "qc.tsv").read_text()
    assert not (folder.parent / "escape").exists()


def test_a_run_leaves_what_is_needed_to_use_and_to_check_it(trained, mini_cohort):
    package = verify_package(trained.package.folder)
    assert package.card.training.simulated
    assert package.card.training.subjects.model_dump() == {"train": 4, "validation": 1, "test": 1}
    assert {metric.name for metric in package.card.metrics} == set(METRICS)
    assert set(package.card.metrics[0].compared_with) == {COPY, MEAN, LINEAR}
    splits = json.loads((trained.folder / "splits.json").read_text())
    assert splits["test"] == ["sub-5"]
    with (trained.folder / "logs" / "metrics.csv").open() as stream:
        losses = [float(row["train/generator/loss"]) for row in csv.DictReader(stream) if row["train/generator/loss"]]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert list((trained.folder / "logs").glob("events.out.tfevents*"))


def test_resume_continues_bit_for_bit(trained, mini_cohort, mini_recipe, tmp_path, monkeypatch):
    from modality_synthesis.training.callbacks import SaveLast

    class Stop(Exception):
        pass

    original = SaveLast.on_train_epoch_end

    def stop_after_the_second_epoch(self, trainer, module):
        original(self, trainer, module)
        if trainer.current_epoch == 1:
            raise Stop

    monkeypatch.setattr(SaveLast, "on_train_epoch_end", stop_after_the_second_epoch)
    with pytest.raises(Stop):
        train(mini_recipe, tmp_path / "halved", cohort=mini_cohort, accelerator="cpu", jobs=1)
    monkeypatch.undo()
    resumed = train(mini_recipe, tmp_path / "halved", cohort=mini_cohort, accelerator="cpu", jobs=1, resume=True)
    for name, value in load_weights(trained.package).items():
        assert torch.equal(load_weights(resumed.package)[name], value), name


def test_a_run_that_fails_leaves_its_finished_epochs_and_nothing_else(
    mini_cohort, mini_recipe, with_report, tmp_path, monkeypatch
):
    """No room for the first checkpoint: nothing is left. For the second: the first one, as it was."""
    from lightning import Trainer

    original, room, before = Trainer.save_checkpoint, [0], {}
    options = {"cohort": mini_cohort, "accelerator": "cpu", "jobs": 1}

    def save(self, path, *arguments, **options):
        original(self, path, *arguments, **options)
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before.clear()

    def files():
        run = tmp_path / "run"
        shown = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and not path.name.startswith(".ms-")]
        # TensorBoard's two are written as the training goes.
        shown = [path for path in shown if path.name != "hparams.yaml" and "tfevents" not in path.name]
        return {str(path.relative_to(run)): path.read_bytes() for path in shown}

    def epoch_start(self, trainer, module):
        before.update(files())

    monkeypatch.setattr(Trainer, "save_checkpoint", save)
    with pytest.raises(BadInputError, match="cannot be written"):
        train(mini_recipe, tmp_path / "run", **options)
    # What was found about the cohort stays: a stage that was finished.
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "qc.tsv"]

    room[0] = 1
    monkeypatch.setattr("modality_synthesis.training.callbacks.ReportProgress.on_train_epoch_start", epoch_start)
    with pytest.raises(BadInputError, match="cannot be written"):
        train(mini_recipe, tmp_path / "run", **options)
    assert {"checkpoints/last.ckpt", "logs/metrics.csv", "recipe.json", "run.json", "splits.json"} <= set(before)
    assert files() == before

    room[0] = 99
    monkeypatch.undo()
    with with_report():
        assert train(mini_recipe, tmp_path / "run", **options, resume=True).package
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("name", ["splits.json", "recipe.json", "run.json"])
def test_files_of_others_are_not_replaced_by_a_run(mini_cohort, mini_recipe, tmp_path, name):
    (tmp_path / name).write_text('{"mine": true}')
    with pytest.raises(UsageError, match=name):
        train(mini_recipe, tmp_path, cohort=mini_cohort, accelerator="cpu")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"mine": true}'


def test_an_existing_run_is_not_overwritten_and_nothing_is_not_resumed(trained, mini_cohort, mini_recipe, tmp_path):
    with pytest.raises(BadInputError, match="--resume"):
        train(mini_recipe, trained.folder, cohort=mini_cohort)
    with pytest.raises(BadInputError, match="Nothing to resume"):
        train(mini_recipe, tmp_path / "new", cohort=mini_cohort, resume=True)


def test_the_package_synthesizes_through_the_command_line(trained, mini_cohort, tmp_path):
    source = read_cohort(mini_cohort).visits[5].volumes["T1w"]
    output = tmp_path / "out" / "synthetic.nii.gz"
    result = CliRunner().invoke(
        app,
        ["synthesize", str(source), "--model", str(trained.package.folder), "-o", str(output), "--progress", "json"],
    )
    assert result.exit_code == 0, result.output
    messages = [json.loads(line) for line in result.stdout.splitlines()]
    assert messages[-1]["type"] == "result"
    assert messages[-1]["files"]["volume"] == str(output)
    fractions = [message["fraction"] for message in messages if message["type"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    given, made = read_image(source), read_image(output)
    assert made.GetSize() == given.GetSize()
    assert made.GetOrigin() == given.GetOrigin()
    assert made.GetSpacing() == given.GetSpacing()
    assert made.GetDirection() == given.GetDirection()
    record = json.loads((tmp_path / "out" / "synthetic.json").read_text())
    assert record["SyntheticData"] is True
    assert record["Model"]["weights_sha256"] == trained.package.card.weights.sha256
    assert str(source.parent) not in json.dumps(record)


# A worker process starts in more time than it takes to evaluate six people.
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.long)])
def test_evaluation_writes_one_row_per_subject_and_predictor(trained, mini_cohort, tmp_path, jobs):
    result = evaluate(mini_cohort, trained.package, tmp_path, split="all", jobs=jobs)
    with (tmp_path / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6 * 4  # the model and three baselines
    summary = json.loads((tmp_path / "metrics.json").read_text())
    by_hand = [float(row["PSNR"]) for row in rows if row["predictor"] == "mini"]
    assert summary["summary"]["mini"]["PSNR"]["mean"] == pytest.approx(sum(by_hand) / 6, rel=1e-4)
    assert result.data_range == summary["data_range"] == 2.0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", r"'training\.epoch'.*Did you mean 'epochs'"),
        ("lossess=[]", "Did you mean 'losses'"),
        ("generator.name=unet3000", "Unknown generator"),
        ("training.epochs=0", "epochs"),
        ("epochs", "KEY=VALUE"),
    ],
)
def test_a_recipe_s_mistakes_are_named(mini_recipe, mini_cohort, tmp_path, override, message):
    with pytest.raises(BadInputError, match=message):
        train(mini_recipe, tmp_path / "run", overrides=[override], cohort=mini_cohort)


def test_recipes_build_on_others(mini_recipe):
    child = mini_recipe.parent / "child.yaml"
    child.write_text("extends: mini.yaml\ntraining: {epochs: 9}\nlosses: [{name: l1}]\n")
    recipe = read_recipe(child, ["training.seed=11"])
    assert recipe.training.epochs == 9
    assert recipe.training.seed == 11
    assert recipe.training.batch_size == 1
    assert [term.name for term in recipe.losses] == ["l1"]
    short = mini_recipe.parent / "short.yaml"
    short.write_text("training: {epochs: 2, batch_size: 3}\n")
    both = mini_recipe.parent / "both.yaml"
    both.write_text("extends: [child.yaml, short.yaml]\ntraining: {batch_size: 2}\n")
    composed = read_recipe(both)
    assert (composed.training.epochs, composed.training.batch_size, composed.training.seed) == (2, 2, 7)
    assert [term.name for term in composed.losses] == ["l1"]
    loop = mini_recipe.parent / "loop.yaml"
    loop.write_text("extends: loop.yaml\n")
    with pytest.raises(BadInputError, match="circle"):
        read_recipe(loop)


def test_shipped_recipes_are_valid():
    from pathlib import Path

    folder = Path(__file__).parents[2] / "Training" / "recipes"
    recipes = [path for path in sorted(folder.glob("*.yaml")) if path.name[0] != "_"]
    assert recipes
    for path in recipes:
        assert read_recipe(path).name == path.stem
