"""A model package that somebody made to do harm: what it names is not opened, what it announces is not believed."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator, generator_names, weight_shapes
from modality_synthesis.models import install_model, open_package
from modality_synthesis.models.package import write_package
from modality_synthesis.resources import resources_folder
from modality_synthesis.slicer import cards
from modality_synthesis.synthesis.synthesizer import check_fit, load_generator

SHIPPED = resources_folder() / "Models" / "demo-t1w-fdg" / "model.json"
SMALL = {"channels": [4, 4], "stem_stride": 1}


def package(folder: Path, generator: dict[str, Any], weights: dict[str, torch.Tensor] | None = None) -> Path:
    facts = json.loads(SHIPPED.read_text()) | {"id": "odd", "generator": generator, "baselines": None}
    made = weights or build_generator("residual-unet", SMALL).package_state()
    write_package(folder, {key: value for key, value in facts.items() if key != "weights"}, made)
    return folder


def changed(folder: Path, **facts: Any) -> Path:
    card = folder / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | facts))
    return folder


@pytest.mark.parametrize(
    "generator",
    [
        {"name": "drunet-34", "parameters": {"encoder_weights": "FILE"}},
        {
            "name": "pix2pix",
            "parameters": {"generator": {"name": "drunet-34", "parameters": {"encoder_weights": "FILE"}}},
        },
    ],
)
def test_a_card_cannot_have_a_file_opened(tmp_path: Path, generator: dict[str, Any]) -> None:
    # Reading a pipe that nobody writes to would never return.
    bait = tmp_path / "bait.pth"
    os.mkfifo(bait)
    generator = json.loads(json.dumps(generator).replace("FILE", str(bait)))
    with pytest.raises(BadInputError, match=r"encoder_weights.*training"):
        load_generator(open_package(package(tmp_path / "odd", generator)))


@pytest.mark.parametrize(
    "parameters",
    [
        {"channels": [2048, 2048], "residual_units": 1_000_000},
        {"channels": [2048, 2048, 2048]},
        {"channels": [-1, 0]},
        {"channels": [0, 0]},
        {"channels": {"a": 1}},
        {"channels": "x"},
        {"channels": None},
        {"dropout": "x"},
        {"stem_stride": []},
        {"in_channels": 2**18},
    ],
)
def test_a_generator_that_its_weights_do_not_fit_is_never_built(tmp_path: Path, parameters: dict[str, Any]) -> None:
    made = package(tmp_path / "odd", {"name": "residual-unet", "parameters": {**SMALL, **parameters}})
    with pytest.raises(BadInputError, match=r"odd: .*(cannot be|do not fit)") as caught:
        check_fit(open_package(made))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "parameters", [{"residual_units": 10**7}, {"dropout": 1e300}, {"channels": [8] * 1000}, {"a": {"b": [10**400]}}]
)
def test_numbers_that_no_generator_has_are_refused_with_the_card(tmp_path: Path, parameters: dict[str, Any]) -> None:
    made = package(tmp_path / "odd", {"name": "residual-unet", "parameters": SMALL})
    changed(made, generator={"name": "residual-unet", "parameters": parameters})
    with pytest.raises(BadInputError, match=r"generator\.parameters"):
        open_package(made)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("preprocessing", "source", [{"step": "resample", "size": [100_000] * 3}]),
        ("preprocessing", "source", [{"step": "resample", "size": [1024] * 3}]),
        ("preprocessing", "source", [{"step": "resample", "spacing": [1e-9, 1, 1]}]),
        ("preprocessing", "source", [{"step": "ct-head", "holder_mm": 1e9}]),
        ("preprocessing", "source", [{"step": "bias-field", "iterations": [10**9]}]),
        ("preprocessing", "source", [{"step": "reorient"}] * 1000),
        ("preprocessing", "target", {"mask_margin_mm": 1e6}),
        ("inference", "overlap", 0.99999999),
        ("inference", "batch_size", 10**9),
        ("inference", "window", [1, 1, 100_000]),
    ],
)
def test_bounds_of_the_card(tmp_path: Path, part: str, key: str, value: object) -> None:
    made = package(tmp_path / "odd", {"name": "residual-unet", "parameters": SMALL})
    facts = json.loads((made / "model.json").read_text())[part]
    changed(made, **{part: {**facts, **({"mode": "sliding-window"} if key == "window" else {}), key: value}})
    with pytest.raises(BadInputError, match=key):
        open_package(made)


def test_infinity_in_a_card_is_refused(tmp_path: Path) -> None:
    made = package(tmp_path / "odd", {"name": "residual-unet", "parameters": SMALL})
    text = (made / "model.json").read_text()
    facts = json.loads(text)
    facts["preprocessing"]["target"]["scale"] = 12345.0
    (made / "model.json").write_text(json.dumps(facts).replace("12345.0", "1e999"))
    with pytest.raises(BadInputError, match="scale"):
        open_package(made)


@pytest.mark.parametrize("name", ["residual-unet", "unet", "unet-2d"])
def test_every_generator_s_shapes_are_found_without_its_weights(name: str) -> None:
    small: dict[str, Any] = {"unet": {"channels": [4, 8], "strides": [2]}, "unet-2d": {"features": [2] * 5}}
    parameters = small.get(name, {})
    built = build_generator(name, parameters).package_state()
    assert weight_shapes(name, parameters) == {key: tuple(value.shape) for key, value in built.items()}


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(generator_names()) - {"residual-unet", "unet", "unet-2d"}))
def test_the_others_shapes_too(name: str) -> None:
    built = build_generator(name, {}).package_state()
    assert weight_shapes(name, {}) == {key: tuple(value.shape) for key, value in built.items()}


def test_one_odd_card_leaves_the_panel_s_list_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(tmp_path))
    names = {card.id for card in cards.installed_cards()}
    odd = ["[]", "3", "{", '{"id": "x"}', '{"a":' * 100_000, "\xff\xfe", json.dumps({"metrics": [1]})]
    for number, text in enumerate(odd):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "model.json").write_text(text)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "model.json")
    assert {card.id for card in cards.installed_cards()} == names


def test_a_pipe_in_the_place_of_a_card_is_no_package(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.json")
    with pytest.raises(BadInputError, match="not a model package"):
        open_package(tmp_path)


def test_a_zip_of_zeros_is_refused_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many files, each just below the limit of one."""
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(tmp_path / "store"))
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(6):
            archive.writestr(f"note{number}.json", bytes(31 << 20))
        archive.writestr("model.json", SHIPPED.read_text())
    with pytest.raises(BadInputError, match="suspiciously large"):
        install_model(tmp_path / "m.zip")
    assert not [file for file in (tmp_path / "store").rglob("*") if file.is_file()]
