"""CT to MR Synthesis: head CT to T1w or T2w MRI, in 3D Slicer. The work is done in `modality_synthesis`."""

import os
import sys

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

_SOURCE_TREE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "Training")
if os.path.isdir(os.path.join(_SOURCE_TREE, "modality_synthesis")) and _SOURCE_TREE not in sys.path:
    sys.path.insert(0, _SOURCE_TREE)

from modality_synthesis.slicer import marks, sample_data, sections, self_test  # noqa: E402
from modality_synthesis.slicer.logic import SynthesisLogic  # noqa: E402
from modality_synthesis.slicer.panel import HELP_PAGE, SynthesisPanelWidget  # noqa: E402
from modality_synthesis.slicer.parameters import SynthesisParameters  # noqa: E402


class CTtoMRSynthesis(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("CT to MR Synthesis")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        self.parent.dependencies = []
        self.parent.contributors = ["ModalitySynthesis contributors"]
        self.parent.helpText = _("""Makes a synthetic T1w or T2w MRI from a head CT, on this computer, and measures how far it can be trusted
against a measured MRI. <b>Research use only, not for diagnosis.</b>""") + self.getDefaultModuleDocumentationLink(
            HELP_PAGE
        )
        self.parent.acknowledgementText = _("""The generators follow three lines of published work: PASTA, pathology-aware MRI to PET
translation with diffusion models (MICCAI 2024, doi 10.1007/978-3-031-72104-5_51); the cyclic 2.5D perceptual loss for T1w MRI
to tau PET (arXiv 2406.12632); DRUNet, CT to MR synthesis (Li et al., QIMS 2022, doi 10.21037/qims-21-846). Each model's card
names its own paper and data. Atlases and label maps keep their licenses, listed in Resources/Licenses.""")
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", marks.followViews)


def registerSampleData():
    """Offer a head CT and the same person's T1w MRI in the module Sample Data."""
    icons = os.path.join(os.path.dirname(os.path.abspath(__file__)), "Resources", "Icons")
    sample_data.registerSampleData(
        "Head CT and T1w MRI (simulated)",
        {"sub-simulated_CT.nii.gz": "CT head", "sub-simulated_T1w.nii.gz": "Reference T1w"},
        os.path.join(icons, "SampleCT.png"),
    )


@parameterNodeWrapper
class CTtoMRSynthesisParameterNode(SynthesisParameters):
    """What the panel remembers: see the base class."""


class CTtoMRSynthesisLogic(SynthesisLogic):
    """CT in, MRI out."""

    parameterNodeClass = CTtoMRSynthesisParameterNode
    sources = ("CT",)
    targets = ("T1w", "T2w")


class CTtoMRSynthesisWidget(SynthesisPanelWidget):
    """The panel."""

    logicClass = CTtoMRSynthesisLogic
    sectionClasses = (
        sections.InputsSection,
        sections.GeneratorSection,
        sections.SynthesizeSection,
        sections.ReadingSection,
        sections.CompareSection,
        sections.BatchSection,
        sections.ExportSection,
        sections.AdvancedSection,
    )
    synthesizeText = _("Synthesize MR")


class CTtoMRSynthesisTest(self_test.SynthesisSelfTest, ScriptedLoadableModuleTest):
    """Runs in Slicer's Reload and Test, and in the project's own test run."""

    logicClass = CTtoMRSynthesisLogic
