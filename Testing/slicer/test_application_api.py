"""Code, `.ui` files and host against the classes of the application (`slicer_host/slicer_api.json`)."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
import textwrap
import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import MODULES, REPOSITORY
from gui_files import GUI_FILES, UI_FILES


@pytest.fixture
def in_panel_code(app: Any) -> Iterator[Callable[..., Any]]:
    """Runs lines as the panels' code is run: with every attribute looked up in the application's classes."""
    from slicer_host import strict

    before = list(strict.violations)

    def run(code: str, **names: Any) -> Any:
        tree = strict.instrument(textwrap.dedent(code), "<test>")
        namespace = {**strict.HOOKS, **names}
        exec(compile(tree, "<test>", "exec"), namespace)
        return namespace.get("result")

    yield run
    strict.violations[:] = before


# The host refuses what the application lacks


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("qt.QComboBox().setNodeTypes([])", "QComboBox has no setNodeTypes"),
        ("qt.QComboBox().text", "QComboBox has no text"),
        ("qt.QLabel().text()", "QLabel.text is a property"),
        ("qt.QLabel().visble = False", "QLabel has no visble"),
        ("qt.QLabel().setText", "QLabel has no setText|"),
        ("qt.QWidget().x = 4", "QWidget.x cannot be set"),
        ("qt.QSpinBox().setRange(1, 2, 3)", "QSpinBox.setRange takes"),
        ("qt.QPushButton().connect('clicked(int)', print)", "no signal clicked(int)"),
        ("slicer.qMRMLNodeComboBox().connect('currentNodeChanged(QObject*)', print)", "no signal"),
        ("slicer.qMRMLNodeComboBox().noneEnable = True", "qMRMLNodeComboBox has no noneEnable"),
        ("ctk.ctkSliderWidget().setRange(0, 1)", "ctkSliderWidget has no setRange"),
        ("slicer.vtkMRMLVolume", "slicer has no vtkMRMLVolume"),
        ("slicer.mrmlScene.GetFirstNode2('x')", "vtkMRMLScene has no GetFirstNode2"),
        ("slicer.util.loadVolume('a', props={})", "props"),
        ("slicer.util.showPlot()", "slicer.util has no showPlot"),
        ("slicer.app.mainWindow()", "qSlicerApplication has no mainWindow"),
        ("slicer.modules.petviewer", "slicer.modules has no petviewer"),
        ("qt.Qt.AlignMiddle", "Qt has no AlignMiddle"),
        ("qt.QWebSocket", "qt has no QWebSocket"),
        ("qt.QUrl('a').toFile()", "QUrl has no toFile"),
        ("qt.QLabel().setPixmap(1, 2)", "QLabel.setPixmap"),
        ("ctk.ctkPathLineEdit().filters(3)", "is a property"),
        ("slicer.app.errors", "qSlicerApplication has no errors"),
    ],
)  # fmt: skip
def test_what_the_application_lacks_is_refused(in_panel_code: Any, code: str, why: str) -> None:
    import ctk
    import qt
    import slicer
    from slicer_host import strict

    wanted = why.rstrip("|")
    if why.endswith("|"):
        in_panel_code(code, qt=qt, slicer=slicer, ctk=ctk)  # it is there
        return
    with pytest.raises(strict.NotInTheApplication) as raised:
        in_panel_code(code, qt=qt, slicer=slicer, ctk=ctk)
    assert wanted in str(raised.value)
    assert strict.violations


def test_what_the_application_has_is_let_through(in_panel_code: Any) -> None:
    import ctk
    import qt
    import slicer

    assert in_panel_code(
        """
        label = qt.QLabel()
        label.text = "a"
        label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        slider = ctk.ctkSliderWidget()
        slider.setValue(3.0)
        box = slicer.qMRMLNodeComboBox()
        box.setMRMLScene(slicer.mrmlScene)
        box.addAttribute("vtkMRMLScalarVolumeNode", "a")
        table = qt.QTableWidget()
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        class Own:
            pass
        own = Own()
        own.anything = 4
        own.anything, other = 5, 6
        result = label.text, slider.value, own.anything, box.currentNode()
        """,
        qt=qt, ctk=ctk, slicer=slicer,
    ) == ("a", 3.0, 5, None)  # fmt: skip


def test_panel_code_is_loaded_under_this_rule(app: Any) -> None:
    from slicer_host import strict

    import modality_synthesis.slicer.display  # noqa: F401

    rooms = [module for name, module in sys.modules.items() if name.startswith("modality_synthesis.slicer")]
    modules = [sys.modules[name] for name in MODULES]
    assert len(rooms) > 10
    assert all(isinstance(module.__spec__.loader, strict.StrictLoader) for module in (*rooms, *modules))


# The host's stand-ins


def stand_ins() -> Iterator[tuple[type, str]]:
    """Each stand-in with the name of its class in the application."""
    from slicer_host import api, application, mrml, views, widgets, window

    for module in (application, views, widgets, mrml, window):
        for name, cls in vars(module).items():
            if isinstance(cls, type) and cls.__module__ == module.__name__:
                target = vars(cls).get("application_class", name)
                if target.startswith("vtk") or api.qt_class(target) is not None:
                    yield cls, target


def test_stand_ins_offer_nothing_that_the_application_lacks(app: Any) -> None:
    """What only tests use is named in `host_only`; panel code that uses it is refused all the same."""
    from slicer_host import api

    found = dict(stand_ins())
    assert len(found) > 15
    for cls, target in found.items():
        known = api.vtk_names(target) if target.startswith("vtk") else api.qt_class(target).names()
        own = {name for base in cls.__mro__ if base.__module__.startswith("slicer_host") for name in vars(base)}
        own |= instance_names(cls)
        helpers = {"application_class", "host_only", "cpp_signals", "staticMetaObject"} | set(
            getattr(cls, "host_only", ())
        )
        assert sorted(name for name in own - helpers - known if not name.startswith("_")) == [], cls.__name__
        for signal in getattr(cls, "cpp_signals", ()):
            assert signal in api.qt_class(target).signals, f"{cls.__name__}: {signal}"


def instance_names(cls: type) -> set[str]:
    """The attributes that a class's methods set on `self`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name) and node.value.id == "self"
    }  # fmt: skip


def test_scripted_module_classes_have_the_application_s_signatures(app: Any) -> None:
    from slicer_host import api, scripted_module

    for name, methods in api.content()["ScriptedLoadableModule"].items():
        cls = getattr(scripted_module, name)
        for method, function in vars(cls).items():
            if isinstance(function, types.FunctionType) and not method.startswith("_"):
                assert method in methods or hasattr(Exception, method), f"{name}.{method}"
        for method, signature in methods.items():
            offered = vars(cls).get(method)
            if offered is not None and not method.startswith("_"):
                wanted = api.python_signature(signature).parameters
                given = inspect.signature(offered).parameters
                assert len(given) <= len(wanted), f"{name}.{method}"


def test_widgets_are_as_large_as_in_the_application(app: Any) -> None:
    """Without contents, to a few pixels: what fits here fits there."""
    import ctk
    import qt
    import slicer
    from slicer_host import api

    classes = {widget.get("class") for path in UI_FILES for widget in ElementTree.parse(path).iter("widget")}
    assert len(classes) > 12
    for name in classes:
        room = ctk if name.startswith("ctk") else slicer if name.startswith("q") else qt
        widget = getattr(room, name)()
        here, there = plain(widget.minimumSizeHint), api.content()["size_hints_px"][name]["minimumSizeHint"]
        assert here.width() >= there[0] - 1, name
        assert here.height() >= there[1] - 3, name
        assert here.height() <= there[1] + 5, name
        assert plain(widget.minimumWidth) == api.content()["size_hints_px"][name]["minimumWidth"], name


def plain(value: Any) -> Any:
    """A property's value, or what the method of its name gives."""
    return value() if callable(value) else value


def test_abstract_classes_cannot_be_made(app: Any) -> None:
    import slicer
    from slicer_host import api

    names = api.content()["mrml_node_classes_abstract"]
    assert len(names) > 10
    for name in names:
        cls = getattr(slicer, name, None)
        if cls is not None:
            with pytest.raises(TypeError, match="abstract"):
                cls()


# The .ui files


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.stem)
def test_ui_files_use_what_the_application_has(path: Path) -> None:
    from slicer_host import api

    root = ElementTree.parse(path)
    classes = {widget.get("name"): widget.get("class") for widget in root.iter("widget")}
    for element in (*root.iter("widget"), *root.iter("layout")):
        described = api.qt_class(element.get("class"))
        assert described is not None, element.get("class")
        for given in element.findall("property"):
            name = given.get("name")
            if element.tag == "layout" and (name.endswith("Margin") or name in ("spacing", "horizontalSpacing")):
                continue  # of QUiLoader
            if given.get("stdset") == "0":
                continue  # a dynamic property
            member = described.member(name)
            designer_only = element.get("class") == "QLabel" and name == "buddy"
            assert designer_only or (member is not None and member.kind == "property" and member.writable), (
                f"{element.get('class')} {element.get('name')}: {name}"
            )
            check_enums(element.get("class"), given)
    for connection in root.iter("connection"):
        sender, signal, receiver, slot = (connection.findtext(key) for key in ("sender", "signal", "receiver", "slot"))
        assert signal in api.qt_class(classes[sender]).signals, signal
        assert slot in api.qt_class(classes[receiver]).slots, slot


def check_enums(class_name: str, given: ElementTree.Element) -> None:
    """The values of enums and sets that a property is given exist."""
    from slicer_host import api

    for value in (*given.findall("enum"), *given.findall("set")):
        for one in value.text.split("|"):
            room, _, name = one.rpartition("::")
            if room in ("", "Qt"):
                known = name in api.content()["qt_Qt_members"] or api.qt_class(class_name).member(name)
            else:
                # Qt 6 writes the enum between class and value.
                described = api.qt_class(room.partition("::")[0])
                known = described is None or described.member(name)
            assert known, one


# Names in the code, also where no test comes by


def known_names() -> set[str]:
    """Every name of the application, of Python, and of the libraries that the panels import."""
    import collections
    import csv
    import datetime
    import email.utils
    import hashlib
    import io
    import json as json_
    import re as re_
    import subprocess
    import urllib.request

    import numpy as np
    import vtk
    from slicer_host import api

    content = api.content()
    names: set[str] = set()
    for name in content["qt_classes"]:
        names |= api.qt_class(name.partition(" (")[0]).names() if api.qt_class(name.partition(" (")[0]) else set()
        names.add(name)
    for name in content["qt_value_classes"]:
        names |= {name, *api.value_class(name)}
    for name in content["mrml_vtk_classes"]:
        names |= api.vtk_names(name) | {name.removeprefix("vtk.")}
    names |= api.slicer_names() | set(content["slicer_util"]) | set(content["slicer_packaging"])
    names |= {name.lower() for name in content["modules_present"]} | set(content["qt_Qt_members"])
    names |= set(content["SampleDataLogic"]) | set(content["VTKObservationMixin"])
    names |= {name for methods in content["ScriptedLoadableModule"].values() for name in methods}
    for thing in (str, bytes, dict, list, set, tuple, float, int, Path, object, type, Exception, OSError, BaseException,
                  np, np.ndarray, np.linalg, np.random, np.random.Generator, ast, collections, datetime, json_, re_,
                  subprocess, subprocess.Popen, urllib.request, email.utils, sys, builtins, re_.Match, inspect, vtk,
                  sys.stdin, sys.stdin.buffer, vtk.vtkObject, vtk.vtkCommand, vtk.vtkCornerAnnotation,
                  vtk.vtkRendererCollection, vtk.vtkDataArray, hashlib.sha256(), csv.writer(io.StringIO()), vtk.vtkImageData, vtk.vtkChartXY, vtk.vtkAxis,
                  vtk.vtkTable, vtk.vtkVariant, vtk.vtkLookupTable, vtk.vtkMatrix4x4, vtk.vtkTextProperty):  # fmt: skip
        names |= set(dir(thing))
    return names


# What the file does not list: the parameter node wrapper, the database of DICOM files, the PyTorch extension.
UNLISTED = {
    *("connectGui", "disconnectGui", "allParameters", "unalteredType", "parameterNode"),
    *("fileForInstance", "instanceValue"),
    *("PyTorchUtilsLogic", "installTorch"),
    *("SampleDataLogic", "Qt"),
    # Of VTK's own vtkCoordinate, and of Qt's headers, which the file could not make.
    *("SetCoordinateSystemToNormalizedViewport",),
    *("QHeaderView", "Stretch", "ResizeToContents", "setSectionResizeMode"),
}


def library_names(trees: list[ast.AST]) -> set[str]:
    """The names of Python's own modules that the panels import, and of what these hold."""
    imported = {"os.path", "pathlib"}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names: set[str] = set()
    for name in imported:
        if name.partition(".")[0] not in sys.stdlib_module_names:
            continue
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue  # a class or function of its module
        names |= set(dir(module))
        for held in vars(module).values():
            if isinstance(held, type):
                names |= set(dir(held))
    return names


def vtk_names() -> set[str]:
    """The names of all of VTK's classes: the file has but a few."""
    import vtk

    classes = (getattr(vtk, name) for name in dir(vtk) if name.startswith("vtk"))
    return {name for cls in classes if isinstance(cls, type) for name in dir(cls)}


def test_every_name_in_the_panels_code_is_known_somewhere(app: Any) -> None:
    """A name that neither the application, Python, nor the code itself has is a typing error."""
    import unittest

    import qt
    import SimpleITK
    from slicer_host import api

    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in GUI_FILES}
    names = known_names() | UNLISTED | library_names(list(trees.values()))
    names |= set(dir(SimpleITK)) | set(dir(SimpleITK.Image)) | set(dir(unittest.TestCase))
    for tree in trees.values():
        names |= set(defined_in(tree))
    names |= {
        widget.get("name") for path in UI_FILES for widget in ElementTree.parse(path).iter() if widget.get("name")
    }
    package = REPOSITORY / "Training" / "modality_synthesis"
    imported = {
        node.module
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modality_synthesis.")
    }
    for module in imported:
        file = package.parent.joinpath(*module.split(".")).with_suffix(".py")
        if file.is_file():
            names |= set(defined_in(ast.parse(file.read_text(encoding="utf-8"))))
    names |= vtk_names() | api.unread_classes()
    # The file has no enums of these.
    for name in (*api.unread_classes(), *api.content()["qt_value_classes"]):
        cls = getattr(qt, name, None)
        names |= set(dir(cls)) if name in api.unread_classes() else set()
        for held in vars(cls).values() if isinstance(cls, type) else ():
            names |= set(getattr(held, "__members__", ()))
    unknown = [
        f"{path.name}:{node.lineno} {ast.unparse(node)}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr not in names and not node.attr.startswith("__")
    ]
    assert unknown == [], "\n".join(unknown)


def defined_in(tree: ast.AST) -> Iterator[str]:
    """The names that a file defines: functions, classes, attributes, fields, modules."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (part for alias in node.names for part in (alias.asname or alias.name).split("."))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if (
            isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        ):  # fmt: skip
            yield node.attr


def widget_class(node: ast.expr, widgets: dict[str, str]) -> str | None:
    """The class of `self.ui.name` and `ui.name`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Attribute, ast.Name)):
        owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
        if owner == "ui":
            return widgets.get(node.attr)
    return None


def test_widgets_of_ui_files_are_used_as_what_they_are() -> None:
    """Statically: also on lines that no test runs."""
    from slicer_host import api

    widgets = {
        widget.get("name"): widget.get("class")
        for path in UI_FILES
        for widget in ElementTree.parse(path).iter("widget")
    }
    wrong, seen = [], 0
    for path in GUI_FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
                name = widget_class(node.value, widgets)
                if name is None:
                    continue
                seen += 1
                member = api.qt_class(name).member(node.attr)
                if member is None or (isinstance(node.ctx, ast.Store) and not member.writable):
                    wrong.append(f"{path.name}:{node.lineno} {ast.unparse(node)}: {name}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect":
                name = widget_class(node.func.value, widgets)
                signal = node.args[0].value
                every = {
                    one for key in api.content()["qt_classes"] for one in api.content()["qt_classes"][key]["signals"]
                }
                if signal not in (api.qt_class(name).signals if name else every):
                    wrong.append(f"{path.name}:{node.lineno} {signal}")
    assert seen > 40
    assert wrong == []


def test_named_widgets_exist() -> None:
    """`self.ui.name` is in a `.ui` file."""
    widgets = {widget.get("name") for path in UI_FILES for widget in ElementTree.parse(path).iter("widget")}
    wanted = {
        (path.name, node.attr)
        for path in GUI_FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "ui"
        and node.attr != "logTextEdit"
    }
    assert len(wanted) > 25
    assert sorted(pair for pair in wanted if pair[1] not in widgets) == []
