"""What a model must beat: predictors that learn almost nothing.

All live on the model's grid, in template space, and are fitted on the training subjects alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from modality_synthesis.datasets.cache import arrays_in
from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes import atomic_output

Sample = dict[str, np.ndarray]
COPY, MEAN, LINEAR, TISSUE = "copy of the input", "population mean", "voxelwise linear", "mean x tissue"
BASELINES = {
    COPY: "the source itself, its intensities scaled once for everybody to the target's units",
    MEAN: "the voxelwise mean target of the training subjects",
    LINEAR: "a linear regression on the source's intensity, at each voxel its own",
    TISSUE: "the mean target times a linear function of gray matter, white matter and fluid",
}
TISSUE_SIGMA_VOXELS = 1.3  # blurs the tissue maps to about the PET's 6 mm resolution on a 2 mm grid


@dataclass(frozen=True)
class Baselines:
    """The fitted baselines.

    Attributes:
        mean: voxelwise mean target.
        slope: voxelwise regression slope on the source's intensity.
        intercept: its intercept.
        tissue_weights: target = mean * (w0 + w1 * gray + w2 * white + w3 * fluid), least squares over all voxels.
        scale: offset and gain that bring the source's intensities into target units, least squares over all voxels.
    """

    mean: np.ndarray
    slope: np.ndarray
    intercept: np.ndarray
    tissue_weights: np.ndarray
    scale: np.ndarray

    def predict(self, sample: Sample, *, tissue: bool = True) -> dict[str, np.ndarray]:
        """Each baseline's volume for one subject, target units, by name.

        Args:
            sample: as for `fit_baselines`.
            tissue: the source is a tissue-normalized T1w, whose intensities tell gray from white matter.
        """
        source, region = sample["source"], sample["region"] > 0
        volumes = {
            COPY: self.scale[0] + self.scale[1] * source,
            MEAN: self.mean,
            LINEAR: self.intercept + self.slope * source,
        }
        if tissue:
            volumes[TISSUE] = self.mean * np.tensordot(self.tissue_weights, _tissue_terms(sample), axes=1)
        return {name: np.where(region, volume, 0.0).astype(np.float32) for name, volume in volumes.items()}

    def to_bytes(self, *, compact: bool = False) -> bytes:
        """A safetensors file; `compact` halves it, with an error of less than a thousandth of each value."""
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(value) for name, value in vars(self).items()}
        return save({name: _compact(value) if compact else value for name, value in arrays.items()})

    @classmethod
    def of_bytes(cls, content: bytes, source: Path) -> Baselines:
        """Read what `to_bytes` wrote.

        Args:
            content: of the file.
            source: names it in messages.

        Raises:
            BadInputError: something else.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = {name: value.astype(np.float64) for name, value in load(content).items()}
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise BadInputError(f"{source} is no file of baselines: {error}") from None
        shapes = {name: value.shape for name, value in arrays.items()}
        volumes = {shapes.get(name) for name in ("mean", "slope", "intercept")}
        wanted = {item.name for item in fields(cls)}
        if (
            set(shapes) != wanted
            or len(volumes) != 1
            or len(shapes["mean"]) != 3
            or (shapes["tissue_weights"], shapes["scale"]) != ((4,), (2,))
            or not all(np.isfinite(value).all() for value in arrays.values())
        ):
            raise BadInputError(f"{source} is no file of baselines: its arrays are not those of fitted baselines.")
        return cls(**arrays)

    def save(self, path: Path) -> None:
        """Write the fitted arrays."""
        with atomic_output(path) as temporary:
            temporary.write_bytes(self.to_bytes())

    @classmethod
    def is_intact(cls, path: Path) -> bool:
        """Whether a file of `save` is there and whole."""
        return arrays_in(path) == {item.name for item in fields(cls)}

    @classmethod
    def load(cls, path: Path) -> Baselines:
        """Read what `save` wrote."""
        return cls.of_bytes(path.read_bytes(), path)


def _compact(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16) if values.ndim == 3 and np.abs(values).max(initial=0) < 6e4 else values


def fit_baselines(samples: Iterable[Sample]) -> Baselines:
    """Fit on training subjects, one pass, constant memory.

    Args:
        samples: arrays `source`, `target` (target units), `region` (where it is defined and was measured),
            `brain`, each (depth, height, width).
    """
    count = np.zeros(())
    sums: dict[str, np.ndarray] = {}
    normal, moment = np.zeros((4, 4)), np.zeros(4)
    copy_normal, copy_moment = np.zeros((2, 2)), np.zeros(2)
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for sample in samples:
        source, target = sample["source"].astype(np.float64), sample["target"].astype(np.float64)
        products = {"s": source, "t": target, "ss": source * source, "st": source * target}
        # Where a person's target was not measured, the others say what is usual.
        known = (sample["brain"] == 0) | (sample["region"] > 0)
        for name, value in products.items():
            sums[name] = sums.get(name, 0.0) + value * known
        count = count + known
        inside = (sample["brain"] > 0) & known
        # The tissue weights need the final mean: keep a thin sample of voxels per subject for a second look.
        picked = np.flatnonzero(inside)[::37]
        design = np.stack([np.ones(picked.size), source.ravel()[picked]])
        copy_normal += design @ design.T
        copy_moment += design @ target.ravel()[picked]
        kept.append((picked, _tissue_terms(sample).reshape(4, -1)[:, picked], target.ravel()[picked]))
    if not kept:
        raise ValueError("no training samples")
    count = np.maximum(count, 1)
    mean_source, mean = sums["s"] / count, sums["t"] / count
    variance = sums["ss"] / count - mean_source**2
    covariance = sums["st"] / count - mean_source * mean
    # A little ridge keeps voxels with constant source (outside the brain) from blowing up.
    slope = covariance / (variance + 1e-3)
    for picked, terms, measured in kept:
        design = terms * mean.ravel()[picked]
        normal += design @ design.T
        moment += design @ measured
    weights = np.linalg.solve(normal + 1e-6 * np.eye(4), moment)
    return Baselines(
        mean=mean,
        slope=slope,
        intercept=mean - slope * mean_source,
        tissue_weights=weights,
        scale=np.linalg.solve(copy_normal + 1e-6 * np.eye(2), copy_moment),
    )


def _tissue_terms(sample: Sample) -> np.ndarray:
    """1 and the blurred gray, white and fluid maps of a tissue-normalized T1w, shape (4, depth, height, width)."""
    from scipy.ndimage import gaussian_filter

    source, brain = sample["source"], sample["brain"] > 0
    # Gray matter peaks at 0.5, white at 1, fluid near 0: linear memberships between the peaks.
    gray = np.clip(1 - np.abs(source - 0.5) / 0.5, 0, 1)
    white = np.clip((source - 0.5) / 0.5, 0, 1)
    fluid = np.clip((0.5 - source) / 0.5, 0, 1)
    maps: list[np.ndarray] = [
        gaussian_filter((tissue * brain).astype(np.float32), TISSUE_SIGMA_VOXELS) for tissue in (gray, white, fluid)
    ]
    return np.stack([np.ones_like(maps[0]), *maps])
