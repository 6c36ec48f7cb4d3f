"""What the panel remembers about itself from one start of Slicer to the next; what belongs to a scene is in the scene."""

from __future__ import annotations

import ctk
import qt
import slicer

ROOM = "ModalitySynthesis"


def remembered(name: str, default: bool) -> bool:
    """A switch as it was left. Settings come back as text in the next process."""
    return bool(slicer.util.settingsValue(f"{ROOM}/{name}", default, converter=slicer.util.toBool))


def remember(name: str, value: bool) -> None:
    """Keep a switch."""
    qt.QSettings().setValue(f"{ROOM}/{name}", bool(value))


def rememberSections(root: object, module: str) -> None:
    """Open and close the sections as they were left, and keep what the user opens and closes from now on.

    :param root: the widget that holds the sections.
    :param module: whose panel it is.
    """
    for button in root.findChildren(ctk.ctkCollapsibleButton):
        name = f"{module}/{button.objectName}/collapsed"
        button.collapsed = remembered(name, button.collapsed)
        button.connect("contentsCollapsed(bool)", lambda collapsed, name=name: remember(name, collapsed))
