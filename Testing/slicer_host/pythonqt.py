"""PythonQt's semantics on PySide6, and the merged `qt` module.

What is imitated:

* a Qt property is an attribute (`widget.text`, `widget.enabled = False`) and hides the getter of that name;
* `widget.name` is the object name, `widget.className()` the C++ class;
* `widget.connect("clicked(bool)", slot)` with C++ signatures; a wrong one raises here (PythonQt prints and goes on);
* a slot gets as many arguments as it takes;
* `QFileDialog.getOpenFileName` and its like return a string.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

# Attributes of PySide6 that look like properties of the same name but are not.
_LEAVE_ALONE = {("QTimer", "singleShot")}


class _PropertyAttribute:
    """Data descriptor for one Qt property. Reached through the class it gives the original method."""

    def __init__(self, name: str, getter: Any, setter: Any) -> None:
        self.name, self.getter, self.setter = name, getter, setter

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            if self.getter is None:
                raise AttributeError(self.name)
            return self.getter.__get__(None, owner) if hasattr(self.getter, "__get__") else self.getter
        if self.getter is None:
            return instance.property(self.name)
        return self.getter.__get__(instance, owner)()

    def __set__(self, instance: Any, value: Any) -> None:
        if self.setter is not None:
            self.setter.__get__(instance, type(instance))(value)
        elif not instance.setProperty(self.name, value):
            raise AttributeError(f"cannot set property {self.name!r}")


def _install_properties(cls: type) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        described = meta.property(index)
        name = described.name()
        getter = cls.__dict__.get(name)
        if (
            (cls.__name__, name) in _LEAVE_ALONE
            or isinstance(getter, staticmethod)
            or type(getter).__name__ == "Signal"
        ):
            continue
        setter_name = "set" + name[0].upper() + name[1:]
        setter = next((base.__dict__[setter_name] for base in cls.__mro__ if setter_name in base.__dict__), None)
        setattr(cls, name, _PropertyAttribute(name, getter, setter if described.isWritable() else None))


def _split_signature(signature: str) -> tuple[str, list[str]]:
    name, _, arguments = str(signature).partition("(")
    return name.strip(), [part.strip() for part in arguments.rstrip(")").split(",") if part.strip()]


def _find_signal(sender: QtCore.QObject, signature: str) -> tuple[Any, int]:
    """The bound signal of a C++ signature and its number of arguments."""
    name, arguments = _split_signature(signature)
    plain = ",".join(argument.replace("const ", "").replace("&", "").strip() for argument in arguments)
    normalized = f"{name}({plain})"
    declared = getattr(type(sender), "cpp_signals", ())
    if normalized not in declared and sender.metaObject().indexOfSignal(normalized) < 0:
        raise RuntimeError(f"{sender.metaObject().className()} has no signal {signature!r}")
    return getattr(sender, name), len(arguments)


def _accepted_arguments(slot: Callable[..., Any], offered: int) -> int:
    function = slot.__func__ if inspect.ismethod(slot) else slot
    if not inspect.isfunction(function) or function.__code__.co_flags & inspect.CO_VARARGS:
        return offered
    return min(offered, function.__code__.co_argcount - (1 if inspect.ismethod(slot) else 0))


_qt_connect, _qt_disconnect = QtCore.QObject.connect, QtCore.QObject.disconnect


def _connect(self: QtCore.QObject, *arguments: Any) -> bool:
    if not isinstance(arguments[0], str):
        return _qt_connect(*arguments)
    signal, offered = _find_signal(self, arguments[0])
    slot = arguments[1]
    if not callable(slot):
        slot = getattr(slot, _split_signature(arguments[2])[0])
    taken = _accepted_arguments(slot, offered)
    # A fixed number of arguments selects the signal's overload.
    adapters = (
        lambda: slot(),
        lambda a: slot(*(a,)[:taken]),
        lambda a, b: slot(*(a, b)[:taken]),
        lambda a, b, c: slot(*(a, b, c)[:taken]),
        lambda a, b, c, d: slot(*(a, b, c, d)[:taken]),
    )
    adapter = adapters[offered]
    name = _split_signature(arguments[0])[0]
    self.__dict__.setdefault("_host_connections", []).append((name, slot, adapter))
    signal.connect(adapter)
    return True


def _disconnect(self: QtCore.QObject, *arguments: Any) -> bool:
    if arguments and not isinstance(arguments[0], str):
        return _qt_disconnect(*arguments)
    name = _split_signature(arguments[0])[0]
    records = self.__dict__.get("_host_connections", [])
    for record in [r for r in records if r[0] == name and (len(arguments) < 2 or r[1] == arguments[1])]:
        getattr(self, name).disconnect(record[2])
        records.remove(record)
    return True


def all_children(root: QtCore.QObject) -> Iterator[QtCore.QObject]:
    """Every object below `root`."""
    for child in QtCore.QObject.children(root):
        yield child
        yield from all_children(child)


def stray_attributes(root: QtCore.QObject) -> list[str]:
    """Python attributes that a module invented on C++ widgets; PythonQt would have raised."""
    found = []
    for widget in (root, *all_children(root)):
        for name, value in getattr(widget, "__dict__", {}).items():
            known = inspect.getattr_static(type(widget), name, None) is not None
            if (
                not name.startswith("_")
                and not known
                and not isinstance(value, (QtCore.SignalInstance, QtCore.QObject))
            ):
                found.append(f"{widget.metaObject().className()} {widget.objectName}: .{name}")
    return found


def _find_children(self: QtCore.QObject, kind: Any, name: str = "") -> list[QtCore.QObject]:
    fits = (lambda o: o.inherits(kind)) if isinstance(kind, str) else (lambda o: isinstance(o, kind))
    return [child for child in all_children(self) if fits(child) and (not name or child.objectName == name)]


def _patched_getattribute(original: Any, replacements: dict[str, Any]) -> Any:
    # Classes with static and member overloads look names up in C, past a patched method.
    def getattribute(self: Any, name: str) -> Any:
        replacement = replacements.get(name)
        return types.MethodType(replacement, self) if replacement is not None else original(self, name)

    return getattribute


class _FileDialog(QtWidgets.QFileDialog):
    @staticmethod
    def getOpenFileName(*arguments: Any, **keywords: Any) -> str:
        return QtWidgets.QFileDialog.getOpenFileName(*arguments, **keywords)[0]

    @staticmethod
    def getSaveFileName(*arguments: Any, **keywords: Any) -> str:
        return QtWidgets.QFileDialog.getSaveFileName(*arguments, **keywords)[0]


class _InputDialog(QtWidgets.QInputDialog):
    @staticmethod
    def getText(*arguments: Any, **keywords: Any) -> str:
        return QtWidgets.QInputDialog.getText(*arguments, **keywords)[0]


def install() -> types.ModuleType:
    """Patch PySide6 and register the module `qt`. Safe to call again."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    qt = types.ModuleType("qt", "PySide6 in the manner of PythonQt")
    sys.modules["qt"] = qt
    for module in (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools):
        for name in dir(module):
            if not name.startswith("_"):
                setattr(qt, name, getattr(module, name))
    classes = {value for value in vars(qt).values() if isinstance(value, type) and issubclass(value, QtCore.QObject)}
    for cls in classes:
        if cls.__module__.startswith("PySide6"):
            _install_properties(cls)
    base = QtCore.QObject
    base.name = _PropertyAttribute("objectName", base.__dict__["objectName"].getter, base.setObjectName)
    base.className = lambda self: self.metaObject().className()
    base.delete = lambda self: shiboken6.delete(self)
    base.findChildren = _find_children
    base.findChild = lambda self, kind, name="": next(iter(_find_children(self, kind, name)), None)
    replacements = {"connect": _connect, "disconnect": _disconnect}
    for cls in classes:
        if "__getattribute__" in cls.__dict__:
            cls.__getattribute__ = _patched_getattribute(cls.__dict__["__getattribute__"], replacements)
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu, QtCore.QEventLoop):
        cls.exec_ = cls.exec
    qt.QFileDialog, qt.QInputDialog = _FileDialog, _InputDialog
    return qt
