"""No input ends in a traceback, or in another exit code than the five: every path of every command, every kind of junk.

The commands and their paths are read from the command line itself, so that a new command is covered when it is added;
one whose arguments are not known here fails the first test.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import typing
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from modality_synthesis.cli import app

CODES = {0, 1, 2, 3, 130}

RECIPE = """
name: x
route: {source: T1w, target: FDG-PET}
cohort: cohort.csv
"""

# What a command needs besides the path under test. HERE is a sound small volume, OUT a folder for outputs.
MINIMAL: dict[str, list[str]] = {
    "synthesize": ["HERE", "--to", "FDG-PET", "-o", "OUT/o.nii.gz"],
    "batch": ["COHORT", "--to", "FDG-PET", "-o", "OUT/b"],
    "compare": ["HERE", "HERE"],
    "suvr": ["HERE", "--template-space", "-o", "OUT/s.csv"],
    "export": ["HERE", "-o", "OUT/d"],
    "cohort": ["FOLDER", "-o", "OUT/c.tsv"],
    "align": ["COHORT", "--fixed", "T1w", "--moving", "FDG-PET", "-o", "OUT/a", "--jobs", "1"],
    "simulate": ["-n", "3", "-o", "OUT/s", "--jobs", "1", "--modalities", "T1w"],
    "train": ["RECIPE", "-o", "OUT/r", "--jobs", "1", "--accelerator", "cpu"],
    "report": ["FOLDER"],
    "evaluate": ["COHORT", "--synthetic", "T1w", "--to", "FDG-PET", "-o", "OUT/e", "--jobs", "1", "--no-report"],
    "doctor": [],
    "version": [],
    "sample": ["-o", "OUT/h.nii.gz"],
    "models list": [],
    "models show": ["FOLDER"],
    "models install": ["FOLDER"],
    "models remove": ["no-such-model"],
    "models verify": ["FOLDER"],
    "models export": ["FOLDER", "-o", "OUT/m.zip"],
    "models import": ["HERE", "--config", "RECIPE", "-o", "OUT/m"],
    "figures filters": ["FOLDER", "-o", "OUT/f.png"],
    "figures features": ["FOLDER", "HERE", "-o", "OUT/f.png"],
    "figures curves": ["FOLDER", "-o", "OUT/f.png"],
    "figures difference": ["HERE", "HERE", "-o", "OUT/f.png"],
    "figures profile": ["CT=HERE", "-o", "OUT/f.png"],
    "figures slices": ["HERE", "HERE", "--mask", "HERE", "--range", "0,1", "-o", "OUT/f.json"],
    "figures folds": ["FOLDER", "-o", "OUT/f.md"],
    "recipes list": [],
    "recipes show": ["no-such-recipe"],
    "recipes copy": ["no-such-recipe", "-o", "OUT/r"],
    "recipes keys": [],
}
# Texts that name files too. The panels alone use what is private.
TEXTS_WITH_FILES = {"model", "source", "volumes"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a command; `option` is empty for an argument."""

    name: str
    kind: object
    option: str
    options: tuple[str, ...]

    @property
    def takes_a_path(self) -> bool:
        return self.name in TEXTS_WITH_FILES or "Path" in str(self.kind)


def commands() -> Iterator[tuple[str, list[Parameter]]]:
    """Every command by its words, with its parameters."""

    def walk(group: typer.Typer, words: tuple[str, ...]) -> Iterator[tuple[str, list[Parameter]]]:
        for info in group.registered_commands:
            name = info.name or info.callback.__name__.replace("_", "-")
            yield " ".join((*words, name)), parameters(info.callback)
        for child in group.registered_groups:
            yield from walk(child.typer_instance, (*words, child.name))

    yield from walk(app, ())


def parameters(callback: Callable) -> list[Parameter]:
    found = []
    for name, hint in typing.get_type_hints(callback, include_extras=True).items():
        if name == "return":
            continue
        kind, info = typing.get_args(hint)
        given = tuple(info.param_decls or ())
        is_option = isinstance(info, typer.models.OptionInfo)
        found.append(Parameter(name, kind, (given or (f"--{name}",))[-1] if is_option else "", given))
    return found


def sound_volume() -> nib.Nifti1Image:
    values = np.random.default_rng(0).normal(100, 10, (10, 12, 11)).astype(np.float32)
    return nib.Nifti1Image(values, np.diag([8.0, 8.0, 8.0, 1.0]))


def junk(folder: Path) -> dict[str, Path]:
    """The inputs, by kind. Endings lie, as they do in practice."""
    random = np.random.default_rng(1).bytes(5000)
    card = {"id": "x", "schema_version": 1, "route": {"source": "T1w", "target": "FDG-PET"}}
    written: dict[str, Callable[[Path], object]] = {
        "empty.nii.gz": lambda path: path.write_bytes(b""),
        "empty.csv": lambda path: path.write_bytes(b""),
        "empty.yaml": lambda path: path.write_bytes(b""),
        "random.nii.gz": lambda path: path.write_bytes(random),
        "random.nii": lambda path: path.write_bytes(random),
        "random.nrrd": lambda path: path.write_bytes(random),
        "random.mha": lambda path: path.write_bytes(random),
        "random.dcm": lambda path: path.write_bytes(b"\0" * 128 + b"DICM" + random),
        "random.csv": lambda path: path.write_bytes(random),
        "random.yaml": lambda path: path.write_bytes(random),
        "random.zip": lambda path: path.write_bytes(b"PK\x03\x04" + random),
        "random.pt": lambda path: path.write_bytes(random),
        "random": lambda path: path.write_bytes(random),
        "gzip-of-junk.nii.gz": lambda path: path.write_bytes(gzip.compress(random)),
        "lfs.nii.gz": lambda path: path.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        ),
        "volume.csv": lambda path: path.write_bytes(sound_volume().to_bytes()),
        "html.csv": lambda path: path.write_text("<!doctype html><html><body>Sign in</body></html>"),
        "list.json": lambda path: path.write_text("[1, 2, null]"),
        "deep.json": lambda path: path.write_text("[" * 100_000),
        "list.yaml": lambda path: path.write_text("- 1\n- {a: 2}\n"),
        "scalar.yaml": lambda path: path.write_text("7"),
        "tag.yaml": lambda path: path.write_text("!!python/object/apply:os.system ['true']"),
        "keys.yaml": lambda path: path.write_text("name: x\n1: 2\nnull: 3\n"),
        "circle.yaml": lambda path: path.write_text("extends: circle.yaml"),
        "extends.yaml": lambda path: path.write_text("extends: {a: 1}"),
        "base-missing.yaml": lambda path: path.write_text("extends: [nowhere.yaml]"),
        "header-only.csv": lambda path: path.write_text("subject,T1w,FDG-PET\n"),
        "ragged.csv": lambda path: path.write_text("subject,T1w\nA\nB,x.nii,y,z\n"),
        "quotes.csv": lambda path: path.write_text('subject,T1w\n"A,x.nii\n'),
        "nul.csv": lambda path: path.write_bytes(b"subject,T1w\nA\0,x.nii\n"),
        "folder-as-volume.csv": lambda path: path.write_text("subject,T1w,FDG-PET\nA,.,..\n"),
        "utf-16.csv": lambda path: path.write_text("subject,T1w,FDG-PET\nA,x.nii,y.nii\n", encoding="utf-16"),
        "region.csv": lambda path: path.write_text("region,mean,sd\nx,nan,inf\n,,\n"),
        "bomb.zip": lambda path: zipped(path, {"a/model.json": "[]", "../evil": "x"}),
        "card.zip": lambda path: zipped(path, {"model.json": json.dumps(card)}),
        "dangling": lambda path: path.symlink_to(folder / "nowhere"),
        "loop": lambda path: path.symlink_to(path),
        "fifo.nii.gz": os.mkfifo,
        "socket.nii.gz": bound,
        "missing.nii.gz": lambda path: None,
    }
    found = {}
    for name, write in written.items():
        write(folder / name)
        found[name] = folder / name
    for name, inside in {
        "empty-folder": {}, "folder.nii.gz": {}, "junk-folder": {"a.dcm": random, "b": b""},
        "card-folder": {"model.json": json.dumps(card).encode(), "weights.safetensors": random},
        "card-list": {"model.json": b"[]", "weights.safetensors": b""},
        "run-folder": {"run.json": b"[]", "recipe.json": b"{", "splits.json": b"7", "metrics.json": b"{}"},
        "run-folder-2": {"run.json": b"{}", "recipe.json": b"{}", "splits.json": b"{}", "logs": b""},
        "bids-folder": {"participants.tsv": random, "dataset_description.json": b"{"},
    }.items():  # fmt: skip
        (folder / name).mkdir()
        for file, content in inside.items():
            (folder / name / file).write_bytes(content)
        found[name] = folder / name
    return found | {"/dev/null": Path("/dev/null"), "too long": folder / ("n" * 300), "nothing": Path("")}


def zipped(path: Path, entries: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket is short
        server.bind(path.name)
        os.chdir(here)


def arguments(words: str, tested: Parameter, value: str) -> list[str]:
    """The command line with one of its paths replaced, or added."""
    rest = list(MINIMAL[words])
    if not tested.option:
        positions = [parameter.name for parameter in ALL[words] if not parameter.option]
        rest[positions.index(tested.name)] = f"CT={value}" if tested.name == "volumes" else value
        return rest
    if given := next((name for name in tested.options if name in rest), None):
        rest[rest.index(given) + 1] = value
        return rest
    return [*rest, tested.option, value]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    """The places that the minimal command lines name."""
    folder = tmp_path_factory.mktemp("world")
    nib.save(sound_volume(), folder / "here.nii.gz")
    (folder / "cohort.csv").write_text("subject,T1w,FDG-PET\nA,here.nii.gz,here.nii.gz\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "empty").mkdir()
    (folder / "out").mkdir()
    return {
        "HERE": folder / "here.nii.gz", "COHORT": folder / "cohort.csv", "RECIPE": folder / "recipe.yaml",
        "FOLDER": folder / "empty", "OUT": folder / "out",
    }  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    return junk(tmp_path_factory.mktemp("junk"))


ALL = dict(commands())
TESTED = [(words, one.name) for words, found in ALL.items() for one in found if one.takes_a_path]


def test_every_command_is_known_here():
    assert set(ALL) == set(MINIMAL)


def offenses(words: str, name: str, world: dict[str, Path], inputs: dict[str, Path], monkeypatch) -> list[str]:
    monkeypatch.chdir(world["OUT"])
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(world["OUT"] / "models"))
    tested = next(parameter for parameter in ALL[words] if parameter.name == name)
    found = []
    for kind, path in inputs.items():
        line = arguments(words, tested, str(path))
        for word, place in world.items():
            line = [part.replace(word, str(place)) if word in part and str(path) not in part else part for part in line]
        result = CliRunner().invoke(app, [*words.split(), *line])
        told = result.output
        if result.exit_code not in CODES:
            found.append(f"{kind}: exit code {result.exit_code}, {result.exception!r}")
        if "Traceback" in told or "Unexpected error" in told:
            found.append(f"{kind}: {next(text for text in told.splitlines() if 'rror' in text)}")
        if result.exit_code in (1, 2) and not told.strip():
            found.append(f"{kind}: ended with {result.exit_code} without a word")
        errors = [text for text in told.splitlines() if text.startswith("Error: ")]
        rows = [text for text in told.splitlines() if text.startswith("Failed: ")]  # of a batch without a good one
        if result.exit_code == 1 and not (len(errors) == 1 or (rows and not errors)):
            found.append(f"{kind}: {len(errors)} lines of error")
    return found


IDS = [f"{words}: {name}" for words, name in TESTED]


# They start processes of their own, or compute for a while where the junk does no harm.
QUICK = [(words, name) for words, name in TESTED if words not in ("simulate", "batch")]


@pytest.mark.parametrize(("words", "name"), QUICK, ids=[f"{words}: {name}" for words, name in QUICK])
def test_some_inputs_end_without_a_traceback(words, name, world, inputs, monkeypatch):
    """Two kinds of junk for each path, other ones for each: what `make test` has time for."""
    first = TESTED.index((words, name)) * 2
    chosen = [list(inputs)[(first + step) % len(inputs)] for step in range(2)]
    assert offenses(words, name, world, {kind: inputs[kind] for kind in chosen}, monkeypatch) == []


@pytest.mark.long
@pytest.mark.parametrize(("words", "name"), TESTED, ids=IDS)
def test_no_input_ends_in_a_traceback(words, name, world, inputs, monkeypatch):
    assert offenses(words, name, world, inputs, monkeypatch) == []
