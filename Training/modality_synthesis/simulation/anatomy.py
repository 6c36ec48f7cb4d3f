"""New anatomies from a head label map: random shape, and atrophy that grows with disease severity."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from modality_synthesis.simulation.images import coarse_grid, smooth_field
from modality_synthesis.simulation.labels import CORTEX, PARCELS, STRUCTURES, membership, parcel
from modality_synthesis.volumes import bounding_box

# Volume lost at severity 1, per region. Orders of magnitude of advanced Alzheimer's disease: medial temporal
# first and most (Jack 2010), then temporo-parietal and cingulate cortex, motor and visual cortex spared.
CORTICAL_LOSS: dict[str, float] = {
    "entorhinal": 0.30, "parahippocampal": 0.24, "fusiform": 0.20, "inferiortemporal": 0.22,
    "middletemporal": 0.22, "temporalpole": 0.22, "bankssts": 0.20, "superiortemporal": 0.16,
    "inferiorparietal": 0.20, "precuneus": 0.20, "posteriorcingulate": 0.18, "isthmuscingulate": 0.18,
    "supramarginal": 0.16, "superiorparietal": 0.14, "insula": 0.12, "rostralmiddlefrontal": 0.10,
    "superiorfrontal": 0.10, "precentral": 0.03, "postcentral": 0.03, "paracentral": 0.03, "pericalcarine": 0.03,
    "cuneus": 0.04, "lingual": 0.05, "lateraloccipital": 0.06,
}  # fmt: skip
OTHER_CORTICAL_LOSS = 0.08
HIPPOCAMPAL_LOSS = 0.30
AMYGDALA_LOSS = 0.25
VENTRICULAR_GROWTH = 0.80


def random_shape(labels: sitk.Image, rng: np.random.Generator, strength: float = 1.0) -> sitk.Image:
    """Move a label map through a random affine and a smooth random deformation.

    Args:
        labels: label map on any grid; the result is on the same grid.
        rng: the subject's generator.
        strength: 0 leaves the shape alone, 1 is the usual spread.
    """
    center = labels.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in labels.GetSize()])
    affine = sitk.AffineTransform(3)
    affine.SetCenter(center)
    rotation = _rotation(np.deg2rad(rng.normal(0, 4 * strength, 3)))
    stretch = np.diag(np.exp(rng.normal(0, 0.04 * strength, 3)))
    shear = np.eye(3) + strength * 0.03 * np.triu(rng.normal(size=(3, 3)), 1)
    affine.SetMatrix((rotation @ stretch @ shear).ravel().tolist())
    affine.SetTranslation((rng.normal(0, 3 * strength, 3)).tolist())

    warp = sitk.CompositeTransform([affine, _random_displacement(labels, rng, 4.0 * strength)])
    return sitk.Resample(labels, labels, warp, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt16)


def atrophy(labels: sitk.Image, severity: float) -> sitk.Image:
    """Shrink hippocampus, amygdala and cortex and widen the ventricles in the label map itself.

    Each structure gives up, or gains, a stated fraction of its volume (constants of this module times
    `severity`): the voxels nearest to the border with cerebrospinal fluid change their label first.

    Args:
        labels: label map, uint16.
        severity: 0 (none) to 1 (severe).

    Returns:
        The new label map on the same grid. Severity 0 returns the labels unchanged.
    """
    if severity <= 0:
        return labels
    voxels = sitk.GetArrayFromImage(labels)
    spacing = labels.GetSpacing()[::-1]
    _grow_ventricles(voxels, spacing, VENTRICULAR_GROWTH * severity)
    for side, horn in ((0, 5), (1, 44)):
        for structure, loss in (("hippocampus", HIPPOCAMPAL_LOSS), ("amygdala", AMYGDALA_LOSS)):
            _give_up(voxels, spacing, (STRUCTURES[structure][side],), horn, loss * severity)
    _thin_cortex(voxels, spacing, severity)
    result = sitk.GetImageFromArray(voxels)
    result.CopyInformation(labels)
    return result


def _random_displacement(grid: sitk.Image, rng: np.random.Generator, amount_mm: float) -> sitk.Transform:
    """A smooth random displacement field, `amount_mm` standard deviation along each axis, correlated over 50 mm."""
    coarse = coarse_grid(grid, 6.0)
    components = [amount_mm * smooth_field(coarse, rng, 50.0) for _ in range(3)]
    field = sitk.GetImageFromArray(np.stack(components, axis=-1).astype(np.float64), isVector=True)
    field.CopyInformation(coarse)
    return sitk.DisplacementFieldTransform(field)


def _rotation(angles: np.ndarray) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _nearness(mask: np.ndarray, spacing: tuple[float, ...], sigma_mm: float) -> np.ndarray:
    """How much of `mask` lies around each voxel: the mask blurred by a Gaussian, float32."""
    from scipy.ndimage import gaussian_filter

    sigma = [sigma_mm / step for step in spacing]
    return gaussian_filter(mask.astype(np.float32), sigma, truncate=3.0)


def _move_first(voxels: np.ndarray, candidates: np.ndarray, order: np.ndarray, count: int, label: int) -> None:
    """Give `label` to the `count` candidate voxels with the largest `order`."""
    indices = np.flatnonzero(candidates)
    count = min(count, indices.size)
    if count > 0:
        chosen = indices[np.argsort(order.ravel()[indices], kind="stable")[-count:]]
        voxels.reshape(-1)[chosen] = label


def _grow_ventricles(voxels: np.ndarray, spacing: tuple[float, ...], growth: float) -> None:
    for side in (0, 1):
        ventricle = STRUCTURES["lateral_ventricle"][side]
        where = voxels == ventricle
        if not where.any():
            continue
        box = bounding_box(where, margin=12)
        part = np.ascontiguousarray(voxels[box])
        inside = part == ventricle
        white = np.isin(part, (STRUCTURES["cerebral_white_matter"][side], STRUCTURES["lesion"][side]))
        # A large ventricle that doubled would eat the brain: growth saturates at 25 ml a side.
        count = int(min(growth * inside.sum(), 25_000 / np.prod(spacing)))
        _move_first(part, white, _nearness(inside, spacing, 3.0), count, ventricle)
        voxels[box] = part


def _give_up(voxels: np.ndarray, spacing: tuple[float, ...], labels: tuple[int, ...], to: int, fraction: float) -> None:
    where = np.isin(voxels, labels)
    if not where.any():
        return
    box = bounding_box(where, margin=4)
    part = np.ascontiguousarray(voxels[box])
    inside = np.isin(part, labels)
    _move_first(part, inside, -_nearness(inside, spacing, 1.5), round(fraction * int(inside.sum())), to)
    voxels[box] = part


def _thin_cortex(voxels: np.ndarray, spacing: tuple[float, ...], severity: float) -> None:
    """Turn the cortex voxels nearest to the fluid outside into fluid, region by region."""
    csf = STRUCTURES["csf"][0]
    where = membership(CORTEX)[voxels]
    if not where.any():
        return
    box = bounding_box(where, margin=4)
    part = np.ascontiguousarray(voxels[box])
    nearness = _nearness(part == csf, spacing, 1.2).ravel()
    flat = part.reshape(-1)
    cortex = np.flatnonzero(membership(CORTEX)[flat])
    # One sort for all parcels: by label, then by nearness to fluid.
    order = cortex[np.lexsort((nearness[cortex], flat[cortex]))]
    sorted_labels = flat[order]
    for name in PARCELS:
        loss = CORTICAL_LOSS.get(name, OTHER_CORTICAL_LOSS) * severity
        for label in parcel(name):
            start, stop = np.searchsorted(sorted_labels, [label, label + 1])
            count = round(loss * (stop - start))
            if count:
                flat[order[stop - count : stop]] = csf
    voxels[box] = part
