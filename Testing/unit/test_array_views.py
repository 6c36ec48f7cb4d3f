"""A NumPy view of a SimpleITK image is memory of that image: whoever takes one keeps the image.

SimpleITK's `GetArrayViewFromImage` holds no reference. A view of a temporary, or one that outlives its image, reads
memory that was given back: often still unchanged, so that nothing is noticed until an allocator reuses it.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PLACES = (
    "Training",
    "MRItoPETSynthesis",
    "CTtoMRSynthesis",
    "Resources/Scripts",
    "Testing",
)
_VIEW = "GetArrayViewFromImage"


def faults(source: str) -> list[str]:
    """What a Python source does with views that it must not, each with its line."""
    tree = ast.parse(source)
    found = []
    for scope in ast.walk(tree):
        if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Module)):
            found += list(_faults_of(scope))
    return sorted(set(found))


def _faults_of(scope: ast.AST) -> Iterator[str]:
    nodes = list(_own_nodes(scope))
    if isinstance(scope, ast.Lambda) and _is_view(scope.body):
        yield f"line {scope.lineno}: a view is returned"
    views: dict[str, tuple[str, int]] = {}  # name of the view -> name and line of the image
    for node in nodes:
        if _is_view_call(node) and not (node.args and isinstance(node.args[0], ast.Name)):
            yield f"line {node.lineno}: a view of a temporary"
        if isinstance(node, ast.Assign) and _is_view(node.value):
            image = _image_of(node.value)
            for target in node.targets:
                if isinstance(target, ast.Name):
                    views[target.id] = (image, node.lineno)
                elif not isinstance(target, ast.Tuple):
                    yield f"line {node.lineno}: a view is kept where its image may not be"
    for node in nodes:
        if isinstance(node, (ast.Return, ast.Yield)) and node.value is not None:
            kept = node.value
            if _is_view(kept) or (isinstance(kept, ast.Name) and kept.id in views):
                yield f"line {node.lineno}: a view is returned"
        rebound = node.id if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)) else None
        for view, (image, line) in views.items():
            if rebound == image and node.lineno > line and _is_used_after(nodes, view, node.lineno):
                yield f"line {node.lineno}: {image} is replaced while the view {view} of it is in use"


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of the functions inside it."""
    stack = list(ast.iter_child_nodes(scope))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            stack += ast.iter_child_nodes(node)


def _is_view_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == _VIEW


def _is_view(node: ast.AST) -> bool:
    """A view, or a slice, transpose or reshape of one, which NumPy makes without copying."""
    while True:
        if _is_view_call(node):
            return True
        if (isinstance(node, ast.Subscript) and _is_basic(node.slice)) or (
            isinstance(node, ast.Attribute) and node.attr == "T"
        ):
            node = node.value
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("transpose", "reshape", "ravel", "squeeze", "view")
        ):
            node = node.func.value
        else:
            return False


def _is_basic(index: ast.AST) -> bool:
    """Slices and numbers; with an array as index NumPy copies."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    return all(isinstance(part, (ast.Slice, ast.Constant, ast.UnaryOp)) for part in parts)


def _image_of(node: ast.AST) -> str:
    call = next(part for part in ast.walk(node) if _is_view_call(part))
    return call.args[0].id if call.args and isinstance(call.args[0], ast.Name) else ""


def _is_used_after(nodes: list[ast.AST], name: str, line: int) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load) and node.lineno > line
        for node in nodes
    )


def sources() -> list[Path]:
    return [path for place in PLACES for path in sorted((REPOSITORY / place).rglob("*.py"))]


def test_there_is_something_to_look_at() -> None:
    assert sum(_VIEW in path.read_text(encoding="utf-8") for path in sources()) > 10


@pytest.mark.parametrize(
    "source",
    [
        "a = sitk.GetArrayViewFromImage(distance(brain)) < 3",
        "a = sitk.GetArrayViewFromImage(state.image).min()",
        "a = GetArrayViewFromImage(image + 1)",
        "def f(image):\n    return sitk.GetArrayViewFromImage(image)",
        "def f(image):\n    return sitk.GetArrayViewFromImage(image)[::2].T",
        "def f(image):\n    v = sitk.GetArrayViewFromImage(image)\n    return v",
        "f = lambda image: sitk.GetArrayViewFromImage(image)",
        "def f(image):\n    v = sitk.GetArrayViewFromImage(image)\n    image = g(image)\n    return v.sum()",
        "def f(image):\n    v = sitk.GetArrayViewFromImage(image)\n    del image\n    return v.sum()",
        "def f(self, image):\n    self.v = sitk.GetArrayViewFromImage(image)",
    ],
)
def test_the_lint_finds(source: str) -> None:
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "def f(image):\n    return float(sitk.GetArrayViewFromImage(image).min())",
        "def f(image, inside):\n    return sitk.GetArrayViewFromImage(image)[inside]",
        "def f(image):\n    v = sitk.GetArrayViewFromImage(image) > 0\n    image = g(image)\n    return v",
    ],
)
def test_the_lint_passes(source: str) -> None:
    assert not faults(source)


def test_no_view_of_a_temporary_and_none_that_outlives_its_image() -> None:
    found = {
        str(path.relative_to(REPOSITORY)): wrong
        for path in sources()
        if (wrong := faults(path.read_text(encoding="utf-8")))
    }
    assert not found


# glibc fills freed memory with this byte and gives large blocks back at once: what is read too late is wrong or gone.
_UNFORGIVING = {"MALLOC_PERTURB_": "165", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
_CT_CHAIN = """
import numpy as np, SimpleITK as sitk
from modality_synthesis.preprocessing.ct import anchor_shift, remove_surroundings
from modality_synthesis.preprocessing.parameters import CTAnchor, CTHead
from modality_synthesis.preprocessing.hounsfield import check_hounsfield
z, y, x = np.ogrid[-40:40, -48:48, -40:40]
radius = np.sqrt((z / 34) ** 2 + (y / 42) ** 2 + (x / 34) ** 2)
head = np.select([radius < 0.85, radius < 0.93, radius < 1], [30.0, 1200.0, 40.0], -1000.0).astype(np.float32)
head += np.random.default_rng(0).normal(0, 3, head.shape).astype(np.float32)
image = sitk.GetImageFromArray(head)
image.SetSpacing((2.0, 2.0, 2.0))
check_hounsfield(image, "phantom")
cleaned = remove_surroundings(image, CTHead())
brain = sitk.GetImageFromArray((radius < 0.85).astype(np.uint8))
brain.CopyInformation(image)
for _ in range(3):
    print(round(anchor_shift(cleaned, brain, CTAnchor()) + 30, 1))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the switches are glibc's")
def test_the_ct_chain_reads_no_freed_memory() -> None:
    environment = {**os.environ, **_UNFORGIVING}
    done = subprocess.run([sys.executable, "-c", _CT_CHAIN], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [float(line) for line in done.stdout.split()]
    from modality_synthesis.preprocessing.parameters import CTAnchor

    assert found == pytest.approx([CTAnchor().deep_brain_hu] * 3, abs=1.0)


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the switches are glibc's")
@pytest.mark.parametrize(
    "suite", ["test_volumes_reading", "test_volumes_nifti", "test_volumes_dicom", "test_ct", "test_preprocessing"]
)
def test_readers_and_preprocessing_read_no_freed_memory(suite: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"Testing/unit/{suite}.py"]
    environment = {**os.environ, **_UNFORGIVING}
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
