"""The models that ship with the program."""

from __future__ import annotations

import pytest

from modality_synthesis.errors import BadInputError
from modality_synthesis.models import remove_model, verify_package
from modality_synthesis.resources import resource

FOLDERS = sorted(path.parent for path in resource("Models").glob("*/model.json"))


def test_there_is_a_demonstration_of_the_main_job():
    assert "demo-t1w-fdg" in [folder.name for folder in FOLDERS]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_is_intact_and_says_what_it_is(folder):
    card = verify_package(folder).card
    assert card.id == folder.name
    assert card.is_demonstration
    assert card.training.simulated
    assert any("imulat" in limit for limit in card.limits)
    assert "not for diagnosis" in card.intended_use
    assert {"PSNR", "SSIM"} <= {metric.name for metric in card.metrics}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_beats_its_baselines_on_heads_never_seen(folder):
    # Mutual information is left out: it does not look at values, so that the input itself, no PET at all, scores high.
    for metric in verify_package(folder).card.metrics:
        if metric.name in ("PSNR", "SSIM", "MS-SSIM", "NCC", "r"):
            assert metric.value > max(metric.compared_with.values()), metric.name


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_cannot_be_removed(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(tmp_path))
    with pytest.raises(BadInputError):
        remove_model(folder.name)
    assert folder.is_dir()
