"""A wrong path, option or recipe key is answered before anything heavy is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = str(REPOSITORY / "Training" / "recipes" / "demo-t1w-fdg.yaml")
HEAVY = ("torch", "monai", "lightning", "SimpleITK", "scipy", "matplotlib", "pandas")

# Arguments, exit code, and what the one line must name. HERE is a file that exists, OUT a folder for outputs.
CASES = [
    ("synthesize missing.nii.gz --to FDG-PET -o OUT/o.nii.gz", 1, "missing.nii.gz"),
    ("synthesize HERE --to FDG-PETT -o OUT/o.nii.gz", 1, "FDG-PETT"),
    ("synthesize HERE --model demo-x -o OUT/o.nii.gz", 1, "demo-x"),
    ("synthesize HERE --to FDG-PET -o OUT/o.txt", 1, "o.txt"),
    ("synthesize HERE --to FDG-PET -o OUT/o.nii --device gpu", 2, "gpu"),
    ("synthesize HERE --to FDG-PET -o OUT/o.nii --space moon", 2, "moon"),
    ("synthesize HERE --to FDG-PET -o OUT/o.nii --clinical age", 1, "NAME=VALUE"),
    ("synthesize HERE --to FDG-PET -o OUT/o.nii --progress moon", 2, "moon"),
    ("synthesize HERE -o OUT/o.nii", 2, "--to"),
    ("batch missing.csv --to FDG-PET -o OUT/b", 1, "missing.csv"),
    ("compare missing.nii.gz HERE", 1, "missing.nii.gz"),
    ("compare HERE HERE --report", 2, "-o"),
    ("suvr missing.nii.gz --template-space -o OUT/s.csv", 1, "missing.nii.gz"),
    ("suvr HERE -o OUT/s.csv", 2, "--template-space"),
    ("suvr HERE --template-space --reference-region moon -o OUT/s.csv", 2, "moon"),
    ("suvr HERE --template-space --tracer moon -o OUT/s.csv", 2, "moon"),
    ("export missing.nii.gz -o OUT/d", 1, "missing.nii.gz"),
    ("export HERE --format moon -o OUT/d", 2, "moon"),
    ("cohort missing -o OUT/c.tsv", 1, "missing"),
    ("align missing.csv --fixed CT --moving T1w -o OUT/a", 1, "missing.csv"),
    ("simulate -n 3 --modalities moon -o OUT/s", 2, "moon"),
    ("train missing.yaml", 1, "missing.yaml"),
    (f"train {RECIPE} training.epoch=5 -o OUT/r", 1, "epochs"),
    (f"train {RECIPE} generator.name=moon -o OUT/r", 1, "moon"),
    (f"train {RECIPE} losses.0.name=moon -o OUT/r", 1, "moon"),
    (f"train {RECIPE} --cohort missing.csv -o OUT/r", 1, "missing.csv"),
    (f"train {RECIPE} --cohort HERE start_from=moon -o OUT/r", 1, "moon"),
    (f"train {RECIPE} --accelerator moon -o OUT/r", 2, "moon"),
    (f"train {RECIPE} --fold x -o OUT/r", 2, "1/5"),
    ("report missing", 1, "missing"),
    ("evaluate missing.csv --model demo-t1w-fdg -o OUT/e", 1, "missing.csv"),
    ("evaluate HERE --model demo-x -o OUT/e", 1, "demo-x"),
    ("evaluate HERE --model demo-t1w-fdg --split moon -o OUT/e", 2, "moon"),
    ("evaluate HERE -o OUT/e", 2, "--model"),
    ("models show demo-x", 1, "demo-x"),
    ("models import missing.pt --config missing.yaml -o OUT/m", 1, "missing.pt"),
    ("figures filters demo-x -o OUT/f.png", 1, "demo-x"),
    ("figures curves missing -o OUT/f.png", 1, "missing"),
    ("figures difference missing.nii HERE -o OUT/f.png", 1, "missing.nii"),
    ("figures profile CT=missing.nii -o OUT/f.png", 1, "missing.nii"),
    ("figures slices missing.nii HERE --mask HERE --range 0,1 -o OUT/f.json", 1, "missing.nii"),
    ("figures folds missing -o OUT/f.md", 1, "missing"),
]

SCRIPT = """
import json, sys
from typer.testing import CliRunner
from modality_synthesis.cli import app

heavy = json.loads(sys.argv[1])
for line in sys.stdin.read().splitlines():
    result = CliRunner().invoke(app, line.split())
    loaded = [name for name in heavy if name in sys.modules]
    print(json.dumps([result.exit_code, result.stderr, loaded]))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, list]:
    """Every case's exit code, standard error, and heavy modules loaded so far; all in one fresh process."""
    folder = tmp_path_factory.mktemp("quick")
    here = folder / "here.nii.gz"
    here.write_bytes(b"not looked into")
    lines = [line.replace("HERE", str(here)).replace("OUT", str(folder)) for line, _, _ in CASES]
    command = [sys.executable, "-c", SCRIPT, json.dumps(HEAVY)]
    ran = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True, cwd=folder)
    assert sorted(path.name for path in folder.rglob("*")) == ["here.nii.gz"]
    return dict(zip((line for line, _, _ in CASES), map(json.loads, ran.stdout.splitlines()), strict=True))


@pytest.mark.parametrize(("line", "code", "named"), CASES, ids=[line.replace(RECIPE, "R") for line, _, _ in CASES])
def test_refused_at_once(answers, line, code, named):
    exit_code, errors, loaded = answers[line]
    assert exit_code == code, errors
    told = [text for text in errors.splitlines() if text.startswith("Error: ")]
    assert len(told) == 1
    assert named in told[0]
    assert loaded == []


def test_an_answer_needs_little_more_than_python_itself(tmp_path):
    """Nearly all of its time is that of its imports: they are those of the command line's own libraries."""

    def imports(code: str) -> set[str]:
        code += "\nimport sys\nprint(*sys.modules)"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
        return set(ran.stdout.split())

    refusal = """
        import sys
        sys.argv = ["modality-synthesis", "synthesize", "no.nii", "--to", "FDG-PET", "-o", "o.nii"]
        from modality_synthesis.__main__ import main
        try:
            main()
        except SystemExit as end:
            assert end.code == 1
    """
    base = imports("import typer, rich.console, pydantic")
    added = imports(textwrap.dedent(refusal)) - base
    foreign = {name.partition(".")[0] for name in added if name[0] != "_"} - sys.stdlib_module_names
    own = {name.partition(".")[0] for name in base}
    assert foreign - own <= {"modality_synthesis", "click", "shellingham", "annotated_types"}
    assert len(added) < len(base)


def test_the_version_is_an_option_too():
    from typer.testing import CliRunner

    from modality_synthesis import __version__
    from modality_synthesis.cli import app

    assert CliRunner().invoke(app, ["--version"]).stdout.strip() == __version__
