"""Training samples: clinical variables, MetaROIs, slabs and patches, augmentation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.utils.data import DataLoader

from modality_synthesis.datasets.augmentation import (
    Layout,
    RandomChanges,
    RightAngles,
    change_ct,
    change_mri,
    make_augmenter,
)
from modality_synthesis.datasets.cache import Pair
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.datasets.pairs import PairDataset, require_disjoint
from modality_synthesis.datasets.parameters import Augmentation, Sampling
from modality_synthesis.datasets.samples import SampleSpec
from modality_synthesis.errors import BadInputError
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.models.card import ClinicalVariable, Inference
from modality_synthesis.preprocessing import ChainParameters, Register, Resample, TargetMapping
from modality_synthesis.preprocessing.atlas import find_regions, label_image, member_names
from modality_synthesis.preprocessing.parameters import Window
from modality_synthesis.synthesis.inference import run_generator

SHAPE = (6, 7, 8)  # z, y, x
PLAIN = SampleSpec("FDG-PET", ChainParameters())
AGE = ClinicalVariable(name="age", label="Age", kind="number", minimum=40, maximum=100)
SEX = ClinicalVariable(name="sex", label="Sex", kind="choice", choices=("F", "M"))


def make_pair(folder, subject="a", session="", variables=None, shape=SHAPE, brain=None):
    """A pair whose target encodes subject and position: target = 1000 * subject + z * 100 + y * 10 + x."""
    z, y, x = np.indices(shape)
    code = (1000 * (ord(subject) - ord("a")) + z * 100 + y * 10 + x).astype(np.float32)
    visit = Visit(subject, session, variables=variables or {})
    path = folder / f"{visit.name}.safetensors"
    brain = np.ones(shape, np.uint8) if brain is None else brain
    save_file({"source": code / 1000, "target": code, "brain": brain, "region": np.ones(shape, np.uint8)}, path)
    return Pair(visit, path)


# Clinical variables


def clinical(folder, rows):
    pairs = [make_pair(folder, subject, session, dict(zip(("Age", "sex"), values, strict=True)))
             for subject, session, *values in rows]  # fmt: skip
    return pairs, SampleSpec("FDG-PET", ChainParameters(), (AGE, SEX))


def test_numbers_are_standardized_with_the_training_patients_and_choices_numbered(tmp_path):
    rows = [("a", "1", "60", "F"), ("a", "2", "62", "F"), ("b", "", "71", "M"), ("c", "", None, None)]
    pairs, spec = clinical(tmp_path, rows)
    age, sex = spec.fitted(pairs).clinical_variables
    # Patient a counts once: her visits at 60 and 62 weigh half each.
    assert age.mean == pytest.approx((61 + 71) / 2)
    assert age.std == pytest.approx(math.sqrt((0.5 * 36 + 0.5 * 16 + 25) / 2), rel=1e-5)
    assert sex == SEX
    dataset = PairDataset(pairs, spec.fitted(pairs))
    values = torch.stack([dataset[index]["clinical"] for index in range(4)])
    assert values.dtype == torch.float32
    np.testing.assert_allclose(values[2], [(71 - age.mean) / age.std, 1.0], rtol=1e-5)
    assert values[3].isnan().all()
    stated = spec.__class__("FDG-PET", ChainParameters(), (AGE.model_copy(update={"mean": 70.0, "std": 5.0}),))
    assert stated.fitted(pairs) == stated
    assert "clinical" not in PairDataset(pairs, PLAIN)[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("130", "F"), r"a: age=130: outside 40"),
        (("70", "X"), r"a: sex=X: choose one of F, M"),
        ((None, "F"), "No training patient has a known value of 'age'"),
        (("70", "F"), "is 70 for every training patient"),
    ],
)
def test_values_that_cannot_be_used_are_named(tmp_path, values, message):
    pairs, spec = clinical(tmp_path, [("a", "", *values)])
    if "X" in values:
        spec = SampleSpec("FDG-PET", ChainParameters(), (SEX,))
    with pytest.raises(BadInputError, match=message):
        PairDataset(pairs, spec.fitted(pairs))


def test_a_declared_variable_needs_its_column(tmp_path):
    with pytest.raises(BadInputError, match=r"no column 'age'.*Its columns: mmse"):
        SampleSpec("FDG-PET", ChainParameters(), (AGE,)).fitted([make_pair(tmp_path, variables={"mmse": "29"})])


def test_variables_are_forgotten_alone_and_together_and_never_in_validation(tmp_path):
    pairs, spec = clinical(tmp_path, [("a", "", "60", "F"), ("b", "", "70", "M")])
    spec = spec.fitted(pairs)
    dataset = PairDataset(pairs[:1], spec, clinical_dropout=0.3, seed=5)
    draws = []
    for epoch in range(600):
        dataset.set_epoch(epoch)
        draws.append(dataset._known(0, 0).isnan().tolist())
    unknown = np.array(draws)
    # p + (1 - p) p for one variable; p + (1 - p) p^2 for both.
    assert unknown.mean(axis=0) == pytest.approx([0.51, 0.51], abs=0.07)
    assert unknown.all(axis=1).mean() == pytest.approx(0.363, abs=0.07)
    again = PairDataset(pairs[:1], spec, clinical_dropout=0.3, seed=5)
    again.set_epoch(17)
    assert again._known(0, 0).isnan().tolist() == draws[17]
    assert not PairDataset(pairs, spec)[0]["clinical"].isnan().any()


# MetaROIs


def test_regions_by_name_side_and_label():
    assert member_names(find_regions(["precuneus"])) == ("ctx-lh-precuneus", "ctx-rh-precuneus")
    assert find_regions([17])[0].name == "Left-Hippocampus"
    signature = member_names(find_regions(["fdg_ad_signature"]))
    assert set(signature) == {f"ctx-{side}-{name}" for side in ("lh", "rh") for name in
                              ("inferiorparietal", "inferiortemporal", "isthmuscingulate", "middletemporal",
                               "posteriorcingulate", "precuneus")}  # fmt: skip
    with pytest.raises(BadInputError, match="Did you mean 'precuneus'"):
        find_regions(["precunius"])


def test_the_mask_is_the_atlas_at_the_model_s_voxels():
    grid = Resample(size=(24, 28, 24), spacing=(8.0, 8.0, 8.0))
    spec = SampleSpec("FDG-PET", ChainParameters(source=(Register(), grid)), (), ("fdg_ad_signature",))
    mask = spec.regions()
    assert mask.shape == (24, 28, 24)
    assert mask.dtype == np.uint8
    wanted = {label for region in find_regions(["fdg_ad_signature"]) for label in region.labels}
    atlas = label_image()
    half = [(count - 1) / 2 * step for count, step in zip(grid.size, grid.spacing, strict=True)]
    expected = np.zeros_like(mask)
    for z, y, x in np.ndindex(mask.shape):
        point = [center - extent + step * index for center, extent, step, index in
                 zip(grid.center, half, grid.spacing, (x, y, z), strict=True)]  # fmt: skip
        index = atlas.TransformPhysicalPointToIndex(point)
        inside = all(0 <= i < count for i, count in zip(index, atlas.GetSize(), strict=True))
        expected[z, y, x] = inside and atlas[index] in wanted
    # A point halfway between two voxels may go to either.
    assert (mask != expected).mean() < 0.002
    # Posterior is high y (left-posterior-superior): the precuneus and its neighbors lie in the back half.
    assert np.argwhere(mask)[:, 1].mean() > 14


def test_regions_go_with_the_sample_and_are_moved_like_the_target(tmp_path):
    grid = Resample(size=SHAPE[::-1], spacing=(20.0, 20.0, 20.0), center=(0.0, 18.0, 6.0))
    spec = SampleSpec("FDG-PET", ChainParameters(source=(Register(), grid)), (), ("braak_6",))
    pair = make_pair(tmp_path)
    mirror = Augmentation(mirror=1.0, affine=0.0, intensities="none")
    sampling = Sampling(mode="slab", axis="sagittal", thickness=8)
    plain = PairDataset([pair], spec)[0]
    mirrored = PairDataset([pair], spec, augmenter=RandomChanges(mirror, spec.chain), sampling=sampling)[0]
    assert plain["regions"].shape == (1, *SHAPE)
    assert plain["regions"].sum() > 0
    torch.testing.assert_close(mirrored["regions"], plain["regions"].flip(-1).movedim(-1, 1))
    torch.testing.assert_close(mirrored["target"], plain["target"].flip(-1).movedim(-1, 1))
    with pytest.raises(BadInputError, match="'register' and 'resample'"):
        PairDataset([pair], SampleSpec("FDG-PET", ChainParameters(source=(grid,)), (), ("precuneus",)))


# Slabs and patches


@pytest.mark.parametrize(
    ("axis", "number", "rest"), [("axial", 0, (7, 8)), ("coronal", 1, (6, 8)), ("sagittal", 2, (6, 7))]
)
def test_a_slab_is_so_many_neighboring_slices_of_one_subject(tmp_path, axis, number, rest):
    pairs = [make_pair(tmp_path, "a"), make_pair(tmp_path, "c")]
    sampling = Sampling(mode="slab", axis=axis, thickness=3, per_volume=4)
    dataset = PairDataset(pairs, PLAIN, sampling=sampling, seed=1)
    assert len(dataset) == 8
    for index in range(8):
        sample = dataset[index]
        assert sample["target"].shape == sample["mask"].shape == (1, 3, *rest)
        target = sample["target"][0]
        assert target.div(1000, rounding_mode="floor").unique().tolist() == [float(2 * (index // 4))]
        volume = np.moveaxis(pairs[index // 4].load()["target"], number, 0)
        starts = [start for start in range(len(volume) - 2) if np.array_equal(volume[start : start + 3], target)]
        assert len(starts) == 1
        torch.testing.assert_close(sample["source"], sample["target"] / 1000)


class Recorder(Generator):
    """Gives its input back and keeps it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def synthesize(self, batch, progress=None):
        self.seen.append(batch.source[0, 0].clone())
        return batch.source


def middle(volume, size):
    """What lies in the middle of a padded sample."""
    starts = [(have - want) // 2 for have, want in zip(volume.shape[-2:], size, strict=True)]
    return volume[..., starts[0] : starts[0] + size[0], starts[1] : starts[1] + size[1]]


def test_slabs_of_all_planes_lie_as_synthesis_cuts_them(tmp_path):
    """Every slab of training is, but for the padding, a slice that the generator is given in synthesis."""
    pair = make_pair(tmp_path)
    given = {}
    for plane in ("axial", "coronal", "sagittal"):
        recorder = Recorder()
        source = torch.from_numpy(pair.load()["source"].astype(np.float32))[None, None]
        run_generator(recorder, Batch(source=source), Inference(mode="slices", planes=(plane,)), torch.device("cpu"))
        given[plane] = [image for slab in recorder.seen for image in slab]
    sampling = Sampling(mode="slab", axis="all", per_volume=8)
    dataset = PairDataset([pair], PLAIN, sampling=sampling, seed=3)
    met = dict.fromkeys(given, 0)
    for epoch in range(6):
        dataset.set_epoch(epoch)
        for index in range(len(dataset)):
            sample = dataset[index]
            assert sample["source"].shape == (1, 1, max(SHAPE[0], SHAPE[1]), max(SHAPE[1], SHAPE[2]))
            fits = [
                plane
                for plane, slices in given.items()
                for image in slices
                if int(sample["mask"].sum()) == image.numel()
                and torch.equal(middle(sample["source"][0, 0], image.shape), image)
                and torch.allclose(middle(sample["target"][0, 0], image.shape), image * 1000)
            ]
            assert len(fits) == 1
            met[fits[0]] += 1
            again = dataset[index]
            assert all(torch.equal(again[name], sample[name]) for name in sample)
    assert sum(met.values()) == 48
    assert min(met.values()) >= 8


def test_slabs_of_all_planes_make_a_batch_and_mirror_left_and_right(tmp_path):
    """Left and right run along a sample's width, in sagittal slabs along its depth."""
    pair = make_pair(tmp_path)
    sampling = Sampling(mode="slab", axis="all", thickness=3, per_volume=12, multiple=4)
    mirror = Augmentation(mirror=1, affine=0, intensities="none")
    plain, mirrored = (
        PairDataset([pair], PLAIN, sampling=sampling, augmenter=augmenter)
        for augmenter in (None, RandomChanges(mirror, PLAIN.chain))
    )
    batch = next(iter(DataLoader(plain, batch_size=12)))
    assert batch["source"].shape == (12, 1, 3, 8, 8)
    axes = set()
    for index in range(12):
        before, after = plain[index]["target"], mirrored[index]["target"]
        inside = plain[index]["mask"] > 0
        # In this target x is the digit of ones.
        step = (before[0, 1:][inside[0, 1:]] - before[0, :-1][inside[0, :-1]]).unique()
        axes.add(axis := -3 if step.tolist() == [1.0] else -1)
        torch.testing.assert_close(after[mirrored[index]["mask"] > 0], before.flip(axis)[inside.flip(axis)])
    assert axes == {-1, -3}


def test_turned_slices_of_all_planes_are_squares_of_one_size(tmp_path):
    sampling = Sampling(mode="slab", axis="all", per_volume=12)
    turned = PairDataset([make_pair(tmp_path)], PLAIN, sampling=sampling, augmenter=RightAngles())
    assert {turned[index]["source"].shape[1:] for index in range(12)} == {(1, 8, 8)}


def test_positions_follow_seed_epoch_and_index_alone(tmp_path):
    pair = make_pair(tmp_path, shape=(30, 4, 4))
    sampling = Sampling(mode="slab", per_volume=2)

    def position(seed, epoch, index):
        dataset = PairDataset([pair], PLAIN, sampling=sampling, seed=seed)
        dataset.set_epoch(epoch)
        return int(dataset[index]["target"][0, 0, 0, 0]) // 100

    grid = [(seed, epoch, index) for seed in (0, 1) for epoch in range(4) for index in (0, 1)]
    first, second = ([position(*key) for key in grid] for _ in range(2))
    assert first == second
    assert len(set(first)) > 6
    assert all((place < 15) == (key[2] == 0) for place, key in zip(first, grid, strict=True))


def test_with_as_many_samples_as_slices_every_slice_comes_once_and_only_the_brain_s(tmp_path):
    brain = np.zeros(SHAPE, np.uint8)
    brain[2:5, 3, 4] = 1
    pair = make_pair(tmp_path, brain=brain)
    dataset = PairDataset([pair], PLAIN, sampling=Sampling(mode="slab", per_volume=3))
    assert [int(dataset[index]["target"][0, 0, 0, 0]) // 100 for index in range(3)] == [2, 3, 4]
    anywhere = PairDataset([pair], PLAIN, sampling=Sampling(mode="slab", per_volume=6, foreground_share=0.0))
    assert [int(anywhere[index]["target"][0, 0, 0, 0]) // 100 for index in range(6)] == [0, 1, 2, 3, 4, 5]


def test_patches_hold_the_brain_voxel_they_are_centered_on(tmp_path):
    brain = np.zeros(SHAPE, np.uint8)
    brain[5, 6, 0] = 1
    pair = make_pair(tmp_path, brain=brain)
    sample = PairDataset([pair], PLAIN, sampling=Sampling(mode="patch", size=(2, 3, 4)))[0]
    assert sample["target"].shape == (1, 2, 3, 4)
    assert sample["target"].min() == 100 * 4 + 10 * 4
    assert sample["brain"].sum() == 1
    with pytest.raises(BadInputError, match=r"\(9, 3, 4\).*only \(6, 7, 8\)"):
        PairDataset([pair], PLAIN, sampling=Sampling(mode="patch", size=(9, 3, 4)))[0]


def test_padding_reaches_the_multiple_with_background(tmp_path):
    spec = SampleSpec("CT", ChainParameters(target=TargetMapping(scale=1000.0, offset=24.0, background=-1000.0)))
    pair = make_pair(tmp_path)
    slab = PairDataset([pair], spec, sampling=Sampling(mode="slab", multiple=8))[0]
    assert slab["target"].shape == (1, 1, 8, 8)
    assert slab["target"][0, 0, 7, 0] == pytest.approx(-1.024)
    assert slab["mask"].sum() == 7 * 8
    assert PairDataset([pair], spec, sampling=Sampling(multiple=4))[0]["target"].shape == (1, 8, 8, 8)


def test_a_patient_in_two_splits_is_refused(tmp_path):
    first, second = make_pair(tmp_path, "a", "1"), make_pair(tmp_path, "a", "2")
    with pytest.raises(BadInputError, match="Subject a is in two splits"):
        require_disjoint([first], [second])
    require_disjoint([first, second], [make_pair(tmp_path, "b")])


# Augmentation


def head(seed=0, shape=(20, 22, 21)):
    """A smooth volume in a ball-shaped brain, as source and target."""
    coarse = torch.rand((1, 1, 5, 5, 5), generator=torch.Generator().manual_seed(seed))
    volume = torch.nn.functional.interpolate(coarse, shape, mode="trilinear")[0]
    grid = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    brain = torch.from_numpy((np.sqrt((grid**2).sum(0)) < 8).astype(np.float32))[None]
    return {"source": volume * brain, "target": volume * brain, "mask": torch.ones_like(brain), "brain": brain}


@pytest.mark.parametrize("source", ["T1w", "CT"])
def test_source_and_target_move_together_repeatably(source):
    sample, changed = head(), make_augmenter(True, source, ChainParameters())
    for seed in range(8):
        first, again = (changed(sample, Layout(), np.random.default_rng(seed)) for _ in range(2))
        for name in sample:
            torch.testing.assert_close(first[name], again[name])
        inside = first["brain"] > 0
        correlation = torch.corrcoef(torch.stack([first["source"][inside], first["target"][inside]]))[0, 1]
        assert correlation > 0.6
        assert not torch.equal(first["source"], sample["source"])
        assert (first["source"][~inside] == 0).all()
        assert set(first["brain"].unique().tolist()) <= {0.0, 1.0}


def test_a_ct_keeps_its_head_and_its_range():
    sample = head()
    sample["source"] = torch.rand(sample["source"].shape, generator=torch.Generator().manual_seed(1))
    augmenter = make_augmenter(True, "CT", ChainParameters(source=(Window(low=-1024, high=2000),)))
    outside = 0.0
    for seed in range(8):
        source = augmenter(sample, Layout(), np.random.default_rng(seed))["source"]
        assert float(source.min()) >= 0
        assert float(source.max()) <= 1
        outside += float((source * (1 - sample["brain"])).mean())
    assert outside / 8 > 0.2


def test_a_slab_turns_in_its_plane_by_the_angle_drawn():
    settings = Augmentation(mirror=0, affine=1, rotation_degrees=15, scale=0, shift_voxels=0, intensities="none")
    changed = RandomChanges(settings, ChainParameters())
    sample = {name: torch.zeros(1, 3, 41, 41) for name in ("source", "target", "mask", "brain")}
    sample["target"][0, 1, 20, 35] = sample["target"][0, 1, 20, 36] = 1.0
    rng = np.random.default_rng(3)
    moved = changed(sample, Layout(slab=True), rng)["target"]
    assert moved[0, [0, 2]].abs().max() == 0
    weights = moved[0, 1]
    rows, columns = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    y, x = float((rows * weights).sum() / weights.sum()), float((columns * weights).sum() / weights.sum())
    assert math.hypot(x, y) == pytest.approx(15.5, abs=0.2)
    drawn = np.random.default_rng(3)
    drawn.random(2)
    angle = drawn.uniform(-15, 15, 3)[2]
    assert abs(math.degrees(math.atan2(y, x))) == pytest.approx(abs(angle), abs=0.7)
    assert abs(angle) > 1


def test_right_angles_give_the_four_published_positions_and_change_no_value(tmp_path):
    pair = make_pair(tmp_path)
    augmenter = make_augmenter("right-angles", "CT", ChainParameters())
    dataset = PairDataset([pair], PLAIN, sampling=Sampling(mode="slab"), augmenter=augmenter)
    plain = torch.zeros(1, 1, 8, 8)
    seen = set()
    for epoch in range(30):
        dataset.set_epoch(epoch)
        sample = dataset[0]
        number = int(sample["target"].max()) // 100
        plain[0, 0, :7] = torch.from_numpy(pair.load()["target"][number])
        turns = [turn for turn in range(4) if torch.equal(plain.rot90(turn, (-2, -1)), sample["target"])]
        assert turns
        torch.testing.assert_close(sample["source"], sample["target"] / 1000)
        seen.update(turns)
    assert seen == {0, 1, 2, 3}


def test_a_poor_contrast_amplifies_noise_and_keeps_the_tissues_in_place():
    ball = torch.linspace(0, 1, 24).expand(1, 24, 24, 24)
    source = torch.where(ball < 0.5, 0.5, 1.0)

    def measure(low_contrast):
        figures = []
        for seed in range(40):
            changed = change_mri(source, np.random.default_rng(seed), (0.5, 1.0), low_contrast)
            white = changed[..., 12:]
            figures.append((float((white[..., 1:] - white[..., :-1]).std()), float(changed[..., :12].mean())))
        return np.array(figures)

    usual, poor = measure(0.0), measure(1.0)
    assert np.median(poor[:, 0]) > 2 * np.median(usual[:, 0])
    assert usual[:, 1].mean() == pytest.approx(0.5, abs=0.05)
    assert poor[:, 1].mean() == pytest.approx(0.5, abs=0.05)


def test_the_published_augmentation_of_the_cyclic_loss_moves_all_arrays_alike():
    sample = head(shape=(16, 16, 16))
    augmenter = make_augmenter("cyclic-2.5d", "T1w", ChainParameters())
    for seed in range(6):
        changed = augmenter(sample, Layout(), np.random.default_rng(seed))
        again = augmenter(sample, Layout(), np.random.default_rng(seed))
        assert {name: tuple(value.shape) for name, value in changed.items()} == dict.fromkeys(sample, (1, 16, 16, 16))
        noise = changed["source"] - changed["target"]
        assert 0 < float(noise.std()) < 0.11
        torch.testing.assert_close(changed["source"], again["source"])
    assert make_augmenter(False, "T1w", ChainParameters()) is None


def test_cohort_volumes_are_read_window_by_window(tmp_path):
    pair = make_pair(tmp_path)
    window = (slice(1, 3), slice(0, 7), slice(2, 5))
    np.testing.assert_array_equal(pair.load(window)["target"], pair.load()["target"][window])


def test_another_ct_scanner_moves_the_scale_and_leaves_what_the_window_clips():
    """Window 0 to 80 HU: fluid at 8, white matter at 28, gray matter at 37 HU; air and bone clipped."""
    values = np.repeat([-1.0, 8.0, 28.0, 37.0, 100.0], 600).reshape(1, 30, 10, 10) / 80
    source = torch.from_numpy(values.astype(np.float32)).clamp(0, 1)
    brain = ((source > 0) & (source < 1)).float()
    middle = []
    for seed in range(200):
        changed = change_ct(source, brain, np.random.default_rng(seed), per_hu=1 / 80)
        assert torch.equal(changed[source == 0], source[source == 0])
        assert torch.equal(changed[source == 1], source[source == 1])
        fluid, white, gray = (80 * float(changed[source == value / 80].mean()) for value in (8, 28, 37))
        assert fluid < white < gray
        middle.append(white)
    assert 3 < np.std(middle) < 6  # offset 4 HU, cupping 2 HU
    assert abs(np.mean(middle) - 28) < 1
