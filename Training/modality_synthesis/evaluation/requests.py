"""What a request for a measurement must say, decided without loading what measures."""

from __future__ import annotations

from collections.abc import Sequence

from modality_synthesis.errors import UsageError


def check_way_of_atlas(to: str, mri: object, template_space: bool, *, required: bool) -> None:
    """The atlas reaches a volume through the person's MRI or because the volume is in its space, not both.

    Raises:
        UsageError: both, or neither where one is required.
    """
    both, neither = mri is not None and template_space, mri is None and not template_space
    if both or (required and neither):
        raise UsageError(f"Say how the atlas reaches the {to}: give the T1w MRI (--mri) or --template-space, not both.")


def check_report(report: bool, output: object, what: str = "A report") -> None:
    """A report has a folder to go to.

    Raises:
        UsageError: it has none.
    """
    if report and output is None:
        raise UsageError(f"{what} needs a folder to go to: add -o FOLDER.")


def check_contenders(models: Sequence[object], synthetic: Sequence[str], uncertainty: str | None) -> None:
    """Something is to be evaluated.

    Raises:
        UsageError: nothing is, or a standard deviation without its volume.
    """
    if not models and not synthetic:
        raise UsageError("Say what to evaluate: --model, or --synthetic with a column of the table.")
    if uncertainty is not None and not synthetic:
        raise UsageError("--uncertainty names the column that goes with --synthetic. With --model, use --samples.")
