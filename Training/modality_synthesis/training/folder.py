"""The run folder: what a training writes beside its model package, and how it is continued."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from modality_synthesis._version import __version__
from modality_synthesis.datasets.splits import Split
from modality_synthesis.errors import BadInputError
from modality_synthesis.json_files import read_json_object
from modality_synthesis.training.checkpoints import load_checkpoint
from modality_synthesis.training.recipe import Recipe, recorded
from modality_synthesis.validation import validate
from modality_synthesis.volumes import (
    atomic_files,
    atomic_output,
    check_folder_writable,
    check_outputs,
    refuse_foreign_json,
    write_json,
)

if TYPE_CHECKING:
    from modality_synthesis.training.callbacks import History
    from modality_synthesis.training.module import Example
    from modality_synthesis.training.monitor import KeepBest

# A resumed run may differ in these: they do not change what is learned.
_FREE = ("cohort", "package.", "training.workers", "training.image_every", "training.deterministic")
_EXAMPLE_PARTS = ("source", "synthetic", "reference", "brain")


class _StoredNetwork(BaseModel):
    name: str
    sha256: str


class _StoredLoss(BaseModel):
    name: str
    weight: float
    parameters: dict[str, Any] = {}
    feature_network: _StoredNetwork | None = None
    schedule: dict[str, Any] | None = None


class _StoredFacts(BaseModel):
    """The types in `run.json`, which anybody may have changed."""

    fold: str | None
    processes: int
    device: str
    precision: str
    losses: list[_StoredLoss]
    program: str = ""
    contents: dict[str, str] = {}
    started_from: dict[str, str] | None = None
    package_version: str = ""
    epochs: int = 0
    stopped_early: bool = False
    best_epoch: int | None = None
    best_value: float | None = None
    minutes: float = 0.0
    parameters: int = 0
    planes: list[tuple[int, str]] = []


@dataclass(frozen=True)
class RunFacts:
    """What a run's recipe does not say: `run.json`.

    Attributes:
        fold: `i/k`, None without cross-validation.
        processes: that shared every batch.
        device: what they computed on.
        precision: Lightning's name of it.
        losses: name, weight and parameters of each, with feature network and schedule.
        program: version of this software that decides about results (`fingerprint.program`).
        contents: visit -> hash of its preprocessed volumes and clinical values.
        started_from: the package whose weights training began with.
        package_version: of this software.
        epochs: that were trained; 0 until the run is finished.
        stopped_early: whether patience ran out.
        best_epoch: of the monitored figure, from 1.
        best_value: of the monitored figure.
        minutes: of training, preprocessing and scoring not included.
        parameters: of what is packaged.
        planes: (first epoch from 0, plane) of each stretch that a perceptual loss spent on one plane.
    """

    fold: str | None
    processes: int
    device: str
    precision: str
    losses: Sequence[Mapping[str, Any]]
    program: str = ""
    contents: Mapping[str, str] = field(default_factory=dict)
    started_from: Mapping[str, str] | None = None
    package_version: str = __version__
    epochs: int = 0
    stopped_early: bool = False
    best_epoch: int | None = None
    best_value: float | None = None
    minutes: float = 0.0
    parameters: int = 0
    planes: Sequence[tuple[int, str]] = field(default_factory=tuple)

    def finished(self, history: History, best: KeepBest, *, minutes: float, parameters: int) -> RunFacts:
        """With what the training came to."""
        return replace(
            self,
            epochs=len(history.rows),
            stopped_early=best.stopped,
            best_epoch=None if best.value is None else best.epoch + 1,
            best_value=best.value,
            minutes=round(minutes, 2),
            parameters=parameters,
            planes=[(epoch, plane) for epoch, plane in history.planes],
        )

    @property
    def feature_networks(self) -> list[dict[str, Any]]:
        """Name, file and SHA-256 of the networks that perceptual losses look through, each once."""
        found = [term["feature_network"] for term in self.losses if "feature_network" in term]
        return [dict(network) for index, network in enumerate(found) if network not in found[:index]]

    def for_card(self) -> dict[str, Any]:
        """What the model card says about the run beside the recipe."""
        known = {
            "fold": self.fold,
            "processes": self.processes if self.processes > 1 else None,
            "precision": self.precision,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "feature_networks": self.feature_networks,
            "started_from": self.started_from,
        }
        return {name: value for name, value in known.items() if value}

    def loss_lines(self) -> list[str]:
        """A line for each loss: name, weight, parameters, feature network, schedule."""
        lines = []
        for term in self.losses:
            parts = [f"{term['name']} x {term['weight']:g}"]
            if term.get("parameters"):
                parts.append(", ".join(f"{key} {value}" for key, value in term["parameters"].items()))
            if "feature_network" in term:
                network = term["feature_network"]
                parts.append(f"features of {network['name']} (SHA-256 {network['sha256'][:12]}...)")
            if "schedule" in term:
                parts.append("schedule " + ", ".join(f"{key} {value}" for key, value in term["schedule"].items()))
            lines.append("; ".join(parts))
        return lines


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Of the last finished epoch."""
        return self.path / "checkpoints" / "last.ckpt"

    def inputs(self) -> list[Path]:
        """What a report is made from."""
        folders = (self.path, self.path / "logs", self.path / "evaluation", self.path / "examples")
        own = {".json", ".csv", ".yaml", ".tsv", ".safetensors"}
        return [file for folder in folders for file in sorted(folder.glob("*")) if file.suffix in own]

    def check(self, recipe: Recipe, facts: RunFacts, inputs: Iterable[Path], *, resume: bool) -> None:
        """Whether a run can begin, or be continued, here. Writes nothing.

        Args:
            inputs: recipe, table and volumes, which it must not replace.

        Raises:
            UsageError: the run would replace an input, or a JSON file of somebody else.

            BadInputError: a run is there but is not to be continued, none is there to be continued, or it was begun
                with another recipe, start, program or number of processes.
        """
        if resume:
            self._check_same(recipe, facts)
        elif self.checkpoint.exists():
            raise BadInputError(
                f"{self.path} holds a training run. Continue it with --resume, or choose another folder."
            )
        described = [self.path / name for name in ("splits.json", "recipe.json", "run.json")]
        others = [self.path / "examples.safetensors", self.path / "report.html", self.checkpoint]
        check_outputs([*described, *others], inputs=inputs)
        if not self._is_run:
            refuse_foreign_json(described)
        check_folder_writable(self.path)

    def open(self, recipe: Recipe, split: Split, facts: RunFacts) -> None:
        """Say what the run is; part of its first checkpoint, so that a run that never came so far leaves nothing."""
        with atomic_files():
            write_json(split.as_dict(), self.path / "splits.json")
            write_json(recorded(recipe), self.path / "recipe.json")
            write_json(asdict(facts), self.path / "run.json")

    @property
    def _is_run(self) -> bool:
        try:
            return bool(self.facts().package_version)
        except (BadInputError, TypeError):
            return False

    def close(self, facts: RunFacts, examples: Sequence[Example]) -> None:
        """Write what the run came to."""
        from safetensors.numpy import save

        arrays = {
            f"{number}.{part}": getattr(example, part).astype(np.float16 if part != "brain" else np.uint8)
            for number, example in enumerate(examples)
            for part in _EXAMPLE_PARTS
        }
        with atomic_files():
            with atomic_output(self.path / "examples.safetensors") as temporary:
                temporary.write_bytes(save({name: np.ascontiguousarray(values) for name, values in arrays.items()}))
            write_json(asdict(facts), self.path / "run.json")

    def recipe(self) -> Recipe:
        """Raises BadInputError when the folder holds no run."""
        return validate(Recipe, self._read("recipe.json"), str(self.path / "recipe.json"))

    def split(self) -> Split:
        """Raises BadInputError when the folder holds no run."""
        try:
            return Split(**{name: tuple(subjects) for name, subjects in self._read("splits.json").items()})
        except TypeError as error:
            raise self._damaged("splits.json", error) from None

    def facts(self) -> RunFacts:
        """Raises BadInputError when the folder holds no run."""
        known = {item.name for item in fields(RunFacts)}
        facts = {name: value for name, value in self._read("run.json").items() if name in known}
        validate(_StoredFacts, facts, str(self.path / "run.json"))
        return RunFacts(**facts)

    def examples(self) -> list[Example]:
        """Validation subjects as the packaged weights show them.

        Raises:
            BadInputError: the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        from modality_synthesis.training.module import Example

        path = self.path / "examples.safetensors"
        if not path.is_file():
            return []
        try:
            arrays = load_file(path)
            count = len(arrays) // len(_EXAMPLE_PARTS)
            return [
                Example(*(arrays[f"{number}.{part}"].astype(np.float32) for part in _EXAMPLE_PARTS))
                for number in range(count)
            ]
        except (OSError, SafetensorError, KeyError) as error:
            raise self._damaged(path.name, error) from None

    @property
    def is_finished(self) -> bool:
        """Whether the training is over and its report written."""
        return (self.path / "report.html").is_file()

    def _check_same(self, recipe: Recipe, facts: RunFacts) -> None:
        if not self.checkpoint.exists():
            raise BadInputError(
                f"Nothing to resume in {self.path}: {self.checkpoint.name} is missing. Start without --resume."
            )
        self.check_checkpoint()
        before, now = flat(recorded(self.recipe())), flat(recorded(recipe))
        for key in dict.fromkeys([*before, *now]):
            if before.get(key) != now.get(key) and not key.startswith(_FREE):
                raise BadInputError(
                    f"{self.path} was begun with {key} = {before.get(key)}, not {now.get(key)}. Resume with the same "
                    "recipe, or start a new run in another folder."
                )
        old = self.facts()
        if old.processes != facts.processes:
            raise BadInputError(
                f"{self.path} was begun with {old.processes} process(es), not {facts.processes}: batches and learning "
                "rate would change. Resume with as many."
            )
        if old.program != facts.program:
            raise BadInputError(
                f"{self.path} was begun by version {old.program or old.package_version} of this program, this is "
                f"{facts.program}: results would mix. Go on with that version, or start a new run in another folder."
            )
        if old.started_from != facts.started_from:
            raise BadInputError(
                f"{self.path} was begun from the weights of {_name(old.started_from)}, not of "
                f"{_name(facts.started_from)}. Resume with the same start_from, or start a new run in another folder."
            )

    def check_same_data(self, split: Split, facts: RunFacts) -> None:
        """Whether a run that is continued goes on with the patients and volumes that it was begun with.

        Raises:
            BadInputError: says what changed.
        """
        before = self.split()
        for name, now in split.as_dict().items():
            changed = sorted(set(now) ^ set(getattr(before, name)))
            if changed and name != "test":
                raise BadInputError(
                    f"{self.path} was begun with other patients, or another split of them ({name}: {changed[0]} and "
                    f"{len(changed) - 1} more). Use the same cohort table, qc.tsv and fold, or start a new run in "
                    "another folder."
                )
        old = self.facts().contents
        other = [name for name in dict.fromkeys([*old, *facts.contents]) if old.get(name) != facts.contents.get(name)]
        if other:
            raise BadInputError(
                f"{self.path} was begun with other volumes or clinical values of {other[0]}"
                + (f" and {len(other) - 1} more visits" if len(other) > 1 else "")
                + ". Put them back, or start a new run in another folder."
            )

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return read_json_object(self.path / name)
        except FileNotFoundError:
            raise BadInputError(f"{self.path} holds no training run: {name} is missing.") from None
        except (OSError, ValueError) as error:
            raise self._damaged(name, error) from None

    def check_checkpoint(self) -> None:
        """Make sure that the checkpoint is whole, before anything is computed.

        Raises:
            BadInputError: says how to go on without it.
        """
        try:
            content = load_checkpoint(self.checkpoint, map_location="meta")
            if not isinstance(content, dict):
                raise ValueError("it is no mapping")
            lacking = sorted({"state_dict", "optimizer_states", "epoch", "global_step"} - set(content))
            if lacking:
                raise ValueError(f"it lacks {', '.join(lacking)}")
        except (OSError, ValueError) as error:
            raise self._damaged(str(self.checkpoint.relative_to(self.path)), error) from None

    def _damaged(self, name: str, error: Exception) -> BadInputError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        return BadInputError(
            f"{self.path / name} is damaged: {reason}. Put a copy of it there, or train again without --resume in "
            "another folder."
        )


def _name(package: Mapping[str, str] | None) -> str:
    return (
        "no package" if package is None else f"{package['id']} {package['version']} ({package['weights_sha256'][:8]})"
    )


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists of mappings by dotted keys: `optimizer.learning_rate`, `losses.0.weight`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
