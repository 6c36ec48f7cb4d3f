"""What is fuzzed: per kind, how the files of a case are made and what the program does with them.

`read` may accept the files or raise `ModalitySynthesisError`; anything else is a finding.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import seeds
from mutations import WORDS, bytes_mutated, fields_mutated, json_mutated, text_mutated

from modality_synthesis.errors import ModalitySynthesisError

Files = dict[str, bytes]
# sizeof_hdr, dim, datatype, bitpix, pixdim, vox_offset, slope, inter, codes, quaternion, offsets, srow, extension.
_NIFTI_FIELDS = [
    (0, "<i"), *((place, "<h") for place in (40, 42, 44, 46, 48, 70, 72)),
    *((place, "<f") for place in (76, 80, 84, 88, 108, 112, 116)), (123, "<h"), (252, "<h"), (254, "<h"),
    *((place, "<f") for place in (256, 260, 264, 268, 272, 276, 280, 284, 296, 300, 312, 320)),
    (348, "<i"), (352, "<i"),
]  # fmt: skip
_OVERRIDES = [
    "training.epochs", "losses.0.weight", "losses.9.x", "generator.parameters.channels", "package", "a.b.c", "training",
    "x", "", "training..epochs", "losses.-1.weight", "extends",
]  # fmt: skip
_OVERRIDE_VALUES = [*WORDS, "[", "{a: *b}", "!!python/name:os.system", "&a [*a]", "- 1\n- 2", "2001-99-99", "{[]: 1}"]


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        make: the files of a case, by their path in its folder.
        read: what the program does with that folder.
    """

    make: Callable[[Random], Files]
    read: Callable[[Path], object]


def _volume(path: Path) -> None:
    """Everything that is asked about a volume; each reader by itself, so that one's refusal hides no other's fault."""
    from modality_synthesis.volumes import file_sha256, read_image, read_mark, sniff
    from modality_synthesis.volumes.stated import stated_modalities

    for ask in (read_image, sniff, file_sha256, read_mark, stated_modalities):
        _allowed(lambda ask=ask: ask(path))


def _allowed(ask: Callable[[], object]) -> None:
    try:
        ask()
    except ModalitySynthesisError as error:
        _shown(error)


def _shown(error: ModalitySynthesisError) -> None:
    """A message must be one that can be shown: a line or two of reasonable length."""
    text = str(error)
    if len(text) > 4000:
        raise AssertionError(f"a message of {len(text)} characters: {text[:80]}")


def _nifti(random: Random) -> Files:
    content = seeds.volume(".nii")
    if random.random() < 0.6:
        return {"a.nii": fields_mutated(random, content, _NIFTI_FIELDS)}
    return {"a.nii": bytes_mutated(random, content, random.choice([348, 352, None]))}


def _nifti_gz(random: Random) -> Files:
    if random.random() < 0.5:
        return {"a.nii.gz": gzip.compress(_nifti(random)["a.nii"], 1)}
    return {"a.nii.gz": bytes_mutated(random, seeds.volume(".nii.gz"))}


def _with_header(random: Random, content: bytes, separator: bytes) -> bytes:
    header, data = seeds.divided(content, separator)
    if random.random() < 0.75:
        return text_mutated(random, header.decode()) + data
    return bytes_mutated(random, content, random.choice([len(header), None]))


def _nrrd(random: Random) -> Files:
    return {"a.nrrd": _with_header(random, seeds.volume(".nrrd", random.random() < 0.5), b"\n\n")}


def _nhdr(random: Random) -> Files:
    header, data = seeds.divided(seeds.volume(".nrrd", random.random() < 0.5), b"\n\n")
    named = header.rstrip(b"\n") + b"\ndata file: a.raw\n\n"
    return {"a.nhdr": text_mutated(random, named.decode()), "a.raw": data}


def _metaimage(random: Random) -> Files:
    return {"a.mha": _with_header(random, seeds.volume(".mha", random.random() < 0.5), b"LOCAL\n")}


def _mhd(random: Random) -> Files:
    header, data = seeds.divided(seeds.volume(".mha", random.random() < 0.5), b"LOCAL\n")
    return {"a.mhd": text_mutated(random, header.decode().replace("LOCAL", "a.raw")), "a.raw": data}


def _dicom(form: str) -> Callable[[Random], Files]:
    def make(random: Random) -> Files:
        slices = seeds.dicom_slices(form)
        every, chosen, seed = random.random() < 0.4, random.randrange(len(slices)), random.random()
        files = {}
        for number, content in enumerate(slices):
            own = Random(seed)
            if every or number == chosen:
                content = bytes_mutated(own, content, own.choice([700, 400, None]))
            files[f"dicom/{number}.dcm"] = content
        return files

    return make


def _deflated(random: Random) -> Files:
    files = {f"dicom/{number}.dcm": content for number, content in enumerate(seeds.dicom_slices("deflated"))}
    header, data = seeds.deflated_parts()
    if random.random() < 0.6:
        files["dicom/0.dcm"] = seeds.deflated_again(header, bytes_mutated(random, data, random.choice([600, None])))
    else:
        files["dicom/0.dcm"] = bytes_mutated(random, files["dicom/0.dcm"])
    return files


def _enhanced(random: Random) -> Files:
    content = seeds.enhanced()
    return {"dicom/0.dcm": bytes_mutated(random, content, random.choice([len(content) - 2160, 500, None]))}


def _read_dicom(folder: Path) -> None:
    from modality_synthesis.volumes import read_image, read_mark, scanner_manufacturer
    from modality_synthesis.volumes.stated import stated_modalities

    for ask in (read_image, read_mark, stated_modalities, scanner_manufacturer):
        _allowed(lambda ask=ask: ask(folder / "dicom"))


def _card(random: Random) -> Files:
    return {"package/model.json": json_mutated(random, random.choice(seeds.cards()))}


def _read_card(folder: Path) -> None:
    from modality_synthesis.generators import weight_shapes
    from modality_synthesis.models.package import open_package
    from modality_synthesis.models.text import card_text

    package = open_package(folder / "package")
    card_text(package.card)
    weight_shapes(package.card.generator.name, package.card.generator.parameters)


def _panel(random: Random) -> Files:
    return {"store/odd/model.json": _card(random)["package/model.json"], "store/odd/weights.safetensors": b""}


def _read_panel(folder: Path) -> None:
    from modality_synthesis.slicer import cards

    os.environ["MODALITY_SYNTHESIS_MODELS"] = str(folder / "store")
    found = cards.installed_cards()
    if len(found) < len(seeds.cards()):
        raise AssertionError("an odd card hides the shipped ones")
    for card in found:
        for use in (cards.card_html, cards.badge_text):
            use(card)
        _ = (card.stochastic, card.input_ranges, card.clinical_variables, card.colormap, card.display_window)


def _safetensors(random: Random) -> Files:
    content = seeds.weights()
    length = struct.unpack("<Q", content[:8])[0]
    if random.random() < 0.6:
        header = json_mutated(random, json.loads(content[8 : 8 + length]))
        announced = random.choice([len(header)] * 4 + [0, len(header) + 1, 2**63, 2**31, 10**8])
        changed = struct.pack("<Q", announced) + header + content[8 + length :]
    else:
        changed = bytes_mutated(random, content, random.choice([8 + length, None]))
    return {"package/model.json": json.dumps(seeds.card_of(changed)).encode(), "package/weights.safetensors": changed}


def _read_safetensors(folder: Path) -> None:
    from modality_synthesis.models.package import load_weights, open_package, verify_package

    refused = None
    try:
        verify_package(folder / "package")
    except ModalitySynthesisError as error:
        refused = error
    try:
        load_weights(open_package(folder / "package"))
    except ModalitySynthesisError:
        return
    if refused is not None:
        raise AssertionError(f"loading accepts what verifying refuses: {refused}")


def _zip(random: Random) -> Files:
    return {"model.zip": bytes_mutated(random, seeds.package_zip(), random.choice([60, None, None]))}


def _read_zip(folder: Path) -> None:
    from modality_synthesis.models import install_model

    os.environ["MODALITY_SYNTHESIS_MODELS"] = str(folder / "store")
    install_model(folder / "model.zip", replace=True)


def _table(name: str, text: str) -> Callable[[Random], Files]:
    def make(random: Random) -> Files:
        encoded = text.encode()
        return {name: text_mutated(random, text) if random.random() < 0.8 else bytes_mutated(random, encoded)}

    return make


def _read_cohort(folder: Path) -> None:
    from modality_synthesis.datasets.cohort import read_cohort

    for visit in read_cohort(folder / "cohort.csv"):
        _allowed(lambda visit=visit: (visit.name, visit.manufacturer("FDG-PET"), visit.variable("age")))


def _normal(random: Random) -> Files:
    return _table("normal.csv", random.choice([seeds.NORMAL, seeds.PEOPLE]))(random)


def _read_normal(folder: Path) -> None:
    from modality_synthesis.evaluation.normal_cohort import read_normal_cohort

    for normal in read_normal_cohort(folder / "normal.csv").values():
        normal.z(1.0)


def _read_qc(folder: Path) -> None:
    from modality_synthesis.datasets.qc import Decisions

    Decisions.read(folder / "qc.tsv")


def _read_any_table(folder: Path) -> None:
    from modality_synthesis.tables import read_table

    _ = read_table(folder / "regions.csv", "region table").records


def _recipe(random: Random) -> Files:
    text = random.choice(seeds.recipes())
    if random.random() < 0.6:
        content = text_mutated(random, text)
    else:
        import yaml

        content = json_mutated(random, yaml.safe_load(text))  # JSON is YAML
    overrides = [
        random.choice(_OVERRIDES) + random.choice(["=", "", "=:"]) + random.choice(_OVERRIDE_VALUES)
        for _ in range(random.choice([0, 0, 0, 1]))
    ]
    return {"recipe.yaml": content, "overrides.json": json.dumps(overrides).encode()}


def _read_recipe(folder: Path) -> None:
    from modality_synthesis.training.recipe import read_recipe

    read_recipe(folder / "recipe.yaml", json.loads((folder / "overrides.json").read_text()))


def _sidecar(random: Random) -> Files:
    return {"a.nii": seeds.volume(".nii"), "a.json": json_mutated(random, seeds.SIDECAR)}


def _read_sidecars(folder: Path) -> None:
    from modality_synthesis.datasets.simulated import is_simulated_file
    from modality_synthesis.evaluation.data_range import known_range
    from modality_synthesis.evaluation.figures.style import value_window
    from modality_synthesis.evaluation.signal import is_signal, sidecar_record
    from modality_synthesis.synthesis.record import read_record
    from modality_synthesis.volumes import (
        derived_record,
        is_own_json,
        read_mark,
        read_sidecar,
        scanner_manufacturer,
        stated_units,
    )
    from modality_synthesis.volumes.stated import stated_modalities

    volume = folder / "a.nii"
    for ask in (
        scanner_manufacturer, stated_units, stated_modalities, read_record, read_sidecar, read_mark, is_simulated_file,
        sidecar_record, is_signal, lambda path: derived_record(read_mark(path), {"synthetic": path}),
        lambda path: value_window(read_sidecar(path).get("DisplayWindow"), _values()),
        lambda path: known_range(read_sidecar(path)),
        lambda path: is_own_json(path.with_suffix(".json")),
    ):  # fmt: skip
        _allowed(lambda ask=ask: ask(volume))


def _values() -> Any:
    import numpy as np

    return np.linspace(0.0, 2.0, 100)


def _run(random: Random) -> Files:
    import yaml

    from modality_synthesis.training.recipe import Recipe

    recipe = Recipe.model_validate(yaml.safe_load(seeds.recipes()[0])).model_dump(mode="json")
    terms = [{"name": "l1", "weight": 1.0, "parameters": {}, "feature_network": {"name": "vgg16", "sha256": "0" * 64}}]
    facts = {
        "fold": None, "processes": 1, "device": "CPU", "precision": "32-true", "losses": terms, "program": "1.0+1",
        "contents": {"a": "1"}, "started_from": {"id": "m", "version": "1.0.0", "weights_sha256": "0" * 64},
        "package_version": "0.1.0", "epochs": 6, "best_epoch": 3, "best_value": 0.1, "minutes": 1.0, "parameters": 17,
        "planes": [[0, "axial"]],
    }  # fmt: skip
    files = {"recipe.json": recipe, "run.json": facts, "splits.json": {"train": ["a"], "validation": ["b"], "test": []}}
    odd = random.choice([*files, "log.csv"])
    content = {name: json_mutated(random, value) if name == odd else json.dumps(value).encode()
               for name, value in files.items()}  # fmt: skip
    content["log.csv"] = _table("log.csv", seeds.LOG)(random)["log.csv"] if odd == "log.csv" else seeds.LOG.encode()
    return {f"run/{name}": value for name, value in content.items()}


def _read_run(folder: Path) -> None:
    from modality_synthesis.training.callbacks import read_rows
    from modality_synthesis.training.folder import RunFolder

    run = RunFolder(folder / "run")
    facts = run.facts()
    for ask in (
        run.recipe, run.split, facts.for_card, facts.loss_lines, lambda: read_rows(run.path / "log.csv"),
        lambda: run.check_same_data(run.split(), facts), lambda: run.check(run.recipe(), facts, [], resume=False),
    ):  # fmt: skip
        _allowed(ask)


def _resume(random: Random) -> Files:
    """What an earlier batch, evaluation and check of a cohort left."""
    record = {"SyntheticData": True, **seeds.SIDECAR, "SHA256": hashlib.sha256(seeds.volume(".nii")).hexdigest()}
    return {"s_v/s_v_FDG-PET.nii": seeds.volume(".nii"), "s_v/s_v_FDG-PET.json": json_mutated(random, record)}


def _read_resume(folder: Path) -> None:
    from modality_synthesis.evaluation.batch_page import write_batch_page
    from modality_synthesis.synthesis.batch import Row, _is_made

    volume = folder / "s_v/s_v_FDG-PET.nii"
    _is_made(volume, "0" * 64)
    write_batch_page(folder, [Row("s", "v", "skipped", "s_v/s_v_FDG-PET.nii", "done already")])


def _bids(random: Random) -> Files:
    files = {"participants.tsv": seeds.PARTICIPANTS.encode(), "dataset_description.json": b'{"Name": "x"}'}
    for number in range(3):
        files[f"sub-{number}/anat/sub-{number}_T1w.nii"] = b"x"
        files[f"sub-{number}/pet/sub-{number}_trc-FDG_pet.nii"] = b"x"
        files[f"sub-{number}/pet/sub-{number}_trc-FDG_pet.json"] = json.dumps(seeds.SIDECAR).encode()
    odd = random.choice(["participants.tsv", "dataset_description.json", "sub-1/pet/sub-1_trc-FDG_pet.json"])
    if odd.endswith(".tsv"):
        files[odd] = _table(odd, seeds.PARTICIPANTS)(random)[odd]
    else:
        files[odd] = json_mutated(random, copy.deepcopy(json.loads(files[odd])))
    return files


def _read_bids(folder: Path) -> None:
    from modality_synthesis.datasets.bids import bids_cohort
    from modality_synthesis.datasets.simulated import is_simulated_file

    bids_cohort(folder)
    _allowed(lambda: is_simulated_file(folder / "sub-1/pet/sub-1_trc-FDG_pet.nii"))


KINDS: dict[str, Kind] = {
    "nifti": Kind(_nifti, lambda folder: _volume(folder / "a.nii")),
    "nifti-gz": Kind(_nifti_gz, lambda folder: _volume(folder / "a.nii.gz")),
    "nrrd": Kind(_nrrd, lambda folder: _volume(folder / "a.nrrd")),
    "nhdr": Kind(_nhdr, lambda folder: _volume(folder / "a.nhdr")),
    "metaimage": Kind(_metaimage, lambda folder: _volume(folder / "a.mha")),
    "mhd": Kind(_mhd, lambda folder: _volume(folder / "a.mhd")),
    "dicom": Kind(_dicom("explicit"), _read_dicom),
    "dicom-deflated": Kind(_deflated, _read_dicom),
    "dicom-encapsulated": Kind(_dicom("rle"), _read_dicom),
    "dicom-jpeg2000": Kind(_dicom("jpeg2000"), _read_dicom),
    "dicom-enhanced": Kind(_enhanced, _read_dicom),
    "card": Kind(_card, _read_card),
    "panel": Kind(_panel, _read_panel),
    "safetensors": Kind(_safetensors, _read_safetensors),
    "zip": Kind(_zip, _read_zip),
    "cohort": Kind(_table("cohort.csv", seeds.COHORT), _read_cohort),
    "normal": Kind(_normal, _read_normal),
    "qc": Kind(_table("qc.tsv", seeds.QC), _read_qc),
    "regions": Kind(_table("regions.csv", seeds.REGIONS), _read_any_table),
    "recipe": Kind(_recipe, _read_recipe),
    "sidecar": Kind(_sidecar, _read_sidecars),
    "run": Kind(_run, _read_run),
    "resume": Kind(_resume, _read_resume),
    "bids": Kind(_bids, _read_bids),
}
