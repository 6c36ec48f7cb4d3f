"""What binds widgets to parameters beyond Slicer's own connectors: path fields that can be empty, and choices in words.

Import this module before a parameter node is bound; each connector is registered once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import ctk
import qt
from slicer.parameterNodeWrapper import GuiConnector, parameterNodeGuiConnector

from modality_synthesis.slicer.parameters import CHOICE_TEXTS, choiceOf

PARAMETER_PROPERTY = "SlicerParameterName"
OPTIONAL_PATH = Optional[Path]  # noqa: UP045 - `Path | None` is another type


@parameterNodeGuiConnector
class PathOrNothing(GuiConnector):
    """A path field for `Optional[Path]`: empty is None.

    Slicer's own connector is for `Path`, shows "." for an empty one, and does not notice when the field is cleared:
    `ctkPathLineEdit` sends no `currentPathChanged` for an empty text.
    """

    @staticmethod
    def canRepresent(widget: object, datatype: object) -> bool:
        return type(widget) is ctk.ctkPathLineEdit and datatype == OPTIONAL_PATH

    @staticmethod
    def create(widget: object, datatype: object) -> PathOrNothing:
        return PathOrNothing(widget)

    def __init__(self, widget: object) -> None:
        super().__init__()
        self._widget = widget

    def _connect(self) -> None:
        self._widget.connect("currentPathChanged(QString)", self.onText)
        self._widget.connect("validInputChanged(bool)", self.onText)

    def _disconnect(self) -> None:
        self._widget.disconnect("currentPathChanged(QString)", self.onText)
        self._widget.disconnect("validInputChanged(bool)", self.onText)

    def onText(self) -> None:
        """The text changed, or became empty."""
        self.changed()

    def widget(self) -> object:
        return self._widget

    def read(self) -> Path | None:
        text = self._widget.currentPath.strip()
        return Path(text) if text else None

    def write(self, value: Path | None) -> None:
        text = "" if value is None else str(value)
        if self._widget.currentPath != text:  # setting it moves the cursor of who is typing
            self._widget.currentPath = text


def nameChoices(parameters: object, root: object) -> None:
    """Show the choices of all bound combo boxes in words; the parameter node keeps its values.

    To be called after each `connectGui`, which fills the boxes with the values: it reads and writes them by index.

    :param root: the widget that holds the combo boxes.
    """
    for box in root.findChildren(qt.QComboBox):
        parameter = parameters.allParameters.get(box.property(PARAMETER_PROPERTY) or "")
        choice = choiceOf(parameter) if parameter is not None else None
        for index, value in enumerate(choice.choices if choice is not None else []):
            box.setItemText(index, CHOICE_TEXTS.get(value, value))
