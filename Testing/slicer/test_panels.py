"""Both panels build from the real module files and `.ui` files, and their widgets keep their promises."""

from __future__ import annotations

import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from fakes import MODULES, REPOSITORY, add_head, install_card


@pytest.mark.parametrize("name", MODULES)
def test_module_describes_itself(app: Any, name: str) -> None:
    import slicer

    module = getattr(slicer.modules, name.lower())
    assert module.title
    assert module.categories
    assert module.contributors
    assert "Research use only" in module.helpText
    assert "slicer.readthedocs.io" not in module.helpText  # it has no page for an extension's module
    assert module.acknowledgementText.strip()
    assert module.icon is not None


def test_node_parameters_name_concrete_classes(scene: Any) -> None:
    """The application instantiates them, and cannot instantiate an abstract class: no widget is bound then."""
    import slicer
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    annotations = {"mask": slicer.vtkMRMLDisplayableNode}
    wrapper = parameterNodeWrapper(type("Abstract", (), {"__annotations__": annotations}))
    selector = slicer.qMRMLNodeComboBox()
    selector.setProperty("SlicerParameterName", "mask")
    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    with pytest.raises(TypeError, match="abstract"):
        wrapper(node).connectGui(types.SimpleNamespace(selector=selector))


@pytest.mark.parametrize("name", MODULES)
def test_choices_of_another_version_fall_to_their_defaults(open_panel: Any, name: str) -> None:
    panel = open_panel(name)
    node = panel.parameters.parameterNode
    panel.setParameterNode(None)
    for parameter in ("device", "exportFormat", "comparisonOrientation"):
        node.SetParameter(parameter, "gone")
    panel.initializeParameterNode()
    stored = [getattr(panel.parameters, parameter) for parameter in ("device", "exportFormat", "comparisonOrientation")]
    assert stored == ["auto", "NIfTI", "Axial"]
    panel.ui.samplesSpinBox.value = 4
    assert panel.parameters.samples == 4


@pytest.mark.parametrize("name", MODULES)
def test_panel_opens_in_an_empty_scene(open_panel: Any, name: str) -> None:
    panel = open_panel(name)
    assert not panel.ui.synthesizeButton.enabled
    assert "Select an input volume" in panel.ui.synthesizeButton.toolTip


@pytest.mark.parametrize("name", MODULES)
def test_every_control_says_what_it_does(open_panel: Any, name: str) -> None:
    import qt
    import slicer

    panel = open_panel(name)
    controls = (
        qt.QPushButton, qt.QToolButton, qt.QComboBox, qt.QCheckBox, qt.QSpinBox, slicer.qMRMLNodeComboBox,
        __import__("ctk").ctkSliderWidget, __import__("ctk").ctkPathLineEdit, qt.QTableWidget,
    )  # fmt: skip
    named = [widget for key, widget in vars(panel.ui).items() if type(widget) in controls and not key.startswith("qt_")]
    assert len(named) > 15
    for widget in named:
        assert widget.toolTip, widget.objectName
        assert widget.accessibleName, widget.objectName


UI_FILES = sorted(
    [*REPOSITORY.glob("*Synthesis/Resources/UI/*.ui"), *REPOSITORY.glob("Training/*/slicer/Resources/UI/*.ui")]
)


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.stem)
def test_fields_have_their_labels_and_selectors_do_not_widen_the_panel(path: Path) -> None:
    """A label's buddy gives keyboard and screen reader the way; a selector's width follows the longest node name."""
    widgets = {widget.get("name"): widget for widget in ElementTree.parse(path).iter("widget")}
    for name, widget in widgets.items():
        if widget.get("class") == "QLabel" and name.removesuffix("Label") in widgets:
            assert widget.findtext("property[@name='buddy']/cstring") in widgets, name
        if widget.get("class") == "qMRMLNodeComboBox":
            policy = widget.find("property[@name='sizePolicy']/sizepolicy")
            assert policy is not None, name
            assert policy.get("hsizetype") == "Ignored", name


def test_sections_come_in_the_agreed_order(open_panel: Any) -> None:
    import qt

    panel = open_panel("MRItoPETSynthesis")
    panel.parent.resize(420, 1400)
    panel.parent.show()
    qt.QApplication.processEvents()
    names = ["inputs", "generator", "synthesize", "compare", "suvr", "batch", "export", "advanced"]
    tops = [getattr(panel.ui, f"{name}CollapsibleButton").mapToGlobal(qt.QPoint(0, 0)).y() for name in names]
    assert tops == sorted(tops)
    assert panel.ui.advancedCollapsibleButton.collapsed


def test_ct_panel_has_no_suvr(open_panel: Any) -> None:
    assert not hasattr(open_panel("CTtoMRSynthesis").ui, "suvrButton")


def test_no_widget_has_a_style_sheet_of_its_own() -> None:
    folders = [REPOSITORY / name for name in (*MODULES, "Training")]
    texts = [path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.ui")]
    assert len(texts) > len(MODULES)
    assert not any("styleSheet" in text for text in texts)


def test_only_models_of_the_route_are_listed(open_panel: Any, tmp_path: Path) -> None:
    models = tmp_path / "models"
    install_card(models, "pet", "T1w", "TAU-PET")
    install_card(models, "mr", "CT", "T1w")
    panel = open_panel("MRItoPETSynthesis")
    offered = [panel.ui.modelComboBox.itemData(index) for index in range(panel.ui.modelComboBox.count)]
    assert "pet" in offered
    assert "mr" not in offered


def test_card_shows_data_license_use_and_badge(open_panel: Any, tmp_path: Path) -> None:
    install_card(tmp_path / "models", "pet", badge="research")
    panel = open_panel()
    panel.parameters.model = "pet"
    text = panel.ui.cardTextBrowser.plainText
    for part in ("Made-up heads", "Apache-2.0", "Tests <only>", "Adults only", "0.0812"):
        assert part in text
    assert "not for diagnosis" in text
    assert panel.ui.badgeLabel.text == "SUVR · 8 simulated people · <b>research only</b>"


def test_without_a_model_the_panel_says_so(open_panel: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from modality_synthesis.slicer import cards

    monkeypatch.setattr(cards, "model_folders", lambda: [tmp_path])
    panel = open_panel()
    panel.parent.show()
    assert "No model for this route" in panel.ui.modelComboBox.currentText
    assert not panel.ui.modelComboBox.enabled
    assert not panel.ui.cardRow.visible
    assert not panel.ui.cardTextBrowser.visible
    add_head()
    panel.initializeParameterNode()
    assert "Manage…" in panel.ui.synthesizeButton.toolTip


def test_a_broken_card_is_left_out(open_panel: Any, tmp_path: Path) -> None:
    install_card(tmp_path / "models", "good")
    install_card(tmp_path / "models", "broken").write_text('{"id": "broken"', encoding="utf-8")
    panel = open_panel()
    offered = [panel.ui.modelComboBox.itemData(index) for index in range(panel.ui.modelComboBox.count)]
    assert "good" in offered
    assert "broken" not in offered


def test_cards_agree_with_the_models_room(scene: Any, tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    from modality_synthesis.models import list_models
    from modality_synthesis.slicer import cards

    assert {card.id for card in cards.installed_cards()} == {package.card.id for package in list_models()}


def test_input_of_the_scene_is_taken(open_panel: Any) -> None:
    head = add_head()
    panel = open_panel()
    assert panel.parameters.inputVolume.GetID() == head.GetID()
    assert "field of view" in panel.ui.preflightLabel.text


def test_parameters_follow_the_widgets_and_back(open_panel: Any) -> None:
    panel = open_panel()
    panel.ui.seedSpinBox.value = 5
    panel.ui.deviceComboBox.currentText = "CPU"
    panel.ui.suvrOpacitySlider.value = 30
    assert (panel.parameters.seed, panel.parameters.device, panel.parameters.suvrOpacity) == (5, "cpu", 30.0)
    panel.parameters.seed = 9
    assert panel.ui.seedSpinBox.value == 9


def test_observers_do_not_pile_up(open_panel: Any) -> None:
    panel = open_panel()
    for _ in range(3):
        panel.exit()
        panel.enter()
    node = panel.parameters.parameterNode
    assert len([o for o in panel.Observations if o[0] is panel.parameters]) == 1
    assert node is panel.logic.getParameterNode().parameterNode
