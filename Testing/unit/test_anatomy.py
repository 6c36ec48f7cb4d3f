"""Anatomy that cannot be right is refused with its likely cause; tilted grids get an upright head's brain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.preprocessing import anatomy_checks
from modality_synthesis.preprocessing.anatomy_checks import check_background, check_brain_volume, check_doubts
from modality_synthesis.preprocessing.brain_mask import brain_mask, mask_volume_ml
from modality_synthesis.preprocessing.brain_network import FIELD, SPACING_MM
from modality_synthesis.preprocessing.chain import prepare
from modality_synthesis.preprocessing.parameters import BiasField, BrainMask, ChainParameters, Register, Reorient
from modality_synthesis.preprocessing.resampling import antialias, resample_along, resample_isotropic, tilt_degrees
from modality_synthesis.progress import Reporter

UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


# A tilted grid


def turn(degrees: float, axis: str) -> np.ndarray:
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(*(np.deg2rad(degrees) if name == axis else 0.0 for name in "xyz"))
    return np.array(rotation.GetMatrix()).reshape(3, 3)


@pytest.fixture(scope="module")
def head(sample_head: Path) -> sitk.Image:
    """The sample head, its few degrees of tilt left in the voxels: the grid is declared straight."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(sample_head), sitk.sitkFloat32), "LPS")
    image.SetDirection(UPRIGHT)
    return image


def on_tilted_grid(image: sitk.Image, direction: np.ndarray, step: float) -> sitk.Image:
    """The whole of an upright volume on a grid with these axes."""
    size = np.ceil(np.abs(direction.T) @ (np.array(image.GetSize()) * image.GetSpacing()) / step).astype(int)
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(count - 1) / 2 for count in image.GetSize()]))
    origin = middle - direction @ ((size - 1) / 2 * step)
    return sitk.Resample(
        antialias(image, (step,) * 3), size.tolist(), sitk.Transform(), sitk.sitkLinear, origin.tolist(), (step,) * 3,
        direction.ravel().tolist(), 0.0,
    )  # fmt: skip


def dice(first: sitk.Image, second: sitk.Image) -> float:
    """On the second one's grid."""
    moved = sitk.Resample(first, second, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    a, b = (sitk.GetArrayFromImage(mask) > 0 for mask in (moved, second))
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def assert_right_when_tilted(head: sitk.Image, degrees: float, axis: str, step: float) -> None:
    """Before: up to 31 % too large at 1 mm, 33 % at 4 mm (Dice .86 and .85); now 4 % and, about z at 4 mm, 10 %."""
    most, least_dice = (0.06, 0.96) if step < 4 else (0.12, 0.94)
    upright = on_tilted_grid(head, np.eye(3), step)
    truth = brain_mask(upright)
    direction = turn(degrees, axis)
    # The grid is tilted, the head is not.
    found = brain_mask(on_tilted_grid(head, direction, step))
    assert mask_volume_ml(found) == pytest.approx(mask_volume_ml(truth), rel=most)
    assert dice(found, truth) > least_dice
    # The grid lies along a tilted head, as scans are planned.
    along = sitk.Image(upright)
    along.SetDirection(direction.ravel().tolist())
    found = brain_mask(along)
    assert mask_volume_ml(found) == pytest.approx(mask_volume_ml(truth), rel=most)


def test_the_brain_in_a_tilted_grid(head: sitk.Image) -> None:
    assert_right_when_tilted(head, 25, "y", 2.5)


@pytest.mark.long
@pytest.mark.parametrize("step", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("degrees", [10, 25, 45])
def test_the_brain_in_any_tilted_grid(head: sitk.Image, degrees: float, axis: str, step: float) -> None:
    assert_right_when_tilted(head, degrees, axis, step)


def tilted(head: sitk.Image, degrees: float, axis: str, step: float) -> tuple[sitk.Image, sitk.Transform]:
    """The head turned within a straight grid, and the transform from that grid's points to the head's."""
    direction = turn(degrees, axis)
    size = np.ceil(np.abs(direction.T) @ (np.array(head.GetSize()) * head.GetSpacing()) / step).astype(int)
    middle = np.array(head.TransformContinuousIndexToPhysicalPoint([(count - 1) / 2 for count in head.GetSize()]))
    rotation = sitk.Euler3DTransform()
    rotation.SetCenter(middle.tolist())
    rotation.SetMatrix(direction.ravel().tolist())
    turned = sitk.Resample(
        antialias(head, (step,) * 3), size.tolist(), rotation, sitk.sitkLinear,
        (middle - (size - 1) / 2 * step).tolist(), (step,) * 3, UPRIGHT, 0.0,
    )  # fmt: skip
    return turned, rotation


def assert_right_when_lying_tilted(head: sitk.Image, degrees: float, axis: str, step: float) -> None:
    """Before: up to 26 % too large (Dice .88)."""
    truth = brain_mask(on_tilted_grid(head, np.eye(3), step))
    image, rotation = tilted(head, degrees, axis, step)
    found = brain_mask(image)
    expected = sitk.Resample(sitk.Cast(truth, sitk.sitkFloat32), image, rotation, sitk.sitkLinear, 0.0) > 0.5
    assert mask_volume_ml(found) == pytest.approx(mask_volume_ml(expected), rel=0.06)
    assert dice(found, expected) > 0.96


def test_the_brain_of_a_head_that_lies_tilted_in_a_straight_grid(head: sitk.Image) -> None:
    assert_right_when_lying_tilted(head, -25, "y", 2.5)


@pytest.mark.long
@pytest.mark.parametrize("step", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("degrees", [-35, -20, 15, 25])
def test_the_brain_of_any_head_that_lies_tilted(head: sitk.Image, degrees: float, axis: str, step: float) -> None:
    assert_right_when_lying_tilted(head, degrees, axis, step)


def ball(radius_mm: float) -> sitk.Image:
    """A brain's worth of probability at 4 mm."""
    image = sitk.Image([48, 48, 48], sitk.sitkUInt8)
    image.SetSpacing((4.0,) * 3)
    middle = np.array([94.0] * 3)
    points = np.moveaxis(np.indices((48, 48, 48)), 0, -1) * 4.0
    inside = np.linalg.norm(points - middle, axis=-1) < radius_mm
    found = sitk.GetImageFromArray(inside.astype(np.float32))
    found.CopyInformation(image)
    return found


@pytest.mark.parametrize(
    ("degrees", "second_mm", "looks", "taken"),
    [
        (0, 60, 1, 0),
        (7, 60, 1, 0),
        (9, 60, 2, 1),  # smaller by a quarter
        (25, 60, 2, 1),
        (25, 65.5, 2, 0),  # by less than two looks differ
        (25, 70, 2, 0),  # the network never makes a brain too small
        (25, 40, 2, 0),  # no brain at all
    ],
)
@pytest.mark.parametrize("grid_degrees", [0, 30])
def test_a_head_is_looked_at_again_only_where_it_is_tilted_in_its_grid(
    monkeypatch: pytest.MonkeyPatch, degrees: float, second_mm: float, looks: int, taken: int, grid_degrees: float
) -> None:
    """The shipped models were trained with masks of upright heads: not a voxel of these may change."""
    from modality_synthesis.preprocessing import brain_mask as module

    answers, seen = [ball(66), ball(second_mm)], []

    def segment(image: sitk.Image, network: str) -> sitk.Image:
        seen.append(image)
        return answers[len(seen) - 1]

    image = ball(66)
    image.SetDirection(turn(grid_degrees, "z").ravel().tolist())
    pose = sitk.Euler3DTransform()
    pose.SetMatrix((turn(grid_degrees, "z") @ turn(degrees, "x")).ravel().tolist())
    monkeypatch.setattr(module, "_segment", segment)
    monkeypatch.setattr(module, "head_pose", lambda *_: pose)
    monkeypatch.setattr(module, "_overlap", lambda *_: 0.95)
    assert module._probability(image, "brain-mask") is answers[taken]
    assert len(seen) == looks
    expected = resample_isotropic(image, SPACING_MM)
    assert np.array_equal(sitk.GetArrayFromImage(seen[0]), sitk.GetArrayFromImage(expected))
    assert seen[0].GetDirection() == image.GetDirection()
    if looks == 2:
        assert seen[1].GetDirection() == pytest.approx(pose.GetMatrix())
        assert seen[1].GetSize() == FIELD[::-1]


@pytest.mark.parametrize(("moved_mm", "least", "most"), [(0, 0.99, 1.0), (15, 0.85, 0.97), (60, 0.3, 0.7)])
def test_a_pose_fits_where_the_brains_lie_in_each_other(moved_mm: float, least: float, most: float) -> None:
    """Axes exchanged or mirrored have no pose: a second, smaller brain must not take their doubts away."""
    from modality_synthesis.preprocessing import brain_mask as module

    smaller = sitk.Image(module.mni152().mask)
    smaller.SetSpacing([0.9 * step for step in smaller.GetSpacing()])
    smaller.SetOrigin([0.9 * place for place in smaller.GetOrigin()])
    pose = sitk.Euler3DTransform()
    pose.SetTranslation((moved_mm, 0.0, 0.0))
    assert least <= module._overlap(smaller, pose) <= most


@pytest.mark.long
@pytest.mark.parametrize("axes", [(2, 0, 1), None], ids=["exchanged", "mirrored"])
def test_wrong_axes_do_not_become_a_plausible_brain(head: sitk.Image, axes: tuple[int, ...] | None) -> None:
    coarse = on_tilted_grid(head, np.eye(3), 2.0)
    wrong = sitk.PermuteAxes(coarse, axes) if axes else coarse[:, :, ::-1]
    wrong.SetDirection(UPRIGHT)
    wrong.SetOrigin((0.0, 0.0, 0.0))
    chain = ChainParameters(source=(Reorient(), BrainMask(), BiasField(), Register()))
    with pytest.raises(BadInputError):
        prepare(wrong, chain, name="wrong.nii.gz", reporter=Reporter())


@pytest.mark.parametrize("degrees", [0, 20, 45])
def test_a_turned_grid_holds_what_it_is_laid_around(degrees: float) -> None:
    image = sitk.Image([20, 30, 10], sitk.sitkFloat32) + 5
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((10, -20, 5))
    axes = turn(degrees, "x")
    assert tilt_degrees(axes) == pytest.approx(degrees, abs=1e-6)
    center = image.TransformContinuousIndexToPhysicalPoint((9.5, 14.5, 4.5))
    turned = resample_along(image, axes, center, (30, 80, 80), 1.0)
    assert turned.GetDirection() == pytest.approx(axes.ravel().tolist())
    assert float(sitk.GetArrayFromImage(turned).sum()) == pytest.approx(5 * 20 * 60 * 30, rel=0.15)
    middle = turned.TransformContinuousIndexToPhysicalPoint((14.5, 39.5, 39.5))
    assert middle == pytest.approx(center)


# Size


@pytest.mark.parametrize(
    ("volume", "level"),
    [(679, "refuse"), (749, "refuse"), (800, "look"), (949, "look"), (951, None), (1072, None), (1748, None),
     (1899, None), (2100, "look"), (2251, "refuse"), (2449, "refuse")],
)  # fmt: skip
def test_brains_have_a_size(volume: float, level: str | None) -> None:
    reporter = Reporter()
    if level == "refuse":
        with pytest.raises(BadInputError, match=r"a\.nii: the brain found measures \d+ ml"):
            check_brain_volume(volume, "a.nii", reporter)
    else:
        check_brain_volume(volume, "a.nii", reporter)
    assert [finding.level for finding in reporter.findings] == ([level] if level else [])
    assert all(("voxel size" in finding.message) for finding in reporter.findings)


def test_a_head_declared_half_its_size(head: sitk.Image) -> None:
    """np.eye(4) on 2 mm data."""
    half = on_tilted_grid(head, np.eye(3), 2.0)
    half.SetSpacing((1.0, 1.0, 1.0))
    chain = ChainParameters(source=(Reorient(), BrainMask()))
    with pytest.raises(BadInputError, match="voxel size") as caught:
        prepare(half, chain, name="half.nii.gz", reporter=Reporter())
    assert caught.value.finding is not None
    assert (caught.value.finding.code, caught.value.finding.limit) == ("brain-volume", 750.0)


# Background


def background(head: sitk.Image, change: str) -> sitk.Image:
    coarse = resample_isotropic(head, 4.0)
    values = sitk.GetArrayFromImage(coarse)
    noise = np.random.default_rng(0).uniform(0, 1, values.shape)
    bright = float(np.percentile(values, 99.5))
    inside = sitk.GetArrayFromImage(sitk.BinaryFillhole(coarse > 0.08 * bright)) > 0
    changed = {
        "none": values,
        "zero outside": np.where(inside, values, 0),
        "z-score": (values - 60) / 30,
        "minus one to one": np.clip(values / bright, 0, 1) * 2 - 1,
        "noise floor": values + 0.06 * bright * noise,
        "MP2RAGE": np.where(inside, values, bright * noise),
        "MP2RAGE around zero": np.where(inside, values / bright, noise) - 0.5,
        "negative": values.max() - values,
        "negative of a clean head": values.max() - np.where(inside, values, 0),
    }[change]
    image = sitk.GetImageFromArray(changed.astype(np.float32))
    image.CopyInformation(coarse)
    return image


@pytest.mark.parametrize("change", ["none", "zero outside", "z-score", "minus one to one", "noise floor"])
def test_air_around_the_head(head: sitk.Image, change: str) -> None:
    reporter = Reporter()
    check_background(background(head, change), "a.nii", reporter)
    assert reporter.findings == []


@pytest.mark.parametrize(
    ("change", "cause"),
    [("MP2RAGE", "MP2RAGE"), ("MP2RAGE around zero", "MP2RAGE"), ("negative", "is a negative"),
     ("negative of a clean head", "is a negative")],
)  # fmt: skip
def test_no_air_around_the_head(head: sitk.Image, change: str, cause: str) -> None:
    with pytest.raises(BadInputError, match=rf"a\.nii: .*{cause}"):
        check_background(background(head, change), "a.nii", Reporter())


# Several doubts


def doubt(code: str, name: str = "a.nii") -> Finding:
    return Finding(code, "look", f"{name}: something about {code}.")


@pytest.mark.parametrize(
    ("codes", "refused"),
    [
        ([], False),
        (["registration"], False),
        (["gray-white-contrast", "template-correlation"], False),  # one thing, said twice
        (["registration", "orientation"], False),  # where it is does not make it another thing
        (["registration", "brain-volume"], True),
        (["registration", "template-correlation"], True),
        (["brain-volume", "gray-white-contrast"], True),
    ],
    ids=str,
)
def test_two_independent_doubts_are_one_too_many(codes: list[str], refused: bool) -> None:
    reporter = Reporter()
    for code in codes:
        reporter.finding(doubt(code))
    reporter.finding(doubt("brain-volume", "of another volume.nii"))
    if not refused:
        check_doubts("a.nii", reporter)
        return
    with pytest.raises(BadInputError, match=r"2 independent checks doubt this volume") as caught:
        check_doubts("a.nii", reporter)
    assert all(code in str(caught.value) for code in codes)
    assert "Most likely" in str(caught.value)


def test_the_groups_name_findings_that_exist() -> None:
    package = Path(anatomy_checks.__file__).parents[1]
    sources = "".join(
        path.read_text(encoding="utf-8") for path in package.rglob("*.py") if path.name != "anatomy_checks.py"
    )
    own = Path(anatomy_checks.__file__).read_text(encoding="utf-8")
    for code in anatomy_checks._GROUPS:
        assert f'"{code}"' in sources or own.count(f'"{code}"') > 1
