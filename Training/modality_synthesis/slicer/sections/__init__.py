"""The sections of the panel, one file each. A new one is a class here and a `.ui` file in `Resources/UI`."""

from modality_synthesis.slicer.sections.advanced import AdvancedSection
from modality_synthesis.slicer.sections.batch import BatchSection
from modality_synthesis.slicer.sections.compare import CompareSection
from modality_synthesis.slicer.sections.export import ExportSection
from modality_synthesis.slicer.sections.generator import GeneratorSection
from modality_synthesis.slicer.sections.inputs import InputsSection
from modality_synthesis.slicer.sections.reading import ReadingSection
from modality_synthesis.slicer.sections.suvr import SuvrSection
from modality_synthesis.slicer.sections.synthesize import SynthesizeSection

__all__ = [
    "AdvancedSection",
    "BatchSection",
    "CompareSection",
    "ExportSection",
    "GeneratorSection",
    "InputsSection",
    "ReadingSection",
    "SuvrSection",
    "SynthesizeSection",
]
