"""N4 bias field correction at the cost of a few CPU seconds."""

from __future__ import annotations

import SimpleITK as sitk

from modality_synthesis.preprocessing.parameters import BiasField


def correct_bias_field(image: sitk.Image, mask: sitk.Image, parameters: BiasField) -> sitk.Image:
    """Divide out the smooth multiplicative field that N4 (Tustison 2010, IEEE TMI 29:1310) finds inside the mask.

    The field is fitted on a subsampled image, because it is smooth, and evaluated on the full grid.

    Args:
        image: float32 MR volume.
        mask: uint8 brain mask on the same grid.
        parameters: fitting resolution and iterations.

    Returns:
        float32 volume on the same grid with the mean inside the mask unchanged.
    """
    box = _bounding_box(mask)
    inner_image, inner_mask = (sitk.RegionOfInterest(volume, box[3:], box[:3]) for volume in (image, mask))
    factors = [max(round(parameters.shrink_mm / spacing), 1) for spacing in image.GetSpacing()]
    shrunk_mask = sitk.Shrink(inner_mask, factors)
    shrunk = sitk.Shrink(sitk.Clamp(inner_image, lowerBound=0.0), factors)
    # N4 works on logarithms: voxels without signal carry none of the field.
    shrunk_mask = sitk.And(shrunk_mask, sitk.Cast(shrunk > 0, sitk.sitkUInt8))
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(parameters.iterations))
    n4.Execute(shrunk, shrunk_mask)
    log_field = sitk.Cast(n4.GetLogBiasFieldAsImage(shrunk), sitk.sitkFloat32)
    statistics = sitk.LabelStatisticsImageFilter()
    statistics.Execute(log_field, shrunk_mask)
    centered = log_field - statistics.GetMean(1)
    everywhere = sitk.Resample(centered, image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True)
    return image * sitk.Exp(-1.0 * everywhere)


def _bounding_box(mask: sitk.Image) -> tuple[int, ...]:
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(mask)
    return tuple(shapes.GetBoundingBox(1))
