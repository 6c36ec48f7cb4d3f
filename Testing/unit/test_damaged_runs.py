"""Damaged checkpoints, run folders and foreign checkpoints: one line with the way out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from modality_synthesis.errors import BadInputError
from modality_synthesis.training.folder import RunFolder
from modality_synthesis.training.importing import _read


@pytest.fixture
def run(tmp_path) -> RunFolder:
    """What a run leaves, without the run."""
    folder = RunFolder(tmp_path / "run")
    folder.checkpoint.parent.mkdir(parents=True)
    state = {"weight": torch.randn(64, 64, generator=torch.Generator().manual_seed(0))}
    content = {"state_dict": state, "optimizer_states": [{}], "epoch": 2, "global_step": 8, "loops": {}}
    torch.save(content, folder.checkpoint)
    for name in ("splits.json", "run.json", "recipe.json"):
        (folder.path / name).write_text("{}")
    save_file({"0.source": np.zeros((2, 2, 2), np.float16)}, folder.path / "examples.safetensors")
    return folder


def assert_one_line(refusal: pytest.ExceptionInfo, name: str) -> None:
    text = str(refusal.value)
    assert name in text
    assert "\n" not in text


def damages(content: bytes) -> dict[str, bytes]:
    flipped = bytearray(content)
    for place in range(len(content) // 4, len(content) // 2, 97):
        flipped[place] ^= 0xFF
    return {
        "empty": b"",
        "half": content[: len(content) // 2],
        "text": b"<html>Not found</html>",
        "zeros": bytes(len(content)),
        "flipped": bytes(flipped),
    }


@pytest.mark.parametrize("damage", ["empty", "half", "text", "zeros", "flipped"])
def test_a_damaged_checkpoint_is_not_resumed(run, damage):
    run.check_checkpoint()
    run.checkpoint.write_bytes(damages(run.checkpoint.read_bytes())[damage])
    with pytest.raises(BadInputError, match=r"last\.ckpt is damaged: .*train again without --resume") as refusal:
        run.check_checkpoint()
    assert_one_line(refusal, "last.ckpt")


def test_a_checkpoint_of_something_else_is_named(run):
    torch.save({"model": {}}, run.checkpoint)
    with pytest.raises(BadInputError, match="lacks epoch, global_step"):
        run.check_checkpoint()


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b"[" * 100_000, b'{"odd": 1}'])
@pytest.mark.parametrize("name", ["splits.json", "run.json", "recipe.json"])
def test_damaged_run_files_are_named(run, name, content):
    (run.path / name).write_bytes(content)
    read = {"splits.json": run.split, "run.json": run.facts, "recipe.json": run.recipe}[name]
    with pytest.raises(BadInputError) as refusal:
        read()
    assert_one_line(refusal, name)


@pytest.mark.parametrize("damage", ["empty", "half", "text", "zeros"])
def test_damaged_examples_are_named(run, damage):
    path = run.path / "examples.safetensors"
    path.write_bytes(damages(path.read_bytes())[damage])
    with pytest.raises(BadInputError, match="is damaged") as refusal:
        run.examples()
    assert_one_line(refusal, "examples.safetensors")


@pytest.mark.parametrize("damage", ["empty", "half", "text", "zeros", "flipped"])
def test_a_damaged_foreign_checkpoint_is_refused(tmp_path, damage):
    path = tmp_path / "model.pt"
    torch.save({"model": {"model.weight": torch.randn(64, 64)}}, path)
    content = damages(path.read_bytes())[damage]
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="read safely") as refusal:
        _read(path)
    assert_one_line(refusal, "model.pt")


def test_the_folder_of_no_run_says_so(tmp_path):
    with pytest.raises(BadInputError, match="holds no training run"):
        RunFolder(tmp_path).split()
