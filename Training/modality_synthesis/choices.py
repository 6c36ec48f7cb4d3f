"""The values that options take, where they are few: known without loading what works with them."""

from __future__ import annotations

REFERENCE_REGIONS = ("cerebellar-gray", "whole-cerebellum", "pons", "cerebellum-pons", "white-matter-eroded")
SPACES = ("native", "template")
EXPORT_FORMATS = ("dicom-series", "dicom-parametric-map")
SIMULATED_MODALITIES = ("T1w", "T2w", "CT", "FDG-PET", "TAU-PET")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
STRATEGIES = ("auto", "ddp")
CHECKPOINT_FORMATS = ("pasta",)
DIRECTIONS = ("left-right", "front-back")
SPLITS = ("train", "validation", "test", "all")
