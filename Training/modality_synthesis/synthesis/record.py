"""Reading back the provenance record (JSON sidecar) of a synthetic volume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_pascal

from modality_synthesis.errors import BadInputError
from modality_synthesis.json_files import read_json_object
from modality_synthesis.models.card import Line, Slug, Source, Target, Version
from modality_synthesis.validation import problem
from modality_synthesis.volumes import check_sidecar, sidecar_path


class _Part(BaseModel):
    """Records may hold more than is needed here; numbers must be finite."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class ModelUsed(_Part):
    """The model that computed the volume."""

    id: Slug
    version: Version
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    trained_on_simulated_data: bool = False


class RouteTaken(_Part):
    """From which modality to which."""

    source: Source
    target: Target


class RunParameters(_Part):
    """How the model was run."""

    seed: int = 0
    space: str = "native"


class Program(_Part):
    """The program that computed the volume."""

    model_config = ConfigDict(alias_generator=to_pascal)

    name: Line
    version: Line


class Record(_Part):
    """What `synthesis.provenance.sidecar` wrote, as far as it describes the volume itself.

    The source's file name and the clinical variables are not read: nothing about the person gets further through here.
    """

    model_config = ConfigDict(alias_generator=to_pascal)

    synthetic_data: Literal[True]
    model: ModelUsed
    route: RouteTaken
    quantity: Literal["SUVR", "HU", "signal"]
    units: Line
    reference_region: Line | None = None
    display_window: tuple[float, float]
    generated_by: Annotated[tuple[Program, ...], Field(min_length=1)]
    parameters: RunParameters = RunParameters()


def read_record(volume: Path) -> Record:
    """The record beside a synthetic volume.

    Raises:
        BadInputError: there is none, it is damaged, it is no record of a synthetic volume, or not of this one.
    """
    path = sidecar_path(volume)
    try:
        facts = read_json_object(path)
    except FileNotFoundError:
        raise BadInputError(
            f"{volume.name} has no record {path.name} beside it, which says what the volume shows and which model made "
            "it. Export a volume that 'synthesize' wrote, together with its .json file."
        ) from None
    except OSError as error:
        raise BadInputError(f"{path.name} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path.name} cannot be read: {error}.") from None
    except ValueError as error:
        raise BadInputError(f"{path.name} is no valid JSON file ({error}). Synthesize the volume again.") from None
    check_sidecar(volume, facts)
    try:
        return Record.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise BadInputError(
            f"{path.name} is no record of a synthetic volume ({where[:100]}: {problem(first)[:200]}). Only volumes "
            "that 'synthesize' wrote, with the .json files beside them, are exported as DICOM."
        ) from None
