"""A cohort table from a BIDS folder (https://bids-specification.readthedocs.io), or one laid out like it."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modality_synthesis.datasets.cohort import MODALITIES
from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes import atomic_output, check_outputs, check_writable

_SUFFIXES = {"T1w": "T1w", "T2w": "T2w", "ct": "CT", "CT": "CT"}
# BIDS names the tracer (`trc-`) freely; these are the names in use.
_TRACERS = {
    "FDG-PET": ("fdg", "18ffdg", "f18fdg"),
    "TAU-PET": ("av1451", "flortaucipir", "ftp", "t807", "mk6240", "pi2620", "ro948", "gtp1", "tau"),
    "AMYLOID-PET": ("pib", "11cpib", "av45", "florbetapir", "fbp", "fbb", "florbetaben", "flutemetamol", "nav4694",
                    "azd4694", "amyloid"),
}  # fmt: skip
_NAME = re.compile(r"^(?P<entities>sub-.+)_(?P<suffix>[A-Za-z0-9]+)\.(nii|nii\.gz)$")


@dataclass
class BidsCohort:
    """What was found.

    Attributes:
        rows: one per subject and session, by column.
        skipped: files that could not be placed, and why.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def bids_cohort(folder: str | Path) -> BidsCohort:
    """Find the volumes of each subject and session, and the columns of participants.tsv and sessions.tsv.

    The first run or acquisition in alphabetical order is taken where there are several; the others are reported.
    Derivatives are not searched: name their folder itself.

    Raises:
        BadInputError: no folder, or no subject in it.
    """
    folder = Path(folder)
    subjects = sorted(path for path in folder.glob("sub-*") if path.is_dir())
    if not subjects:
        raise BadInputError(f"{folder} holds no folder sub-*: it is no BIDS dataset.")
    people = _table(folder / "participants.tsv", "participant_id")
    found = BidsCohort()
    for subject in subjects:
        sessions = sorted(path for path in subject.glob("ses-*") if path.is_dir())
        visits = _table(subject / f"{subject.name}_sessions.tsv", "session_id")
        for place in sessions or [subject]:
            volumes = _volumes(place, folder, found.skipped)
            if volumes:
                session = place.name if sessions else ""
                who = {"subject": subject.name, "session": session}
                found.rows.append(who | volumes | people.get(subject.name, {}) | visits.get(session, {}))
    if not found.rows:
        raise BadInputError(f"{folder} holds no volume of {', '.join(MODALITIES)} (NIfTI, named as BIDS has it).")
    return found


def write_bids_cohort(
    folder: str | Path, path: str | Path, *, require: Sequence[str] = ()
) -> tuple[BidsCohort, list[str]]:
    """Write the table; paths are relative to it.

    Args:
        folder: BIDS dataset.
        path: of the table (.tsv or .csv).
        require: modalities without which a visit is left out.

    Returns:
        What was found, and the visits left out.

    Raises:
        BadInputError: nothing found, or no visit has what is required.
    """
    path, folder = Path(path), Path(folder)
    check_outputs([path], inputs=[folder / "participants.tsv", *folder.glob("sub-*/*_sessions.tsv")])
    check_writable(path, endings=[".tsv", ".csv"])
    found = bids_cohort(folder)
    kept = [row for row in found.rows if all(name in row for name in require)]
    left = [f"{row['subject']} {row['session']}".strip() for row in found.rows if row not in kept]
    if not kept:
        raise BadInputError(f"No subject of {folder} has all of {', '.join(require)}.")
    present = {name for row in kept for name, value in row.items() if value}
    columns = [name for name in ("subject", "session", *MODALITIES) if name in present]
    columns += [name for name in dict.fromkeys(name for row in kept for name in row) if name in present - set(columns)]
    with atomic_output(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        comma = "," if path.suffix == ".csv" else "\t"
        writer = csv.DictWriter(stream, fieldnames=columns, delimiter=comma, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(_relative(row, Path(folder), path.parent) for row in kept)
    return found, left


def _relative(row: dict[str, str], folder: Path, place: Path) -> dict[str, str]:
    return {
        name: os.path.relpath(folder / value, place) if name in MODALITIES and value else value
        for name, value in row.items()
    }


def _volumes(place: Path, folder: Path, skipped: list[str]) -> dict[str, str]:
    volumes: dict[str, str] = {}
    for path in sorted(place.glob("*/*.nii*")):
        modality = _modality(path.name)
        shown = path.relative_to(folder).as_posix()
        if modality is None:
            continue
        if modality == "":
            skipped.append(f"{shown}: a PET whose tracer is not known (trc-FDG, trc-AV1451, trc-PIB, ...)")
        elif modality in volumes:
            skipped.append(f"{shown}: {volumes[modality]} is taken")
        else:
            volumes[modality] = shown
    return volumes


def _modality(name: str) -> str | None:
    """The modality of a file name; empty for a PET of an unknown tracer, None for everything else."""
    match = _NAME.match(name)
    if match is None:
        return None
    if match["suffix"] != "pet":
        return _SUFFIXES.get(match["suffix"])
    entities = dict(part.split("-", 1) for part in match["entities"].split("_") if "-" in part)
    tracer = re.sub(r"[^a-z0-9]", "", entities.get("trc", "").lower())
    return next((modality for modality, names in _TRACERS.items() if tracer in names), "")


def _table(path: Path, key: str) -> dict[str, dict[str, str]]:
    """Rows of a TSV by their key, without it; empty when there is no such file."""
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from None
    return {
        row[key]: {name: value or "" for name, value in row.items() if name and name != key}
        for row in rows
        if row.get(key)
    }
