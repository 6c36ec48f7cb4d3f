"""What may be loaded when: start-up stays quick."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "monai", "SimpleITK", "lightning", "matplotlib", "scipy")


@pytest.mark.parametrize(
    "code",
    [
        "import modality_synthesis",
        "import modality_synthesis.models",
        "import modality_synthesis.cli",
        "import sys; sys.argv = ['modality-synthesis', 'synthesize', '--help']\n"
        "from modality_synthesis.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
    ],
)
def test_light_imports_load_nothing_heavy(code):
    heavy = HEAVY if "models" not in code else ("torch", "monai", "lightning")
    report = f"{code}\nimport sys\nprint('LOADED', [m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith("LOADED []")


def test_public_functions_are_reachable():
    import modality_synthesis

    for name in modality_synthesis.__all__:
        assert getattr(modality_synthesis, name) is not None
    with pytest.raises(AttributeError):
        _ = modality_synthesis.nothing
