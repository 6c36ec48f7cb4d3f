"""What a command refuses at once, before it loads anything heavy: paths that are not there, options that cannot be.

The rooms check the same again, with everything else, whoever calls them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from modality_synthesis.errors import UsageError


def existing(*paths: Path | None) -> None:
    """Every input is there, and may be looked at; None was not given.

    Raises:
        BadInputError: names the first one that is not.
    """
    from modality_synthesis.volumes.paths import check_is_there

    for path in filter(None, paths):
        check_is_there(path)


def volumes(*paths: Path | None) -> None:
    """Every input is there and can be a volume, by its ending or as DICOM; None was not given.

    Raises:
        BadInputError: names the first one that is not.
    """
    from modality_synthesis.volumes.dicom_files import is_dicom_input
    from modality_synthesis.volumes.paths import data_path

    for path in filter(None, paths):
        is_dicom_input(data_path(path))


def one_of(option: str, value: str, choices: Sequence[str]) -> None:
    """The option has one of its values.

    Raises:
        UsageError: names the option and its values.
    """
    if value not in choices:
        raise UsageError(f"Unknown {option} {value!r}. Use {', '.join(choices[:-1])} or {choices[-1]}.")


def device(name: str) -> None:
    """The device's name is one.

    Raises:
        UsageError: it is not.
    """
    from modality_synthesis.synthesis.devices import check_device_name

    check_device_name(name)


def models(*wanted: str | None) -> None:
    """Each named model is installed, or a folder with one.

    Raises:
        ModelMissingError, BadInputError: it is not; the message names the nearest.
    """
    from modality_synthesis.models import find_model

    for name in filter(None, wanted):
        find_model(name)


def target(to: str | None, model: str | None, origin: str | None = None) -> None:
    """There is a model for the request.

    Raises:
        UsageError: neither target nor model is given, or what is no modality.
        ModelMissingError, BadInputError: no such model.
    """
    if model is None and to is None:
        raise UsageError("Say what to make: a target modality (--to FDG-PET) or a model (--model demo-t1w-fdg).")
    for option, text in (("--to", to), ("--from", origin)):
        if text is not None:
            modality(option, text)
    models(model)
    if model is None and to is not None:
        from modality_synthesis.models import choose_model

        choose_model(to)


def already_there(path: Path) -> UsageError:
    """The error for an output that nothing may replace."""
    return UsageError(f"{path} exists already. Choose another name, or move it away.")


def outputs(paths: Iterable[Path | None], endings: Sequence[str] | None = None) -> None:
    """Each output has an ending that is written, and no folder is in its place; None was not asked for.

    Whether its folder can be written to is tried by the rooms, which load more for that.

    Raises:
        UsageError: names the output and the endings.
    """
    from modality_synthesis.volumes.paths import WRITABLE, check_output_name

    for path in filter(None, paths):
        check_output_name(path, WRITABLE if endings is None else endings)


def output_folder(path: Path | None) -> None:
    """The output can be a folder: no file is in its place, or above it; None was not asked for.

    Raises:
        UsageError: names the file.
    """
    file = None if path is None else next((one for one in (path, *path.parents) if os.path.isfile(one)), None)
    if file is not None:
        raise UsageError(f"{file} is a file, where a folder for the results belongs. Name another folder (-o).")


def modality(option: str, text: str) -> str:
    """The modality that an option names, as the program writes it.

    Raises:
        UsageError: none; the nearest is named.
    """
    from modality_synthesis.modalities import MODALITIES, modality_of, nearest_modality

    found = modality_of(text)
    if found is None:
        nearest = nearest_modality(text)
        hint = f" Did you mean {nearest}?" if nearest else ""
        raise UsageError(f"{option} {text!r} is no modality.{hint} Known: {', '.join(MODALITIES)}.")
    return found


def positive(option: str, value: float | None) -> None:
    """The option's number is above 0 and finite; None was not given.

    Raises:
        UsageError: it is not.
    """
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"{option} {value:g} cannot be: it is a number above 0.")
