"""A wrong path, option or recipe key is answered before anything heavy is loaded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = str(REPOSITORY / "Training" / "recipes" / "demo-t1w-fdg.yaml")
HEAVY = ("torch", "monai", "lightning", "SimpleITK", "scipy", "matplotlib", "pandas")

# Arguments, exit code, what the one line must name. HERE is a file that exists, TEXT one of text, OUT for outputs.
CASES = [
    ("synthesize missing.nii.gz --to FDG-PET -o OUT/o.nii.gz", 1, "missing.nii.gz"),
    ("synthesize HERE --to FDG-PETT -o OUT/o.nii.gz", 2, "Did you mean FDG-PET?"),
    ("synthesize HERE --model demo-x -o OUT/o.nii.gz", 1, "demo-x"),
    ("synthesize HERE --to FDG-PET -o OUT/o.txt", 2, "o.txt"),
    ("synthesize HERE --to FDG-PET -o OUT/o.nii --device gpu", 2, "gpu"),
    ("synthesize HERE --to FDG-PET -o OUT/o.nii --space moon", 2, "moon"),
    ("synthesize HERE --to FDG-PET -o OUT/o.nii --clinical age", 2, "NAME=VALUE"),
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
    (f"train {RECIPE} generator.parameters.chanels=[4,8] -o OUT/r", 1, "Did you mean 'channels'?"),
    (f"train {RECIPE} generator.parameters.dropout=5 -o OUT/r", 1, "dropout"),
    (f"train {RECIPE} losses.0.parameters.planee=axial -o OUT/r", 1, "planee"),
    (f"train {RECIPE} losses.9.name=l1 -o OUT/r", 2, "9"),
    (f"train {RECIPE} epochs -o OUT/r", 2, "KEY=VALUE"),
    (f"train {RECIPE} --fold 6/5 -o OUT/r", 2, "no fold 6"),
    (f"train {RECIPE} --fold 1/5 --folds 5 -o OUT/r", 2, "not both"),
    (f"train {RECIPE} --num-nodes 2 -o OUT/r", 2, "--num-nodes"),
    (f"train {RECIPE} --strategy moon -o OUT/r", 2, "moon"),
    (f"train {RECIPE} --cohort HERE -o HERE", 2, "is a file"),
    (f"train {RECIPE} --devices 0 -o OUT/r", 2, "--devices"),
    (f"train {RECIPE} --devices x -o OUT/r", 2, "--devices"),
    (f"train {RECIPE} --folds 1 -o OUT/r", 2, "--folds"),
    ("synthesize HERE --to FDG-PET --from moon -o OUT/o.nii", 2, "moon"),
    ("synthesize HERE --to FDG-PET -o OUT", 2, "is a folder"),
    ("synthesize HERE --to FDG-PET -o OUT/o.nii --samples 0", 2, "--samples"),
    ("synthesize HERE --to FDG-PET -o OUT/o.nii --preview OUT/p.jpg", 2, "p.jpg"),
    ("synthesize HERE --to FDG-PET -o OUT/o.nii --uncertainty OUT/u.txt", 2, "u.txt"),
    ("batch HERE --to FDG-PET -o HERE", 2, "is a file"),
    ("batch HERE --to FDG-PET -o HERE/below", 2, "is a file"),
    ("batch HERE --to moon -o OUT/b", 2, "moon"),
    ("compare HERE HERE -o HERE", 2, "is a file"),
    ("compare HERE HERE --difference OUT/d.txt", 2, "d.txt"),
    ("compare HERE HERE --data-range 0", 2, "--data-range"),
    ("compare HERE HERE --data-range nan", 2, "--data-range"),
    ("suvr HERE --template-space -o OUT/s.xlsx", 2, "s.xlsx"),
    ("suvr HERE --template-space -o OUT/s.csv --image OUT/i.jpg", 2, "i.jpg"),
    ("suvr HERE --template-space -o OUT/s.csv --pvc-fwhm -1", 2, "--pvc-fwhm"),
    ("export HERE -o HERE", 2, "is a file"),
    ("export HERE --series 1 -o OUT/d", 2, "--source-dicom"),
    ("cohort HERE -o OUT/c.xlsx", 2, "c.xlsx"),
    ("cohort HERE --check -o OUT/c.csv", 2, "c.csv"),
    ("cohort HERE --check --require moon", 2, "moon"),
    ("align HERE --fixed moon --moving T1w -o OUT/a", 2, "moon"),
    ("align HERE --fixed CT --moving moon -o OUT/a", 2, "moon"),
    ("align HERE --fixed CT --moving CT -o OUT/a", 2, "--moving"),
    ("align HERE --fixed CT --moving T1w -o HERE", 2, "is a file"),
    ("simulate -n 3 --modalities , -o OUT/s", 2, "--modalities"),
    ("simulate -n 3 -o HERE", 2, "is a file"),
    ("evaluate HERE --model demo-t1w-fdg -o HERE", 2, "is a file"),
    ("evaluate HERE --synthetic made --to moon -o OUT/e", 2, "moon"),
    ("evaluate HERE --model demo-t1w-fdg --classes moon -o OUT/e", 2, "moon"),
    ("evaluate HERE --model demo-t1w-fdg --data-range -3 -o OUT/e", 2, "--data-range"),
    ("evaluate HERE --model demo-t1w-fdg --device moon -o OUT/e", 2, "moon"),
    ("models list --to moon", 2, "moon"),
    ("models export demo-t1w-fdg -o OUT/m.tar", 2, "m.tar"),
    ("models export demo-x -o OUT/m.zip", 1, "demo-x"),
    ("models install OUT/no.zip", 1, "no.zip"),
    ("models install HERE --sha256 moon", 2, "64 hexadecimal"),
    ("models import HERE --config HERE -o HERE", 2, "is a file"),
    ("models remove demo-x", 1, "demo-x"),
    ("models verify demo-x", 1, "demo-x"),
    ("recipes show demo-x", 1, "demo-x"),
    ("recipes copy demo-pasta -o HERE", 2, "is a file"),
    ("recipes keys moon", 2, "moon"),
    ("sample -o OUT/s.nii", 2, "s.nii"),
    ("figures filters demo-t1w-fdg -o OUT/f.jpg", 2, "f.jpg"),
    ("figures features demo-t1w-fdg HERE -o OUT/f.txt", 2, "f.txt"),
    ("figures features demo-t1w-fdg HERE --slice -1 -o OUT/f.png", 2, "--slice"),
    ("figures curves OUT -o OUT/f", 2, "ending"),
    ("figures difference HERE HERE -o OUT/f.gif", 2, "f.gif"),
    ("figures difference HERE HERE --limit 0 -o OUT/f.png", 2, "--limit"),
    ("figures profile HERE -o OUT/f.png", 2, "NAME=FILE"),
    ("figures profile CT=HERE --direction moon -o OUT/f.png", 2, "moon"),
    ("figures profile CT=HERE --point 1,2 -o OUT/f.png", 2, "1,2"),
    ("figures slices HERE HERE --mask HERE --range 1,0 -o OUT/f.json", 2, "1,0"),
    ("figures slices HERE HERE --mask HERE --range 0,1 -o OUT/f.txt", 2, "f.txt"),
    ("figures folds OUT -o OUT/f.txt", 2, "f.txt"),
    ("synthesize TEXT --to FDG-PET -o OUT/o.nii", 1, "notes.txt is not a volume"),
    ("compare HERE HERE --mask TEXT", 1, "notes.txt is not a volume"),
    ("compare HERE HERE --mri TEXT", 1, "notes.txt is not a volume"),
    ("suvr HERE --mri TEXT -o OUT/s.csv", 1, "notes.txt is not a volume"),
    ("suvr HERE --template-space --reference-mask TEXT -o OUT/s.csv", 1, "notes.txt is not a volume"),
    ("export TEXT -o OUT/d", 1, "notes.txt is not a volume"),
    ("figures slices HERE HERE --mask TEXT --range 0,1 -o OUT/f.json", 1, "notes.txt is not a volume"),
    ("figures slices HERE HERE --mask HERE --range 0,inf -o OUT/f.json", 2, "0,inf"),
    ("figures profile CT=HERE --point nan,0,0 -o OUT/f.png", 2, "nan,0,0"),
    ("simulate -n 99999999999999999999 -o OUT/s", 2, "--count"),
    ("train TEXT -o OUT/r", 1, "notes.txt: a recipe is a YAML mapping"),
    ("train HERE -o OUT/r", 1, "is no recipe"),
    ("train OUT -o OUT/r", 1, "is a directory"),
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
    before = set(sys.modules)
    result = CliRunner().invoke(app, line.split())
    loaded = [name for name in heavy if name in sys.modules and name not in before]
    print(json.dumps([result.exit_code, result.stderr, loaded]))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, list]:
    """Every case's exit code, standard error, and heavy modules that it loaded; all in one fresh process."""
    folder = tmp_path_factory.mktemp("quick")
    here = folder / "here.nii.gz"
    here.write_bytes(b"\x8b, not looked into")
    text = tmp_path_factory.mktemp("texts") / "notes.txt"
    text.write_text("hello")
    places = {"HERE": here, "TEXT": text, "OUT": folder}
    lines = [re.sub("HERE|TEXT|OUT", lambda found: str(places[found.group()]), line) for line, _, _ in CASES]
    command = [sys.executable, "-c", SCRIPT, json.dumps(HEAVY)]
    ran = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True, cwd=folder)
    assert sorted(path.name for path in folder.rglob("*")) == ["here.nii.gz"]
    return dict(zip((line for line, _, _ in CASES), map(json.loads, ran.stdout.splitlines()), strict=True))


@pytest.mark.parametrize(("line", "code", "named"), CASES, ids=[line.replace(RECIPE, "R") for line, _, _ in CASES])
def test_refused_at_once(answers, line, code, named):
    exit_code, errors, loaded = answers[line]
    assert exit_code == code, errors
    # The parser's own refusals come in a frame, wrapped.
    told = [text for text in errors.splitlines() if text.startswith("Error: ")] or [" ".join(errors.split())]
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
