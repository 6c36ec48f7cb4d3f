"""Clinical variables as a vector for the network, any of them unknown."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# In the published code only the last three of six variables say whether they are known.
_PUBLISHED_VARIABLES, _PUBLISHED_FLAGGED = 6, 3


class ClinicalVector(nn.Module):
    """Standardized variables (NaN is unknown) -> values, then a flag per variable: 1 known, 0 unknown.

    An unknown variable's value is a learned number, so that 'unknown' need not look like 'average'. Training samples
    come with variables forgotten at random (`PairDataset`): the network learns to work without any of them.

    Args:
        variables: how many.
    """

    def __init__(self, variables: int) -> None:
        super().__init__()
        self.variables = variables
        self.unknown = nn.Parameter(torch.zeros(variables))

    @property
    def length(self) -> int:
        """Of the vector."""
        return 2 * self.variables

    def forward(self, values: Tensor) -> Tensor:
        """(batch, variable) -> (batch, length)."""
        known = ~values.isnan()
        filled = torch.where(known, values.nan_to_num(), self.unknown)
        return torch.cat([filled, known.to(filled)], dim=1)


class PublishedClinicalVector(nn.Module):
    """The published vector: six values, 0 (the mean) where unknown, and flags for the last three only."""

    variables = _PUBLISHED_VARIABLES
    length = _PUBLISHED_VARIABLES + _PUBLISHED_FLAGGED

    def forward(self, values: Tensor) -> Tensor:
        """(batch, 6) -> (batch, 9)."""
        known = ~values.isnan()
        return torch.cat([values.nan_to_num(), known[:, -_PUBLISHED_FLAGGED:].to(values)], dim=1)
