"""A scene and cards that somebody made to do harm: nothing in them is rich text, and nothing is looked at by itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from fakes import CLINICAL, add_head, install_card

BAIT = '<img src="//server/share/x.png">'


def test_names_of_a_card_are_no_rich_text(open_panel: Any, scene: Any, tmp_path: Path) -> None:
    variables = [{**CLINICAL[0], "label": BAIT}, CLINICAL[2]]
    install_card(tmp_path / "models", "pet", name=BAIT, clinical_variables=variables, version=BAIT, badge=BAIT)
    add_head()
    panel = open_panel("MRItoPETSynthesis")
    section = panel.sections["GeneratorSection"]
    assert "<img" not in panel.ui.cardTextBrowser.html
    assert "<img" not in panel.ui.badgeLabel.text
    field = section._fields["age"]
    assert "<img" not in field["widget"].toolTip
    assert "&lt;img" in field["widget"].toolTip
    assert "<img" not in panel.ui.synthesizeButton.toolTip


def test_hidden_versions_are_no_rich_text(scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modality_synthesis.slicer import cards

    monkeypatch.setattr(cards, "model_folders", lambda: [tmp_path / "a", tmp_path / "b"])
    install_card(tmp_path / "a", "pet")
    install_card(tmp_path / "b", "pet", version=BAIT)
    (card,) = cards.installed_cards()
    assert card.hides
    assert "<img" not in cards.badge_text(card)


def test_the_worker_s_folder_is_for_this_user_only(open_panel: Any, scene: Any) -> None:
    panel = open_panel("MRItoPETSynthesis")
    folder = panel.logic._makeFolder()
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    panel.logic._removeFolder()
    assert not os.path.exists(folder)


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"a": [', "[" * 100_000, '["x", 1]', "[1]", "[2, 1]", "null"])
def test_odd_attributes_of_a_scene_say_nothing(scene: Any, text: str) -> None:
    from modality_synthesis.slicer import results
    from modality_synthesis.slicer.sections.suvr import factsHtml

    head = add_head()
    head.SetAttribute(results.SYNTHETIC, "YES")
    head.SetAttribute(results.SIDECAR, text)
    for name in (*results.MEASUREMENT, "DisplayWindow"):
        head.SetAttribute(f"ModalitySynthesis.{name}", text)
    assert results.sidecarOf(head) == {} or text.startswith("{}")
    assert results.provenanceOf(head)["SyntheticData"] is True
    assert results.displayWindow(head) == (0.0, 1.0)
    assert isinstance(factsHtml(head), str)


def test_a_path_of_another_computer_is_not_looked_at(
    open_panel: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_card(tmp_path / "models", "pet")
    panel = open_panel("MRItoPETSynthesis")
    looked: list[str] = []
    for module, name in ((os.path, "isfile"), (os.path, "isdir"), (os.path, "exists"), (Path, "is_file")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, real=real: (looked.append(str(path)), real(path))[1])
    for name in ("batchTable", "batchFolder", "exportFolder", "normalCohort"):
        setattr(panel.parameters, name, Path("//server/share/x"))
    panel.update()
    assert not [path for path in looked if path.startswith("//server")]
