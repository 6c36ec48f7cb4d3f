"""Run a generator over a prepared volume, as the model package says it must be run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from modality_synthesis.errors import OutOfMemoryError
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.models.card import Inference, Plane
from modality_synthesis.progress import Reporter, current

# Of (batch, channel, z, y, x): the axis along which the slices of a plane lie.
_AXIS: dict[Plane, int] = {"axial": 2, "coronal": 3, "sagittal": 4}


def run_generator(
    generator: Generator,
    batch: Batch,
    inference: Inference,
    device: torch.device,
    reporter: Reporter | None = None,
) -> Tensor:
    """Synthesize one prepared volume.

    The window (or the whole volume) belongs to the model: running a generator another way changes what it computes,
    so memory is never saved by changing it. When the device is full, first fewer windows or slices are computed at a
    time, then the CPU takes over; the reporter says so.

    Args:
        generator: in evaluation mode.
        batch: source (1, channel, depth, height, width). With a mask, slice by slice only the slices it reaches are
            computed; the others are zero.
        inference: the package's mode and window.
        device: where to run first.
        reporter: receives progress and warnings.

    Returns:
        (1, channel, depth, height, width), float32, on the CPU.

    Raises:
        OutOfMemoryError: not even the CPU has room.
    """
    reporter = reporter or current()
    attempts = [(device, inference.batch_size)]
    if inference.mode != "whole" and inference.batch_size > 1:
        attempts.append((device, 1))
    if device.type != "cpu":
        attempts.append((torch.device("cpu"), inference.batch_size))
    for number, (where, windows) in enumerate(attempts):
        try:
            return _run_on(generator, batch, inference, where, windows, reporter)
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if where.type == "cuda":
                torch.cuda.empty_cache()
            if number + 1 < len(attempts):
                following = attempts[number + 1]
                part = "slice" if inference.mode == "slices" else "window"
                how = f"one {part} at a time" if following[0] == where else f"on the {following[0].type.upper()}"
                reporter.warning(
                    f"Not enough memory on {where}; trying again {how}. The result is the same, only later."
                )
    raise OutOfMemoryError(
        "Not enough memory for this model, on the CPU either. Close other programs, or use a smaller model."
    )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The CPU allocator and MPS raise plain RuntimeErrors.
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


@torch.inference_mode()
def _run_on(
    generator: Generator,
    batch: Batch,
    inference: Inference,
    device: torch.device,
    windows: int,
    reporter: Reporter,
) -> Tensor:
    generator = generator.to(device).eval()
    torch.manual_seed(batch.seed)

    def advance(fraction: float) -> None:
        reporter.progress(fraction, "Synthesizing")

    advance(0.0)
    if inference.mode == "slices":
        # Slice by slice nothing but the running batch is on the device, however large the volume.
        output = _slices(generator, batch, inference, device, windows, advance)
        advance(1.0)
        return output
    moved = replace(
        batch,
        source=batch.source.to(device),
        clinical=None if batch.clinical is None else batch.clinical.to(device),
    )
    if inference.mode == "whole":
        output = generator.synthesize(moved, advance)
    else:
        output = _sliding_window(generator, moved, inference, windows, advance)
    advance(1.0)
    return output.float().cpu()


def _slices(
    generator: Generator,
    batch: Batch,
    inference: Inference,
    device: torch.device,
    slices: int,
    advance: Callable[[float], None],
) -> Tensor:
    """So many slices at a time with the generator's context, in one plane after another; the mean over the planes.

    The generator gets its slices along depth, whatever the plane: an axial slab is (z, y, x), a coronal one (y, z, x),
    a sagittal one (x, z, y). Beyond the volume, its first and last slice stand in for missing neighbors.
    """
    context = generator.context
    source, clinical = batch.source, None if batch.clinical is None else batch.clinical.to(device)
    total = torch.zeros_like(source[:, :1], dtype=torch.float32, device="cpu")
    axes = [_AXIS[plane] for plane in inference.planes]
    wanted = [_reach(batch.mask, axis, source.shape[axis]) for axis in axes]
    steps, done = sum(-(-len(span) // slices) for span in wanted), 0
    for axis, span in zip(axes, wanted, strict=True):
        # Views: turning the volume copies nothing, and what is added to the turned sum lands in the sum.
        turned, turned_total = source.movedim(axis, 2), total.movedim(axis, 2)
        for start in range(span.start, span.stop, slices):
            stop = min(start + slices, span.stop)
            indices = torch.arange(start - context, stop + context).clamp(0, turned.shape[2] - 1)
            slab = Batch(source=turned[:, :, indices].to(device), clinical=clinical, seed=batch.seed)
            output = generator.synthesize(slab)[:, :, context : context + stop - start]
            turned_total[:, :, start:stop] += output.float().cpu()
            done += 1
            advance(done / steps)
    return total.div_(len(axes))


def _reach(mask: Tensor | None, axis: int, depth: int) -> range:
    """The slices along an axis from the first to the last that a mask (1, 1, z, y, x) reaches; all without a mask."""
    if mask is None:
        return range(depth)
    reached = mask.movedim(axis, 0).flatten(1).any(dim=1).nonzero().flatten().tolist()
    return range(reached[0], reached[-1] + 1) if reached else range(0)


def _sliding_window(
    generator: Generator, batch: Batch, inference: Inference, windows: int, advance: Callable[[float], None]
) -> Tensor:
    from monai.inferers import SlidingWindowInferer

    assert inference.window is not None
    inferer = SlidingWindowInferer(
        roi_size=inference.window, sw_batch_size=windows, overlap=inference.overlap, mode=inference.blend
    )

    def predict(window: Tensor) -> Tensor:
        clinical = None if batch.clinical is None else batch.clinical.expand(window.shape[0], -1)
        return generator.synthesize(Batch(source=window, clinical=clinical, seed=batch.seed))

    return inferer(batch.source, predict)
