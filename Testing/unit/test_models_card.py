"""The model card: what it refuses, what it means, and the schema that ships."""

from __future__ import annotations

import json

import jsonschema
import pytest

from modality_synthesis.errors import BadInputError
from modality_synthesis.models import Card, card_schema, write_schema
from modality_synthesis.models.card import SCHEMA_FILE, schema_text
from modality_synthesis.models.reading import parse_card
from modality_synthesis.models.text import card_text
from modality_synthesis.resources import resource

SLIDING = {"mode": "sliding-window", "window": [64, 64, 64], "overlap": 0.5}
AGE = {"name": "age", "label": "Age", "kind": "number", "unit": "years", "minimum": 40, "maximum": 95, "required": True}
SEX = {"name": "sex", "label": "Sex", "kind": "choice", "choices": ["F", "M"]}
MAE = {
    "name": "MAE",
    "value": 0.1234,
    "low": 0.1,
    "high": 0.2,
    "unit": "SUVR",
    "definition": "mean absolute error",
    "region": "brain mask",
    "dataset": "held-out subjects",
    "subjects": 12,
    "compared_with": {"cohort mean": 0.3},
}


def example(**changes: object) -> dict:
    """Every field of a card."""
    return {
        "schema_version": 1,
        "id": "tiny",
        "version": "1.0.0",
        "name": "Tiny",
        "badge": "demonstration",
        "route": {"source": "T1w", "target": "FDG-PET"},
        "generator": {"name": "residual-unet", "parameters": {"channels": [4, 8]}},
        "inference": SLIDING,
        "preprocessing": {"source": [{"step": "reorient"}], "target": {"scale": 2.0}},
        "output": {
            "quantity": "SUVR",
            "units": "SUVR",
            "reference_region": "pons",
            "display_window": [0, 2],
            "colormap": "PET-Heat",
        },
        "clinical_variables": [AGE, SEX],
        "training": {
            "data": "simulated heads",
            "simulated": True,
            "subjects": {"train": 10, "validation": 2, "test": 12},
            "access": "public",
            "seed": 3,
            "recipe": {"losses": [{"name": "l1", "weight": 1.0}]},
            "package_version": "0.1.0",
            "date": "2026-11-21",
            "duration_minutes": 4.5,
            "hardware": "CPU",
        },
        "metrics": [MAE],
        "licence": "Apache-2.0",
        "intended_use": "tests",
        "limits": ["none known"],
        "findings": ["Also right on a real head."],
        "citation": "none",
        "input_ranges": {"spacing (mm)": [0.8, 1.2]},
        "weights": {"file": "weights.safetensors", "sha256": "0" * 64, "parameters": 13},
        **changes,
    }


def parsed(facts: dict) -> Card:
    return parse_card(json.dumps(facts).encode(), "tiny/model.json")


def test_the_shipped_schema_is_the_generated_text(tmp_path):
    assert resource("Models", SCHEMA_FILE).read_text(encoding="utf-8") == schema_text()
    assert write_schema(tmp_path / "schema.json").read_text(encoding="utf-8") == schema_text()
    jsonschema.Draft202012Validator.check_schema(card_schema())


def test_schema_and_program_accept_the_same_full_card():
    jsonschema.validate(example(), card_schema())
    card = parsed(example())
    written = card.model_dump_json()
    jsonschema.validate(json.loads(written), card_schema())
    assert parse_card(written.encode(), "again") == card


def test_questions_to_a_card():
    card = parsed(example())
    assert card.is_demonstration
    assert not parsed(example(badge="research")).is_demonstration
    assert card.route_matches()
    assert card.route_matches("T1w")
    assert card.route_matches(target="FDG-PET")
    assert not card.route_matches("CT", "FDG-PET")
    assert not card.route_matches("T1w", "TAU-PET")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"id": "Tiny"}, "'id'"),
        ({"id": "nul.1"}, "reserved name on Windows"),
        ({"version": "1.0"}, "version"),
        ({"version": "1.0.0.0"}, "version"),
        ({"version": "01.0.0"}, "version"),
        ({"name": "Tiny\x1b[2J"}, "'name'"),
        ({"licence": "you may use it"}, "licence"),
        ({"route": {"source": "T1w", "target": "T1w"}}, "to itself"),
        ({"inference": {**SLIDING, "batch_size": 1}}, "inference.batch_size"),
        ({"inference": {**SLIDING, "mode": "whole"}}, "window"),
        ({"inference": {**SLIDING, "windows": 1}}, "unknown key 'inference.windows'. Did you mean 'window'"),
        ({"output": {"quantity": "SUVR", "units": "SUVR", "display_window": [2, 0]}}, "display_window"),
        ({"clinical_variables": [AGE, AGE]}, "declared twice"),
        ({"clinical_variables": [{**AGE, "minimum": 99}]}, "minimum is above maximum"),
        ({"clinical_variables": [{**SEX, "choices": ["F", "F"]}]}, "given twice"),
        ({"clinical_variables": [{**SEX, "choices": None}]}, "choices"),
        ({"metrics": [{**MAE, "low": 1.0}]}, "interval"),
        ({"metrics": [{**MAE, "value": None}]}, "metrics.0.value"),
        ({"input_ranges": {"age": [90, 20]}}, "'age'"),
        ({"weights": {"file": "../x.pt", "sha256": "0" * 64, "parameters": 1}}, "weights.file"),
        ({"weights": {"sha256": "0" * 63, "parameters": 1}}, "weights.sha256"),
        ({"preprocessing": {"source": [{"step": "eval"}]}}, "preprocessing.source"),
        ({"generator": {"name": "x", "parameters": {"deep": json.loads("[" * 300 + "]" * 300)}}}, "nested too deeply"),
    ],
)
def test_a_refusal_names_file_and_field_in_two_lines_at_most(change, message):
    with pytest.raises(BadInputError) as refusal:
        parsed(example(**change))
    text = str(refusal.value)
    assert text.startswith("tiny/model.json: ")
    assert message in text
    assert text.count("\n") <= 1


@pytest.mark.parametrize("version", ["0.1.0", "1.0.0-rc.1", "1.0.0+cpu.5", "10.20.30-a-b.0+x"])
def test_semantic_versions_are_taken(version):
    assert parsed(example(version=version)).version == version


@pytest.mark.parametrize(
    "licence",
    ["MIT", "CC-BY-NC-4.0", "LicenseRef-ADNI", "(MIT OR BSD-3-Clause)", "GPL-2.0-only WITH GCC-exception-2.0"],
)
def test_spdx_expressions_are_taken(licence):
    assert parsed(example(licence=licence)).licence == licence


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "not a JSON object"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"id": "a", "id": "b"}', "'id' is there twice"),
        (b'{"value": NaN}', "NaN is no JSON number"),
        (b'{"value": -Infinity}', "-Infinity is no JSON number"),
    ],
)
def test_what_is_no_plain_json_is_refused(content, message):
    with pytest.raises(BadInputError, match=message):
        parse_card(content, "tiny/model.json")


def test_numbers_too_large_for_json_readers_are_refused():
    content = json.dumps(example()).replace("0.1234", "1e999").encode()
    with pytest.raises(BadInputError, match=r"metrics\.0\.value"):
        parse_card(content, "tiny/model.json")
    content = json.dumps(example()).replace('"weight": 1.0', '"weight": 1e999').encode()
    with pytest.raises(BadInputError, match=r"training\.recipe"):
        parse_card(content, "tiny/model.json")


def test_the_text_shows_inputs_and_every_metric_whatever_its_baselines():
    other = {**MAE, "name": "SSIM|x", "compared_with": {"T1w": 0.5}, "low": None, "high": None}
    elsewhere = {**MAE, "name": "PSNR", "dataset": "another hospital"}
    text = card_text(parsed(example(metrics=[MAE, other, elsewhere])), has_preview=True)
    assert "## Also measured\n\n- Also right on a real head." in text
    assert "Also measured" not in card_text(parsed(example(findings=[])))
    # A card that does not say what is better has no bold figure; one that does, the best one's, whoever reached it.
    assert "| MAE (SUVR) | 0.123 [0.100, 0.200] | 0.300 | – |" in text
    ours = card_text(parsed(example(metrics=[{**MAE, "better": "lower"}])))
    assert "| MAE (SUVR) | **0.123** [0.100, 0.200] | 0.300 |" in ours
    theirs = card_text(parsed(example(metrics=[{**MAE, "better": "higher"}])))
    assert "| MAE (SUVR) | 0.123 [0.100, 0.200] | **0.300** |" in theirs
    assert "**Verdict**: loses" in card_text(parsed(example(verdict="loses to a population mean")))
    assert r"| SSIM\|x (SUVR) | 0.123 | – | 0.500 |" in text
    assert text.index("another hospital") < text.index("| PSNR")
    assert "Age (`age`): 40 to 95 years, required" in text
    assert "Sex (`sex`): F or M, optional" in text
    assert "spacing (mm): 0.8 to 1.2" in text
    assert "(preview.png)" in text


def test_the_card_for_people_names_scanners_and_weighted_regions():
    figures = {"mean": 1.25, "std": 0.3, "minimum": 0.0, "maximum": 3.5, "subjects": 4}
    standardization = {"statistics": {"Siemens": figures}, "pooled": {**figures, "subjects": 9}}
    facts = example()
    facts["preprocessing"] = {**facts["preprocessing"], "target": {"standardization": standardization}}
    facts["training"] = {**facts["training"], "meta_roi": ["ctx-lh-precuneus"]}
    text = card_text(parsed(facts))
    assert "| Siemens | 1.250 | 0.300 | 0.000 | 3.500 | 4 |" in text
    assert "| all |" in text
    assert "Errors weighed more in: ctx-lh-precuneus." in text
    del standardization["pooled"]
    with pytest.raises(BadInputError, match="pooled statistics"):
        parsed(facts)
