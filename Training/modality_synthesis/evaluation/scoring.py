"""Score everything that predicts one visit's target: models, existing volumes, baselines. Runs in worker processes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.datasets.cache import Pair
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.datasets.samples import SampleSpec
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation.baselines import Baselines, Sample
from modality_synthesis.evaluation.calibration import calibrate
from modality_synthesis.evaluation.downstream_visit import (
    VisitQuestions,
    clinical_effects,
    small_volume,
    surface_arrays,
)
from modality_synthesis.evaluation.kept_volumes import are_kept, keep_volume, volume_path
from modality_synthesis.evaluation.metrics import METRICS, compare_arrays
from modality_synthesis.evaluation.regions import FEWEST_VOXELS, Parcels
from modality_synthesis.fingerprint import program
from modality_synthesis.json_files import read_json_object
from modality_synthesis.models import ModelPackage
from modality_synthesis.preprocessing import ChainParameters, TargetMapping, target_scaling
from modality_synthesis.preprocessing.atlas import labels_on, regions
from modality_synthesis.preprocessing.target import grown_mask
from modality_synthesis.progress import current
from modality_synthesis.tables import safe_place
from modality_synthesis.volumes import (
    Mark,
    atomic_files,
    atomic_output,
    bounding_box,
    data_path,
    file_sha256,
    filled,
    matrix_transform,
    read_image,
    read_mark,
    read_sidecar,
    resample_covered,
    write_json,
    written,
)
from modality_synthesis.volumes.coverage import REFUSE_BELOW

if TYPE_CHECKING:
    pass

# Of the records on disk: another number makes old ones be computed anew.
_FORMAT = "4"
# What of a card decides what its model makes; its texts and measured figures do not.
_DECISIVE = {"generator", "inference", "preprocessing", "clinical_variables", "weights"}
PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Contender:
    """A model under a name. Its volumes are made on its own grid."""

    name: str
    package: ModelPackage


@dataclass(frozen=True)
class Existing:
    """Volumes made elsewhere, in the source's native world: columns of the cohort table."""

    name: str
    column: str
    uncertainty: str | None = None


@dataclass(frozen=True)
class Settings:
    """What is the same for every visit.

    Attributes:
        chain: preprocessing that defines the grid, the brain mask and the target region of the evaluation.
        contenders: models.
        existing: columns of volumes.
        baselines: file of the fitted baselines; None leaves them out.
        tissue: the sources are tissue-normalized T1w.
        data_range: of PSNR and SSIM.
        low: least value of the target that the data range begins with.
        metrics: names of what is measured.
        device: where models run.
        seed: of the first sample.
        samples: per model and visit; their mean is scored, their standard deviation is the uncertainty.
        folder: for the records; None keeps none.
        keep_volumes: also write the contenders' volumes into the folder (`kept_volumes`).
        questions: of the downstream evaluation.
    """

    chain: ChainParameters
    contenders: tuple[Contender, ...]
    existing: tuple[Existing, ...]
    baselines: Path | None
    tissue: bool
    data_range: float
    device: str
    seed: int
    samples: int
    folder: Path | None
    questions: VisitQuestions | None = None
    keep_volumes: bool = False
    low: float = 0.0
    metrics: tuple[str, ...] = tuple(METRICS)

    @property
    def in_template_space(self) -> bool:
        """Whether the evaluation's grid is the atlas' space."""
        return any(step.step == "register" for step in self.chain.source)


@dataclass(frozen=True)
class Task:
    """One visit: its pair on the evaluation's grid, and on each contender's own where that is another."""

    pair: Pair
    own: Mapping[str, Pair]


@dataclass
class Record:
    """What was measured on one visit.

    Attributes:
        key: hash of everything the figures depend on.
        arrays: SHA-256 of the file of planes beside the record; empty where none is kept.
        scores: predictor -> metric -> figure.
        regions: predictor (or `MEASURED`) -> mean per region, in the order of `atlas.regions()`.
        calibration: predictor -> `Calibration.as_dict()`.
        seconds: contender -> time of its synthesis, without preprocessing.
        covered: percent of each region that was measured, in the same order.
        source_regions: the source's mean per region; with downstream questions only.
        effects: contender -> `downstream_visit.clinical_effects`.
        marks: predictor -> model, version and hash of the weights of what it made.
    """

    key: str
    arrays: str = ""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    regions: dict[str, list[float]] = field(default_factory=dict)
    covered: list[float] = field(default_factory=list)
    calibration: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    source_regions: list[float] = field(default_factory=list)
    effects: dict[str, dict[str, Any]] = field(default_factory=dict)
    marks: dict[str, list[str]] = field(default_factory=dict)


MEASURED = "measured"


def score(task: Task, settings: Settings) -> Record:
    """All predictors of one visit; a finished record on disk is read instead of computed again."""
    key = _key(task, settings)
    kept = _read(task, settings, key)
    if kept is not None and all(are_kept(path) for path in _volume_paths(task, settings).values()):
        return kept
    record = Record(key)
    sample = load_sample(task.pair, settings.chain.target)
    # What was not measured (`measured_region`) is nobody's error.
    measured = sample["region"] > 0
    inside = (sample["brain"] > 0) & measured
    grid = grid_image(task.pair, sample["source"].shape)
    spacing = tuple(reversed(grid.GetSpacing()))
    labels = labels_on(grid, sitk.Transform(3, sitk.sitkIdentity)) if settings.in_template_space else None
    missing = _grown(sample["brain"], settings.chain.target, spacing) & ~measured
    parcels = None if labels is None else Parcels(labels, measured)
    volumes: dict[str, np.ndarray] = {}
    for name, (volume, spread, seconds) in _predictions(task, settings, sample, grid).items():
        volumes[name] = volume
        record.marks[name] = list(astuple(_mark(name, task, settings)))
        record.scores[name] = compare_arrays(
            volume, sample["target"], inside, settings.data_range, spacing=spacing, slice_axis=0,
            names=settings.metrics, low=settings.low,
        )  # fmt: skip
        if spread is not None and spread[inside].any():
            record.calibration[name] = calibrate(volume - sample["target"], spread, inside).as_dict()
        if seconds is not None:
            record.seconds[name] = seconds
    if parcels is not None and labels is not None:
        whole = Parcels(labels, measured | missing)
        record.covered = [_percent(parcels.voxels(one).size, whole.voxels(one).size) for one in regions()]
        for name, volume in {MEASURED: sample["target"], **volumes}.items():
            means = parcels.means(volume, regions(), fewest=FEWEST_VOXELS).values()
            record.regions[name] = [
                mean if percent >= REFUSE_BELOW else float("nan")
                for mean, percent in zip(means, record.covered, strict=True)
            ]
    shown = {"source": sample["source"], MEASURED: sample["target"], **volumes}
    arrays = _planes(shown, inside)
    if settings.questions is not None:
        if parcels is not None:
            record.source_regions = list(parcels.means(sample["source"], regions(), fewest=FEWEST_VOXELS).values())
        arrays |= _downstream(task, settings, settings.questions, record, shown, grid, missing)
    _write(task, settings, record, arrays)
    # What a later run reads is what this one returns: JSON has no infinity.
    return _read(task, settings, key) or record


def _mark(predictor: str, task: Task, settings: Settings) -> Mark:
    """Who made a predictor's volume; a volume made elsewhere may not say."""
    for contender in settings.contenders:
        if contender.name == predictor:
            return contender.package.card.mark
    for existing in settings.existing:
        if existing.name == predictor:
            return read_mark(existing_file(task.pair, existing.column)) or Mark()
    return Mark(f"baseline: {predictor}")


def _volume_paths(task: Task, settings: Settings) -> dict[str, Path]:
    """Contender -> where its volume of this visit is kept; empty where none is."""
    if not settings.keep_volumes or settings.folder is None:
        return {}
    visit = task.pair.visit.name
    return {one.name: volume_path(settings.folder, visit, one.name) for one in settings.contenders}


def _downstream(
    task: Task,
    settings: Settings,
    questions: VisitQuestions,
    record: Record,
    volumes: Mapping[str, np.ndarray],
    grid: sitk.Image,
    missing: np.ndarray,
) -> dict[str, np.ndarray]:
    """Arrays to keep for the downstream evaluation; the effects of clinical variables go into the record."""
    for contender in settings.contenders:
        profile = questions.profiles.get(contender.name)
        if profile is not None:
            record.effects[contender.name] = _effects(contender, task, settings, questions)
    if not questions.volumes:
        return {}
    contenders = [one.name for one in settings.contenders] + [one.name for one in settings.existing]
    judged = ("source", MEASURED, *contenders)
    spacing = tuple(reversed(grid.GetSpacing()))
    arrays = {f"{name}/volume": small_volume(volumes[name], spacing) for name in judged}
    if settings.in_template_space:
        arrays |= surface_arrays({name: volumes[name] for name in judged[1:]}, grid, questions.normals, missing)
    return arrays


def _grown(brain: np.ndarray, mapping: TargetMapping, spacing: Sequence[float]) -> np.ndarray:
    """The brain with the mapping's margin: where the target is defined for a volume that was measured everywhere."""
    image = sitk.GetImageFromArray((brain > 0).astype(np.uint8))
    image.SetSpacing(list(reversed(spacing)))
    return sitk.GetArrayFromImage(grown_mask(image, mapping)) > 0


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else float("nan")


def _effects(contender: Contender, task: Task, settings: Settings, questions: VisitQuestions) -> dict[str, Any]:
    pair = task.own.get(contender.name, task.pair)
    brain = pair.brain()
    labels = labels_on(grid_image(pair, brain.shape), sitk.Transform(3, sitk.sitkIdentity))
    single = replace(settings, samples=1)

    def predict(values: Sequence[float]) -> np.ndarray:
        return synthesize_pair(contender.package, pair, single, list(values))[0]

    own = _clinical(contender.package, pair)
    assert own is not None
    return clinical_effects(questions.profiles[contender.name], own, predict, brain, labels, questions)


def _predictions(
    task: Task, settings: Settings, sample: Sample, grid: sitk.Image
) -> dict[str, tuple[np.ndarray, np.ndarray | None, float | None]]:
    """Name -> volume on the evaluation's grid, its standard deviation and the seconds it took, where known."""
    found: dict[str, tuple[np.ndarray, np.ndarray | None, float | None]] = {}
    places = _volume_paths(task, settings)
    for contender in settings.contenders:
        started = time.perf_counter()
        pair = task.own.get(contender.name)
        volume, spread = synthesize_pair(contender.package, pair or task.pair, settings)
        seconds = time.perf_counter() - started
        if contender.name in places:
            keep_volume(
                contender.package, pair or task.pair, grid if pair is None else grid_image(pair, volume.shape), volume,
                spread, places[contender.name], device=settings.device, seed=settings.seed, samples=settings.samples,
            )  # fmt: skip
        if pair is not None:
            volume = _regrid(volume, pair, task.pair, grid)
            spread = None if spread is None else _regrid(spread, pair, task.pair, grid)
        region = sample["region"] > 0
        found[contender.name] = (np.where(region, volume, 0.0).astype(np.float32), spread, seconds)
    for existing in settings.existing:
        volume = _sample_file(existing.column, task.pair, sample, grid)
        spread = None
        if existing.uncertainty is not None:
            spread = _sample_file(existing.uncertainty, task.pair, sample, grid)
        found[existing.name] = (volume, spread, None)
    if settings.baselines is not None:
        fitted = _baselines(settings.baselines)
        for name, volume in fitted.predict(sample, tissue=settings.tissue).items():
            found[name] = (volume, None, None)
    return found


@lru_cache(maxsize=1)
def _baselines(path: Path) -> Baselines:
    return Baselines.load(path)


def load_sample(pair: Pair, mapping: TargetMapping) -> Sample:
    """A pair with its target in target units, the background outside the region."""
    arrays = pair.load()
    # What was measured is not clamped; the cache knows only the fixed part of the mapping.
    scaling = replace(target_scaling(mapping.fixed), minimum=None)
    return {**arrays, "target": scaling.to_units(arrays["target"], arrays["region"])}


def grid_image(pair: Pair, shape: tuple[int, ...]) -> sitk.Image:
    """An empty volume on a pair's grid; `shape` is (depth, height, width)."""
    matrix = pair.placement()[0]
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image = sitk.Image([int(count) for count in reversed(shape)], sitk.sitkUInt8)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


def _clinical(package: ModelPackage, pair: Pair) -> list[float] | None:
    """The visit's clinical variables, standardized, as a model takes them; None when it takes none."""
    from modality_synthesis.synthesis.clinical import clinical_values

    return clinical_values(
        package.card, {one.name: pair.visit.variable(one.name) for one in package.card.clinical_variables}
    )


def synthesize_pair(
    package: ModelPackage, pair: Pair, settings: Settings, clinical: list[float] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean and standard deviation (None for one sample) of a model's samples, target units, on the pair's grid.

    Args:
        package: the model.
        pair: on the model's grid.
        settings: how many samples, which seed and device.
        clinical: standardized values instead of the visit's own.
    """
    import torch

    from modality_synthesis.synthesis.synthesizer import kept_synthesizer

    synthesizer = kept_synthesizer(package, settings.device)
    values = _clinical(package, pair) if clinical is None else clinical
    source = torch.from_numpy(pair.load()["source"])[None, None]
    scaling = SampleSpec(package.card.route.target, package.card.preprocessing).scaling(pair.visit)
    drawn = []
    for seed in range(settings.seed, settings.seed + settings.samples):
        output = synthesizer.output(source, seed, clinical=values)[0, 0].numpy()
        drawn.append(scaling.to_units(output, np.ones_like(output)))
    stacked = np.stack(drawn)
    return stacked.mean(axis=0), stacked.std(axis=0, ddof=1) if settings.samples > 1 else None


def _regrid(values: np.ndarray, pair: Pair, wanted: Pair, grid: sitk.Image) -> np.ndarray:
    """A volume on one pair's grid, sampled on another's through the native world (linear)."""
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.CopyInformation(grid_image(pair, values.shape))
    way = np.linalg.inv(pair.placement()[1]) @ wanted.placement()[1]
    return sitk.GetArrayFromImage(sitk.Resample(image, grid, matrix_transform(way), sitk.sitkLinear, 0.0))


def existing_file(pair: Pair, column: str) -> Path:
    """The file a cohort's column names for a visit.

    Raises:
        BadInputError: the visit has none, or it is not there.
    """
    named = pair.visit.variables.get(column)
    if named is None:
        raise BadInputError(f"{pair.visit.name} has no volume in the column {column!r}.")
    path = Path(named)
    if not data_path(path).exists():
        raise BadInputError(f"The volume of {pair.visit.name} in the column {column!r} is missing: {path}")
    return path


def _sample_file(column: str, pair: Pair, sample: Sample, grid: sitk.Image) -> np.ndarray:
    path = existing_file(pair, column)
    read_sidecar(path)  # refuses a volume that is not its sidecar's
    image = read_image(path, unmeasured=True, reporter=current())
    known = np.isfinite(sitk.GetArrayViewFromImage(image))
    moved, _ = resample_covered(filled(image), known, grid, transform=matrix_transform(pair.placement()[1]))
    return np.where(sample["region"] > 0, sitk.GetArrayFromImage(moved), 0.0).astype(np.float32)


# Records on disk


def _key(task: Task, settings: Settings) -> str:
    files = [
        (name, file_sha256(existing_file(task.pair, name)))
        for existing in settings.existing
        for name in filter(None, (existing.column, existing.uncertainty))
    ]
    facts = [
        _FORMAT, program(), task.pair.path.name, sorted(pair.path.name for pair in task.own.values()),
        [(one.name, one.package.card.model_dump(mode="json", include=_DECISIVE)) for one in settings.contenders],
        files, None if settings.baselines is None else file_sha256(settings.baselines), settings.tissue,
        settings.data_range, settings.seed, settings.samples, list(settings.metrics), settings.low,
        task.pair.visit.variables, _question_facts(settings.questions),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _question_facts(questions: VisitQuestions | None) -> Any:
    if questions is None:
        return None
    normals = None if questions.normals is None else questions.normals.name
    return {**asdict(questions), "normals": normals}


def record_path(folder: Path, visit: str) -> Path:
    """Where a visit's record is kept; its planes lie beside it as .safetensors."""
    return safe_place(folder / "subjects", visit).with_name(f"{visit}.json")


def refuse_foreign_records(folder: Path, visits: Sequence[str]) -> None:
    """Before anything is computed: a file of a record's name that is no record is somebody else's.

    Raises:
        UsageError: which file it is.
    """
    for path in (record_path(folder, visit) for visit in visits):
        if not os.path.lexists(path) and not os.path.lexists(path.with_suffix(".safetensors")):
            continue
        try:
            kept = read_json_object(path)
        except (OSError, ValueError):
            kept = {}
        if not {"key", "arrays", "scores"} <= set(kept):
            raise UsageError(
                f"{path} is there already and is no record of an evaluation; it would be replaced. Choose another "
                "folder for the results, or move that file."
            )


def _read(task: Task, settings: Settings, key: str) -> Record | None:
    if settings.folder is None:
        return None
    try:
        kept = read_json_object(record_path(settings.folder, task.pair.visit.name))
        if kept.get("key") != key:
            return None
        record = Record(**_with_nan(kept))
        arrays = record_path(settings.folder, task.pair.visit.name).with_suffix(".safetensors")
        return record if record.arrays == file_sha256(arrays) else None
    except (OSError, ValueError, TypeError, AttributeError, BadInputError):
        return None


def _with_nan(value: Any) -> Any:
    """JSON writes NaN and infinity as null; a PSNR of identical volumes comes back as NaN."""
    if value is None:
        return float("nan")
    if isinstance(value, dict):
        return {name: _with_nan(item) for name, item in value.items()}
    return [_with_nan(item) for item in value] if isinstance(value, list) else value


def _planes(volumes: Mapping[str, np.ndarray], inside: np.ndarray) -> dict[str, np.ndarray]:
    """`NAME/PLANE`: the middle planes, float16."""
    return {
        f"{name}/{plane}": np.ascontiguousarray(volume.take(index, axis)).astype(np.float16)
        for name, volume in volumes.items()
        for axis, (plane, index) in enumerate(zip(PLANES, middle_planes(inside), strict=True))
    }


def _write(task: Task, settings: Settings, record: Record, arrays: Mapping[str, np.ndarray]) -> None:
    if settings.folder is None:
        return
    from safetensors.numpy import save

    path = record_path(settings.folder, task.pair.visit.name)
    with atomic_files():
        beside = path.with_suffix(".safetensors")
        with atomic_output(beside) as temporary:
            temporary.write_bytes(save(dict(arrays)))
        record.arrays = file_sha256(written(beside))
        write_json(record, path)


def read_arrays(folder: Path, visit: Visit) -> dict[str, np.ndarray]:
    """What is kept beside a visit's record: planes, small volumes, surface maps."""
    from safetensors.numpy import load_file

    return load_file(record_path(folder, visit.name).with_suffix(".safetensors"))


def middle_planes(inside: np.ndarray) -> list[int]:
    """The index of the plane through the middle of the mask along each array axis."""
    return [(side.start + side.stop - 1) // 2 for side in bounding_box(inside)]
