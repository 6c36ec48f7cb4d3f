"""Target statistics by manufacturer: fitted on the training patients alone, inverted at synthesis."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from modality_synthesis.datasets.cache import Pair
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.datasets.samples import SampleSpec
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.preprocessing import ChainParameters, Standardization, TargetMapping, target_scaling
from modality_synthesis.preprocessing.manufacturers import canonical_manufacturer
from modality_synthesis.progress import Reporter

SHAPE = (3, 4, 5)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("SIEMENS", "Siemens"),
        ("Siemens Healthineers", "Siemens"),
        ("Siemens/CTI", "Siemens"),
        ("CPS", "Siemens"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("GE Healthcare", "GE"),
        ("GEMS", "GE"),
        ("Philips Medical Systems", "Philips"),
        ("PHILIPS-A7C2", "Philips"),
        ("TOSHIBA_MEC", "Canon"),
        ("UIH", "United Imaging"),
        ("  mediso   medical ", "Mediso Medical"),
        ("Geneva Instruments", "Geneva Instruments"),
        ("n/a", None),
        ("", None),
        (None, None),
    ],
)
def test_names_as_files_write_them(written, name):
    assert canonical_manufacturer(written) == name
    assert canonical_manufacturer(name) == name


def write_pair(folder, subject, target, manufacturer, session="", brain=None):
    from safetensors.numpy import save_file

    target = np.asarray(target, dtype=np.float32).reshape(SHAPE)
    brain = np.ones(SHAPE, np.uint8) if brain is None else brain
    visit = Visit(subject, session, variables={"manufacturer": manufacturer})
    path = folder / f"{visit.name}.safetensors"
    arrays = {
        "source": np.zeros(SHAPE, np.float16),
        "target": target,
        "brain": brain,
        "region": np.ones(SHAPE, np.uint8),
    }
    save_file(arrays, path)
    return Pair(visit, path)


def spec(**settings) -> SampleSpec:
    target = TargetMapping(minimum=0.0, standardization=Standardization(fewest_subjects=1, **settings))
    return SampleSpec("TAU-PET", ChainParameters(target=target))


@pytest.fixture
def training(tmp_path):
    """Two Siemens patients (one with two visits, one brain half empty) and one GE patient."""
    rng = np.random.default_rng(0)
    half = np.ones(SHAPE, np.uint8)
    half[0] = 0
    return [
        write_pair(tmp_path, "a", rng.normal(1.2, 0.3, SHAPE), "SIEMENS", "1"),
        write_pair(tmp_path, "a", rng.normal(1.4, 0.2, SHAPE), "Siemens", "2"),
        write_pair(tmp_path, "b", rng.normal(1.6, 0.4, SHAPE), "CPS", brain=half),
        write_pair(tmp_path, "c", rng.normal(2.0, 0.5, SHAPE), "GE MEDICAL SYSTEMS"),
    ]


def by_hand(weighted_values):
    """Mean and standard deviation of values with weights, in plain Python."""
    total = sum(weight for _, weight in weighted_values)
    mean = sum(value * weight for value, weight in weighted_values) / total
    variance = sum(weight * (value - mean) ** 2 for value, weight in weighted_values) / total
    return mean, variance**0.5


def test_statistics_weigh_patients_alike_and_see_the_brain_alone(training):
    fitted = spec().fitted(training).chain.target.standardization
    values = []
    for pair, share in zip(training, (0.5, 0.5, 1.0, 1.0), strict=True):
        arrays = pair.load()
        inside = arrays["target"][arrays["brain"] > 0].tolist()
        values.append([(value, share / len(inside)) for value in inside])
    for name, group, subjects in (("Siemens", values[:3], 2), ("GE", values[3:], 1)):
        mean, std = by_hand([pair for part in group for pair in part])
        found = fitted.statistics[name]
        assert found.mean == pytest.approx(mean, rel=1e-5)
        assert found.std == pytest.approx(std, rel=1e-5)
        assert found.subjects == subjects
        flat = [value for part in group for value, _ in part]
        assert (found.minimum, found.maximum) == pytest.approx((min(flat), max(flat)), rel=1e-5)
    mean, std = by_hand([pair for part in values for pair in part])
    assert (fitted.pooled.mean, fitted.pooled.std) == pytest.approx((mean, std), rel=1e-5)
    assert fitted.pooled.subjects == 3
    one_visit = spec().fitted(training[3:]).chain.target.standardization.pooled
    plain = training[3].load()["target"].ravel().astype(float).tolist()
    assert one_visit.std == pytest.approx(statistics.pstdev(plain), rel=1e-5)


def test_other_patients_do_not_change_the_statistics(training, tmp_path):
    before = spec().fitted(training)
    write_pair(tmp_path, "test", np.full(SHAPE, 50.0), "SIEMENS")
    dataset_side = before.scaling(Visit("test", variables={"manufacturer": "SIEMENS"}))
    assert spec().fitted(training) == before
    assert dataset_side == before.scaling(training[0].visit)
    # The statistics do react to the training volumes themselves.
    write_pair(tmp_path, "b", np.full(SHAPE, 9.0), "CPS")
    assert spec().fitted(training) != before


@pytest.mark.parametrize("method", ["z-score", "min-max"])
def test_network_values_come_back_as_suvr(training, method):
    fitted = spec(method=method).fitted(training)
    mapping = fitted.chain.target
    suvr = np.linspace(0.1, 3.0, 60, dtype=np.float32).reshape(SHAPE)
    region = np.ones(SHAPE, np.uint8)
    region[:, :, 0] = 0
    for name in ("SIEMENS", "ge", None):
        scaling = target_scaling(mapping, name)
        restored = scaling.to_units(scaling.to_network(suvr), region)
        np.testing.assert_allclose(restored[region > 0], suvr[region > 0], atol=1e-5)
        assert (restored[region == 0] == 0).all()
        assert (scaling.to_units(np.full(SHAPE, -100.0), region) == 0).all()
    siemens = target_scaling(mapping, "Siemens")
    if method == "min-max":
        arrays = [pair.load() for pair in training[:3]]
        inside = np.concatenate([part["target"][part["brain"] > 0] for part in arrays])
        network = siemens.to_network(inside)
        assert (network.min(), network.max()) == pytest.approx((0, 1), abs=1e-5)
    assert siemens.statistics == "Siemens"
    assert target_scaling(mapping, "Mediso").statistics == "pooled"


def test_a_manufacturer_with_few_patients_shares_the_pooled_statistics(training):
    strict = TargetMapping(standardization=Standardization(fewest_subjects=2))
    fitted = SampleSpec("TAU-PET", ChainParameters(target=strict)).fitted(training)
    assert list(fitted.chain.target.standardization.statistics) == ["Siemens"]
    assert fitted.scaling(training[3].visit).statistics == "pooled"
    everybody = spec(by="all").fitted(training).chain.target.standardization
    assert everybody.statistics == {}
    assert everybody.pooled == fitted.chain.target.standardization.pooled


def test_what_cannot_be_standardized_is_said(training, tmp_path):
    with pytest.raises(BadInputError, match="constant inside the brain"):
        spec().fitted([write_pair(tmp_path, "flat", np.ones(SHAPE), "GE")])
    with pytest.raises(BadInputError, match="no statistics"):
        spec().scaling(training[0].visit)
    with pytest.raises(ValidationError, match="takes the place of scale"):
        TargetMapping(scale=2.0, standardization=Standardization())
    figures = {"mean": 1, "std": 1, "minimum": 0, "maximum": 2, "subjects": 3}
    with pytest.raises(ValidationError, match="is written 'Siemens'"):
        Standardization(statistics={"SIEMENS": figures}, pooled=figures)


def test_the_cache_does_not_depend_on_the_statistics(training, tmp_path, monkeypatch):
    from modality_synthesis.datasets import cache

    monkeypatch.setattr(cache, "parallel_map", lambda work, missing, **_: [cache.Row(())] * len(missing))
    for name in ("t1.nii", "pet.nii"):
        (tmp_path / name).write_text("x")
    visit = Visit("x", volumes={"T1w": tmp_path / "t1.nii", "TAU-PET": tmp_path / "pet.nii"})
    chains = [spec().chain, spec().fitted(training).chain, spec().fitted(training[:2]).chain, spec().chain.fixed]
    paths = {cache.preprocess_pairs([visit], "T1w", "TAU-PET", chain, tmp_path)[0].path for chain in chains}
    assert len(paths) == 1


def test_the_user_learns_whose_statistics_are_used(training):
    from types import SimpleNamespace

    from modality_synthesis.synthesis.manufacturer import choose_scaling

    fitted = spec().fitted(training)
    card = SimpleNamespace(id="m", preprocessing=fitted.chain)
    for asked, used, warnings in (
        ("siemens healthineers", "Siemens", 0),
        ("pooled", "pooled", 0),
        (None, "pooled", 1),
        ("Mediso", "pooled", 1),
    ):
        reporter = Reporter()
        assert choose_scaling(card, asked, reporter).statistics == used
        assert len(reporter.warnings) == warnings
        assert all("GE, Siemens" in warning for warning in reporter.warnings)
    plain = SimpleNamespace(id="m", preprocessing=ChainParameters())
    assert choose_scaling(plain, None, Reporter()).statistics is None
    with pytest.raises(UsageError, match="leave out --manufacturer"):
        choose_scaling(plain, "GE", Reporter())


def test_the_dataset_standardizes_and_says_how_to_go_back(training):
    from modality_synthesis.datasets.pairs import PairDataset

    dataset = PairDataset(training, spec().fitted(training))
    for index, pair in enumerate(training):
        sample = dataset[index]
        scale, offset = sample["scaling"].tolist()
        np.testing.assert_allclose(sample["target"][0].numpy() * scale + offset, pair.load()["target"], atol=1e-4)
    siemens, general = dataset[0]["scaling"], dataset[3]["scaling"]
    assert not np.allclose(siemens, general)
    fixed = SampleSpec("TAU-PET", ChainParameters(target=TargetMapping(scale=2.0, offset=1.0)))
    np.testing.assert_array_equal(PairDataset(training, fixed)[0]["target"][0], training[0].load()["target"])
    assert replace(fixed).fitted(training) == fixed
