"""Where the voxels of a NIfTI file are: which of the header's orientations counts, and what contradicts it.

A header holds up to two orientations, the qform (a rotation and the voxel sizes in pixdim) and the sform (any affine),
each with a code that says what it refers to. Programs choose differently; this one takes a rigid orientation only, one
that refers to this person's own scan (codes 1 and 2, the higher one: it was set last, by a registration) rather than
to an atlas (3 and above), and the sform where both are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.volumes.geometry import Grid, largest_displacement

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

DISAGREEMENT_MM = 1.0
# No scan lies a kilometer from anything.
_FARTHEST_MM = 1e6
_HEAD_MM, _MOST_VOXELS = 200.0, 10_000
_UNIT_TO_MM = {1: 1000.0, 3: 0.001}  # every other code is mm, or says nothing
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI's world is RAS
_CODES = {1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI152"}
# A quaternion whose b, c and d are longer than 1 by rounding is a half turn; by more than this it is none at all.
_LONGEST_QUATERNION = 1.01

Form = Literal["sform", "qform"]


@dataclass(frozen=True)
class Orientation:
    """One orientation of a header.

    Attributes:
        form: which.
        code: what it refers to: 1 scanner, 2 aligned, 3 Talairach, 4 MNI152.
        matrix: (4, 4), voxel index to LPS mm, as the header has it.
        rigid: the nearest rotation times the voxel sizes in pixdim, with the same center of the grid.
        bent_mm: how far `matrix` moves a voxel of a head from where `rigid` has it, at most.
    """

    form: Form
    code: int
    matrix: np.ndarray
    rigid: np.ndarray
    bent_mm: float

    @property
    def is_rigid(self) -> bool:
        return self.bent_mm <= DISAGREEMENT_MM

    def __str__(self) -> str:
        return f"{self.form} (code {self.code}, {_CODES.get(self.code, 'other template')})"


def locate(header: Nifti1Header, size: tuple[int, ...], itk: Grid | None, name: str) -> tuple[Grid, list[Finding]]:
    """The grid of a NIfTI file, and what is to be said about it.

    Args:
        header: of the file, with a voxel size.
        size: voxels along x, y, z.
        itk: what ITK (and so 3D Slicer) makes of the file; None when it refuses to read it.
        name: the file's name, for messages.

    Returns:
        ITK's numbers where it takes the same orientation, so that they stay what 3D Slicer shows to the last bit.

    Raises:
        BadInputError: no orientation is a rotation with the voxel sizes in pixdim.
    """
    orientations = _orientations(header, size)
    if not orientations:
        return _without_orientation(header, itk, name)
    usable = [found for found in orientations if found.is_rigid]
    if not usable:
        raise _no_grid(orientations[0], header, name)
    used = max(usable, key=_preference)
    same_as_itk = itk is not None and largest_displacement(itk.affine, used.rigid, size) <= DISAGREEMENT_MM
    grid = itk if itk is not None and same_as_itk else Grid.from_affine(used.rigid)
    findings = [
        _disagreement(used, other, size, same_as_itk, name)
        for other in orientations
        if largest_displacement(used.rigid, other.matrix, size) > DISAGREEMENT_MM
    ]
    return grid, findings


def unit_mm(header: Nifti1Header) -> float:
    """How many mm the header's unit of length has."""
    return _UNIT_TO_MM.get(int(header["xyzt_units"]) & 7, 1.0)


def possible_forms(header: Nifti1Header) -> set[Form]:
    """The orientations that the header declares and whose numbers can be an orientation at all."""
    spacing = np.abs(header["pixdim"][1:4].astype(float)) * unit_mm(header)
    matrices: dict[Form, np.ndarray | None] = {"sform": _sform(header), "qform": _qform(header, spacing)}
    return {form for form, matrix in matrices.items() if matrix is not None and int(header[f"{form}_code"]) > 0}


def _orientations(header: Nifti1Header, size: tuple[int, ...]) -> list[Orientation]:
    """Those that the header declares and that are at all possible, sform first."""
    spacing = np.abs(header["pixdim"][1:4].astype(float)) * unit_mm(header)
    found = []
    for form, matrix in (("sform", _sform(header)), ("qform", _qform(header, spacing))):
        code = int(header[f"{form}_code"])
        if code <= 0 or matrix is None:
            continue
        rigid = _rigid(matrix, spacing, size)
        bent = largest_displacement(matrix, rigid, _at_least_a_head(size, spacing))
        found.append(Orientation(form, code, matrix, rigid, bent))  # type: ignore[arg-type]
    return found


def _at_least_a_head(size: tuple[int, ...], spacing: np.ndarray) -> tuple[int, ...]:
    """The size of a grid that holds a head: what is bent in a small piece of one is bent all the more there."""
    with np.errstate(over="ignore"):
        counts = np.minimum(np.ceil(_HEAD_MM / spacing), _MOST_VOXELS)
    return tuple(max(count, int(needed)) for count, needed in zip(size[:3], counts, strict=True))


def _sform(header: Nifti1Header) -> np.ndarray | None:
    matrix = np.eye(4)
    matrix[:3] = [header[f"srow_{axis}"] for axis in "xyz"]
    matrix[:3] *= unit_mm(header)
    with np.errstate(all="ignore"):
        possible = np.abs(matrix).max() <= _FARTHEST_MM and abs(np.linalg.det(matrix)) > 1e-12
    return _LPS @ matrix if possible else None


def _qform(header: Nifti1Header, spacing: np.ndarray) -> np.ndarray | None:
    """As NIfTI-1's reference code computes it: a quaternion that is too long by rounding is a half turn."""
    b, c, d = (float(header[f"quatern_{axis}"]) for axis in "bcd")
    offset = np.array([float(header[f"qoffset_{axis}"]) for axis in "xyz"])
    squares = b * b + c * c + d * d
    offset *= unit_mm(header)
    near = np.abs(offset).max() <= _FARTHEST_MM  # false for NaN as well
    if not (math.isfinite(squares) and near) or squares > _LONGEST_QUATERNION:
        return None
    a = math.sqrt(max(1.0 - squares, 0.0))
    if a * a < 1e-7:
        a, length = 0.0, math.sqrt(squares)
        b, c, d = b / length, c / length, d / length
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    flip = -1.0 if float(header["pixdim"][0]) < 0 else 1.0
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * spacing * [1.0, 1.0, flip]
    matrix[:3, 3] = offset
    return _LPS @ matrix


def _rigid(matrix: np.ndarray, spacing: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    left, _, right = np.linalg.svd(matrix[:3, :3] / spacing)
    middle = (np.array(size[:3]) - 1) / 2
    rigid = np.eye(4)
    rigid[:3, :3] = (left @ right) * spacing
    rigid[:3, 3] = matrix[:3, 3] + (matrix[:3, :3] - rigid[:3, :3]) @ middle
    return rigid


def _preference(orientation: Orientation) -> tuple[bool, int, bool]:
    of_this_person = orientation.code in (1, 2)
    return of_this_person, orientation.code if of_this_person else 0, orientation.form == "sform"


def _disagreement(
    used: Orientation, other: Orientation, size: tuple[int, ...], same_as_itk: bool, name: str
) -> Finding:
    apart = largest_displacement(used.rigid, other.matrix, size)
    if not other.is_rigid:
        reason = f"the {other.form} is sheared or scaled, so that the {used.form} is used"
    elif (used.code in (1, 2)) != (other.code in (1, 2)):
        reason = f"the {used.form} is used, which refers to this person's own scan"
    elif used.code == other.code or used.code not in (1, 2):
        reason = f"the {used.form} is used, which comes first when both refer to the same"
    else:
        reason = f"the {used.form} is used, which has the higher code: it was set last"
    elsewhere = "" if same_as_itk else f" 3D Slicer and ITK take the {other.form} and show the volume elsewhere."
    copy = f"fslorient -copy{used.form}2{other.form}"
    return Finding(
        "orientation",
        "look",
        f"{name}: its {used} and {other} disagree by up to {apart:.1f} mm; {reason}.{elsewhere}",
        f"Check position and left/right, and make both the same (with '{copy}', for example).",
        value=round(apart, 2),
        limit=DISAGREEMENT_MM,
    )


def _without_orientation(header: Nifti1Header, itk: Grid | None, name: str) -> tuple[Grid, list[Finding]]:
    if int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0:
        raise BadInputError(
            f"{name}: the orientation in its header is impossible (not a number, a flat sform, or a quaternion that is "
            "no rotation). Correct the header, or convert the original images again."
        )
    if itk is None:
        raise BadInputError(f"{name}: ITK cannot read the geometry in its header. Export it again.")
    return itk, [
        Finding(
            "orientation-unknown",
            "look",
            f"{name} does not say how it is oriented (no qform or sform code). Its axes are taken as Left, Posterior, "
            "Superior, as ITK and 3D Slicer do.",
            "Check left and right.",
        )
    ]


def _no_grid(orientation: Orientation, header: Nifti1Header, name: str) -> BadInputError:
    matrix = orientation.matrix[:3, :3]
    steps = np.linalg.norm(matrix, axis=0)
    cosines = (matrix / steps).T @ (matrix / steps)
    pixdim = np.abs(header["pixdim"][1:4].astype(float)) * unit_mm(header)
    # Half a degree from a right angle is shear, not rounding.
    if np.abs(cosines - np.eye(3)).max() > 0.005:
        message = (
            f"{name}: the voxel axes in its {orientation.form} are not at right angles (sheared), which is no regular "
            "grid: an affine registration was stored in the header."
        )
        action = "Resample it to a regular grid, or restore the scanner's orientation."
    else:
        message = (
            f"{name}: its {orientation.form} has voxels of {_mm(steps)} mm, its pixdim of {_mm(pixdim)} mm, and they "
            "contradict each other: the size of the head is not known."
        )
        action = "Correct the wrong one, or convert the original images again."
    error = BadInputError(f"{message} {action}")
    error.finding = Finding(
        "orientation", "refuse", message, action, value=round(orientation.bent_mm, 2), limit=DISAGREEMENT_MM
    )
    return error


def _mm(values: np.ndarray) -> str:
    return "×".join(f"{value:.4g}" for value in values)
