"""Feature maps: what each layer of a network makes of one slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation.figures.labels import wrapped
from modality_synthesis.evaluation.figures.style import NORMAL, SMALL, bare, check_figure_path, new_figure, save_figure
from modality_synthesis.models import ModelPackage, find_model
from modality_synthesis.preprocessing import Resample
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import array, read_image, read_mark

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modality_synthesis.generators.base import Generator


def draw_features(
    model: str | Path | ModelPackage,
    source: str | Path,
    path: str | Path,
    *,
    slice_index: int | None = None,
    maps: int = 8,
    reporter: Reporter | None = None,
) -> None:
    """Draw some feature maps of every layer for one axial slice of a volume.

    Args:
        model: id, folder or opened package of a generator that works slice by slice (DRUNet, 2-D U-Net).
        source: volume of the model's source modality, a file or a DICOM folder.
        path: .png, .pdf or .svg to write.
        slice_index: on the model's grid; default the slice with the largest brain area.
        maps: per layer: those whose values vary most over the slice.
        reporter: receives progress and warnings.

    Raises:
        BadInputError: a generator without named layers, or a slice outside the volume.
    """
    from modality_synthesis.preprocessing import prepare
    from modality_synthesis.synthesis.synthesizer import load_generator

    reporter = reporter or current()
    check_figure_path(path, [source])
    if maps < 1:
        raise UsageError("At least one feature map per layer is needed.")
    package = model if isinstance(model, ModelPackage) else find_model(model)
    generator = load_generator(package)
    # What cannot be drawn is refused before the preprocessing, which costs most of the time.
    _named_layers(generator)
    size = next((step.size[2] for step in package.card.preprocessing.source if isinstance(step, Resample)), None)
    if slice_index is not None and size is not None:
        _check_slice(slice_index, size)
    image = read_image(source, reporter=reporter)
    prepared = prepare(image, package.card.preprocessing, name=Path(source).name, reporter=reporter)
    volume = array(prepared.image)
    index = _largest_slice(prepared.mask, volume) if slice_index is None else slice_index
    _check_slice(index, len(volume))
    layers = feature_maps(generator, volume, index)

    rows = len(layers)
    cell_width = volume.shape[2] / volume.shape[1] + 0.06  # inches, for cells one inch high
    width, height = 1.25 + cell_width * maps, 1.12 * rows + 0.5
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        rows, maps + 1, width_ratios=[1.25, *[cell_width] * maps], left=0.01, right=0.995, bottom=0.01,
        top=1 - 0.5 / height, wspace=0.04, hspace=0.12,
    )  # fmt: skip
    for row, (name, values) in enumerate(layers.items()):
        label = figure.add_subplot(grid[row, 0])
        bare(label)
        channels, tall, broad = values.shape
        label.text(0.0, 0.5, f"{name}\n{channels} x {tall} x {broad}", fontsize=NORMAL, va="center")
        for column, channel in enumerate(np.argsort(-values.std(axis=(1, 2)), kind="stable")[:maps]):
            axes = figure.add_subplot(grid[row, column + 1])
            image = values[channel]
            low, high = np.percentile(image, [1, 99])
            axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
            axes.set_title(str(channel), fontsize=SMALL - 2, pad=1.5, color="#777777")
            bare(axes)
    title = f"Feature maps of {package.card.id}, axial slice {index} of {Path(source).name}"
    figure.suptitle(
        wrapped(title, width - 0.2, NORMAL, lines=2),
        fontsize=NORMAL, x=0.01, y=0.99, ha="left",
    )  # fmt: skip
    save_figure(figure, path, [package.card.mark, read_mark(source)])


def feature_maps(generator: Generator, volume: np.ndarray, index: int) -> Mapping[str, np.ndarray]:
    """What every named layer of a slice generator puts out for one slice.

    Args:
        generator: in evaluation mode.
        volume: (depth, height, width), network values.
        index: of the slice.

    Returns:
        Layer -> (channel, height, width).

    Raises:
        BadInputError: a generator without named layers.
    """
    import torch

    from modality_synthesis.generators.base import Batch

    network, names = _named_layers(generator)
    context = generator.context
    chosen = np.clip(np.arange(index - context, index + context + 1), 0, len(volume) - 1)
    slab = torch.from_numpy(volume[chosen].astype(np.float32))[None, None]
    found: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[[object, object, Tensor], None]:
        # The slice itself, not its neighbors; a copy, because the next layer may work in place.
        return lambda _, __, output: found.update({name: output[context].float().cpu().numpy().copy()})

    handles = [network.get_submodule(path).register_forward_hook(keep(name)) for name, path in names.items()]
    try:
        with torch.inference_mode():
            generator.synthesize(Batch(source=slab))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _named_layers(generator: Generator) -> tuple[nn.Module, Mapping[str, str]]:
    network = getattr(generator, "network", None)
    names: Mapping[str, str] | None = getattr(network, "layers", None)
    if network is None or names is None:
        raise BadInputError("Feature maps are drawn for generators that work slice by slice (drunet-..., unet-2d).")
    return network, names


def _check_slice(index: int, count: int) -> None:
    if not 0 <= index < count:
        raise BadInputError(f"Slice {index} lies outside the model's grid, which has slices 0 to {count - 1}.")


def _largest_slice(mask: sitk.Image | None, volume: np.ndarray) -> int:
    area = (array(mask) > 0 if mask is not None else volume > volume.mean()).sum(axis=(1, 2))
    return int(np.argmax(area))
