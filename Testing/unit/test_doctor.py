"""What `doctor` says of folders and extras."""

from __future__ import annotations

import modality_synthesis.doctor as doctor
from modality_synthesis.resources import resources_folder


def test_model_folders_come_in_the_order_in_which_they_are_searched(monkeypatch, tmp_path):
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(tmp_path / "not made" / "yet"))
    monkeypatch.setenv("MODALITY_SYNTHESIS_CACHE", str(tmp_path))
    folders = {folder["purpose"]: folder for folder in doctor._folders()}
    assert list(folders)[:2] == ["your models", "shipped models"]
    assert folders["your models"]["path"] == str(tmp_path / "not made" / "yet")
    assert "not made yet" in folders["your models"]["state"]
    assert "MODALITY_SYNTHESIS_MODELS is set" in folders["your models"]["state"]
    assert folders["shipped models"]["path"] == str(resources_folder() / "Models")
    assert folders["cache"]["path"] == str(tmp_path)
    assert folders["cache"]["state"].startswith("writable")
    assert not (tmp_path / "not made").exists()


def test_an_extra_that_is_missing_is_named_with_its_cost(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_installed", lambda name: None if name == "fpdf2" else "1.0")
    monkeypatch.setattr(doctor, "_devices", dict)
    monkeypatch.setattr(doctor, "_models", list)
    monkeypatch.setattr(doctor, "_networks", dict)
    report = doctor.examine()
    assert [name for name, extra in report["extras"].items() if extra["missing"]] == ["report"]
    doctor.print_report(report)
    line = next(line for line in capsys.readouterr().out.splitlines() if "fpdf2" in line)
    assert "no report.pdf" in line
    assert "pip install '.[report]'" in line
