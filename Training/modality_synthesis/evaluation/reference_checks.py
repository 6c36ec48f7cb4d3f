"""Is the volume that a synthetic one is compared with a scan at all?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.datasets.visit_check import Gathering
from modality_synthesis.evaluation.signal import sidecar_record
from modality_synthesis.preprocessing.target_checks import check_target_before
from modality_synthesis.progress import Reporter


def doubt_reference(image: sitk.Image, reference: Path, synthetic: Path, reporter: Reporter) -> None:
    """Say where a reference is no scan, or no CT in Hounsfield units where the synthetic volume is one.

    The comparison goes on: its figures describe the two files, whatever they are.

    Args:
        image: the reference as read.
        reference: its file, for messages.
        synthetic: file of the synthetic volume, whose sidecar says what was made.
        reporter: receives the findings, at most as doubts.
    """
    route = sidecar_record(synthetic).get("Route")
    target = str(route.get("target", "")) if isinstance(route, dict) else ""
    gathered = Gathering()
    gathered.tried("reference", lambda: check_target_before(image, target, reference.name, gathered))
    for finding in gathered.findings:
        reporter.finding(replace(finding, level="look") if finding.level == "refuse" else finding)
