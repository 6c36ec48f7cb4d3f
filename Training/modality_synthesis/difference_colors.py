"""The colors of signed differences, in reports, figures and 3D Slicer: blue below zero, white at it, red above.

Perceptually uniform by construction: both arms are straight lines in CIELAB from white to an equally dark end, cut into
equal steps, so that equal differences look equally different, whichever their sign.
"""

from __future__ import annotations

import numpy as np

STEPS = 255  # an odd number, so that zero is exactly white
_WHITE = (100.0, 0.0, 0.0)
# L*, a*, b*; equally far from white, inside what screens can show.
_BELOW, _ABOVE = (40.0, 15.0, -56.0), (40.0, 50.2, 29.0)
_D65 = np.array([0.95047, 1.0, 1.08883])
_XYZ_TO_RGB = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
)


def difference_table() -> np.ndarray:
    """The table: (255, 3) sRGB in 0 to 1, from the most negative difference to the most positive."""
    share = np.linspace(-1, 1, STEPS)[:, None]
    lab = np.array(_WHITE) + np.where(share < 0, -share, 0) * (np.array(_BELOW) - _WHITE)
    lab += np.where(share > 0, share, 0) * (np.array(_ABOVE) - _WHITE)
    table = _to_srgb(lab)
    table[STEPS // 2] = 1.0  # white, without rounding
    return table


def _to_srgb(lab: np.ndarray) -> np.ndarray:
    """CIELAB (N, 3), white point D65, as sRGB."""
    middle = (lab[:, 0] + 16) / 116
    roots = np.stack([middle + lab[:, 1] / 500, middle, middle - lab[:, 2] / 200], axis=1)
    xyz = _D65 * np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29))
    linear = (xyz @ _XYZ_TO_RGB.T).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).clip(0, 1)
