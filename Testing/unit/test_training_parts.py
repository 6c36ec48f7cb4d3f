"""Parts of the training engine: learning rates, folds, shares of samples, best weights, placement."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modality_synthesis.datasets import cache
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.datasets.pairs import EpochShuffle
from modality_synthesis.datasets.splits import fold
from modality_synthesis.errors import BadInputError, ModalitySynthesisError, UsageError
from modality_synthesis.evaluation.figures.style import difference_limit
from modality_synthesis.training.data import spread
from modality_synthesis.training.folder import RunFacts
from modality_synthesis.training.folds import parse_fold
from modality_synthesis.training.monitor import KeepBest, Monitor
from modality_synthesis.training.processes import started_processes
from modality_synthesis.training.rates import Plateau, plateau_of, rate_scheduler
from modality_synthesis.training.recipe import Optimizer


def optimizer_of(rate: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def course(schedule, *, epochs: int, steps_per_epoch: int = 1, warmup: float = 0.0, rate: float = 1.0) -> list[float]:
    """The learning rate of every optimizer step."""
    optimizer = optimizer_of(rate)
    settings = Optimizer(schedule=schedule, learning_rate=rate)
    steps = epochs * steps_per_epoch
    scheduler = rate_scheduler(optimizer, settings.schedule, rate, warmup=warmup, steps=steps, epochs=epochs)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def reference(make, *, epochs: int) -> list[float]:
    optimizer = optimizer_of()
    scheduler = make(optimizer)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_steps_are_those_of_pytorch():
    expected = reference(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.2), epochs=30)
    assert course({"name": "step", "every": 7, "factor": 0.2}, epochs=30) == pytest.approx(expected)


def test_a_periodic_cosine_is_that_of_pytorch_stepped_per_epoch():
    """The published cyclic loss is trained so: T_max 60 epochs, rising again after them."""
    expected = reference(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60), epochs=200)
    rates = course({"name": "cosine", "period": 60, "floor": 0}, epochs=200, steps_per_epoch=3)
    assert rates[::3] == pytest.approx(expected, abs=1e-9)
    assert rates[1::3] == rates[::3]


def test_linear_decay_is_that_of_the_published_cyclegan():
    """lr = 1 - max(0, epoch - n_epochs) / (n_epochs_decay + 1), epochs from 1, 100 and 100 of them."""
    expected = [1 - max(0, epoch - 100) / 101 for epoch in range(1, 201)]
    assert course("linear", epochs=200) == pytest.approx(expected)


def test_cosine_falls_from_the_full_rate_to_its_floor_after_a_warm_up():
    rates = course({"name": "cosine", "floor": 0.05}, epochs=50, steps_per_epoch=4, warmup=0.1, rate=2e-3)
    assert rates[:20] == pytest.approx([2e-3 * (step + 1) / 20 for step in range(20)])
    assert rates[110] == pytest.approx(1e-3)  # half way between warm-up and end
    assert min(rates) == pytest.approx(1e-4)
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_constant_and_one_cycle():
    assert set(course("constant", epochs=9)) == {1.0}
    rates = course("one-cycle", epochs=10, steps_per_epoch=10, warmup=0.3)
    assert rates.index(max(rates)) in (29, 30)
    assert max(rates) == pytest.approx(1.0, rel=0.01)
    assert rates[-1] < 0.01


def test_plateau_reduces_when_pytorch_s_does():
    rng = np.random.default_rng(0)
    optimizer = optimizer_of()
    known = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, min_lr=0.05)
    plateau = Plateau(warmup=1, factor=0.5, patience=2, floor=0.05)
    for step in range(60):
        value = 1 / (1 + min(step, 20)) + float(rng.uniform(0, 0.1))
        known.step(value)
        plateau.observe(value)
        assert plateau(step) == pytest.approx(optimizer.param_groups[0]["lr"]), step


def test_a_plateau_is_remembered_by_a_checkpoint():
    def scheduler():
        rate = Optimizer(schedule={"name": "plateau", "patience": 0}).schedule
        return rate_scheduler(optimizer_of(), rate, 1.0, warmup=0.0, steps=10, epochs=10)

    first, second = scheduler(), scheduler()
    plateau_of(first).observe(1.0)
    plateau_of(first).observe(2.0)
    second.load_state_dict(first.state_dict())
    assert plateau_of(second).share == 0.5
    assert plateau_of(second).best == 1.0


@pytest.mark.parametrize(("patients", "folds"), [(10, 5), (11, 4), (3, 3), (23, 2), (4, 2)])
def test_folds_test_every_patient_once_and_never_train_on_him(patients, folds):
    subjects = [f"p{number}" for number in range(patients)] * 2  # two visits each
    parts = [fold(subjects, number, folds, seed=3) for number in range(1, folds + 1)]
    assert sorted(subject for part in parts for subject in part.test) == sorted(set(subjects))
    sizes = [len(part.test) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for part in parts:
        assert part.train
        assert part.validation
        assert sorted([*part.train, *part.validation, *part.test]) == sorted(set(subjects))


def test_folds_depend_on_the_seed_and_not_on_the_order_of_the_table():
    subjects = [f"p{number}" for number in range(20)]
    assert fold(subjects, 1, 5, seed=1) == fold(subjects[::-1], 1, 5, seed=1)
    assert fold(subjects, 1, 5, seed=1) != fold(subjects, 1, 5, seed=2)


@pytest.mark.parametrize(
    ("number", "folds", "message"),
    [(0, 5, "no fold 0"), (6, 5, "no fold 6"), (1, 1, "at least 2"), (1, 9, "table has 8")],
)
def test_folds_that_do_not_exist(number, folds, message):
    with pytest.raises(BadInputError, match=message):
        fold([f"p{index}" for index in range(8)], number, folds)


def test_a_fold_is_written_with_a_slash():
    assert parse_fold("2/5") == (2, 5)
    for text in ("2", "2/", "two/5", "2:5"):
        with pytest.raises(UsageError, match="1/5 for example"):
            parse_fold(text)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_together_draw_the_batches_of_one(processes):
    alone, size = EpochShuffle(12, seed=5), 2
    shared = [EpochShuffle(12, seed=5, rank=rank, processes=processes) for rank in range(processes)]
    for epoch in range(3):
        for sampler in (alone, *shared):
            sampler.set_epoch(epoch)
        order, orders = list(alone), [list(sampler) for sampler in shared]
        assert sorted(order) == list(range(12))
        for start in range(0, 12 // processes, size):
            together = {index for part in orders for index in part[start : start + size]}
            assert together == set(order[start * processes : (start + size) * processes])


def test_shares_are_equally_long_and_leave_nobody_out():
    shares = [list(EpochShuffle(7, rank=rank, processes=3)) for rank in range(3)]
    assert [len(share) for share in shares] == [3, 3, 3]
    assert set().union(*shares) == set(range(7))


def test_a_capped_validation_spreads_over_the_subjects():
    assert spread(list("abcdefghi"), 3) == ["a", "e", "i"]
    assert spread(list("abc"), 5) == ["a", "b", "c"]
    assert spread(list("abc"), None) == ["a", "b", "c"]


def keeper(name: str, figures: list[float], patience: int | None = None):
    """A KeepBest that saw these figures, one per epoch; the weights are the epoch's number."""
    best = KeepBest(Monitor(name), patience)
    trainer = SimpleNamespace(current_epoch=0, should_stop=False)
    for epoch, value in enumerate(figures):
        trainer.current_epoch = epoch
        state = {"weight": torch.tensor([float(epoch)])}
        generator = SimpleNamespace(package_state=lambda state=state: state)
        best.on_validation_end(trainer, SimpleNamespace(figures={name: value}, best_generator=generator))
        if trainer.should_stop:
            break
    return best, trainer


def test_the_best_weights_are_of_the_best_figure_whatever_its_direction():
    errors, _ = keeper("validation/MAE", [3.0, 1.0, 2.0, 1.0])
    assert (errors.epoch, errors.value, float(errors.weights["weight"])) == (1, 1.0, 1.0)
    likeness, _ = keeper("validation/SSIM", [0.3, float("nan"), 0.9, 0.8])
    assert (likeness.epoch, likeness.value, float(likeness.weights["weight"])) == (2, 0.9, 2.0)


def test_patience_counts_validations_without_progress_and_survives_a_checkpoint():
    figures = [5.0, 4.0, 4.5, 4.4, 4.3, 1.0]
    best, trainer = keeper("validation/MAE", figures, patience=3)
    assert (trainer.current_epoch, best.epoch, best.stopped) == (4, 1, True)
    half, _ = keeper("validation/MAE", figures[:3], patience=3)
    again = KeepBest(Monitor("validation/MAE"), 3)
    again.load_state_dict(half.state_dict())
    assert (again.waited, again.value, float(again.weights["weight"])) == (1, 4.0, 1.0)


def test_processes_started_from_outside_are_recognized():
    assert started_processes({}) is None
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "5"}
    assert started_processes(torchrun) == (4, 2)
    slurm = {"SLURM_NTASKS": "6", "SLURM_NNODES": "3", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"}
    assert started_processes(slurm) == (2, 3)
    assert started_processes({**slurm, "SLURM_JOB_NAME": "bash"}) is None


def test_a_helper_waits_for_the_first_process_s_files_and_gives_up_in_words(tmp_path):
    pair = cache.Pair(Visit("p"), tmp_path / "p.safetensors")
    with pytest.raises(ModalitySynthesisError, match="see the same folder"):
        cache._wait_for([pair], patience=0.05, pause=0.01)
    row = cache.Row((), again=True)
    cache._write_row(pair.path, row)
    assert cache._wait_for([pair], patience=0.05) == {pair.path: row}


def test_losses_are_named_with_their_feature_network_and_its_hash():
    network = {"name": "vgg16", "file": "vgg16.safetensors", "sha256": "0123456789abcdef" * 4}
    terms = [
        {"name": "mse", "weight": 1.0, "parameters": {}},
        {"name": "perceptual-2.5d", "weight": 0.5, "parameters": {"chunk": 8}, "feature_network": network},
        {"name": "perceptual-2d", "weight": 0.25, "parameters": {}, "feature_network": network},
    ]
    facts = RunFacts(None, 1, "CPU", "32-true", terms)
    assert facts.loss_lines()[0] == "mse x 1"
    assert facts.loss_lines()[1] == "perceptual-2.5d x 0.5; chunk 8; features of vgg16 (SHA-256 0123456789ab...)"
    assert facts.for_card()["feature_networks"] == [network]


def test_the_difference_s_colors_end_at_a_round_figure_beyond_nearly_all_voxels():
    window = (0.0, 2.0)
    assert difference_limit(np.linspace(-0.15, 0.15, 1001), window) == pytest.approx(0.2)
    assert difference_limit(np.array([9.0]), window) == 2.0
    assert difference_limit(np.zeros(0), window) > 0
