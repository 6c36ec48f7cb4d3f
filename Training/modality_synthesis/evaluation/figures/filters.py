"""The filters of a network's first convolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.figures.labels import wrapped
from modality_synthesis.evaluation.figures.style import LARGE, SMALL, bare, check_figure_path, new_figure, save_figure
from modality_synthesis.models import ModelPackage, find_model


def draw_filters(model: str | Path | ModelPackage, path: str | Path) -> None:
    """Draw every filter of a model's first convolution.

    Each filter is scaled to its own largest weight; zero is the middle gray. Filters of three input channels are drawn
    in their colors (red is the first channel), others as the mean over channels; of 3-D filters, the central slice.

    Args:
        model: id, folder or opened package.
        path: .png, .pdf or .svg to write.

    Raises:
        BadInputError: the model begins with no convolution wider than one voxel.
    """
    from modality_synthesis.synthesis.synthesizer import load_generator

    package = model if isinstance(model, ModelPackage) else find_model(model)
    check_figure_path(path, package.folder.glob("*"))
    name, filters = first_filters(load_generator(package))
    count = len(filters)
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    broad = max(0.55 * columns + 0.4, 4.6)  # of the text above
    figure = new_figure(broad, 0.55 * rows + 0.9)
    grid = figure.add_gridspec(
        rows,
        columns,
        left=0.03,
        right=0.03 + 0.55 * columns / broad,
        bottom=0.02,
        top=1 - 0.75 / (0.55 * rows + 0.9),
        wspace=0.12,
        hspace=0.12,
    )
    for index, image in enumerate(filters):
        axes = figure.add_subplot(grid[index // columns, index % columns])
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        bare(axes)
    figure.suptitle(
        wrapped(f"First convolution of {package.card.id}", broad - 0.2, LARGE, lines=1),
        fontsize=LARGE,
        x=0.03,
        y=0.985,
        ha="left",
    )
    kernel = " x ".join(str(size) for size in filters.shape[1:3])
    height = 0.55 * rows + 0.9
    figure.text(
        0.03, 1 - 0.5 / height, f"{count} filters of {kernel} ({name}), each to its largest weight", fontsize=SMALL
    )
    save_figure(figure, path, [])  # weights, no data


def first_filters(generator: nn.Module) -> tuple[str, np.ndarray]:
    """Name and weights of a generator's first convolution wider than one voxel, as images in 0..1.

    Returns:
        The module's name, and (filter, height, width) or, for three input channels, (filter, height, width, 3); 0.5 is
        a weight of zero.
    """
    wide = (
        (name, module)
        for name, module in generator.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Conv3d)) and max(module.kernel_size) > 1
    )
    name, first = next(wide, ("", None))
    if first is None:
        raise BadInputError("This generator has no convolution whose filters could be drawn.")
    weights = first.weight.detach().float().cpu().numpy()
    if weights.ndim == 5:
        weights = weights[:, :, weights.shape[2] // 2]
    images = weights.transpose(0, 2, 3, 1) if weights.shape[1] == 3 else weights.mean(axis=1)
    largest = np.abs(images).reshape(len(images), -1).max(axis=1)
    scale = np.where(largest > 0, largest, 1).reshape(-1, *[1] * (images.ndim - 1))
    return name, 0.5 + 0.5 * images / scale
