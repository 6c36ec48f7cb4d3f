"""What a synthetic volume's DICOM objects say about it, whatever their form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from modality_synthesis.quantities import PRIVATE_SCHEME, QUANTITIES, Code, Quantity

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9000  # far above what scanners count to
BODY_PART = "BRAIN"
# The default function, LINEAR, is made for whole numbers: it would cut one unit off an SUVR window of two.
WINDOW_FUNCTION = "LINEAR_EXACT"
NOTICE = "SYNTHETIC: computed, not measured. Research use only, not for diagnosis."
MANUFACTURER = "ModalitySynthesis"
_SHORT_TEXT = 1024
_QUANTITY = Code("246205007", "SCT", "Quantity")
_SYNTHESIZING = Code("109100", "DCM", "Synthesizing Equipment")


@dataclass(frozen=True)
class Content:
    """What is written into the DICOM objects of one synthetic volume.

    Attributes:
        modality: DICOM's code of the synthetic modality.
        description: series description, at most 64 characters; says that the series is synthetic.
        derivation: how the values came to be, in words.
        quantity: what the values measure: a key of `QUANTITIES`.
        units: their unit in words.
        window: lower and upper end of the display, in units.
        model: the model's id and version.
        weights_sha256: of the model.
        software: name and version of the program that computed the values.
    """

    modality: Literal["PT", "MR", "CT"]
    description: str
    derivation: str
    quantity: str
    units: str
    window: tuple[float, float]
    model: str
    weights_sha256: str
    software: str

    @property
    def codes(self) -> Quantity:
        """Quantity and unit as coded concepts."""
        return QUANTITIES[self.quantity]


@dataclass(frozen=True)
class Reference:
    """An image that a synthetic one was computed from."""

    sop_class: str
    sop_instance: str


def code_item(code: Code) -> Dataset:
    """An item of a code sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def reference_items(references: tuple[Reference, ...]) -> list[Dataset]:
    """Items of a sequence that refers to images."""
    from pydicom.dataset import Dataset

    items = []
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID = reference.sop_class
        item.ReferencedSOPInstanceUID = reference.sop_instance
        items.append(item)
    return items


def say_synthetic(dataset: Dataset, content: Content, storage: str) -> None:
    """Mark an object as synthetic and record how it was made.

    Args:
        dataset: changed.
        content: what to record.
        storage: how the values are stored, in words.
    """
    dataset.SyntheticData = "YES"
    dataset.SeriesDescription = content.description
    # The storage comes last and must not be cut off.
    dataset.DerivationDescription = f"{content.derivation[: _SHORT_TEXT - len(storage) - 1]} {storage}"
    dataset.ImageComments = NOTICE
    dataset.BodyPartExamined = BODY_PART
    dataset.BurnedInAnnotation = "NO"
    dataset.ContributingEquipmentSequence = [_equipment(content)]
    if content.codes.quantity.scheme == PRIVATE_SCHEME:
        dataset.CodingSchemeIdentificationSequence = [_private_scheme()]


def quantity_item(content: Content) -> Dataset:
    """A Real World Value Mapping that names quantity and unit; the mapping itself is still to be filled in."""
    from pydicom.dataset import Dataset

    definition = Dataset()
    definition.ValueType = "CODE"
    definition.ConceptNameCodeSequence = [code_item(_QUANTITY)]
    definition.ConceptCodeSequence = [code_item(content.codes.quantity)]
    item = Dataset()
    item.LUTExplanation = content.codes.quantity.meaning
    item.LUTLabel = content.quantity
    item.MeasurementUnitsCodeSequence = [code_item(content.codes.unit)]
    item.QuantityDefinitionSequence = [definition]
    return item


def _private_scheme() -> Dataset:
    """Who stands behind the codes of the private scheme."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = "ModalitySynthesis quantities"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item


def _equipment(content: Content) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(_SYNTHESIZING)]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = content.model
    item.DeviceSerialNumber = content.weights_sha256
    item.SoftwareVersions = content.software
    item.ContributionDescription = "Computed the values with the named model"
    return item
