"""Where the shipped files (model packages, atlases, label maps, networks) and the user's models are.

A source checkout and the Slicer extension keep them in `Resources/`; an installed wheel carries them as
`modality_synthesis/_resources/`.
"""

from __future__ import annotations

import os
from pathlib import Path

from modality_synthesis.environment import user_folder
from modality_synthesis.errors import ModalitySynthesisError

RESOURCES_VARIABLE = "MODALITY_SYNTHESIS_RESOURCES"
MODELS_VARIABLE = "MODALITY_SYNTHESIS_MODELS"


def resources_folder() -> Path:
    """The folder of shipped files.

    Raises:
        ModalitySynthesisError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    named = os.environ.get(RESOURCES_VARIABLE)
    candidates = [Path(named)] if named else [package / "_resources", package.parent.parent / "Resources"]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise ModalitySynthesisError(
        f"The shipped resources were not found in {candidates[-1]}. Reinstall the package, or set "
        f"{RESOURCES_VARIABLE} to the folder 'Resources'."
    )


def recipes_folder() -> Path:
    """The folder of shipped recipes.

    Raises:
        ModalitySynthesisError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / "_recipes", package.parent / "recipes"):
        if candidate.is_dir():
            return candidate
    raise ModalitySynthesisError("The shipped recipes were not found. Reinstall the package.")


def resource(*parts: str) -> Path:
    """The path of one shipped file, `resource("Atlases", "mni152_T1w.nii.gz")` for example.

    Raises:
        ModalitySynthesisError: the file is not there.
    """
    path = resources_folder().joinpath(*parts)
    if not path.exists():
        raise ModalitySynthesisError(f"The shipped file {path} is missing. Reinstall the package.")
    return path


def user_models_folder() -> Path:
    """Where installed model packages live: outside the program, so that updates keep them. May not exist yet.

    Raises:
        ModalitySynthesisError: no variable names it, and the user has no home.
    """
    named = os.environ.get(MODELS_VARIABLE)
    if named:
        return Path(named)
    try:
        return user_folder("data") / "models"
    except ModalitySynthesisError as error:
        raise ModalitySynthesisError(f"{error} {MODELS_VARIABLE} names the folder of models.") from None


def model_folders() -> list[Path]:
    """Where packages are looked for: the user's folder, where the user has a home, then the shipped one."""
    shipped = resources_folder() / "Models"
    try:
        return [user_models_folder(), shipped]
    except ModalitySynthesisError:
        return [shipped]
