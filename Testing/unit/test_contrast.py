"""MRI contrasts: a T2w or FLAIR model refuses a T1w as a T1w model refuses them, by what the brain shows."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing import prepare
from modality_synthesis.preprocessing.atlas import label_image
from modality_synthesis.preprocessing.contrast import measure_contrast
from modality_synthesis.preprocessing.normalize import _tissue_regions
from modality_synthesis.preprocessing.parameters import ChainParameters, Resample
from modality_synthesis.preprocessing.registration import mni152
from modality_synthesis.preprocessing.resampling import model_grid
from modality_synthesis.preprocessing.source_checks import check_contrast
from modality_synthesis.preprocessing.state import Prepared
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import read_image

# Signal of gray matter, white matter and fluid, as a 3 T scanner shows them.
SIGNALS = {"T1w": (70.0, 100.0, 30.0), "T2w": (100.0, 70.0, 220.0), "FLAIR": (100.0, 93.0, 85.0)}
# SUVR of gray matter, white matter and fluid.
UPTAKE = {"FDG": (1.4, 0.7, 0.3), "tau": (1.2, 0.95, 0.5)}
# Of a FLAIR, texture and lesions are as strong as the contrast.
NOISE = {"FLAIR": 15.0, "FDG": 0.02, "tau": 0.02}
TO_TEMPLATE = ChainParameters.model_validate(
    {"source": [{"step": "reorient"}, {"step": "brain-mask"}, {"step": "register"}, {"step": "resample"}]}
)


def brain(contrast: str, normalized: bool = False) -> Prepared:
    """The template's brain in another contrast, with noise; already on the model's grid."""
    grid = model_grid(Resample())
    tissue, labels = (
        sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
        for image in (_tissue_regions(), label_image())
    )
    mask = sitk.Resample(mni152().mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    gray, white, fluid = {**SIGNALS, **UPTAKE}[contrast]
    values = np.full(tissue.shape, (gray + white + fluid) / 3)
    values[tissue == 1] = gray
    values[(tissue == 2) | np.isin(labels, (2, 41))] = white
    values[np.isin(labels, (4, 43, 24))] = fluid
    values = values + np.random.default_rng(0).normal(0, NOISE.get(contrast, 5.0), values.shape)
    values *= sitk.GetArrayFromImage(mask) > 0
    image = sitk.GetImageFromArray(((values - 80) / 30 if normalized else values).astype(np.float32))
    image.CopyInformation(grid)
    return Prepared(native=image, image=image, name="head.nii.gz", mask=mask, quality={"registration_dice": 0.95})


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("shown", SIGNALS)
@pytest.mark.parametrize("needed", SIGNALS)
def test_each_modality_refuses_the_others(needed, shown, normalized):
    prepared, reporter = brain(shown, normalized), Reporter()
    if needed == shown:
        check_contrast(prepared, needed, reporter)
        assert [found for found in reporter.findings if found.level == "refuse"] == []
        return
    with pytest.raises(
        BadInputError, match=rf"head.nii.gz.*does not look like a {needed}.*needs a {needed}"
    ) as refusal:
        check_contrast(prepared, needed, reporter)
    assert refusal.value.finding.code == "contrast"
    assert refusal.value.finding.limit is not None


@pytest.mark.parametrize("shown", SIGNALS)
def test_the_contrast_is_named(shown):
    assert measure_contrast(brain(shown)).modality == shown


@pytest.mark.parametrize("tracer", UPTAKE)
@pytest.mark.parametrize("needed", ["T1w", "T2w"])
def test_a_pet_is_taken_for_no_mri(needed, tracer):
    """Also a synthetic one: its gray and white matter and fluid lie in the order of a FLAIR's, but farther apart."""
    with pytest.raises(BadInputError, match=r"Is it a PET") as refusal:
        check_contrast(brain(tracer), needed, Reporter())
    assert "It looks like" not in str(refusal.value)


def test_what_was_not_registered_is_not_measured():
    prepared = brain("T1w")
    prepared.quality.clear()
    assert measure_contrast(prepared) is None
    check_contrast(prepared, "T2w", Reporter())


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["ms04_T1w", "ms04_T2w", "ms04_FLAIR", "ms12_T1w", "ms12_T2w", "stroke_T1w", "stroke_T2w", "stroke_FLAIR",
     "forrest_T1w"],
)  # fmt: skip
def test_real_heads_are_taken_for_what_they_are(name, shared_subjects):
    path = shared_subjects / f"sub-{name}.nii.gz"
    prepared = prepare(read_image(path), TO_TEMPLATE, name=path.name)
    shown = name.partition("_")[2]
    for needed in SIGNALS:
        if needed == shown:
            check_contrast(prepared, needed, Reporter())
        else:
            with pytest.raises(BadInputError, match=f"does not look like a {needed}"):
                check_contrast(prepared, needed, Reporter())
