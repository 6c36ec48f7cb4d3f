"""Stand-ins for the ctk and qMRML widgets that the panels use.

Only real slots, invokables, properties and signals of the C++ classes have public names, because PythonQt shows nothing
else (`qMRMLNodeComboBox` has no `setNodeTypes`, for example). `cpp_signals` holds the C++ signatures.
"""

from __future__ import annotations

import sys
import types
import xml.etree.ElementTree as ElementTree
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicer_host import api


def _stored(kind: Any, name: str, default: Any) -> Property:
    """A property that is only kept."""
    key = "_stored_" + name
    return Property(
        kind, lambda self: self.__dict__.get(key, default), lambda self, value: self.__dict__.update({key: value})
    )


def _minimum(name: str) -> QtCore.QSize:
    """The application's minimum size of a widget without contents, in pixels."""
    return QtCore.QSize(*api.content()["size_hints_px"][name]["minimumSizeHint"])


class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)
    cpp_signals = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def mrmlScene(self) -> Any:
        return self.__dict__.get("_scene")

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)
    cpp_signals = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def setMRMLScene(self, scene: Any) -> None:
        self.mrmlSceneChanged.emit(scene)


class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The C++ side of a module's panel: the Python side builds into it."""

    isEntered = Property(bool, lambda self: self.__dict__.get("_entered", False))
    _python_side: Any = None

    def self(self) -> Any:
        return self._python_side


class ctkCollapsibleButton(QtWidgets.QWidget):
    contentsCollapsed = Signal(bool)
    clicked = Signal(bool)
    toggled = Signal(bool)
    cpp_signals = ("contentsCollapsed(bool)", "clicked(bool)", "toggled(bool)")
    _HEADER = 26

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed, self._put_away, self._busy = "", False, [], False
        self.setContentsMargins(0, self._HEADER, 0, 0)

    def _set_text(self, text: str) -> None:
        self._text = text
        self.update()

    def _set_collapsed(self, collapsed: bool) -> None:
        if bool(collapsed) == self._collapsed:
            return
        self._collapsed = bool(collapsed)
        if self._collapsed:
            children = [child for child in QtCore.QObject.children(self) if isinstance(child, QtWidgets.QWidget)]
            self._put_away = [child for child in children if not child.isHidden()]
        self._busy = True
        for child in self._put_away:
            child.setVisible(not self._collapsed)
        self._busy = False
        self.setMaximumHeight(self._HEADER if self._collapsed else 16777215)
        self.update()
        self.contentsCollapsed.emit(self._collapsed)
        self.toggled.emit(not self._collapsed)

    text = Property(str, lambda self: self._text, _set_text)
    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if isinstance(event.child(), QtWidgets.QWidget):
            if event.added():
                event.child().installEventFilter(self)
            if event.added() and self.__dict__.get("_collapsed"):
                QtCore.QTimer.singleShot(0, lambda child=event.child(): self._put_away_late(child))

    def _put_away_late(self, child: QtWidgets.QWidget) -> None:
        if self._collapsed and not child.isHidden():
            self._put_away.append(child)
            self._hide(child)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        # While collapsed, what the panel shows or hides is remembered and done when the section opens.
        if self._collapsed and not self._busy and event.type() == QtCore.QEvent.ShowToParent:
            if child not in self._put_away:
                self._put_away.append(child)
            self._hide(child)
        if (
            self._collapsed
            and not self._busy
            and event.type() == QtCore.QEvent.HideToParent
            and child in self._put_away
        ):
            self._put_away.remove(child)
        return False

    def _hide(self, child: QtWidgets.QWidget) -> None:
        self._busy = True
        child.hide()
        self._busy = False

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.position().y() <= self._HEADER:
            self.click()

    def click(self) -> None:
        self._set_collapsed(not self._collapsed)
        self.clicked.emit(not self._collapsed)

    def minimumSizeHint(self) -> QtCore.QSize:
        header = _minimum("ctkCollapsibleButton")
        if self._collapsed:
            return header
        return QtWidgets.QWidget.minimumSizeHint.__get__(self)().expandedTo(header)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        header = QtCore.QRect(0, 0, self.size.width(), self._HEADER - 4)
        painter.fillRect(header, self.palette.color(QtGui.QPalette.Button).darker(108))
        font = painter.font()
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(self.palette.color(QtGui.QPalette.ButtonText))
        painter.drawText(header.adjusted(22, 0, 0, 0), Qt.AlignVCenter, self._text)
        painter.setBrush(self.palette.color(QtGui.QPalette.ButtonText))
        painter.setPen(Qt.NoPen)
        corners = [(8, 6), (8, 16), (14, 11)] if self._collapsed else [(6, 8), (16, 8), (11, 14)]
        painter.drawPolygon(QtGui.QPolygon([QtCore.QPoint(*corner) for corner in corners]))
        painter.end()


def _box(name: str) -> Property:
    return Property(float, lambda self: getattr(self._box, name), lambda self, value: setattr(self._box, name, value))


class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    cpp_signals = ("valueChanged(double)", "valueIsChanging(double)")
    _STEPS = 1000

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtWidgets.QWidget.minimumSizeHint.__get__(self)().expandedTo(_minimum("ctkSliderWidget"))

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider, self._box, self._following = QtWidgets.QSlider(Qt.Horizontal), QtWidgets.QDoubleSpinBox(), False
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._slider.setRange(0, self._STEPS)
        self._box.valueChanged.connect(self._on_box)
        self._slider.valueChanged.connect(self._on_slider)

    def _on_box(self, value: float) -> None:
        low, high = self._box.minimum, self._box.maximum
        self._following = True
        self._slider.setValue(round(self._STEPS * (value - low) / (high - low)) if high > low else 0)
        self._following = False
        self.valueChanged.emit(value)

    def _on_slider(self, position: int) -> None:
        if not self._following:
            low, high = self._box.minimum, self._box.maximum
            self._box.setValue(low + (high - low) * position / self._STEPS)

    value, minimum, maximum, singleStep = (_box(name) for name in ("value", "minimum", "maximum", "singleStep"))
    decimals = Property(int, lambda self: self._box.decimals, lambda self, value: self._box.setDecimals(value))
    suffix = Property(str, lambda self: self._box.suffix, lambda self, value: self._box.setSuffix(value))
    pageStep = _stored(float, "pageStep", 10.0)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)


class ctkPathLineEdit(QtWidgets.QWidget):
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    cpp_signals = ("currentPathChanged(QString)", "validInputChanged(bool)")
    Dirs, Files, Readable, Writable = 0x001, 0x002, 0x010, 0x020

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtWidgets.QWidget.minimumSizeHint.__get__(self)().expandedTo(_minimum("ctkPathLineEdit"))

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._edit, button = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        button.setText("...")
        button.setFixedSize(24, 25)
        layout.addWidget(self._edit, 1)
        layout.addWidget(button)
        self._valid = False
        self._edit.textChanged.connect(self._on_text)
        button.clicked.connect(self.browse)

    def _on_text(self, text: str) -> None:
        # Whoever clears the field is not told by `currentPathChanged`; a path that does not exist is valid.
        valid = bool(text)
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)
        if valid:
            self.currentPathChanged.emit(text)

    currentPath = Property(str, lambda self: self._edit.text, lambda self, value: self._edit.setText(value))
    filters = _stored(int, "filters", 0x3)
    nameFilters = _stored("QStringList", "nameFilters", [])
    settingKey = _stored(str, "settingKey", "")

    def browse(self) -> None:
        chosen = (
            QtWidgets.QFileDialog.getOpenFileName(self)[0]
            if self.filters & self.Files
            else QtWidgets.QFileDialog.getExistingDirectory(self)
        )
        if chosen:
            self._edit.setText(chosen)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    currentNodeChanged = Signal(object)
    nodeAddedByUser = Signal(object)
    cpp_signals = ("currentNodeChanged(vtkMRMLNode*)", "nodeAddedByUser(vtkMRMLNode*)")
    _ADD = "__add__"

    def minimumSizeHint(self) -> QtCore.QSize:
        return self._combo.sizeHint().expandedTo(_minimum("qMRMLNodeComboBox"))

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox()
        # The longest name decides the width; only the size policy Ignored lets the panel be narrower.
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToContents)
        layout.addWidget(self._combo)
        self._scene, self._observers, self._attributes, self._current = None, [], [], None
        self._types = ["vtkMRMLNode"]
        self._combo.activated.connect(self._on_activated)
        self._refresh()

    noneEnabled = _stored(bool, "noneEnabled", False)
    addEnabled = _stored(bool, "addEnabled", True)
    removeEnabled = _stored(bool, "removeEnabled", True)
    renameEnabled = _stored(bool, "renameEnabled", False)
    editEnabled = _stored(bool, "editEnabled", False)
    showHidden = _stored(bool, "showHidden", False)
    showChildNodeTypes = _stored(bool, "showChildNodeTypes", True)
    selectNodeUponCreation = _stored(bool, "selectNodeUponCreation", True)
    baseName = _stored(str, "baseName", "")
    noneDisplay = _stored(str, "noneDisplay", "None")

    def _set_types(self, node_types: list[str]) -> None:
        self._types = list(node_types)
        self._refresh()

    nodeTypes = Property("QStringList", lambda self: self._types, _set_types)

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        self._attributes.append((node_type, name, value))
        self._refresh()

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._observers:
            self._scene.RemoveObserver(tag)
        self._scene, self._observers = scene, []
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
            self._observers = [scene.AddObserver(event, lambda caller, name: self._refresh()) for event in events]
        self._refresh()

    def _fits(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if not any(node.IsA(t) if self.showChildNodeTypes else node.GetClassName() == t for t in self._types):
            return False
        wanted = [(name, value) for kind, name, value in self._attributes if node.IsA(kind)]
        return all(node.GetAttribute(name) is not None for name, _ in wanted) and all(
            value is None or node.GetAttribute(name) == str(value) for name, value in wanted
        )

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        return [node for node in nodes if self._fits(node)]

    def _refresh(self) -> None:
        nodes = self._nodes()
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, None)
        for node in nodes:
            self._combo.addItem(node.GetName() or node.GetID(), node.GetID())
        if not nodes and not self.noneEnabled:
            self._combo.addItem("Select a volume", None)
        if self.addEnabled:
            self._combo.addItem("Create new", self._ADD)
        identifiers = [node.GetID() for node in nodes]
        fallback = identifiers[0] if identifiers and not self.noneEnabled else None
        self._select(self._current if self._current in identifiers else fallback)
        self.updateGeometry()

    def _select(self, identifier: str | None) -> None:
        index = self._combo.findData(identifier) if identifier else 0
        self._combo.setCurrentIndex(max(index, 0))
        if identifier != self._current:
            self._current = identifier
            self.currentNodeChanged.emit(self.currentNode())

    def _on_activated(self, index: int) -> None:
        data = self._combo.itemData(index)
        if data == self._ADD:
            self.nodeAddedByUser.emit(self.addNode())
        else:
            self._select(data)

    def addNode(self) -> Any:
        name = self._scene.GenerateUniqueName(self.baseName or self._types[0].removeprefix("vtkMRML"))
        node = self._scene.AddNewNodeByClass(self._types[0], name)
        if self.selectNodeUponCreation:
            self._select(node.GetID())
        return node

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self._select((node if isinstance(node, str) else node.GetID()) if node else None)

    def setCurrentNodeID(self, identifier: str) -> None:
        self._select(identifier or None)


CLASSES = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, type) and issubclass(value, QtWidgets.QWidget) and name.startswith(("ctk", "qMRML", "qSlicer"))
}


def install(qt: types.ModuleType) -> None:
    """Register the module `ctk`, put the qMRML classes into `slicer`, and make `qt.QUiLoader` know them."""
    ctk = types.ModuleType("ctk")
    sys.modules["ctk"] = ctk
    for name, cls in CLASSES.items():
        setattr(ctk if name.startswith("ctk") else slicer, name, cls)

    class UiLoader(qt.QUiLoader):
        def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
            # Made from Python, so that Python keeps knowing its class.
            cls = CLASSES.get(class_name) or getattr(qt, class_name, None)
            if cls is None:
                raise RuntimeError(f"{class_name} is not among the host's widgets")
            widget = cls(parent)
            widget.setObjectName(name)
            return widget

        def load(self, device: Any, parent: Any = None) -> Any:
            # Qt cannot make connections between Python signals by their C++ signatures: taken out and made here.
            root = ElementTree.fromstring(bytes(device.readAll().data()))
            element = root.find("connections")
            connections = []
            if element is not None:
                connections = [[c.findtext(key) for key in ("sender", "signal", "receiver", "slot")] for c in element]
                root.remove(element)
            buffer = qt.QBuffer()
            buffer.setData(ElementTree.tostring(root))
            buffer.open(qt.QIODevice.ReadOnly)
            widget = super().load(buffer, parent)

            def find(name: str) -> Any:
                return widget if widget.objectName == name else widget.findChild("QObject", name)

            for sender, signal, receiver, slot in connections:
                find(sender).connect(signal, getattr(find(receiver), slot.split("(")[0]))
            return widget

    qt.QUiLoader = UiLoader
