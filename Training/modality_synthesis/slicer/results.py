"""Result nodes: what they are called, what they say about themselves, where they hang in the subject hierarchy."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import slicer

from modality_synthesis.quantities import QUANTITIES
from modality_synthesis.slicer import display, exchange
from modality_synthesis.slicer.cards import Card

SYNTHETIC = "SyntheticData"
SOURCE_ROLE = "ModalitySynthesis.Source"
UNCERTAINTY_ROLE = "ModalitySynthesis.Uncertainty"
SIDECAR = "ModalitySynthesis.Sidecar"
# In a record, the SHA-256 of the file it lies beside.
HASH = "SHA256"
_PREFIX = "ModalitySynthesis."
# Of a SUVR record, what a node says about itself.
MEASUREMENT = ("Quantity", "Units", "ReferenceMean", "PartialVolumeCorrection", "NormalCohort", "Centiloid")
_TEXTS = ("Quantity", "Units", "NormalCohort", "ReferenceRegion")


def isSynthetic(node: slicer.vtkMRMLNode | None) -> bool:
    """True for volumes that this extension (or another that marks them) made."""
    return node is not None and node.GetAttribute(SYNTHETIC) == "YES"


def sourceOf(node: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume a synthetic one was made from, when it is still in the scene."""
    return node.GetNodeReference(SOURCE_ROLE) if node is not None else None


def sidecarOf(node: slicer.vtkMRMLNode) -> dict:
    """The provenance record of a synthetic volume."""
    record = _stored(node.GetAttribute(SIDECAR))
    return record if isinstance(record, dict) else {}


def _stored(text: str | None) -> object:
    """What a node's attribute holds as JSON; None when it is none. Scenes come from anybody."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def provenanceOf(node: slicer.vtkMRMLNode) -> dict:
    """What a file of a node must say about it: its record and, of every synthetic volume, the mark and its model."""
    record = sidecarOf(node)
    record.pop(HASH, None)  # of the file that the worker wrote, not of the one that is written now
    if isSynthetic(node):
        record["SyntheticData"] = True
        facts = {
            "id": node.GetAttribute(_PREFIX + "ModelId"),
            "version": node.GetAttribute(_PREFIX + "ModelVersion"),
            "weights_sha256": node.GetAttribute(_PREFIX + "WeightsSHA256"),
        }
        if not record.get("Model") and any(facts.values()):
            record["Model"] = {name: value or "" for name, value in facts.items()}
    return record


def handOver(node: slicer.vtkMRMLScalarVolumeNode, path: str) -> None:
    """Write a volume for the worker, with its provenance beside it: what the worker makes of it keeps the mark.

    :param path: NRRD file.
    """
    exchange.writeVolume(node, path)
    writeSidecar(node, path)


def writeSidecar(node: slicer.vtkMRMLNode, volumePath: str) -> None:
    """Write a volume's provenance record, when it has one, beside the file that the volume was written to.

    :param volumePath: that file; the record holds its SHA-256.
    """
    sidecar = provenanceOf(node)
    if sidecar:
        with open(volumePath, "rb") as file:
            record = {**sidecar, "SHA256": hashlib.sha256(file.read()).hexdigest()}
        with open(exchange.stemOf(volumePath) + ".json", "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)


def derivedName(volume: slicer.vtkMRMLNode, what: str) -> str:
    """The name of what was computed from a volume; of a synthetic one it says so, whatever the volume was renamed to.

    The name is all that the data tree and the selectors show of a node.
    """
    name = volume.GetName()
    mark = " (synthetic)" if isSynthetic(volume) and "synthetic" not in name.lower() else ""
    return f"{name}{mark} {what}"


def handOnMark(synthetic: slicer.vtkMRMLNode, node: slicer.vtkMRMLNode) -> None:
    """Mark a node that was computed from a synthetic volume as synthetic itself, made by the same model."""
    node.SetAttribute(SYNTHETIC, "YES")
    for name in ("ModelId", "ModelVersion", "WeightsSHA256"):
        value = synthetic.GetAttribute(_PREFIX + name)
        if value:
            node.SetAttribute(_PREFIX + name, value)


def hasModel(node: slicer.vtkMRMLNode) -> bool:
    """True when the provenance record says which model made the volume."""
    return bool(sidecarOf(node).get("Model"))


def uncertaintyOf(node: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The uncertainty of a synthetic volume, when one was made with it."""
    return node.GetNodeReference(UNCERTAINTY_ROLE) if node is not None else None


def cardSource(node: slicer.vtkMRMLNode) -> str:
    """The modality a synthetic volume was made from."""
    return node.GetAttribute(_PREFIX + "Source") or ""


def cardTarget(node: slicer.vtkMRMLNode) -> str:
    """The modality a synthetic volume is of."""
    return node.GetAttribute(_PREFIX + "Target") or ""


def displayWindow(node: slicer.vtkMRMLNode) -> tuple[float, float]:
    """The color range that goes with a synthetic volume."""
    text = node.GetAttribute(_PREFIX + "DisplayWindow")
    try:
        low, high = (float(end) for end in _stored(text))
    except (TypeError, ValueError, OverflowError):
        return 0.0, 1.0
    return (low, high) if -math.inf < low < high < math.inf else (0.0, 1.0)


def makeResult(
    array: np.ndarray,
    source: slicer.vtkMRMLScalarVolumeNode,
    card: Card,
    sidecar: dict,
    node: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Put a synthesis into the scene.

    :param array: voxels on the source's grid.
    :param source: the input volume.
    :param card: the model's.
    :param sidecar: the worker's provenance record.
    :param node: an earlier synthetic volume to overwrite; None makes a new node.
    """
    name = f"{source.GetName()} {card.target} (synthetic)"
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
    exchange.setVolume(node, array, source)
    node.SetNodeReferenceID(UNCERTAINTY_ROLE, None)  # of the result before
    markSynthetic(node, source, card, sidecar)
    display.showQuantity(node, card.colormap, card.display_window)
    display.addLegend(node, card.quantity)
    putBeside(node, source)
    return node


def makeUncertainty(
    array: np.ndarray, synthetic: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLScalarVolumeNode | None = None
) -> slicer.vtkMRMLScalarVolumeNode:
    """Put a synthesis' uncertainty (a standard deviation in its units) into the scene."""
    if node is None:
        name = derivedName(synthetic, "uncertainty")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
    exchange.setVolume(node, array, synthetic)
    handOnMark(synthetic, node)
    low, high = displayWindow(synthetic)
    display.showQuantity(node, "Inferno", (0.0, 0.25 * (high - low)))
    display.addLegend(node, "SD", "%.2f")
    synthetic.SetNodeReferenceID(UNCERTAINTY_ROLE, node.GetID())
    putBeside(node, synthetic)
    return node


def markSynthetic(
    node: slicer.vtkMRMLScalarVolumeNode, source: slicer.vtkMRMLScalarVolumeNode, card: Card, sidecar: dict
) -> None:
    """Write onto a node that it is synthetic, of what, and by which model."""
    facts = {
        "ModelId": card.id,
        "ModelVersion": card.version,
        "ModelBadge": card.facts["badge"],
        "WeightsSHA256": card.weights_sha256,
        "Source": card.source,
        "Target": card.target,
        "SourceNode": source.GetName(),
        "ReferenceRegion": card.reference_region,
        "DisplayWindow": json.dumps(list(card.display_window)),
        "Sidecar": json.dumps(sidecar),
        "IntendedUse": "Research use only, not for diagnosis.",
    }
    for name, value in facts.items():
        node.SetAttribute(_PREFIX + name, str(value))
    node.SetAttribute(SYNTHETIC, "YES")
    node.SetNodeReferenceID(SOURCE_ROLE, source.GetID())
    node.SetDescription(f"Synthetic {card.target}, model {card.id} {card.version}. Research use only.")
    setQuantity(node, card.quantity)


def setQuantity(node: slicer.vtkMRMLScalarVolumeNode, quantity: str) -> None:
    """Give a volume the codes of its quantity and unit."""
    entries = []
    for value, scheme, meaning in QUANTITIES[quantity]:
        entry = slicer.vtkCodedEntry()
        entry.SetValueSchemeMeaning(value, scheme, meaning)
        entries.append(entry)
    node.SetVoxelValueQuantity(entries[0])
    node.SetVoxelValueUnits(entries[1])


def setMeasurement(node: slicer.vtkMRMLScalarVolumeNode, record: dict, region: str) -> None:
    """Say what was measured, in which unit and relative to what, in its provenance record too.

    :param record: the worker's, of which what concerns the measurement is kept.
    :param region: the reference region.
    """
    facts = {name: record[name] for name in MEASUREMENT if record.get(name) is not None}
    facts["ReferenceRegion"] = region
    for name in (*MEASUREMENT, "ReferenceRegion"):
        value = facts.get(name)
        if value is None:
            node.RemoveAttribute(_PREFIX + name)
        else:
            node.SetAttribute(_PREFIX + name, value if isinstance(value, str) else json.dumps(value))
    kept = {name: value for name, value in sidecarOf(node).items() if name not in MEASUREMENT}
    node.SetAttribute(SIDECAR, json.dumps({**kept, **facts, "SyntheticData": isSynthetic(node)}))


def measurementOf(node: slicer.vtkMRMLScalarVolumeNode | None) -> dict:
    """What `setMeasurement` wrote."""
    facts = {}
    for name in (*MEASUREMENT, "ReferenceRegion"):
        text = node.GetAttribute(_PREFIX + name) if node is not None else None
        value = text if name in _TEXTS else _stored(text)
        if value and (name in _TEXTS or _isSound(name, value)):
            facts[name] = value
    return facts


def _isSound(name: str, value: object) -> bool:
    """Whether a fact is of the type that `setMeasurement` wrote."""
    if name == "ReferenceMean":
        return isinstance(value, (int, float))
    if not isinstance(value, dict):
        return False
    if name == "PartialVolumeCorrection":
        return isinstance(value.get("fwhm_mm"), (int, float))
    return isinstance(value.get("value"), (int, float, type(None))) and isinstance(value.get("tracer"), str)


def unitsOf(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The unit to write beside a volume's figures."""
    quantity = volumeNode.GetVoxelValueQuantity()
    if quantity is not None and quantity.GetCodeValue() == "SUVR":
        return "SUVR"
    units = volumeNode.GetVoxelValueUnits()
    if units is None or units.GetCodeValue() in (None, "1"):
        return ""
    return "HU" if units.GetCodeValue() == "[hnsf'U]" else units.GetCodeMeaning()


def namedNode(className: str, name: str) -> slicer.vtkMRMLNode:
    """The node of this name; a new one when there is none."""
    node = slicer.util.getFirstNodeByClassByName(className, name)
    return node if node is not None else slicer.mrmlScene.AddNewNodeByClass(className, name)


def putBeside(node: slicer.vtkMRMLNode, neighbor: slicer.vtkMRMLNode) -> None:
    """Put a node under the same study of the subject hierarchy as another."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item, neighborItem = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(neighbor)
    if not neighborItem:
        return
    if item:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(neighborItem))
    else:
        hierarchy.CreateItem(hierarchy.GetItemParent(neighborItem), node)
