"""Figures as they were before the rooms were rearranged (0.2.0): moves and exchanged libraries change none of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from modality_synthesis.evaluation import suvr
from modality_synthesis.evaluation.metrics import compare_arrays
from modality_synthesis.evaluation.similarity import normalized_mutual_information, structural_similarity
from modality_synthesis.evaluation.statistics import bootstrap_interval, paired_tests
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch
from modality_synthesis.losses import WeightedLosses
from modality_synthesis.losses.ssim import SSIMLoss
from modality_synthesis.preprocessing.registration import mni152
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.volumes import array, image_like

METRICS = {
    "MAE": 0.0635630886, "MSE": 0.00636203044, "RMSE": 0.0797623372, "PSNR": 29.9228427, "SSIM": 0.966439578,
    "MS-SSIM": 0.966439578, "NCC": 0.965668641, "NMI": 1.22138456, "Tenengrad ratio": 0.777786399,
    "Spectrum ratio": 0.944168833, "Through-plane ratio": 0.903056148,
}  # fmt: skip
WHOLE = {"MAE": 0.0648279639, "PSNR": 29.735931, "SSIM": 0.930448078, "NCC": 0.969843949}
SSIM, NMI, SSIM_LOSS = 0.9664395784287406, 1.2213845625111697, 0.06915360689163208
INTERVAL = (0.07692787866648115, 0.061182942, 0.094377618)  # its ends: mean over 40 seeds of 20,000 draws
P_VALUES = (0.0034525394439697266, 0.004031877636920682)  # Wilcoxon, Student
ROWS = 174
SUVR = {
    ("fdg_ad_signature", "both"): 1.242546558, ("ctx-precuneus", "both"): 1.411533833,
    ("ctx-lh-precuneus", "left"): 1.436224222, ("Left-Hippocampus", "left"): 1.119095206,
    ("Right-Cerebellum-Cortex", "right"): 0.951060176, ("tau_meta_temporal", "both"): 1.042240977,
}  # fmt: skip
PASTA = [0.45020959, 0.19417416, 0.52152836]
DRUNET = [-0.26298639, 0.18474846, 0.00065866]
TRAINED = [1.3158344, 1.2300543, 0.5540071, 0.6015835]


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(synthetic, reference, mask), (24, 30, 28), SUVR-like."""
    rng = np.random.default_rng(7)
    reference = gaussian_filter(rng.normal(size=(24, 30, 28)), 1.5)
    reference = (1.0 + reference / reference.std() * 0.3).astype(np.float32)
    synthetic = (gaussian_filter(reference, 0.8) + 0.05 * rng.normal(size=reference.shape)).astype(np.float32)
    depth, height, width = np.indices(reference.shape)
    mask = ((depth - 12) / 10) ** 2 + ((height - 15) / 13) ** 2 + ((width - 14) / 12) ** 2 < 1
    return synthetic, reference, mask


def test_metrics(pair):
    synthetic, reference, mask = pair
    found = compare_arrays(synthetic, reference, mask, 2.5)
    assert {name: found[name] for name in METRICS} == pytest.approx(METRICS, rel=1e-6, nan_ok=True)
    whole = compare_arrays(synthetic, reference, None, 2.5)
    assert {name: whole[name] for name in WHOLE} == pytest.approx(WHOLE, rel=1e-6)


def test_similarity(pair):
    synthetic, reference, mask = pair
    assert structural_similarity(synthetic, reference, mask, 2.5) == pytest.approx(SSIM, rel=1e-9)
    assert normalized_mutual_information(synthetic[mask], reference[mask]) == pytest.approx(NMI, rel=1e-9)
    tensors = [torch.from_numpy(one.astype(np.float32))[None, None] for one in (synthetic, reference, mask)]
    assert float(SSIMLoss(data_range=2.5)(*tensors)) == pytest.approx(SSIM_LOSS, rel=1e-4)


def test_intervals_and_tests():
    """Interval ends within the Monte-Carlo error of 20,000 draws (standard deviation .4 % of the width)."""
    values = np.random.default_rng(3).gamma(4.0, 0.02, 23)
    found = bootstrap_interval(values)
    assert found.value == pytest.approx(INTERVAL[0], rel=1e-12)
    width = INTERVAL[2] - INTERVAL[1]
    assert (found.low, found.high) == pytest.approx(INTERVAL[1:], abs=0.02 * width)
    others = values + np.random.default_rng(4).normal(0.008, 0.01, 23)
    (test,) = paired_tests({"first": {"MAE": values}, "second": {"MAE": others}})
    assert test.wilcoxon_p == pytest.approx(P_VALUES[0], rel=1e-9)
    assert test.t_p == pytest.approx(P_VALUES[1], rel=1e-9)


def test_a_table_of_suvr():
    grid = resample_isotropic(mni152().mask, 3.0, is_mask=True)
    brain = array(grid) > 0
    depth, height, width = np.indices(brain.shape) / np.array(brain.shape)[:, None, None, None]
    pet = image_like(np.where(brain, 0.6 + depth + 0.5 * height * width, 0.05).astype(np.float32), grid)
    rows = {(row.region, row.hemisphere): row.suvr for row in suvr(pet, template_space=True).rows}
    assert len(rows) == ROWS
    assert {key: rows[key] for key in SUVR} == pytest.approx(SUVR, rel=1e-5)


def volume(channels: int = 1) -> torch.Tensor:
    return torch.rand(1, channels, 12, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1


def seeded(name: str, **parameters: object) -> torch.nn.Module:
    """A generator with weights that depend on their names and shapes alone, not on the order of construction."""
    generator = build_generator(name, parameters)
    with torch.no_grad():
        for key, tensor in sorted(generator.state_dict().items()):
            if not tensor.is_floating_point():
                continue
            draw = torch.Generator().manual_seed(sum(key.encode()))
            noise = torch.randn(tensor.shape, generator=draw)
            if tensor.dim() > 1:
                tensor.copy_(noise * (0.5 / tensor[0].numel()) ** 0.5)
            else:
                tensor.copy_((1.0 if key.endswith(("weight", "running_var")) else 0.0) + 0.05 * noise)
    return generator.eval()


def figures(made: torch.Tensor) -> list[float]:
    return [float(made.mean()), float(made.std()), float(made.flatten()[1234])]


def test_a_pasta_volume():
    shape = {"slices": 3, "channels": 8, "channel_multipliers": [1, 2], "blocks_per_level": 1, "attention_levels": [1]}
    generator = seeded("pasta", heads=2, clinical_variables=1, sampling={"steps": 4}, **shape)
    with torch.no_grad():
        made = generator.synthesize(Batch(source=volume(), clinical=torch.tensor([[0.7]]), seed=3))
    assert figures(made) == pytest.approx(PASTA, abs=2e-4)


def test_a_drunet_slice():
    generator = seeded("drunet-34")
    with torch.no_grad():
        made = generator.synthesize(Batch(source=volume()))
    assert figures(made) == pytest.approx(DRUNET, abs=2e-4)


def test_a_trained_mini_model():
    generator = seeded("residual-unet", channels=[4, 8], stem_stride=1).train()
    losses = WeightedLosses([("mse", 1.0, {}), ("ssim", 0.1, {"data_range": 2.0})])
    source, target = volume(), volume().roll(1, dims=-1).abs()
    optimizer = torch.optim.AdamW(generator.parameters(), 0.01)
    totals = []
    for _ in range(4):
        report = generator.training_step(generator.phases()[0], Batch(source, target, torch.ones_like(source)), losses)
        optimizer.zero_grad()
        report.loss.backward()
        optimizer.step()
        totals.append(float(report.loss.detach()))
    assert totals == pytest.approx(TRAINED, rel=1e-3)
