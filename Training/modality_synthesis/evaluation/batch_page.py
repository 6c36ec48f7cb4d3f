"""The page to look through a batch: a picture of each result, what its checks found, and the way to its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modality_synthesis.evaluation.document import NOTE
from modality_synthesis.json_files import read_json_object
from modality_synthesis.synthesis.batch import Row, preview_path
from modality_synthesis.volumes import atomic_output, sidecar_path
from modality_synthesis.volumes.sidecars import sound

FILE = "batch.html"


@dataclass(frozen=True)
class Entry:
    """A row of the page; links are relative to it, empty where there is no file.

    Attributes:
        row: what became of the visit.
        picture: link to the preview.
        volume: link to the synthetic volume.
        sidecar: link to its record.
        model: id and version.
        quality: name and figure of each quality figure of the preprocessing.
        findings: level, message and action of what the checks found, what is to be looked at first.
    """

    row: Row
    picture: str
    volume: str
    sidecar: str
    model: str
    quality: Sequence[tuple[str, str]]
    findings: Sequence[dict[str, str]]

    @property
    def level(self) -> str:
        """`failed`, `look` where a check has doubts, else the row's state."""
        if self.row.state == "failed":
            return "failed"
        return "look" if any(found["level"] == "look" for found in self.findings) else self.row.state


def write_batch_page(folder: Path, rows: Sequence[Row]) -> Path:
    """Write `batch.html` into a batch's folder: static, nothing loaded but the pictures beside it.

    Args:
        folder: of the batch.
        rows: of `synthesize_batch`.
    """
    import jinja2

    entries = [_entry(folder, row) for row in rows]
    counts = {level: sum(entry.level == level for entry in entries) for level in ("failed", "look", "done", "skipped")}
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = (Path(__file__).parent / "batch.html.jinja").read_text(encoding="utf-8")
    text = environment.from_string(template).render(entries=entries, counts=counts, note=NOTE)
    path = folder / FILE
    with atomic_output(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def _entry(folder: Path, row: Row) -> Entry:
    volume = folder / row.file
    record = _record(sidecar_path(volume)) if row.state != "failed" else {}
    model = record.get("Model") or {}
    findings = [
        {name: str(found.get(name) or "") for name in ("level", "code", "message", "action")}
        for found in record.get("Findings") or ()
        if isinstance(found, dict)
    ]
    known = {found["message"] for found in findings}
    findings += [
        {"level": "look", "code": "", "message": str(text), "action": ""}
        for text in record.get("Warnings") or ()
        if not any(str(text).startswith(message) for message in known)
    ]
    quality = record.get("Quality") or {}
    return Entry(
        row=row,
        picture=_link(folder, preview_path(volume)) if row.state != "failed" else "",
        volume=_link(folder, volume) if row.state != "failed" else "",
        sidecar=_link(folder, sidecar_path(volume)) if record else "",
        model=f"{model.get('id', '')} {model.get('version', '')}".strip(),
        quality=[(str(name), f"{value:.3g}") for name, value in quality.items() if isinstance(value, (int, float))],
        findings=sorted(findings, key=lambda found: found["level"] == "ok"),
    )


def _record(path: Path) -> dict[str, Any]:
    try:
        return sound(read_json_object(path))
    except (OSError, ValueError):
        return {}


def _link(folder: Path, path: Path) -> str:
    return quote(path.relative_to(folder).as_posix()) if path.is_file() else ""
