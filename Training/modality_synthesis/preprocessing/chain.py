"""Run a model's preprocessing steps in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import SimpleITK as sitk

from modality_synthesis.findings import Finding
from modality_synthesis.preprocessing import parameters as p
from modality_synthesis.preprocessing.state import Prepared
from modality_synthesis.progress import Reporter, current

# Shares of the time a 1 mm head takes on a CPU, so that the progress bar moves evenly.
_COST = {"reorient": 0.2, "brain-mask": 1.0, "bias-field": 2.0, "register": 4.0, "resample": 0.5, "refine-mask": 0.2,
         "normalize": 0.2, "ct-head": 0.5, "ct-brain-mask": 2.0, "ct-anchor": 0.3, "window": 0.2}  # fmt: skip
_STAGE = {
    "reorient": "Reading the orientation",
    "brain-mask": "Finding the brain",
    "bias-field": "Correcting the bias field",
    "register": "Registering to the template",
    "resample": "Sampling the model's grid",
    "refine-mask": "Sampling the model's grid",
    "normalize": "Normalizing intensities",
    "ct-head": "Finding the head",
    "ct-brain-mask": "Finding the brain",
    "ct-anchor": "Measuring the deep brain",
    "window": "Windowing",
}


def prepare(
    image: sitk.Image,
    chain: p.ChainParameters,
    *,
    name: str = "The volume",
    reporter: Reporter | None = None,
) -> Prepared:
    """Bring a source volume into the form a model expects.

    Args:
        image: 3-D scalar volume, any grid.
        chain: the model's preprocessing.
        name: what messages call the volume.
        reporter: receives progress and warnings.

    Returns:
        The prepared volume with all that is needed to go back.

    Raises:
        BadInputError: the volume does not fit (no brain found, registration below the refusal threshold, ...).
    """
    reporter = reporter or current()
    native = sitk.Cast(image, sitk.sitkFloat32)
    state = Prepared(native=native, image=native, name=name)
    total = sum(_COST[step.step] for step in chain.source) or 1.0
    done = 0.0
    for step in chain.source:
        reporter.progress(done / total, _STAGE[step.step])
        _APPLY[type(step)](state, step, reporter)
        done += _COST[step.step]
    return state


def _reorient(state: Prepared, _: p.Reorient, __: Reporter) -> None:
    state.image = sitk.DICOMOrient(state.image, "LPS")


def _brain_mask(state: Prepared, step: p.BrainMask, reporter: Reporter) -> None:
    from modality_synthesis.preprocessing.brain_mask import brain_mask

    _keep_mask(state, brain_mask(state.image, step.network, state.name), reporter)


def _keep_mask(state: Prepared, mask: sitk.Image, reporter: Reporter) -> None:
    from modality_synthesis.preprocessing.anatomy_checks import check_brain_volume
    from modality_synthesis.preprocessing.brain_mask import mask_volume_ml

    state.mask = state.native_mask = mask
    state.quality["brain_ml"] = round(mask_volume_ml(mask), 1)
    check_brain_volume(state.quality["brain_ml"], state.name, reporter)


def _ct_head(state: Prepared, step: p.CTHead, reporter: Reporter) -> None:
    from modality_synthesis.preprocessing.ct import remove_surroundings
    from modality_synthesis.preprocessing.hounsfield import check_hounsfield

    check_hounsfield(state.image, state.name, reporter)
    state.image = remove_surroundings(state.image, step)


def _ct_brain_mask(state: Prepared, step: p.CTBrainMask, reporter: Reporter) -> None:
    from modality_synthesis.preprocessing.ct import ct_brain_mask

    _keep_mask(state, ct_brain_mask(state.image, step, state.name), reporter)


def _ct_anchor(state: Prepared, step: p.CTAnchor, _: Reporter) -> None:
    from modality_synthesis.preprocessing.ct import anchor_shift

    shift = anchor_shift(state.image, state.require_mask(), step, state.name)
    state.image = state.image + shift
    state.quality["hu_shift"] = round(shift, 1)


def _window(state: Prepared, step: p.Window, _: Reporter) -> None:
    from modality_synthesis.preprocessing.ct import window

    state.image = window(state.image, step.low, step.high)


def _bias_field(state: Prepared, step: p.BiasField, _: Reporter) -> None:
    from modality_synthesis.preprocessing.bias_field import correct_bias_field

    state.image = correct_bias_field(state.image, state.require_mask(), step)


def _register(state: Prepared, step: p.Register, reporter: Reporter) -> None:
    from modality_synthesis.preprocessing.anatomy_checks import check_doubts
    from modality_synthesis.preprocessing.registration import register_to_template

    image = state.image
    if step.window is not None:
        low, high = step.window
        image = sitk.Clamp(image, sitk.sitkFloat32, low, high) - low
    found = register_to_template(image, state.require_mask())
    state.quality["registration_dice"] = round(found.dice, 4)
    if found.dice < step.warn_below:
        refused = found.dice < step.refuse_below
        reporter.finding(
            Finding(
                "registration",
                "refuse" if refused else "look",
                f"{state.name}: registration to the {step.template.upper()} template "
                f"{'failed' if refused else 'is doubtful'} (brain overlap {found.dice:.2f}; usual is above "
                f"{step.warn_below:.2f}).",
                "Check that the volume shows a whole adult brain, and that its axes are named right."
                if refused
                else "Look at the result before using it.",
                round(found.dice, 4),
                step.refuse_below if refused else step.warn_below,
            )
        )
    check_doubts(state.name, reporter)
    state.to_native = found.transform


def _resample(state: Prepared, step: p.Resample, _: Reporter) -> None:
    from modality_synthesis.preprocessing.resampling import antialias, model_grid

    grid = model_grid(step)
    source = antialias(state.image, step.spacing)
    state.image = sitk.Resample(source, grid, state.to_native, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    if state.mask is not None:
        soft = sitk.Cast(state.mask, sitk.sitkFloat32)
        state.mask = sitk.Resample(soft, grid, state.to_native, sitk.sitkLinear, 0.0) > 0.5


def _refine_mask(state: Prepared, step: p.RefineMask, _: Reporter) -> None:
    from modality_synthesis.preprocessing.brain_mask import hold_to_template

    state.mask = hold_to_template(state.require_mask(), step.inside_mm, step.outside_mm)


def _normalize(state: Prepared, step: p.Normalize, _: Reporter) -> None:
    from modality_synthesis.preprocessing.normalize import normalize

    state.image, quality = normalize(state.image, state.require_mask(), step)
    state.quality.update(quality)


_APPLY: dict[type[p.StepParameters], Callable[[Prepared, Any, Reporter], None]] = {
    p.Reorient: _reorient,
    p.BrainMask: _brain_mask,
    p.CTHead: _ct_head,
    p.CTBrainMask: _ct_brain_mask,
    p.CTAnchor: _ct_anchor,
    p.Window: _window,
    p.BiasField: _bias_field,
    p.Register: _register,
    p.Resample: _resample,
    p.RefineMask: _refine_mask,
    p.Normalize: _normalize,
}
