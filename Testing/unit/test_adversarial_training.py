"""The training module with two optimizers: who is updated, clipped, averaged."""

from __future__ import annotations

import lightning
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader, Dataset

from modality_synthesis.generators import build_generator
from modality_synthesis.losses import WeightedLosses
from modality_synthesis.training.module import GeneratorModule
from modality_synthesis.training.recipe import Recipe

SYSTEM = {
    "network": {"name": "unet", "parameters": {"channels": [4, 8], "strides": [2], "dropout": 0.0}},
    "discriminator": {"channels": 4, "layers": 1},
}


class Pairs(Dataset):
    """Three pairs of noise."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        source, target = torch.randn(2, 1, 8, 10, 8, generator=generator)
        return {"source": source, "target": target, "mask": torch.ones_like(source)}

    def set_epoch(self, epoch):
        pass


def recipe(generator, optimizer, average_decay):
    return Recipe.model_validate(
        {
            "name": "toy",
            "route": {"source": "T1w", "target": "FDG-PET"},
            "cohort": "none.csv",
            "preprocessing": {},
            "generator": {"name": generator, "parameters": SYSTEM},
            "losses": [{"name": "l1", "weight": 100.0}],
            "optimizer": optimizer,
            "training": {"epochs": 1, "average_decay": average_decay},
            "output": {"quantity": "SUVR", "units": "SUVR", "display_window": [0, 1]},
            "package": {
                "id": "toy", "name": "Toy", "licence": "Apache-2.0", "intended_use": "Tests", "limits": ["a test"],
                "citation": "none", "data": "noise",
            },
        }
    )  # fmt: skip


def fit(tmp_path, name="pix2pix", average_decay=None, plugins=None, batches=3, **optimizer):
    """(the trained module, its generator's parameters before training)."""
    torch.manual_seed(0)
    generator = build_generator(name, SYSTEM)
    before = {part: value.detach().clone() for part, value in generator.named_parameters()}
    settings = {"name": "sgd", "learning_rate": 0.01, "weight_decay": 0.0, "warmup": 0.0, **optimizer}
    module = GeneratorModule(generator, WeightedLosses([("l1", 100.0, {})]), recipe(name, settings, average_decay))
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, plugins=plugins, limit_train_batches=batches,
    )  # fmt: skip
    trainer.fit(module, DataLoader(Pairs()))
    return module, before


def distance(module, before, phase):
    """How far a phase's parameters moved together."""
    names = {id(value): name for name, value in module.generator.named_parameters()}
    moves = [value.detach() - before[names[id(value)]] for value in module.generator.phase_parameters(phase)]
    return torch.cat([move.flatten() for move in moves]).norm().item()


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_every_phase_learns(tmp_path, name):
    module, before = fit(tmp_path, name)
    assert all(distance(module, before, phase) > 0 for phase in module.generator.phases())


@pytest.mark.parametrize("scaled", [False, True])
def test_each_optimizer_s_gradient_is_clipped_by_its_own_norm(tmp_path, scaled):
    # With a gradient scaler too, whose factor must not be clipped away.
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plugins = [MixedPrecision("16-mixed", "cpu", scaler=scaler)] if scaled else None
    module, before = fit(
        tmp_path, plugins=plugins, batches=1, learning_rate=1.0, gradient_clip=0.001, schedule="constant"
    )
    for phase in module.generator.phases():
        assert distance(module, before, phase) == pytest.approx(0.001, rel=0.02)


def test_the_moving_average_holds_the_synthesizing_network_alone(tmp_path):
    module, _ = fit(tmp_path, "cyclegan", average_decay=0.9)
    assert set(module.averaged.state_dict()) == set(module.generator.package_state())
    assert set(module.best_generator.package_state()) == set(module.generator.package_state())


def test_the_moving_average_follows_batches_not_optimizers(tmp_path):
    module, before = fit(tmp_path, average_decay=0.999, batches=1, gradient_clip=None)
    name = next(part for part, _ in module.averaged.named_parameters())
    now, average = dict(module.generator.named_parameters())[name], dict(module.averaged.named_parameters())[name]
    # After the first batch the decay is (1 + 1) / (10 + 1).
    expected = before[name] * 2 / 11 + now * 9 / 11
    assert torch.allclose(average, expected, atol=1e-7)
    assert not torch.equal(now, before[name])
