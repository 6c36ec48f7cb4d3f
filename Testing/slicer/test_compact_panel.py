"""The main job fits small screens: nothing cut, nothing to scroll; and the panel remembers how it was left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import CLINICAL, MODULES, add_head, install_card

NARROW = 404  # pixels of the panel in a window of 1280
SHORT = 485  # what is visible of it in a window of 1280 x 800
ABOVE = 43  # Help & Acknowledgement, above our widgets
MANY = [*CLINICAL, *({**CLINICAL[1], "name": name, "label": name} for name in ("Education", "ADAS-Cog-13", "APOE-e4"))]


@pytest.fixture
def laid_out(app: Any) -> Any:
    """Gives a panel the room it has in the application: in a scroll area, so that nothing is squeezed."""
    import qt

    area = qt.QScrollArea()
    area.setWidgetResizable(True)

    def laid_out_(panel: Any) -> Any:
        area.setWidget(panel._uiWidget)
        area.resize(NARROW, SHORT - ABOVE)
        area.show()
        for _ in range(4):
            app.processEvents()
        return area

    yield laid_out_
    area.takeWidget()
    area.deleteLater()


def bottom_of(panel: Any, widget: Any) -> int:
    """The lower end of a widget, pixels from the panel's top."""
    import qt

    return int(widget.mapTo(panel._uiWidget, qt.QPoint(0, widget.height)).y())


@pytest.fixture
def crowded(open_panel: Any, tmp_path: Path) -> Any:
    """A panel with a head and a model with many clinical variables and a long name."""
    install_card(
        tmp_path / "models", "pet", clinical_variables=MANY, name="FDG PET from T1w MRI with clinical variables"
    )
    install_card(
        tmp_path / "models", "other", name="FDG PET from T1w MRI with clinical variables (diffusion, demonstration)"
    )
    add_head("A person's head with a name as long as hospitals give them T1w MPRAGE SAG ISO")
    panel = open_panel()
    panel.parameters.model = "pet"
    return panel


def test_the_main_button_is_visible_without_scrolling(crowded: Any, laid_out: Any) -> None:
    area = laid_out(crowded)
    assert not area.horizontalScrollBar().visible
    assert crowded.ui.synthesizeButton.visible
    assert bottom_of(crowded, crowded.ui.synthesizeButton) <= SHORT - ABOVE


def test_the_clinical_form_is_aligned_and_nothing_is_cut(crowded: Any, laid_out: Any) -> None:
    import qt

    laid_out(crowded)
    fields = list(crowded.sections["GeneratorSection"]._fields.values())
    assert len(fields) == len(MANY)
    for part in ("label", "widget"):
        lefts = [field[part].mapTo(crowded._uiWidget, qt.QPoint(0, 0)).x() for field in fields]
        assert len(set(lefts)) == 2, part  # two columns
    assert len({field["widget"].width for field in fields}) <= 2
    for field in fields:
        assert field["widget"].height >= 22
        assert field["label"].width >= field["label"].fontMetrics().horizontalAdvance(field["label"].text)
        assert field["label"].buddy() is field["widget"]
    assert "In years" in fields[0]["widget"].toolTip


def test_models_that_differ_at_their_end_look_different(crowded: Any, laid_out: Any) -> None:
    import qt

    box = crowded.ui.modelComboBox
    names = [box.itemText(index) for index in range(box.count)]
    assert len(set(names)) == len(names)
    font = box.fontMetrics()
    laid_out(crowded)
    assert all(font.horizontalAdvance(name) <= box.width - 30 for name in names)  # the arrow and the margins
    whole = {box.itemData(index): box.itemData(index, qt.Qt.ToolTipRole) for index in range(box.count)}
    assert whole["other"].endswith("(diffusion, demonstration)")
    assert "FDG PET from T1w MRI with clinical variables" in box.toolTip


def test_the_card_is_one_line_until_it_is_asked_for(crowded: Any, app: Any, laid_out: Any) -> None:
    laid_out(crowded)
    ui = crowded.ui
    assert ui.badgeLabel.text == "SUVR · 8 simulated people · <b>demonstration</b>"
    assert ui.badgeLabel.heightForWidth(ui.badgeLabel.width) < 2 * ui.badgeLabel.fontMetrics().lineSpacing()
    assert not ui.cardTextBrowser.visible
    ui.cardMoreButton.click()
    app.processEvents()
    assert ui.cardTextBrowser.visible
    assert ui.cardMoreButton.text == "less"
    assert not ui.cardTextBrowser.horizontalScrollBar().visible
    assert ui.cardTextBrowser.document.idealWidth() <= ui.cardTextBrowser.viewport().width
    ui.generatorCollapsibleButton.collapsed = True
    ui.cardMoreButton.click()
    ui.generatorCollapsibleButton.collapsed = False
    assert not ui.cardTextBrowser.visible


@pytest.mark.parametrize("name", MODULES)
def test_sections_open_as_they_were_left(scene: Any, name: str) -> None:
    """Settings come back as text in the next process."""
    import qt
    from slicer_host import application

    panel = application.open_module(name)
    panel.ui.inputsCollapsibleButton.collapsed = True
    panel.ui.exportCollapsibleButton.collapsed = False
    key = f"ModalitySynthesis/{name}/exportCollapsibleButton/collapsed"
    assert qt.QSettings().contains(key)
    qt.QSettings().setValue(key, "false")
    qt.QSettings().setValue(f"ModalitySynthesis/{name}/inputsCollapsibleButton/collapsed", "true")
    application.close_module(panel)
    again = application.open_module(name)
    try:
        assert again.ui.inputsCollapsibleButton.collapsed
        assert not again.ui.exportCollapsibleButton.collapsed
        assert again.ui.batchCollapsibleButton.collapsed
        assert not again.ui.exportProgressBar.isVisibleTo(
            again._uiWidget
        )  # opening shows nothing that has nothing to say
    finally:
        application.close_module(again)


# How much to trust a result


def synthetic(findings: list | None, badge: str) -> Any:
    """A volume with a record."""
    volume = add_head("made (synthetic)")
    volume.SetAttribute("SyntheticData", "YES")
    record = {"ModelBadge": badge, **({"Findings": findings} if findings is not None else {})}
    volume.SetAttribute("ModalitySynthesis.Sidecar", json.dumps(record))
    return volume


LOOKED = {"code": "spacing", "level": "look", "message": "Slices are 6 mm <apart>.", "action": "Look."}
REFUSED = {"code": "contrast", "level": "refuse", "message": "Does not look like a T1w.", "action": ""}


@pytest.mark.parametrize(
    ("findings", "badge", "level", "words"),
    [
        ([], "research", "good", "Nothing unusual"),
        ([{**LOOKED, "level": "ok"}], "research", "good", "Research use only"),
        ([LOOKED], "research", "look", "6 mm &lt;apart&gt;"),
        ([LOOKED, REFUSED], "research", "bad", "Does not look like a T1w. 1 more."),
        ([], "demonstration", "bad", "demonstration model"),
        (None, "research", "look", "does not say what was checked"),
    ],
)
def test_one_colored_line_says_how_much_to_trust(
    open_panel: Any, findings: list | None, badge: str, level: str, words: str
) -> None:
    from modality_synthesis.slicer.trust import COLORS

    panel = open_panel()
    assert panel.ui.trustLabel.text == ""
    panel.parameters.outputVolume = synthetic(findings, badge)
    text = panel.ui.trustLabel.text
    assert words in text
    assert any(color in text for color in COLORS[level])
    for one in findings or []:
        if one["level"] != "ok":
            assert one["message"] in panel.ui.trustLabel.toolTip


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("window", "lightness"), [("#efefef", 239), ("#353535", 53)])
def test_the_line_can_be_read_in_light_and_dark(app: Any, window: str, lightness: int) -> None:
    from modality_synthesis.slicer.trust import COLORS, Trust

    for level in COLORS:
        line = Trust(level, "words", "").line(lightness)
        color = line.partition("color:")[2][:7]
        low, high = sorted((luminance(color), luminance(window)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (level, color)


# Choosing an input shows it


def backgrounds(views: Any) -> set:
    """What the standard views show."""
    names = ("Red", "Green", "Yellow")
    return {views.sliceWidget(name).sliceLogic().GetSliceCompositeNode().GetBackgroundVolumeID() for name in names}


def test_choosing_an_input_shows_it(open_panel: Any, views: Any, app: Any) -> None:
    import slicer

    first, second = add_head("first"), add_head("second")
    slicer.util.setSliceViewerLayers(background=second, fit=True)
    panel = open_panel()
    assert panel.parameters.inputVolume is second  # what is in the views, before others
    assert backgrounds(views) == {second.GetID()}
    panel.ui.inputSelector.setCurrentNode(first)
    app.processEvents()
    assert backgrounds(views) == {first.GetID()}
    slicer.util.setSliceViewerLayers(background=second, fit=True)  # the user looks at something else
    panel.exit()
    panel.enter()
    panel.ui.seedSpinBox.value = 3
    assert backgrounds(views) == {second.GetID()}


def test_the_comparison_stays_when_another_input_is_chosen(open_panel: Any, views: Any) -> None:
    from modality_synthesis.slicer import linked_views

    first, second = add_head("first"), add_head("second")
    panel = open_panel()
    panel.parameters.inputVolume = first
    cells = [linked_views.Cell(title, first) for title in ("Source", "Synthetic", "Reference", "Difference")]
    linked_views.views().show(linked_views.COMPARISON, "Axial", cells)
    composite = views.sliceWidget(views.sliceViewNames()[0]).sliceLogic().GetSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == first.GetID()
    panel.parameters.inputVolume = second
    assert composite.GetBackgroundVolumeID() == first.GetID()


def test_results_say_synthetic_in_their_names(open_panel: Any) -> None:
    """The data tree and the selectors show nothing else of a node."""
    from modality_synthesis.slicer import results

    volume = synthetic([], "research")
    volume.SetName("renamed by the user")
    assert "synthetic" in results.derivedName(volume, "SUVR (pons)")
    assert results.derivedName(add_head("measured PET"), "SUVR (pons)") == "measured PET SUVR (pons)"
