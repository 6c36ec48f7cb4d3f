"""What the application's classes offer, from `slicer_api.json`: read out of a running 3D Slicer.

cls = api.qt_class("qMRMLNodeComboBox")
cls.member("noneEnabled")     # None when the application has none of that name
cls.accepts("addAttribute", 2)
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

API_FILE = Path(__file__).with_name("slicer_api.json")
# PythonQt adds these to every object; the file lists some of them by their help texts.
_PYTHONQT = {"name", "className", "inherits", "help", "delete"}
# What is not in the file although PythonQt has it: static, and named like a property.
_STATIC = {"QTimer": {"singleShot": (2,)}}


class Member(NamedTuple):
    """One name of a class. `kind` is property, signal, method or constant."""

    kind: str
    writable: bool = False
    counts: frozenset[int] | None = None  # of arguments; None when any number may be right
    kind_of_value: str = ""


@functools.lru_cache(maxsize=1)
def content() -> dict[str, Any]:
    """The whole file."""
    return json.loads(API_FILE.read_text(encoding="utf-8"))


def _signature(text: str) -> tuple[str, int]:
    """Name and number of arguments of `vtkMRMLNode* addNode(QString)`."""
    head, _, arguments = text.partition("(")
    inner = arguments.rpartition(")")[0].strip()
    depth, count = 0, 1 if inner else 0
    for letter in inner:
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(letter, 0)
        count += letter == "," and depth == 0
    return head.split()[-1].lstrip("*&"), count


class QtClass:
    """A class as PythonQt shows it, with what it inherits."""

    def __init__(self, name: str) -> None:
        self.name = name.partition(" (")[0]
        self.signals: set[str] = set()
        self.slots: set[str] = set()
        self._members: dict[str, Member] = {}
        counts: dict[str, set[int]] = {}
        for entry in _entries(content()["qt_classes"], name):
            for property_name, (kind, mode) in entry.get("properties", {}).items():
                self._members.setdefault(property_name, Member("property", mode == "rw", None, kind))
            self.signals.update(entry.get("signals", []))
            self.slots.update(re.sub(r"^.*?(\w+\()", r"\1", text, count=1) for text in entry.get("slots", []))
            for text in [*entry.get("slots", []), *entry.get("invokables", [])]:
                method, count = _signature(text)
                counts.setdefault(method, set()).add(count)
            for text in entry.get("methods", []):
                if re.match(r"\w+\(", text):
                    # Arguments with defaults are listed like the others.
                    method, count = _signature(text.partition(" -> ")[0])
                    known = counts.get(method)
                    counts.setdefault(method, set()).update({count} if known else range(count + 1))
            for name_of_enum, values in entry.get("enums", {}).items():
                for value in (name_of_enum, *values):
                    self._members.setdefault(value, Member("constant"))
        if "exec" in counts:  # PythonQt has it under the name that Python 2 could say, too
            counts["exec_"] = counts["exec"]
        for method, allowed in counts.items():
            self._members.setdefault(method, Member("method", counts=frozenset(allowed)))
        for signal in self.signals:
            self._members.setdefault(signal.partition("(")[0], Member("signal"))
        if "exec" in self._members:
            self._members["exec_"] = self._members["exec"]  # PythonQt has both names
        for method in _PYTHONQT:
            self._members.setdefault(method, Member("method"))
        for method, allowed in _STATIC.get(self.name, {}).items():
            self._members[method] = Member("method", counts=frozenset(allowed))

    def member(self, name: str) -> Member | None:
        """What a name is; None when the class has none of that name."""
        return self._members.get(name)

    def names(self) -> set[str]:
        """Every name."""
        return set(self._members)


def _entries(classes: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The class's own entry and those that it refers to."""
    while name in classes:
        yield classes[name]
        name = classes[name].get("see_also", "")


@functools.cache
def qt_class(name: str) -> QtClass | None:
    """A Qt, ctk or qMRML class, also one of the application's own objects (`qSlicerApplication`)."""
    classes = content()["qt_classes"]
    # What a widget made by the application shows is more than what one made in Python shows.
    full = next((key for key in classes if key.startswith(f"{name} (")), name)
    return QtClass(full) if full in classes else None


@functools.lru_cache(maxsize=1)
def unread_classes() -> frozenset[str]:
    """Classes that the application has, but of which the file has no members: they need arguments to be made."""
    unmade = content()["could_not_be_made_without_arguments"]
    return frozenset(name for name, why in unmade.items() if why.startswith("ValueError"))


@functools.cache
def value_class(name: str) -> dict[str, Member] | None:
    """The methods of a Qt class that is no QObject (`QUrl`)."""
    listed = content()["qt_value_classes"].get(name)
    if listed is None:
        return None
    pairs = [_signature(text.partition(" -> ")[0]) for text in listed if re.match(r"\w+\(", text)]
    return {method: Member("method", counts=frozenset(range(count + 1))) for method, count in pairs}


@functools.cache
def vtk_names(name: str) -> frozenset[str] | None:
    """Methods and constants of a VTK or MRML class; None when the file does not have it."""
    classes = content()["mrml_vtk_classes"]
    key = name if name in classes else f"vtk.{name}"
    if key not in classes:
        return None
    names: set[str] = set()
    while key in classes:
        names.update(classes[key].get("methods", []), classes[key].get("constants", {}))
        key = classes[key].get("see_also", "")
    return frozenset(names)


@functools.lru_cache(maxsize=1)
def slicer_names() -> frozenset[str]:
    """What `slicer` has."""
    all_of_it = content()
    classes = [name for name in (*all_of_it["qt_classes"], *all_of_it["mrml_vtk_classes"]) if " " not in name]
    return frozenset(
        {*classes, *all_of_it["mrml_node_classes_abstract"], *all_of_it["mrml_node_classes_concrete"]}
        | {"app", "util", "modules", "mrmlScene", "i18n", "packaging", "selfTests", "parameterNodeWrapper"}
        | {"ScriptedLoadableModule", "moduleNames", "testing"}
    )


@functools.cache
def python_signature(text: str) -> inspect.Signature | None:
    """A signature as the file has it: `(path, parent=None, **kwargs)`; None when it is not known."""
    if not text.startswith("("):
        return None
    plain = re.sub(r"=<.*?>(?=[,)])", "=None", text)
    namespace: dict[str, Any] = {}
    exec(f"def f{plain.partition(' -> ')[0]}: ...", {}, namespace)
    return inspect.signature(namespace["f"])


def util_signature(name: str) -> str | None:
    """The signature of a function of `slicer.util`; None when there is no such function."""
    return content()["slicer_util"].get(name)
