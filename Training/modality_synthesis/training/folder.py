"""The run folder: what a training writes beside its model package, and how it is continued."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modality_synthesis._version import __version__
from modality_synthesis.datasets.splits import Split
from modality_synthesis.errors import BadInputError
from modality_synthesis.training.recipe import Recipe
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


@dataclass(frozen=True)
class RunFacts:
    """What a run's recipe does not say: `run.json`.

    Attributes:
        fold: `i/k`, None without cross-validation.
        processes: that shared every batch.
        device: what they computed on.
        precision: Lightning's name of it.
        losses: name, weight and parameters of each, with feature network and schedule.
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

    def check(self, recipe: Recipe, split: Split, facts: RunFacts, inputs: Iterable[Path], *, resume: bool) -> None:
        """Whether a run can begin, or be continued, here. Writes nothing.

        Args:
            inputs: recipe, table and volumes, which it must not replace.

        Raises:
            UsageError: the run would replace an input, or a JSON file of somebody else.

            BadInputError: a run is there but is not to be continued, none is there to be continued, or it was begun
                with another recipe, other patients, another fold or another number of processes.
        """
        if resume:
            self._check_same(recipe, split, facts)
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
            write_json(recipe.model_dump(mode="json"), self.path / "recipe.json")
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
        return Split(**{name: tuple(subjects) for name, subjects in self._read("splits.json").items()})

    def facts(self) -> RunFacts:
        """Raises BadInputError when the folder holds no run."""
        known = {item.name for item in fields(RunFacts)}
        return RunFacts(**{name: value for name, value in self._read("run.json").items() if name in known})

    def examples(self) -> list[Example]:
        """Validation subjects as the packaged weights show them."""
        from safetensors.numpy import load_file

        from modality_synthesis.training.module import Example

        path = self.path / "examples.safetensors"
        if not path.is_file():
            return []
        arrays = load_file(path)
        count = len(arrays) // len(_EXAMPLE_PARTS)
        return [
            Example(*(arrays[f"{number}.{part}"].astype(np.float32) for part in _EXAMPLE_PARTS))
            for number in range(count)
        ]

    @property
    def is_finished(self) -> bool:
        """Whether the training is over and its report written."""
        return (self.path / "report.html").is_file()

    def _check_same(self, recipe: Recipe, split: Split, facts: RunFacts) -> None:
        if not self.checkpoint.exists():
            raise BadInputError(
                f"Nothing to resume in {self.path}: {self.checkpoint.name} is missing. Start without --resume."
            )
        before, now = flat(self.recipe().model_dump(mode="json")), flat(recipe.model_dump(mode="json"))
        for key in dict.fromkeys([*before, *now]):
            if before.get(key) != now.get(key) and not key.startswith(_FREE):
                raise BadInputError(
                    f"{self.path} was begun with {key} = {before.get(key)}, not {now.get(key)}. Resume with the same "
                    "recipe, or start a new run in another folder."
                )
        if self.split() != split:
            raise BadInputError(
                f"{self.path} was begun with other patients, or another split of them. Use the same cohort table (and "
                "fold), or start a new run in another folder."
            )
        old = self.facts()
        if old.processes != facts.processes:
            raise BadInputError(
                f"{self.path} was begun with {old.processes} process(es), not {facts.processes}: batches and learning "
                "rate would change. Resume with as many."
            )

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except OSError:
            raise BadInputError(f"{self.path} holds no training run: {name} is missing.") from None
        except ValueError as error:
            raise BadInputError(f"{self.path / name} is damaged: {error}") from None


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
