"""A cohort table from a BIDS folder (https://bids-specification.readthedocs.io), or one laid out like it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modality_synthesis.datasets.bids_names import (
    BidsName,
    is_contrast_enhanced,
    not_corrected,
    parse_name,
    preference,
    why_unusable,
)
from modality_synthesis.datasets.bids_people import People, people_tables
from modality_synthesis.datasets.bids_sidecars import Sidecars
from modality_synthesis.datasets.tally import Tally
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.findings import Finding
from modality_synthesis.modalities import MODALITIES, tracer_modality
from modality_synthesis.progress import Reporter, current
from modality_synthesis.tables import key
from modality_synthesis.tables.words import person_key
from modality_synthesis.volumes import atomic_output, check_outputs, check_writable, why_absent, write_rows
from modality_synthesis.volumes.paths import cannot_read

# Folders of a visit that hold no image of ours, and often thousands of files.
_OTHER_DATA = {"func", "dwi", "fmap", "perf", "eeg", "meg", "ieeg", "nirs", "motion", "beh", "micr", "mrs", "figures",
               "surf", "xfm", "log", "freesurfer"}  # fmt: skip
# What is normal to be left over is listed, and warned of by nobody.
_EXPECTED = {"mask", "map", "other", "better", "pdw", "t2starw", "mp2rage", "twin"}


_LIST_HEADER = "file\tkind\treason\n"


@dataclass(frozen=True)
class Unused:
    """An image that is in no row: the file relative to the dataset, a word for the kind, and the reason."""

    file: str
    kind: str
    reason: str


@dataclass
class BidsCohort:
    """What was found.

    Attributes:
        rows: one per subject and session, by column; paths relative to the dataset.
        unused: images that are in no row, and why.
        findings: what a user must know, one per kind.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Written:
    """What a cohort table holds.

    Attributes:
        found: in the dataset.
        left_out: visits without a required modality.
        people: in the table.
        visits: in the table.
        pairs: "T1w with FDG-PET" -> visits that have both.
        unused_list: file that lists the images that are in no row; None when there is none.
    """

    found: BidsCohort
    left_out: list[str]
    people: int
    visits: int
    pairs: dict[str, int]
    unused_list: Path | None

    @property
    def summary(self) -> str:
        """One line for people."""
        pairs = ", ".join(f"{pair} {count}" for pair, count in self.pairs.items()) or "none"
        return f"{self.people} people, {self.visits} visits; complete pairs: {pairs}."


@dataclass(frozen=True)
class _Image:
    """An image that could be a visit's volume."""

    path: Path
    shown: str
    modality: str
    name: BidsName
    facts: Mapping[str, Any]

    @property
    def order(self) -> tuple[object, ...]:
        frames = self.facts.get("FrameDuration")
        dynamic = isinstance(frames, list) and len(frames) > 1
        return (*preference(self.name, dynamic), not self.shown.endswith(".gz"), self.shown)


def bids_cohort(folder: str | Path) -> BidsCohort:
    """Find the volumes of each subject and session, and their clinical values.

    Of several images of a modality the better one is taken (`bids_names.preference`); the others are listed.
    Derivatives are not searched: name their folder itself. The folder of one subject may be given too.

    Raises:
        BadInputError: no folder, no subject in it, or no volume that can be used.
    """
    folder = Path(folder)
    root, subjects = _subjects(folder)
    found, tally, sidecars = BidsCohort(), Tally(), Sidecars(root)
    taken: dict[tuple[str, str], dict[str, _Image]] = {}
    for subject in subjects:
        images: dict[tuple[str, str], list[_Image]] = defaultdict(list)
        empty = True
        for session, path in _files(subject):
            empty = False
            image = _image(path, subject, session, root, sidecars)
            if isinstance(image, Unused):
                found.unused.append(image)
            else:
                images[session, image.modality].append(image)
        if empty:
            action = "A DataLad subdataset is filled by 'datalad get -n'."
            tally.add("bids-empty", "Folders of people hold no images", subject.name, action)
        for (session, modality), candidates in sorted(images.items()):
            best, *others = sorted(candidates, key=lambda one: one.order)
            taken.setdefault((subject.name, session), {})[modality] = best
            found.unused += [_not_chosen(other, best) for other in others]
            _doubt(best, tally)
    for unused in found.unused:
        if unused.kind not in _EXPECTED:
            tally.add(f"bids-{unused.kind}", f"Not used, {unused.reason}", unused.file)
    if not taken:
        raise BadInputError(_nothing(folder, found.unused))
    sessions: dict[str, list[str]] = defaultdict(list)
    for subject_name, session in taken:
        sessions[subject_name].append(session)
    people = People(sessions, tally)
    people.read(_tables(root))
    _say_same_people(sessions, tally)
    for (subject_name, session), volumes in taken.items():
        row = {"subject": subject_name, "session": session}
        row |= {modality: image.shown for modality, image in volumes.items()}
        if len({image.name.entities.get("space", "").lower().startswith("mni") for image in volumes.values()}) > 1:
            what = "Visits with one volume in template space and one that is not: they do not lie on each other"
            tally.add("bids-space", what, f"{subject_name} {session}".strip())
        values = people.values[subject_name, session]
        scanner = {people.spelling(column): value for column, value in _scanner(volumes).items()}
        found.rows.append(row | scanner | values)
    found.findings = tally.findings()
    return found


def write_bids_cohort(
    folder: str | Path, path: str | Path, *, require: Sequence[str] = (), reporter: Reporter | None = None
) -> Written:
    """Write the table, its paths relative to it, and beside it `NAME.notused.tsv`: images in no row, and why.

    Args:
        folder: BIDS dataset.
        path: of the table (.tsv or .csv).
        require: modalities without which a visit is left out.
        reporter: receives the findings, and in one line what the table holds.

    Raises:
        BadInputError: nothing found, an unknown modality, or no visit has what is required.
        UsageError: the table would replace one of the dataset's, or somebody's file.
    """
    path, folder = Path(path), Path(folder)
    listed = path.with_name(f"{path.stem}.notused.tsv")
    root = _subjects(folder)[0]
    check_outputs([path, listed], inputs=[*people_tables(_tables(root)), *people_tables(root)])
    check_writable(path, endings=[".tsv", ".csv"])
    if listed.exists() and not listed.read_bytes().startswith(_LIST_HEADER.encode()):
        raise UsageError(f"{listed} is there already and is no list of this program. Choose another name, or move it.")
    known = {key(name): name for name in MODALITIES}
    stranger = next((name for name in require if key(name) not in known), None)
    if stranger is not None:
        raise BadInputError(f"{stranger!r} is no modality; require one of {', '.join(MODALITIES)}.")
    require = [known[key(name)] for name in require]
    found = bids_cohort(folder)
    complete = [all(name in row for name in require) for row in found.rows]
    kept = [row for row, good in zip(found.rows, complete, strict=True) if good]
    left = [f"{row['subject']} {row['session']}".strip() for row, g in zip(found.rows, complete, strict=True) if not g]
    if not kept:
        hint = f" {_reasons(found.unused)}" if found.unused else ""
        raise BadInputError(f"No visit of {folder} has all of {', '.join(require)}.{hint}")
    present = {name for row in kept for name, value in row.items() if value}
    columns = [name for name in ("subject", "session", *MODALITIES) if name in present]
    columns += [name for name in dict.fromkeys(name for row in kept for name in row) if name in present - set(columns)]
    rows = [_relative(row, root, path.parent) for row in kept]
    table = [{name: row.get(name, "") for name in columns} for row in rows]
    separator = "," if path.suffix.lower() == ".csv" else "\t"
    write_rows(path, table, delimiter=separator)
    if found.unused:
        write_rows(listed, found.unused, delimiter="\t")
    elif listed.exists():  # of an earlier run: it is true no more
        with atomic_output(listed) as temporary:
            temporary.write_text(_LIST_HEADER, encoding="utf-8")
    written = Written(
        found, left, len({row["subject"] for row in kept}), len(kept), _pairs(kept), listed if found.unused else None
    )
    _report(written, require, reporter or current())
    return written


def _report(written: Written, require: Sequence[str], reporter: Reporter) -> None:
    findings = Tally()
    for visit in written.left_out:
        findings.add("bids-required", f"Visits left out, for want of {' or '.join(require)}", visit)
    for finding in (*written.found.findings, *findings.findings()):
        reporter.finding(finding)
    if written.unused_list is not None:
        count = len(written.found.unused)
        reporter.status(f"{count} image(s) are in no row; {written.unused_list.name} lists them with the reason.")
    reporter.status(written.summary)


def _subjects(folder: Path) -> tuple[Path, list[Path]]:
    """The dataset's folder and its subjects' folders; links to folders count.

    Raises:
        BadInputError: there are none; says what the folder seems to be.
    """
    if folder.is_file():
        raise BadInputError(f"{folder} is a file. Give the BIDS folder; a table needs no other table made of it.")
    if not folder.is_dir():
        raise BadInputError(f"The folder {folder} does not exist.")
    found = sorted(path for path in folder.glob("sub-*") if path.is_dir())
    if found:
        return folder, found
    real = folder if folder.name else folder.resolve()
    if real.name.startswith("sub-"):
        return real.parent, [real]
    broken = [path.name for path in folder.glob("sub-*") if path.is_symlink()]
    if broken:
        raise BadInputError(f"{folder}: {', '.join(broken[:3])} are links to what does not exist.")
    inside = sorted({path.parent.relative_to(folder).as_posix() for path in folder.glob("*/sub-*") if path.is_dir()})
    hint = f" Its folder(s) {', '.join(inside[:4])} hold some: give one of them." if inside else ""
    raise BadInputError(f"{folder} holds no folder sub-*: it is no BIDS dataset.{hint}")


def _files(subject: Path) -> Iterator[tuple[str, Path]]:
    """Session ("" without) and path of every NIfTI file in a visit's folders (anat, pet, ...)."""
    places = [("", subject), *((path.name, path) for path in sorted(subject.glob("ses-*")) if path.is_dir())]
    for session, place in places:
        kinds = [path for path in _listed(place) if path.is_dir() and path.name not in _OTHER_DATA]
        for kind in [place, *(path for path in kinds if not path.name.startswith("ses-"))]:
            for path in _listed(kind):
                if path.name.lower().endswith((".nii", ".nii.gz")) and not path.is_dir():
                    yield session, path


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise cannot_read(folder, error) from None


def _image(path: Path, subject: Path, session: str, root: Path, sidecars: Sidecars) -> _Image | Unused:
    """The image in a file, or why it is none of ours."""
    shown = path.relative_to(root).as_posix()
    name = parse_name(path.name)
    if name is None:
        return Unused(shown, "name", "the file's name is not as BIDS has it (sub-01_T1w.nii.gz)")
    if f"sub-{name.entities['sub']}" != subject.name or name.entities.get("ses", session[4:]) != session[4:]:
        return Unused(shown, "misplaced", "the file's name is of another person or session than its folder")
    if (reason := why_unusable(name)) is not None:
        return Unused(shown, *reason)
    if (absent := why_absent(path)) is not None:
        return Unused(shown, "absent", absent)
    facts = sidecars.of(path, name)
    if facts.get("SyntheticData") is True:
        return Unused(shown, "synthetic", "a synthetic volume, not measured")
    modality = name.kind
    if modality == "PET":
        known = _tracers(name, facts)
        if len(known) > 1:
            return Unused(shown, "tracer", "its name and its sidecar name different tracers")
        if not known:
            return Unused(
                shown, "tracer",
                "a PET whose tracer is not known (trc-FDG, trc-AV1451, trc-PIB in the name, or TracerName in the JSON)",
            )  # fmt: skip
        modality = known.pop()
    return _Image(path, shown, modality or "", name, facts)


def _tracers(name: BidsName, facts: Mapping[str, Any]) -> set[str]:
    """The modalities that a PET's name and sidecar say; the radionuclide alone says none."""
    said = [name.entities.get("trc"), *(facts.get(word) for word in ("TracerName", "Tracer", "Radiopharmaceutical"))]
    return {modality for one in said if isinstance(one, str) and (modality := tracer_modality(one))}


def _not_chosen(other: _Image, best: _Image) -> Unused:
    twin = best.shown.removesuffix(".gz") == other.shown.removesuffix(".gz")
    reason = "the same image compressed is taken" if twin else f"{best.shown} is taken"
    return Unused(other.shown, "twin" if twin else "better", reason)


def _doubt(image: _Image, tally: Tally) -> None:
    """What a user should know of an image although it is the best one."""
    if image.modality.endswith("PET") and not_corrected(image.name):
        tally.add("bids-attenuation", "PET without attenuation correction is taken, for want of another", image.shown)
    if image.modality in ("T1w", "T2w", "FLAIR") and is_contrast_enhanced(image.name):
        tally.add("bids-contrast", "Images with a contrast agent are taken, for want of plain ones", image.shown)


def _say_same_people(sessions: Mapping[str, Sequence[str]], tally: Tally) -> None:
    seen: dict[str, str] = {}
    for subject in sessions:
        other = seen.setdefault(person_key(subject), subject)
        if other != subject:
            tally.add("bids-people", "Folders that are probably of one person", f"{other} and {subject}")


def _scanner(volumes: Mapping[str, _Image]) -> dict[str, str]:
    """Columns from the PETs' sidecars, where all PETs of a visit say the same."""
    columns = {}
    for column, word in (("pet_manufacturer", "Manufacturer"), ("pet_units", "Units")):
        said = {image.facts.get(word) for modality, image in volumes.items() if modality.endswith("PET")}
        value = said.pop() if len(said) == 1 else None
        if isinstance(value, str) and value.strip():
            columns[column] = " ".join(value.split())
    return columns


def _tables(root: Path) -> Path:
    """Where participants.tsv is: a pipeline's derivatives seldom have their own."""
    if not (root / "participants.tsv").is_file() and root.resolve().parent.name == "derivatives":
        return root.resolve().parent.parent
    return root


def _nothing(folder: Path, unused: Sequence[Unused]) -> str:
    message = f"{folder} holds no volume of {', '.join(MODALITIES)} (NIfTI, named as BIDS has it)."
    return f"{message} {_reasons(unused)}" if unused else message


def _reasons(unused: Sequence[Unused]) -> str:
    """The commonest reasons in one line."""
    telling = [one for one in unused if one.kind not in _EXPECTED] or [one for one in unused if one.kind != "better"]
    reasons = Counter(one.reason for one in telling).most_common(2)
    first = {one.reason: one.file for one in reversed(telling)}
    return " ".join(f"Not used ({count}), {reason}: {first[reason]}." for reason, count in reasons)


def _pairs(rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """Visits that have a source and a target, by the pairs that occur."""
    counted = {}
    for target in MODALITIES:
        for source in ("T1w",) if target.endswith("PET") else ("CT",) if target in ("T1w", "T2w") else ():
            count = sum(bool(row.get(source) and row.get(target)) for row in rows)
            if count:
                counted[f"{source} with {target}"] = count
    return counted


def _relative(row: Mapping[str, str], root: Path, place: Path) -> dict[str, str]:
    return {
        name: Path(os.path.relpath(root / value, place)).as_posix() if name in MODALITIES and value else value
        for name, value in row.items()
    }
