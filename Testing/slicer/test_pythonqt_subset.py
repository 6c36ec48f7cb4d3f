"""The Python that runs inside Slicer keeps to what PythonQt, and the oldest Python of a supported Slicer, can do."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import HEAVY, MODULES
from gui_files import GUI_FILES, ROOM

FROM_SLICER = {"slicer", "vtk", "qt", "ctk", "numpy", "modality_synthesis", "SampleData", "PyTorchUtils"}
# PythonQt has no decorators for signals, slots and properties, and a filter needs a subclass of a C++ class.
NOT_IN_PYTHONQT = {"Signal", "Slot", "Property", "eventFilter", "pyqtSignal", "emit", "staticMetaObject", "metaObject"}
# The application's look is the user's.
NOT_OURS = {"setStyleSheet", "styleSheet", "setPalette", "setFont"}
# `worker.py` and the worker of the self tests are processes of their own.
WORKERS = {"worker.py", "self_test_worker.py"}


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """The top-level packages that a file imports, and whether at module level."""
    top = set(map(id, getattr(tree, "body", [])))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], id(node) in top) for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], id(node) in top


def attributes(tree: ast.AST) -> set[str]:
    """Every attribute that is named."""
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def parse(path: Path) -> ast.AST:
    """As Python 3.9 reads it."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))


def faults(tree: ast.AST, name: str) -> Iterator[str]:
    """What a file of the panels must not contain."""
    for package, at_top in imports(tree):
        if package in {"PySide6", "PyQt5", "PySide2", "slicer_host", "pytest"}:
            yield f"imports {package}"
        if at_top and package in HEAVY:
            yield f"imports {package} when the panel opens"
        if at_top and package not in FROM_SLICER | set(HEAVY) and package not in sys.stdlib_module_names:
            yield f"imports {package}, which Slicer does not have"
    named = attributes(tree)
    yield from (f"uses {one}" for one in sorted(named & (NOT_IN_PYTHONQT | NOT_OURS)))
    if name != "self_test.py":
        # A test waits for what it started; a slot must not.
        if "processEvents" in named:
            yield "waits in a slot"
        if name not in WORKERS and any(
            isinstance(node, ast.Call) and called(node) == "time.sleep" for node in ast.walk(tree)
        ):
            yield "sleeps"
    for node in ast.walk(tree):
        if isinstance(node, getattr(ast, "Match", ())):
            yield "match needs Python 3.10"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield "bare except"
        if isinstance(node, ast.Call):
            yield from call_faults(node)
            if called(node) == "print" and name not in WORKERS:
                yield "calls print"
        if isinstance(node, ast.ClassDef) and any(called_name(base).startswith(("qt.", "ctk.")) for base in node.bases):
            yield f"{node.name} derives from a C++ class"
    yield from wrapped_faults(tree)


def call_faults(node: ast.Call) -> Iterator[str]:
    """What is wrong with a call."""
    name = called(node)
    if name.endswith((".connect", ".disconnect")):
        first = node.args[0] if node.args else None
        if not isinstance(first, ast.Constant) or not str(first.value).endswith(")"):
            yield f"a signal without its full signature: {ast.unparse(node)}"
    if name in ("_", "tr", "translate") and not all(isinstance(one, ast.Constant) for one in node.args):
        yield f"a text for translation is put together: {ast.unparse(node)}"
    if name == "zip" and any(keyword.arg == "strict" for keyword in node.keywords):
        yield "zip(strict=) needs Python 3.10"
    if name.startswith(("qt.", "ctk.")) and node.keywords:
        yield f"PythonQt takes no keywords: {ast.unparse(node)}"
    if name in ("exec", "eval"):
        yield f"calls {name}"
    if name.endswith(".exec") and not name.endswith("QProcess.exec"):
        yield "exec of a dialog is exec_ in PythonQt"


def wrapped_faults(tree: ast.AST) -> Iterator[str]:
    """Slicer evaluates the annotations of parameter nodes: new unions fail in them on Python 3.9."""
    postponed = any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in getattr(tree, "body", [])
    )
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        if postponed and any("parameterNodeWrapper" in ast.unparse(one) for one in node.decorator_list):
            yield f"{node.name}: Slicer reads the annotations themselves, not texts"
        if node.name.endswith(("Parameters", "ParameterNode")):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.annotation, ast.BinOp):
                    yield f"{node.name}.{field.target.id}: X | Y needs Python 3.10"


def called(node: ast.Call) -> str:
    """The dotted name of what is called."""
    return called_name(node.func)


def called_name(node: ast.AST) -> str:
    """A dotted name."""
    return ast.unparse(node)


@pytest.mark.parametrize("path", GUI_FILES, ids=lambda path: path.name)
def test_file_keeps_to_the_subset(path: Path) -> None:
    assert list(faults(parse(path), path.name)) == []


def test_every_file_is_covered() -> None:
    names = {path.relative_to(ROOM.parents[2]).as_posix() for path in GUI_FILES}
    assert {f"{name}/{name}.py" for name in MODULES} <= names
    for needed in ("slicer/self_test.py", "slicer/sections/base.py", "slicer/panel.py", "slicer/worker.py"):
        assert f"Training/modality_synthesis/{needed}" in names


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import PySide6", "PySide6"),
        ("import torch", "when the panel opens"),
        ("import requests", "does not have"),
        ("widget.clicked.connect(f)", "full signature"),
        ("widget.connect('clicked', f)", "full signature"),
        ("widget.connect(name, f)", "full signature"),
        ("class W(qt.QWidget): pass", "C++ class"),
        ("x = qt.Signal(int)", "uses Signal"),
        ("_(f'{a} b')", "put together"),
        ("try:\n  f()\nexcept:\n  pass", "bare except"),
        ("slicer.app.processEvents()", "waits in a slot"),
        ("time.sleep(1)", "sleeps"),
        ("label.setStyleSheet('a')", "setStyleSheet"),
        ("zip(a, b, strict=True)", "3.10"),
        ("qt.QLabel(text='a')", "no keywords"),
        ("print('a')", "calls print"),
        ("dialog.exec()", "exec_"),
        ("class AParameters:\n  a: int | None = None", "3.10"),
        (
            "from __future__ import annotations\n@parameterNodeWrapper\nclass AParameterNode:\n  a: int = 3",
            "annotations themselves",
        ),
    ],
)
def test_fault_is_found(code: str, fault: str) -> None:
    assert any(fault in one for one in faults(ast.parse(code), "x.py"))


def test_a_match_is_refused() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("match a:\n  case 1:\n    pass", feature_version=(3, 9))
