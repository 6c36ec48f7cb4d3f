"""Makes the panels' code see the application's classes: what these lack is refused, whatever the host offers.

The panels' files are compiled with every attribute that they read, set or call passed through the functions below, which
look the object's class up in `slicer_api.json`. A name that the application does not have, a call with another number of
arguments, a property that cannot be set or a signal of another signature raises `NotInTheApplication`, and is kept in
`violations` for code that would swallow it.
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.machinery
import inspect
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vtk
from PySide6 import QtCore

from slicer_host import api

PACKAGE = "modality_synthesis.slicer"
ENUMERATION = type(QtCore.Qt.AlignmentFlag)

_METHODS = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)

violations: list[str] = []
# (class, name) of everything that was asked for.
asked: set[tuple[str, str]] = set()


class NotInTheApplication(AttributeError):
    """The application would refuse this."""


def refuse(text: str) -> None:
    """Note it and raise."""
    violations.append(text)
    raise NotInTheApplication(text)


# What an object is in the application


@functools.cache
def qt_name(cls: type) -> str | None:
    """The class of the application that a class of the host stands for; None for what is no Qt class."""
    for base in cls.__mro__:
        named = base.__dict__.get("application_class")
        if named is not None:
            return named
        if api.qt_class(base.__name__) is not None:
            return base.__name__
    return None


@functools.cache
def vtk_name(cls: type) -> str | None:
    """The first class in the file of those that a VTK class inherits."""
    return next((base.__name__ for base in cls.__mro__ if api.vtk_names(base.__name__) is not None), None)


@functools.cache
def _is_pure_vtk(cls: type) -> bool:
    """True for classes of VTK itself: the same in every Slicer of this VTK version."""
    return not cls.__name__.startswith(("vtkMRML", "vtkSlicer")) and hasattr(vtk, cls.__name__)


def _find(thing: Any, name: str) -> tuple[str, api.Member | None] | None:
    """The class of the application and its member of that name; None for objects that are none of the application's."""
    cls = thing if isinstance(thing, type) else type(thing)
    if isinstance(thing, types.ModuleType):
        return _find_in_module(thing, name)
    if issubclass(cls, vtk.vtkObjectBase):
        return _find_vtk(cls, name)
    if cls.__module__.startswith(("modality_synthesis", "MRItoPETSynthesis", "CTtoMRSynthesis")):
        return None  # the project's own
    if issubclass(cls, QtCore.QObject) or hasattr(cls, "application_class"):
        found = qt_name(cls)
        if cls.__name__ in api.unread_classes():
            there = inspect.getattr_static(cls, name, None) is not None or hasattr(cls, name)  # also values of enums
            own = api.Member("method") if there else None
            return cls.__name__, api.qt_class(found).member(name) or own
        if found is not None and found.startswith("vtk"):
            return found, api.Member("method") if name in (api.vtk_names(found) or ()) else None
        described = api.qt_class(found) if found else None
        return (found or cls.__name__), described.member(name) if described else None
    if cls.__module__.startswith("PySide6"):
        if cls.__name__ == "Qt":  # in QtCore and in QtGui
            return "Qt", api.Member("constant") if name in api.content()["qt_Qt_members"] else None
        if isinstance(cls, ENUMERATION):
            return None  # a value of an enum
        described_value = api.value_class(cls.__name__)
        if isinstance(thing, type) and name[0].isupper():
            return cls.__name__, api.Member("constant")  # the file has no enums of value classes
        return cls.__name__, (described_value or {}).get(name)
    return None


def _find_vtk(cls: type, name: str) -> tuple[str, api.Member | None]:
    found = vtk_name(cls)
    names = api.vtk_names(found) if found else None
    if names is not None and name in names:
        return found, api.Member("method")
    # The file leaves out what every vtkObject has.
    if hasattr(vtk.vtkObject, name) or (_is_pure_vtk(cls) and hasattr(cls, name)):
        return cls.__name__, api.Member("method")
    inherited = any(_is_pure_vtk(base) and hasattr(base, name) for base in cls.__mro__ if hasattr(vtk, base.__name__))
    return cls.__name__, api.Member("method") if inherited else None


def _find_in_module(module: types.ModuleType, name: str) -> tuple[str, api.Member | None] | None:
    if module.__name__ == "slicer":
        known = name in api.slicer_names()
    elif module.__name__ == "slicer.util":
        known = api.util_signature(name) is not None
    elif module.__name__ == "slicer.packaging":
        known = name in api.content()["slicer_packaging"]
    elif module.__name__ == "qt":
        known = api.qt_class(name) is not None or api.value_class(name) is not None
        known = known or name == "Qt" or name in api.unread_classes()
    elif module.__name__ == "ctk":
        known = api.qt_class(name) is not None
    elif module.__name__ == "slicer.modules":
        own = ("mritopetsynthesis", "cttomrsynthesis")
        known = name in {present.lower() for present in api.content()["modules_present"]} or name.lower().startswith(
            own
        )
    else:
        return None
    return module.__name__, api.Member("method") if known else None


# What the compiled code calls


def get(thing: Any, name: str) -> Any:
    """`thing.name`."""
    found = _check(thing, name)
    value = getattr(thing, name)
    if found is not None and found[1].kind == "property" and isinstance(value, _METHODS):
        return value()  # where PySide6 has a method of the property's name
    return value


def put(thing: Any, name: str, value: Any) -> None:
    """`thing.name = value`."""
    found = _check(thing, name)
    if found is not None and not isinstance(thing, (types.ModuleType, vtk.vtkObjectBase)):
        owner, member = found
        if member.kind != "property" or not member.writable:
            refuse(f"{owner}.{name} cannot be set")
    setattr(thing, name, value)


def call(thing: Any, name: str, /, *arguments: Any, **keywords: Any) -> Any:
    """`thing.name(...)`."""
    found = _check(thing, name)
    if found is not None:
        _check_call(thing, *found, name, arguments, keywords)
    return getattr(thing, name)(*arguments, **keywords)


def _check(thing: Any, name: str) -> tuple[str, api.Member] | None:
    found = _find(thing, name)
    if found is None:
        return None
    asked.add((found[0], name))
    if found[1] is None:
        refuse(f"{found[0]} has no {name}")
    return found


def _check_call(thing: Any, owner: str, member: api.Member, name: str, arguments: Sequence, keywords: dict) -> None:
    if owner == "slicer.util":
        signature = api.python_signature(api.util_signature(name))
    elif owner == "slicer.packaging":
        signature = api.python_signature(api.content()["slicer_packaging"][name])
    else:
        signature = None
    if signature is not None:
        try:
            signature.bind(*arguments, **keywords)
        except TypeError as error:
            refuse(f"{owner}.{name}: {error}")
    if isinstance(thing, (types.ModuleType, vtk.vtkObjectBase)) or (
        isinstance(thing, type) and issubclass(thing, vtk.vtkObjectBase)
    ):
        return
    if member.kind == "property":
        refuse(f"{owner}.{name} is a property: it cannot be called")
    if keywords:
        refuse(f"{owner}.{name}: PythonQt takes no keywords")
    if name in ("connect", "disconnect") and arguments and isinstance(arguments[0], str):
        described = api.qt_class(owner)
        if arguments[0] not in described.signals:
            refuse(f"{owner} has no signal {arguments[0]}")
        return
    if member.counts is not None and len(arguments) not in member.counts:
        refuse(f"{owner}.{name} takes {sorted(member.counts)} arguments, not {len(arguments)}")


# Compiling


class _Instrument(ast.NodeTransformer):
    """Passes attributes through `get`, `put` and `call`."""

    def _through(self, function: str, node: ast.AST, *arguments: ast.expr) -> ast.Call:
        made = ast.Call(ast.Name(f"_host_{function}", ast.Load()), list(arguments), [])
        return ast.copy_location(made, node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load) or node.attr.startswith("_"):
            return node
        return self._through("get", node, node.value, ast.Constant(node.attr))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not isinstance(node.func, ast.Attribute) or node.func.attr.startswith("_"):
            self.generic_visit(node)
            return node
        thing = self.visit(node.func.value)
        arguments = [self.visit(argument) for argument in node.args]
        made = self._through("call", node, thing, ast.Constant(node.func.attr), *arguments)
        made.keywords = [ast.keyword(keyword.arg, self.visit(keyword.value)) for keyword in node.keywords]
        return made

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        node.value = self.visit(node.value)
        [target] = node.targets if len(node.targets) == 1 else [None]
        if not isinstance(target, ast.Attribute) or target.attr.startswith("_"):
            node.targets = [self.visit(one) for one in node.targets]
            return node
        call_ = self._through("put", node, self.visit(target.value), ast.Constant(target.attr), node.value)
        return ast.copy_location(ast.Expr(call_), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return node  # annotations stay as they are

    def _visit_function(self, node: Any) -> ast.AST:
        returns, node.returns = node.returns, None
        self.generic_visit(node)
        node.returns = returns
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function


HOOKS = {"_host_get": get, "_host_put": put, "_host_call": call}


def instrument(source: str | bytes, path: str) -> ast.AST:
    """The syntax tree of panel code with its attributes checked; it needs `HOOKS` among its globals."""
    return ast.fix_missing_locations(_Instrument().visit(ast.parse(source, path)))


class StrictLoader(importlib.machinery.SourceFileLoader):
    """Loads a file of the panels with its attributes checked."""

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        return compile(instrument(Path(path).read_bytes(), path), path, "exec", dont_inherit=True)

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module).update(HOOKS)
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != PACKAGE and not fullname.startswith(PACKAGE + "."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = StrictLoader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """From now on the panels' package is loaded with its attributes checked."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    early = [name for name in sys.modules if name == PACKAGE or name.startswith(PACKAGE + ".")]
    if early:
        raise RuntimeError(f"{early[0]} was imported before the host")
    sys.meta_path.insert(0, _Finder())
