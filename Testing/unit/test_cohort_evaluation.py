"""Evaluation of a cohort of preprocessed people whose truth is known: models, baselines, existing volumes, folds."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from preprocessed_people import CHAIN, already_preprocessed, atlas_labels, write_model, write_person
from safetensors.numpy import save
from scipy import stats
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets import cohort_check
from modality_synthesis.datasets.cache import Pair
from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.errors import BadInputError, HashMismatchError, UsageError
from modality_synthesis.evaluation import cohort as room
from modality_synthesis.evaluation import evaluate, scoring
from modality_synthesis.evaluation.baselines import COPY, LINEAR, MEAN, TISSUE, Baselines, fit_baselines
from modality_synthesis.evaluation.metrics import METRICS, SLICE_METRICS
from modality_synthesis.evaluation.report import metrics_tables
from modality_synthesis.evaluation.scoring import MEASURED, load_sample
from modality_synthesis.generators import build_generator
from modality_synthesis.models import ModelPackage, verify_package
from modality_synthesis.preprocessing import ChainParameters
from modality_synthesis.preprocessing.atlas import regions
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import array, file_sha256, read_image, same_geometry, sidecar_path, write_rows

PEOPLE = 12


def package(folder: Path, seed: int) -> ModelPackage:
    """A small model with random weights."""
    torch.manual_seed(seed)
    parameters = {"channels": [4, 8], "stem_stride": 1, "final_bias": 0.8}
    return write_model(folder, "residual-unet", parameters, build_generator("residual-unet", parameters))


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """A table of twelve people; their preprocessed pairs lie beside it, with to_native a shift of 10 mm along x."""
    folder = tmp_path_factory.mktemp("people")
    codes = atlas_labels()
    brain = codes > 0
    rows = []
    for number in range(PEOPLE):
        rng = np.random.default_rng(number)
        source = (brain * rng.normal(0.6, 0.15, codes.shape)).astype(np.float32)
        level = 1.0 + 0.05 * number
        target = np.where(brain, level * (0.4 + source) + rng.normal(0, 0.02, codes.shape), 0).astype(np.float32)
        name = f"sub-{number:02d}"
        blurred = target + brain * rng.normal(0, 0.1, codes.shape).astype(np.float32)
        row = write_person(
            folder, name, source, target, brain, shift_mm=10.0, made=blurred, made_sd=brain * np.float32(0.1)
        )
        split = "train" if number < 3 else "validation" if number < 4 else "test"
        rows.append({**row, "split": split, "sex": "FM"[number % 2], "age": 60 + number, "fold": "ab"[number % 2]})
    write_rows(folder / "cohort.csv", rows)
    return folder / "cohort.csv"


@pytest.fixture(autouse=True, scope="module")
def preprocessed(people):
    with already_preprocessed(people.parent):
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[ModelPackage]:
    folder = tmp_path_factory.mktemp("models")
    return [package(folder / name, seed) for seed, name in enumerate(("first", "second"))]


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def result(people, models, output, preprocessed):
    return evaluate(people, models, output, cache=output / "cache", jobs=1, device="cpu", report=True)


def test_two_models_beside_their_baselines(result, output):
    assert result.contenders == ("first", "second")
    assert set(result.baselines) == {COPY, MEAN, LINEAR, TISSUE}
    assert len(result.subjects) == 8
    with (output / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8 * 6
    facts = json.loads((output / "metrics.json").read_text())
    by_hand = np.mean([float(row["MAE"]) for row in rows if row["predictor"] == "first"])
    assert facts["summary"]["first"]["MAE"]["mean"] == pytest.approx(by_hand, rel=1e-6)
    # One Holm family: two models against each other, each against four baselines, on every metric.
    assert len(facts["tests"]) == 9 * len(facts["definitions"])
    assert facts["facts"]["cohort"]["training_for_baselines"] == 3
    # The target is nearly linear in the source: these baselines are hard to beat by random weights.
    assert facts["summary"][COPY]["MAE"]["mean"] < facts["summary"]["first"]["MAE"]["mean"]


def test_the_tables_say_what_is_synthetic_and_who_made_it(result, output, people, models, tmp_path):
    def rows_of(name: str, folder: Path = output) -> list[dict[str, str]]:
        with (folder / name).open() as stream:
            return list(csv.DictReader(stream))

    for name in ("metrics.csv", "regions.csv", "summary.csv", "agreement.csv"):
        told = {(row["predictor"], row["synthetic"], row["model"]) for row in rows_of(name)}
        assert ("first", "yes", f"first {models[0].card.version}") in told, name
        assert {row["synthetic"] for row in rows_of(name)} == {"yes"}, name
    assert (MEAN, "yes", f"baseline: {MEAN}") in {
        (row["predictor"], row["synthetic"], row["model"]) for row in rows_of("metrics.csv")
    }
    assert {(row["synthetic"], row["model"]) for row in rows_of("measured_regions.csv")} == {("no", "")}
    value = "suvr" if result.units == "SUVR" else "mean"
    row = rows_of("regions.csv")[0]
    made = result.regional[row["predictor"]][list(result.subjects).index(row["subject"])]
    assert float(row[value]) == pytest.approx(made[0], rel=1e-4)
    # Volumes made elsewhere: what their own mark says, else that nobody knows.
    evaluate(people, output=tmp_path / "made", synthetic=["made"], to="FDG-PET", cache=tmp_path / "c", jobs=1)
    assert {(row["synthetic"], row["model"]) for row in rows_of("regions.csv", tmp_path / "made")
            if row["predictor"] == "made"} == {("yes", "unknown")}  # fmt: skip


def test_the_published_independent_t_test_stands_beside_the_paired_ones(result, output):
    with (output / "tests.csv").open() as stream:
        row = next(
            r for r in csv.DictReader(stream) if (r["metric"], r["first"], r["second"]) == ("PSNR", "first", COPY)
        )
    first, second = (result.scores[name]["PSNR"] for name in ("first", COPY))
    assert float(row["independent_ttest_as_published_p"]) == pytest.approx(
        stats.ttest_ind(first, second).pvalue, rel=1e-3
    )
    assert float(row["t_p"]) == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-3)
    assert float(row["independent_ttest_as_published_low"]) < np.mean(first) - np.mean(second)
    assert "ignores the pairing" in json.loads((output / "metrics.json").read_text())["tests_note"]
    assert "independent t p, as published" in (output / "report.html").read_text(encoding="utf-8")


def test_regional_figures_are_those_of_the_volumes(result, people):
    measured = result.regional[MEASURED]
    index = next(i for i, r in enumerate(regions()) if (r.name, r.hemisphere) == ("braak_5", "both"))
    codes = atlas_labels()
    target = Pair(None, people.parent / f"{result.subjects[0]}.safetensors").load()["target"]  # type: ignore[arg-type]
    assert measured[0, index] == pytest.approx(target[np.isin(codes, regions()[index].labels)].mean(), rel=1e-5)
    row = next(row for row in result.agreement() if (row.region, row.predictor) == ("braak_5", "first"))
    made = result.regional["first"][:, index]
    assert row.bias == pytest.approx((made - measured[:, index]).mean(), rel=1e-6)
    assert row.count == 8


def test_an_interrupted_evaluation_goes_on_and_ends_alike(people, models, tmp_path, output, monkeypatch, result):
    whole = (output / "metrics.csv").read_bytes()
    original, count = scoring.compare_arrays, [0]

    def stop_half_way(*args, **settings):
        count[0] += 1
        if count[0] > 25:
            raise KeyboardInterrupt
        return original(*args, **settings)

    halved = {"cache": tmp_path / "cache2", "jobs": 1, "device": "cpu"}
    monkeypatch.setattr(scoring, "compare_arrays", stop_half_way)
    with pytest.raises(KeyboardInterrupt):
        evaluate(people, models, tmp_path / "halved", **halved)
    done = sorted(path.stem for path in (tmp_path / "halved" / "subjects").glob("*.json"))
    assert 0 < len(done) < 8
    count[0] = -1000
    evaluate(people, models, tmp_path / "halved", **halved)
    assert count[0] == -1000 + (8 - len(done)) * 6
    assert (tmp_path / "halved" / "metrics.csv").read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "contents", "said"),
    [
        ("subjects/sub-05.json", '{"age": 61}', "no record of an evaluation"),
        ("subjects/sub-05.json", "notes", "no record of an evaluation"),
        ("subjects/sub-05.safetensors", "weights", "no record of an evaluation"),
    ],
)
def test_what_somebody_else_wrote_is_refused_before_computing(
    people, models, tmp_path, monkeypatch, name, contents, said
):
    def no_more(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(room, "preprocess_pairs", no_more)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(contents)
    with pytest.raises(BadInputError, match=said):
        evaluate(people, models[:1], tmp_path, cache=tmp_path.parent / "cache", jobs=1, device="cpu")
    assert (tmp_path / name).read_text() == contents


def test_another_setting_is_measured_anew(people, models, tmp_path):
    options = {"cache": tmp_path / "cache", "jobs": 1, "device": "cpu"}
    first = evaluate(people, models[:1], tmp_path / "out", **options)
    other = evaluate(people, models[:1], tmp_path / "out", data_range=4.0, **options)
    gain = np.array(other.scores["first"]["PSNR"]) - first.scores["first"]["PSNR"]
    np.testing.assert_allclose(gain, 20 * np.log10(2), rtol=1e-5)


def test_existing_volumes_are_brought_from_native_space(people, tmp_path):
    found = evaluate(
        people, (), tmp_path / "out", synthetic=["made"], uncertainty="made_sd", to="FDG-PET", jobs=1,
        cache=tmp_path / "cache",
    )  # fmt: skip
    assert found.contenders == ("made",)
    # The columns' volumes are the target plus noise of 0.1, 10 mm away from the grid: RMSE 0.1 shows both.
    assert np.mean(found.scores["made"]["RMSE"]) == pytest.approx(0.1, abs=0.003)
    calibration = found.calibration_summary()["made"]
    assert calibration["coverage"] == pytest.approx(calibration["levels"], abs=0.02)
    assert found.tests()[0].first == "made"


def test_subgroups_come_from_the_table(result):
    assert set(result.groups) >= {"sex", "age"}
    assert "split" not in result.groups
    rows = result.fairness()["first"]
    assert {row.group for row in rows if row.variable == "age"} == {"up to 67.5", "above 67.5"}
    women = next(row for row in rows if (row.group, row.metric) == ("F", "MAE"))
    by_hand = [v for v, s in zip(result.scores["first"]["MAE"], result.groups["sex"], strict=True) if s == "F"]
    assert women.value.value == pytest.approx(np.mean(by_hand))


def test_each_fold_is_judged_by_the_model_that_never_saw_it(people, models, tmp_path):
    pooled = evaluate(people, models, tmp_path / "out", folds="fold", jobs=1, device="cpu", cache=tmp_path / "cache")
    assert pooled.contenders == ("first (2-fold)",)
    assert len(pooled.subjects) == PEOPLE
    single = evaluate(people, models, None, split="all", jobs=1, device="cpu", cache=tmp_path / "cache")
    for name, fold, score in zip(pooled.subjects, pooled.folds, pooled.scores["first (2-fold)"]["MAE"], strict=True):
        model = {"a": "first", "b": "second"}[fold]
        assert score == pytest.approx(single.scores[model]["MAE"][list(single.subjects).index(name)])
    table = pooled.fold_tables()["first (2-fold)"]
    scores = np.array(pooled.scores["first (2-fold)"]["MAE"])
    by_fold = [scores[np.array(pooled.folds) == fold].mean() for fold in "ab"]
    assert table.figures["MAE"] == pytest.approx(by_fold)
    assert table.deviation["MAE"] == pytest.approx(scores.std(ddof=1))
    with pytest.raises(UsageError, match="2 folds and 1 models"):
        evaluate(people, models[:1], None, folds="fold")


@pytest.mark.long
def test_from_ct_to_mri_the_literature_s_slice_figures_are_added(people, result, tmp_path):
    with people.open() as stream:
        rows = [
            {"subject": row["subject"], "split": row["split"], "CT": people.parent / row["T1w"]}
            | {"T1w": people.parent / row["FDG-PET"]}
            for row in csv.DictReader(stream)
        ]
    write_rows(tmp_path / "ct.csv", rows)
    torch.manual_seed(0)
    parameters = {"channels": [4, 8], "stem_stride": 1, "final_bias": 0.8}
    made = build_generator("residual-unet", parameters)
    route = {"source": "CT", "target": "T1w"}
    model = write_model(tmp_path / "ct-t1w", "residual-unet", parameters, made, route=route)
    out = tmp_path / "out"
    found = evaluate(
        tmp_path / "ct.csv", model, out, jobs=1, device="cpu", cache=tmp_path / "cache", baselines=False, report=True
    )
    assert list(found.metrics) == [*METRICS, *SLICE_METRICS]
    assert list(result.metrics) == list(METRICS)
    with (out / "metrics.csv").open() as stream:
        row = next(csv.DictReader(stream))
    # A background where nothing can be wrong makes PSNR better.
    assert float(row["PSNR whole slice"]) > float(row["PSNR"]) + 1
    assert 0 < float(row["SSIM global"]) < 1
    assert float(row["Tenengrad"]) > 0
    facts = json.loads((out / "metrics.json").read_text())
    assert set(facts["definitions"]) == {*METRICS, *SLICE_METRICS}
    assert "PSNR whole slice" in (out / "report.html").read_text(encoding="utf-8")


def test_what_does_not_go_together_is_refused(people, models):
    with pytest.raises(UsageError, match="--model"):
        evaluate(people)
    with pytest.raises(UsageError, match="--to"):
        evaluate(people, synthetic=["made"])
    with pytest.raises(UsageError, match="twice"):
        evaluate(people, [models[0], models[0]])
    with pytest.raises(UsageError, match="--synthetic"):
        evaluate(people, models, uncertainty="made_sd")
    with pytest.raises(BadInputError, match="no column 'nothing'"):
        evaluate(people, synthetic=["nothing"], to="FDG-PET")
    with pytest.raises(BadInputError, match="group by"):
        evaluate(people, models[0], groups=["shoe size"], jobs=1, device="cpu")


def test_the_report_stands_alone(result, output):
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "<script" not in page
    assert page.count("<img") == page.count('alt="')
    assert 'alt=""' not in page
    for text in (
        "Research use only",
        "CLAIM 2024",
        "TRIPOD+AI",
        "Bland-Altman",
        "trained on simulated data",
        "ICC(2,1)",
    ):
        assert text in page, text
    assert (output / "report.pdf").read_bytes().startswith(b"%PDF")


def test_from_the_command_line(people, models, tmp_path):
    command = ["evaluate", str(people), "--model", str(models[0].folder), "-o", str(tmp_path / "out"), "--no-report"]
    ran = CliRunner().invoke(app, [*command, "--jobs", "1", "--device", "cpu", "--progress", "json"])
    assert ran.exit_code == 0, ran.output
    last = json.loads(ran.stdout.splitlines()[-1])
    assert last["type"] == "result"
    assert last["summary"]["first"]["MAE"]["mean"] > 0


def only_tests(people: Path, tmp_path: Path, count: int = 8, column: bool = True) -> Path:
    """The table's test rows alone, with or without the column that says so."""
    with people.open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"][:count]
    rows = [{**row, "T1w": people.parent / row["T1w"], "FDG-PET": people.parent / row["FDG-PET"]} for row in rows]
    kept = [{name: value for name, value in row.items() if column or name != "split"} for row in rows]
    write_rows(tmp_path / "tests.csv", kept)
    return tmp_path / "tests.csv"


@pytest.fixture(scope="module")
def keeping(people, tmp_path_factory) -> ModelPackage:
    """The first model with the baselines of the table's training people in its package."""
    pairs = [Pair(visit, people.parent / f"{visit.subject}.safetensors") for visit in read_cohort(people).visits[:3]]
    mapping = ChainParameters.model_validate(CHAIN).target
    fitted = fit_baselines(load_sample(pair, mapping) for pair in pairs)
    torch.manual_seed(0)
    parameters = {"channels": [4, 8], "stem_stride": 1, "final_bias": 0.8}
    folder = tmp_path_factory.mktemp("keeping") / "first"
    return write_model(
        folder, "residual-unet", parameters, build_generator("residual-unet", parameters),
        baselines=(fitted.to_bytes(compact=True), 3),
    )  # fmt: skip


@pytest.mark.long
def test_a_table_of_test_rows_is_judged_by_the_baselines_in_the_package(people, keeping, result, tmp_path):
    table = only_tests(people, tmp_path)
    found = evaluate(table, keeping, tmp_path / "out", cache=tmp_path / "cache", jobs=1, device="cpu", report=True)
    assert set(found.baselines) == {COPY, MEAN, LINEAR, TISSUE}
    for name in found.baselines:
        assert found.scores[name]["MAE"] == pytest.approx(result.scores[name]["MAE"], rel=2e-3)
    facts = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "3 training subjects of first" in facts["facts"]["baselines_from"]
    (verdict,) = facts["verdict"]
    assert verdict["outcome"] == "loses to"  # random weights
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.index(verdict["text"].split(" by ")[0]) < page.index("What was evaluated")


def test_a_table_of_test_rows_needs_no_others(people, models, tmp_path):
    table, reporter = only_tests(people, tmp_path), Reporter()
    options = {"cache": tmp_path / "cache", "jobs": 1, "device": "cpu", "reporter": reporter}
    assert evaluate(table, models[0], None, baselines=False, **options).baselines == ()
    assert not reporter.warnings
    assert evaluate(table, models[0], None, **options).baselines == ()
    assert any("keeps baselines" in warning for warning in reporter.warnings)


def test_two_visits_are_said_to_be_too_few(people, models, tmp_path):
    table, reporter = only_tests(people, tmp_path, count=2, column=False), Reporter()
    options = {"cache": tmp_path / "cache", "jobs": 1, "device": "cpu", "reporter": reporter}
    with pytest.raises(BadInputError, match="--split all"):
        evaluate(table, models[0], None, **options)
    found = evaluate(table, models[0], None, split="all", **options)
    assert len(found.subjects) == 2
    (finding,) = [one for one in reporter.findings if one.code == "few-patients"]
    assert (finding.level, finding.value, finding.limit) == ("look", 2, 5)


def test_baselines_of_a_package_are_data_and_are_checked(keeping, people, tmp_path):
    assert keeping.card.baselines.subjects == 3
    verify_package(keeping.folder)
    table = only_tests(people, tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(keeping.folder, broken)
    (broken / "baselines.safetensors").write_bytes(b"nonsense")
    for action in (lambda: verify_package(broken), lambda: evaluate(table, broken, None, jobs=1, device="cpu")):
        with pytest.raises(HashMismatchError, match="baselines"):
            action()
    (broken / "baselines.safetensors").unlink()
    with pytest.raises(BadInputError, match=r"baselines\.safetensors cannot be read"):
        verify_package(broken)
    for content in (b"nonsense", save({"mean": np.zeros((2, 2, 2))}), save({"mean": np.full((2, 2, 2), np.nan)})):
        with pytest.raises(BadInputError, match="no file of baselines"):
            Baselines.of_bytes(content, Path("x"))


def test_the_judged_model_is_on_top_and_the_best_is_bold(result):
    tables = metrics_tables(result.summary(), result.contenders, result.metrics)
    first = tables[0]
    assert [row[0].split()[-1] for row in first.rows[:2]] == ["first", "second"]
    assert list(first.marked) == [0, 1]
    column = first.header.index("MAE")
    best = next(row for row, place in first.best if place == column)
    means = {name: values["MAE"]["mean"] for name, values in result.summary().items()}
    assert first.rows[best][0] == min(means, key=means.get)
    assert best not in first.marked


def test_volumes_are_kept_on_the_source_s_grid_with_their_marks(people, models, tmp_path):
    table = only_tests(people, tmp_path, count=2)
    options = {"cache": tmp_path / "cache", "jobs": 1, "device": "cpu", "baselines": False}
    found = evaluate(table, models[0], tmp_path / "out", keep_volumes=True, **options)
    for index, visit in enumerate(read_cohort(table).visits):
        path = tmp_path / "out" / "volumes" / f"{visit.name}_first.nii.gz"
        record = json.loads(sidecar_path(path).read_text())
        assert record["SyntheticData"] is True
        assert record["Model"]["weights_sha256"] == models[0].card.weights.sha256
        assert record["Sources"][0]["sha256"] == file_sha256(visit.volumes["T1w"])
        made, source = read_image(path), read_image(visit.volumes["T1w"])
        assert same_geometry(made, source)
        # It is the volume that was scored: its error against the measured one is the figure in the table.
        measured, inside = array(read_image(visit.volumes["FDG-PET"])), array(source) != 0
        error = np.abs(array(made) - measured)[inside].mean()
        assert error == pytest.approx(found.scores["first"]["MAE"][index], rel=0.01)
    path.unlink()
    evaluate(table, models[0], tmp_path / "out", keep_volumes=True, **options)  # the record alone is not enough
    assert path.is_file()
    with pytest.raises(UsageError, match="-o FOLDER"):
        evaluate(table, models[0], None, keep_volumes=True, **options)


def test_the_terminal_says_the_verdict_first_and_marks_what_is_judged(people, models, tmp_path):
    command = ["evaluate", str(people), "--model", str(models[0].folder), "-o", str(tmp_path / "out"), "--no-report"]
    ran = CliRunner().invoke(app, [*command, "--jobs", "1", "--device", "cpu"])
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("first loses to ")
    assert ran.stdout.isascii()
    rows = [line for line in lines if line.startswith(("> ", "  "))]
    marked = [line for line in rows if line.startswith("> ")]
    assert marked[0].split()[1] == "first"
    assert len(marked) == 1
    assert "*" not in marked[0].split("]")[0]  # its MAE is not the best
    facts = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert facts["verdict"][0]["outcome"] == "loses to"


def test_an_id_that_names_no_file_costs_its_row(people, models, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "screen", cohort_check.screen)
    monkeypatch.setattr(cohort_check, "check_visit", lambda visit, request: [])
    table = people.with_name("with_an_unsafe_row.csv")
    lines = people.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[-1].replace("sub-11,", "../escape,", 1)]) + "\n")
    output = tmp_path / "inner" / "evaluation"
    arguments = ["evaluate", table, "--model", models[0].folder, "-o", output, "--cache", tmp_path / "cache",
                 "--jobs", "1", "--device", "cpu", "--no-report", "--no-baselines", "--progress", "json"]  # fmt: skip
    ran = CliRunner().invoke(app, [*map(str, arguments)])
    messages = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.exit_code == 3
    reason = "Line 14 of the table: the subject '../escape' cannot name a file"
    assert list(messages[-1]["left_out"]) == ["../escape"]
    assert messages[-1]["left_out"]["../escape"].startswith(reason)
    told = [message["message"] for message in messages if message["type"] == "warning"]
    assert any(text.startswith(f"../escape is left out: {reason}") for text in told)
    assert "../escape" in (output / "qc.tsv").read_text()
    with (output / "metrics.csv").open() as stream:
        assert len({row["subject"] for row in csv.DictReader(stream)}) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "inner"]
