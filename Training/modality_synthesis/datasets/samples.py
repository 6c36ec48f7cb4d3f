"""What a sample holds: everything between the preprocessed pair and the tensors a generator sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from modality_synthesis.datasets.cache import Pair
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.datasets.statistics import fit_standardization, fit_variables
from modality_synthesis.errors import BadInputError
from modality_synthesis.models.card import ClinicalVariable
from modality_synthesis.models.clinical import encode_variables
from modality_synthesis.preprocessing import ChainParameters, TargetScaling, target_scaling
from modality_synthesis.preprocessing.atlas import find_regions, member_names, region_mask


@dataclass(frozen=True)
class SampleSpec:
    """What a recipe says about its samples.

    Attributes:
        target: the target's modality.
        chain: preprocessing, with the target's mapping.
        clinical_variables: read from the cohort's columns of these names.
        meta_roi: atlas regions whose mask goes with each sample (see `atlas.find_regions`); empty for no mask.
    """

    target: str
    chain: ChainParameters
    clinical_variables: tuple[ClinicalVariable, ...] = ()
    meta_roi: tuple[str | int, ...] = ()

    def fitted(self, training: Sequence[Pair]) -> SampleSpec:
        """With the statistics of the training patients: the target's standardization, the variables' mean and spread.

        Args:
            training: the training patients' pairs, and no others.
        """
        mapping = self.chain.target
        if mapping.standardization is not None:
            fitted = fit_standardization(training, self.target, mapping, mapping.standardization)
            mapping = mapping.model_copy(update={"standardization": fitted})
        return replace(
            self,
            chain=self.chain.model_copy(update={"target": mapping}),
            clinical_variables=fit_variables(self.clinical_variables, [pair.visit for pair in training]),
        )

    def scaling(self, visit: Visit) -> TargetScaling:
        """How the visit's target becomes network values."""
        mapping = self.chain.target
        return target_scaling(mapping, visit.manufacturer(self.target) if mapping.standardization else None)

    def clinical(self, visit: Visit) -> np.ndarray | None:
        """The visit's clinical variables, float32, NaN where unknown; None when none are declared.

        Raises:
            BadInputError: names the visit and the value that cannot be used.
        """
        if not self.clinical_variables:
            return None
        given = {variable.name: visit.variable(variable.name) for variable in self.clinical_variables}
        try:
            return np.array(encode_variables(self.clinical_variables, given, "The recipe"), dtype=np.float32)
        except BadInputError as error:
            raise BadInputError(f"{visit.name}: {error}") from None

    def regions(self) -> np.ndarray | None:
        """The MetaROIs on the model's grid, uint8 (z, y, x), read-only; None when none are asked for.

        Raises:
            BadInputError: an unknown region, or a model grid outside template space.
        """
        if not self.meta_roi:
            return None
        if self.chain.grid is None:
            raise BadInputError("meta_roi needs the preprocessing steps 'register' and 'resample'.")
        return region_mask(find_regions(self.meta_roi), self.chain.grid)

    def region_names(self) -> tuple[str, ...]:
        """The single regions that the MetaROIs consist of, as the atlas calls them: for the model card."""
        return member_names(find_regions(self.meta_roi))
