"""What the downstream evaluation needs of one visit: surface maps, small volumes, effects of clinical variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.evaluation.sensitivity import sensitivity
from modality_synthesis.evaluation.surface import Normals, project_template
from modality_synthesis.preprocessing.atlas import Region

# Fine enough for the pattern of a disease, small enough to keep for every visit.
SMALL_MM = 6.0
Predict = Callable[[Sequence[float]], np.ndarray]


@dataclass(frozen=True)
class Profile:
    """A model's clinical variables and what healthy people and patients have, on average, in the training set.

    Attributes:
        names: of the variables, in the model's order.
        healthy: standardized values; NaN leaves the person's own.
        patients: same.
        focus: regions in which the effect is averaged.
    """

    names: tuple[str, ...]
    healthy: tuple[float, ...]
    patients: tuple[float, ...]
    focus: tuple[Region, ...]


@dataclass(frozen=True)
class VisitQuestions:
    """What is asked of every visit.

    Attributes:
        profiles: contender -> profile, for models with clinical variables.
        sensitivity: also vary each variable.
        volumes: keep small volumes and surface projections.
        normals: file of `save_normals`; None gives no z-maps.
    """

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    sensitivity: bool = False
    volumes: bool = False
    normals: Path | None = None


def clinical_effects(
    profile: Profile, own: Sequence[float], predict: Predict, brain: np.ndarray, labels: np.ndarray,
    questions: VisitQuestions,
) -> dict[str, Any]:  # fmt: skip
    """How a model's clinical variables change one person's synthetic volume.

    Args:
        profile: of the model.
        own: the person's standardized values.
        predict: standardized values -> volume (z, y, x), the same noise at every call.
        brain: mask on the volume's grid.
        labels: atlas labels on that grid.
        questions: what is asked.

    Returns:
        `contrast`: mean over the focus with the patients' profile less that with the healthy one; `sensitivity`: a row
        per variable (`sensitivity.Sensitivity`).
    """
    codes = [label for region in profile.focus for label in region.labels]
    focus = np.isin(labels, codes) & (brain > 0)
    healthy, patients = (
        predict([mine if np.isnan(theirs) else theirs for mine, theirs in zip(own, values, strict=True)])
        for values in (profile.healthy, profile.patients)
    )
    found: dict[str, Any] = {"contrast": float((patients - healthy)[focus].mean())}
    if questions.sensitivity:
        found["sensitivity"] = [asdict(row) for row in sensitivity(predict, own, profile.names, brain, focus)]
    return found


def small_volume(volume: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Block means at about 6 mm, float16.

    Args:
        volume: (z, y, x).
        spacing: (z, y, x), mm.
    """
    factors = [max(round(SMALL_MM / step), 1) for step in spacing]
    size = [count // factor for count, factor in zip(volume.shape, factors, strict=True)]
    cut = volume[tuple(slice(count * factor) for count, factor in zip(size, factors, strict=True))]
    blocks = cut.reshape([number for pair in zip(size, factors, strict=True) for number in pair])
    return np.ascontiguousarray(blocks.mean(axis=(1, 3, 5))).astype(np.float16)


def surface_arrays(
    volumes: Mapping[str, np.ndarray], grid: sitk.Image, normals: Path | None, missing: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """`NAME/surface/VIEW`: z-scores against the normals, or projections without them; float16.

    NaN outside the brain, and wherever the target was not measured.

    Args:
        volumes: name -> (z, y, x) on the grid.
        grid: in template space.
        normals: file of `save_normals`.
        missing: bool, where the target was not measured.
    """
    absent = None
    if missing is not None and missing.any():
        holes = sitk.GetImageFromArray(missing.astype(np.float32))
        holes.CopyInformation(grid)
        absent = project_template(holes)
    known = None if normals is None else load_normals(normals)
    arrays: dict[str, np.ndarray] = {}
    for name, volume in volumes.items():
        image = sitk.GetImageFromArray(volume.astype(np.float32))
        image.CopyInformation(grid)
        projected = project_template(image)
        shown = projected if known is None else known.z_scores(projected)
        if absent is not None:
            shown = {view: np.where(absent[view] > 0.5, np.nan, values) for view, values in shown.items()}
        arrays |= {f"{name}/surface/{view}": values.astype(np.float16) for view, values in shown.items()}
    return arrays


def save_normals(normals: Normals, path: Path) -> None:
    """Write the normal projections to a .safetensors file."""
    from safetensors.numpy import save

    from modality_synthesis.volumes import atomic_output

    arrays = {f"mean/{name}": values for name, values in normals.mean.items()}
    arrays |= {f"spread/{name}": values for name, values in normals.spread.items()}
    arrays["people"] = np.array([normals.people])
    with atomic_output(path) as temporary:
        temporary.write_bytes(save({name: np.ascontiguousarray(values) for name, values in arrays.items()}))


@lru_cache(maxsize=1)
def load_normals(path: Path) -> Normals:
    """Read what `save_normals` wrote; once per process, because every visit asks for it."""
    from safetensors.numpy import load_file

    arrays = load_file(path)

    def part(kind: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(f"{kind}/"): arrays[name] for name in arrays if name.startswith(f"{kind}/")}

    return Normals(part("mean"), part("spread"), int(arrays["people"][0]))
