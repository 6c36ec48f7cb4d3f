"""Source, synthetic, reference and difference of a validation subject in three planes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from modality_synthesis.evaluation.figures.montage import Block, Kind, montage
from modality_synthesis.evaluation.figures.planes import PLANES, center_of, cut
from modality_synthesis.evaluation.figures.style import difference_limit, value_colors
from modality_synthesis.models.card import Output
from modality_synthesis.volumes import bounding_box

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from modality_synthesis.training.module import Example

BLOCKS: Mapping[str, Kind] = {
    "source": "anatomy", "synthetic": "values", "reference": "values", "difference": "difference",
}  # fmt: skip
_SCREEN_DPI = 100


def draw_example(example: Example, output: Output) -> Figure:
    """Four blocks of three planes.

    Synthetic and reference share the model's display window; the difference is synthetic minus reference, its colors
    symmetric around zero.
    """
    brain = example.brain > 0
    difference = np.where(brain, example.synthetic - example.reference, 0.0)
    box = bounding_box(brain, margin=2)  # empty air would leave the brain small in the picture
    center = center_of(brain[box])
    # Anatomy has a 0 that is not black: its outside is left to the background.
    volumes = (np.where(brain, example.source, 0.0), example.synthetic, example.reference, difference)
    blocks = [
        Block(name, [cut(volume[box], plane, center) for plane in PLANES], kind)
        for (name, kind), volume in zip(BLOCKS.items(), volumes, strict=True)
    ]
    return montage(
        blocks, window=output.display_window, limit=difference_limit(difference[brain], output.display_window),
        colors=value_colors(output.quantity), units=output.units,
    )  # fmt: skip


def pixels(figure: Figure) -> np.ndarray:
    """A figure as (height, width, 3), uint8, for a screen."""
    figure.set_dpi(_SCREEN_DPI)
    canvas = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
