"""What a user has after installing a wheel: the package and what ships with it, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> list[str]:
    """The command, installed from a built wheel into a fresh environment; its dependencies are this one's."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(REPOSITORY)]
    subprocess.run(build, check=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    places = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                            capture_output=True, text=True, check=True)  # fmt: skip
    # Only as a place to import from: its own .pth files, and with them this checkout, are not read.
    Path(places.stdout.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    wheel = next(folder.glob("*.whl"))
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    return [str(folder / "venv" / "bin" / "modality-synthesis")]


def run(program: list[str], *arguments: str, folder: Path) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run([*program, *arguments], cwd=folder, env=variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.long
def test_models_recipes_and_sample_are_there(program, tmp_path):
    assert "demo-t1w-fdg" in run(program, "models", "list", folder=tmp_path)
    assert "intact" in run(program, "models", "verify", "demo-t1w-fdg", folder=tmp_path)
    recipes = run(program, "recipes", "list", folder=tmp_path)
    assert "drunet/34-bce-T1w" in recipes
    run(program, "recipes", "copy", "drunet/34-bce-T1w", "-o", "mine", folder=tmp_path)
    assert (tmp_path / "mine" / "drunet" / "_base.yaml").exists()
    assert "`training.epochs`" in run(program, "recipes", "keys", folder=tmp_path)
    run(program, "sample", "-o", "head.nii.gz", folder=tmp_path)
    doctor = run(program, "doctor", folder=tmp_path)
    assert str(REPOSITORY) not in doctor
    assert "changed" not in doctor
    run(program, "synthesize", "head.nii.gz", "--to", "FDG-PET", "-o", "pet.nii.gz", folder=tmp_path)
    assert (tmp_path / "pet.nii.gz").exists()
