"""`slicer.parameterNodeWrapper`: typed access to a parameter node, and its binding to widgets.

Supports what the panels use: str, int, float, bool, Path (or None), Enum and MRML node (or None, or several classes of
nodes) parameters, with WithinRange and Choice, and connectors of the panels' own. Values are stored as the same strings
under the same names as Slicer stores. Where Slicer refuses a pairing of type and widget, this does too; like Slicer's,
the connector of node selectors instantiates the node classes.
"""

from __future__ import annotations

import abc
import enum
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Any

import slicer
import vtk

PROPERTY = "SlicerParameterName"


class WithinRange:
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within {self.minimum} to {self.maximum}, is {value}")


class Choice:
    def __init__(self, choices: list[Any]) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, is {value!r}")


class GuiConnector(abc.ABC):
    """Base class of what binds a widget to a datatype."""

    def __init__(self) -> None:
        super().__init__()
        self._callback = None

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget: Any, datatype: Any) -> bool: ...

    @staticmethod
    @abc.abstractmethod
    def create(widget: Any, datatype: Any) -> Any: ...

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        if callback is None:
            self._disconnect()
        else:
            self._connect()

    def changed(self) -> None:
        if self._callback:
            self._callback()

    @abc.abstractmethod
    def _connect(self) -> None: ...

    @abc.abstractmethod
    def _disconnect(self) -> None: ...

    @abc.abstractmethod
    def widget(self) -> Any: ...

    @abc.abstractmethod
    def read(self) -> Any: ...

    @abc.abstractmethod
    def write(self, value: Any) -> None: ...


_connectors: list[type[GuiConnector]] = []


def parameterNodeGuiConnector(classtype: Any = None) -> Any:
    """Class decorator: registers a connector, after Slicer's own."""

    def wrap(cls: type) -> type:
        if not issubclass(cls, GuiConnector):
            raise TypeError("Must be a GuiConnector subclass")
        _connectors.append(cls)
        return cls

    return wrap if classtype is None else wrap(classtype)


class _BuiltIn(GuiConnector):
    """The connectors that Slicer brings: reading, writing and one signal."""

    def __init__(self, widget: Any, read: Callable[[], Any], write: Callable[[Any], None], signal: str) -> None:
        super().__init__()
        self._widget, self._signal = widget, signal
        self.read, self.write = read, write  # type: ignore[method-assign]

    canRepresent = create = staticmethod(lambda widget, datatype: None)  # type: ignore[assignment]

    def _slot(self) -> None:
        self.changed()

    def _connect(self) -> None:
        self._widget.connect(self._signal, self._slot)

    def _disconnect(self) -> None:
        self._widget.disconnect(self._signal, self._slot)

    def widget(self) -> Any:
        return self._widget

    def read(self) -> Any: ...

    def write(self, value: Any) -> None: ...


class _Parameter:
    """One parameter: reading it from and writing it to a vtkMRMLScriptedModuleNode."""

    def __init__(self, owner: type, name: str, hint: Any) -> None:
        self.name, self.unalteredType = name, hint
        annotated = typing.get_origin(hint) is typing.Annotated
        kind, self.notes = (typing.get_args(hint)[0], typing.get_args(hint)[1:]) if annotated else (hint, ())
        # Optional[node], or a union of node classes
        kinds = (kind,) if isinstance(kind, type) else typing.get_args(kind)
        self.kinds = tuple(part for part in kinds if part is not type(None))
        self.kind = kind = self.kinds[0]
        self.is_node = issubclass(kind, slicer.vtkMRMLNode)
        self.is_optional = not self.is_node and len(self.kinds) < len(typing.get_args(hint)) and not annotated
        missing = object()
        default = getattr(owner, name, missing)
        if default is not missing:
            self.default = default
        elif self.is_node or self.is_optional:
            self.default = None
        elif self.note(Choice):
            self.default = self.note(Choice).choices[0]
        else:
            self.default = next(iter(kind)) if issubclass(kind, enum.Enum) else kind()

    def note(self, cls: type) -> Any:
        return next((note for note in self.notes if isinstance(note, cls)), None)

    def _roles(self) -> dict[str, type]:
        """The reference role of each class of nodes; a union has one for each member."""
        if len(self.kinds) == 1:
            return {self.name: self.kind}
        return {f"{self.name}.{index}": kind for index, kind in enumerate(self.kinds)}

    def is_in(self, node: Any) -> bool:
        if self.is_optional:
            return bool(node.HasParameter(f"{self.name}.0") or node.HasParameter(f"{self.name}.1"))
        return self.is_node or bool(node.HasParameter(self.name))

    def write(self, node: Any, value: Any) -> None:
        if self.is_node:
            if value is not None and not isinstance(value, self.kinds):
                raise TypeError(f"{self.name}: {type(value).__name__} is none of {self.kinds}")
            for role, kind in self._roles().items():
                node.SetNodeReferenceID(role, value.GetID() if value is not None and isinstance(value, kind) else None)
            return
        if self.is_optional:
            if value is not None and not isinstance(value, self.kind):
                raise TypeError(f"{self.name}: {value!r} is no {self.kind.__name__}")
            kept, other, text = (1, 0, "True") if value is None else (0, 1, str(value))
            modifying = node.StartModify()
            node.UnsetParameter(f"{self.name}.{other}")
            node.SetParameter(f"{self.name}.{kept}", text)
            node.EndModify(modifying)
            return
        if self.kind is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, self.kind):
            raise TypeError(f"{self.name}: {value!r} is no {self.kind.__name__}")
        for note in self.notes:
            note.validate(value)
        node.SetParameter(self.name, self._text(value))

    def write_default(self, node: Any) -> None:
        """Unchecked: without a default, a range that lies above zero starts outside itself."""
        if self.is_optional:
            self.write(node, self.default)
        elif not self.is_node:
            node.SetParameter(self.name, self._text(self.default))

    def _text(self, value: Any) -> str:
        return value.name if isinstance(value, enum.Enum) else str(value)

    def read(self, node: Any) -> Any:
        if self.is_node:
            found = (node.GetNodeReference(role) for role in self._roles())
            return next((value for value in found if value is not None), None)
        if not self.is_in(node):
            self.write_default(node)
        if self.is_optional:
            return self.kind(node.GetParameter(f"{self.name}.0")) if node.HasParameter(f"{self.name}.0") else None
        text = node.GetParameter(self.name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)


def _bind(parameter: _Parameter, widget: Any) -> GuiConnector:
    """How a widget shows a parameter. The widget's exact class counts, as in Slicer."""
    import ctk
    import qt

    cls, kind = type(widget), parameter.kind

    def attribute(name: str, signal: str) -> GuiConnector:
        return _BuiltIn(widget, lambda: getattr(widget, name), lambda value: setattr(widget, name, value), signal)

    if parameter.is_optional:
        own = next((one for one in _connectors if one.canRepresent(widget, parameter.unalteredType)), None)
        if own is None:
            raise RuntimeError(f"Unable to create GUI connector from {parameter.unalteredType} to {cls.__name__}")
        return own.create(widget, parameter.unalteredType)
    if parameter.is_node and cls is slicer.qMRMLNodeComboBox:
        for node_class in parameter.kinds:
            node_class()  # raises TypeError for an abstract class, as in the application
        return _BuiltIn(widget, widget.currentNode, widget.setCurrentNode, "currentNodeChanged(vtkMRMLNode*)")
    if kind is bool and cls is qt.QCheckBox:
        return attribute("checked", "stateChanged(int)")
    if kind is int and cls is qt.QSpinBox:
        _set_range(parameter, widget)
        return attribute("value", "valueChanged(int)")
    if kind is float and cls in (qt.QDoubleSpinBox, ctk.ctkSliderWidget):
        _set_range(parameter, widget)
        return attribute("value", "valueChanged(double)")
    if kind is str and cls is qt.QLineEdit:
        return attribute("text", "textChanged(QString)")
    if issubclass(kind, pathlib.PurePath) and cls is ctk.ctkPathLineEdit:
        return _BuiltIn(
            widget,
            lambda: kind(widget.currentPath),
            lambda value: setattr(widget, "currentPath", str(value)),
            "currentPathChanged(QString)",
        )
    if cls is qt.QComboBox and (parameter.note(Choice) or issubclass(kind, enum.Enum)):
        values = list(kind) if issubclass(kind, enum.Enum) else list(parameter.note(Choice).choices)
        label = getattr(kind, "label", lambda item: item.name) if issubclass(kind, enum.Enum) else str
        widget.clear()
        widget.addItems([label(value) for value in values])
        return _BuiltIn(
            widget,
            lambda: values[widget.currentIndex],
            lambda value: setattr(widget, "currentIndex", values.index(value)),
            "currentIndexChanged(int)",
        )
    raise RuntimeError(f"{parameter.name}: no connector between {kind.__name__} and {cls.__name__}")


def _set_range(parameter: _Parameter, widget: Any) -> None:
    limits = parameter.note(WithinRange)
    if limits is None:
        if type(widget).__name__ == "ctkSliderWidget":
            raise RuntimeError(f"{parameter.name}: give WithinRange for {type(widget).__name__}")
        return
    widget.minimum, widget.maximum = limits.minimum, limits.maximum


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: the annotations (of base classes too) become parameters."""
    parameters = {
        name: _Parameter(cls, name, hint) for name, hint in typing.get_type_hints(cls, include_extras=True).items()
    }

    def initialize(self: Any, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode, self._bindings, self._updating = parameterNode, {}, False
        for parameter in parameters.values():
            if not parameter.is_in(parameterNode):
                parameter.write_default(parameterNode)

    def connectGui(self: Any, gui: Any) -> int:
        import qt

        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else list(gui.__dict__.values())
        bound = []
        for widget in widgets:
            name = widget.property(PROPERTY)
            if not name:
                continue
            if name not in parameters:
                raise ValueError(f"There is no parameter {name!r}")
            binding = _bind(parameters[name], widget)
            binding.write(getattr(self, name))

            def changed(name: str = name, binding: GuiConnector = binding) -> None:
                if not self._updating:
                    setattr(self, name, binding.read())

            bound.append((name, binding, changed))
        # Only when all widgets took their values: where one of them refuses, nothing is bound.
        for _name, binding, changed in bound:
            binding.onChanged(changed)

        def refresh(caller: Any, event: str) -> None:
            if self._updating:
                return
            self._updating = True
            try:
                for name, binding, _changed in bound:
                    binding.write(getattr(self, name))
            finally:
                self._updating = False

        tag = len(self._bindings) + 1
        self._bindings[tag] = (bound, self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, refresh))
        return tag

    def disconnectGui(self: Any, tag: int) -> None:
        bound, observer = self._bindings.pop(tag, ((), None))
        for _name, binding, _changed in bound:
            binding.onChanged(None)
        if observer is not None:
            self.parameterNode.RemoveObserver(observer)

    cls.__init__, cls.connectGui, cls.disconnectGui = initialize, connectGui, disconnectGui
    for name, parameter in parameters.items():
        getter = lambda self, parameter=parameter: parameter.read(self.parameterNode)  # noqa: E731
        setter = lambda self, value, parameter=parameter: parameter.write(self.parameterNode, value)  # noqa: E731
        setattr(cls, name, property(getter, setter))
    for method in ("StartModify", "EndModify", "AddObserver", "RemoveObserver", "Modified"):
        setattr(cls, method, lambda self, *a, method=method: getattr(self.parameterNode, method)(*a))
    cls.allParameters, cls._is_parameter_node_wrapper = parameters, True
    cls.default = lambda self, name: types.SimpleNamespace(value=parameters[name].default)
    cls.getValue = lambda self, name: getattr(self, name)
    cls.setValue = lambda self, name, value: setattr(self, name, value)
    return cls


def isParameterNodeWrapper(value: Any) -> bool:
    return getattr(value, "_is_parameter_node_wrapper", False)
