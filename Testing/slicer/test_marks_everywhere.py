"""Synthetic volumes are marked in the views, whether a panel was ever opened or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import MODULES, add_head, card_facts


@pytest.fixture
def unopened(views: Any) -> Any:
    """The views, with marks as at the start of the application: no panel is there, the start has just completed."""
    import slicer

    from modality_synthesis.slicer import marks

    assert not any(hasattr(slicer.modules, name + "Widget") for name in MODULES)
    marks.marks().detach()
    slicer.app.finish_startup()
    yield views
    marks.marks().detach()


def synthetic() -> Any:
    """A result in the scene."""
    import slicer

    from modality_synthesis.slicer import results
    from modality_synthesis.slicer.cards import Card

    head = add_head()
    array = slicer.util.arrayFromVolume(head).astype(np.float32) / 300
    card = Card(folder=None, facts=card_facts("pet", "T1w", "FDG-PET"))
    return results.makeResult(array, head, card, {"SyntheticData": True})


def test_a_result_is_marked_though_no_panel_was_opened(unopened: Any, app: Any) -> None:
    import slicer

    from modality_synthesis.slicer import marks

    node = synthetic()
    slicer.util.setSliceViewerLayers(background=node)
    app.processEvents()
    assert set(marks.marks().shownIn()) == {"Red", "Green", "Yellow"}
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    assert legend.GetTitleText() == "SUVR"  # one word that can be read; that it is synthetic, the mark says


def test_a_loaded_scene_is_marked_though_no_panel_was_opened(unopened: Any, app: Any, tmp_path: Path) -> None:
    import slicer

    from modality_synthesis.slicer import marks

    slicer.util.setSliceViewerLayers(background=synthetic())
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(False)
    app.processEvents()
    assert marks.marks().shownIn() == []
    slicer.util.loadScene(str(path))
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    while node is not None and node.GetAttribute("SyntheticData") != "YES":
        node = next(
            n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetAttribute("SyntheticData")
        )
    slicer.util.setSliceViewerLayers(background=node)
    app.processEvents()
    assert set(marks.marks().shownIn()) == {"Red", "Green", "Yellow"}
