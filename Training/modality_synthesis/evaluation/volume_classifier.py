"""A small 3-D convolutional network with the manner of a scikit-learn classifier, for `classification.classify`."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class VolumeClassifier:
    """Four strided convolutions, global average, one linear layer; trained with AdamW on whole volumes.

    Args:
        channels: features of the first convolution, doubled at each.
        epochs: passes over the training volumes.
        learning_rate: of AdamW.
        batch_size: volumes per step.
        seed: of the initial weights and the order.
        device: where.
    """

    def __init__(
        self,
        channels: int = 8,
        epochs: int = 20,
        learning_rate: float = 1e-3,
        batch_size: int = 4,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.channels, self.epochs, self.learning_rate = channels, epochs, learning_rate
        self.batch_size, self.seed, self.device = batch_size, seed, torch.device(device)
        self._network = nn.Module()

    def fit(self, features: np.ndarray, labels: np.ndarray) -> VolumeClassifier:
        """Learn from volumes (subject, z, y, x) and labels 0 and 1."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._network = self._build().to(self.device).train()
            optimizer = torch.optim.AdamW(self._network.parameters(), self.learning_rate, weight_decay=1e-2)
            truth = torch.as_tensor(labels, dtype=torch.float32)
            # Both classes count alike, however rare.
            loss = nn.BCEWithLogitsLoss(pos_weight=(len(truth) - truth.sum()) / truth.sum().clamp(min=1))
            for _ in range(self.epochs):
                for chosen in torch.randperm(len(truth)).split(self.batch_size):
                    optimizer.zero_grad()
                    made = self._network(self._tensor(features[chosen.numpy()]))[:, 0]
                    loss(made, truth[chosen].to(self.device)).backward()
                    optimizer.step()
        return self

    @torch.inference_mode()
    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """(subject, 2)."""
        self._network.eval()
        made = [self._network(self._tensor(one[None]))[0, 0].sigmoid().item() for one in features]
        positive = np.array(made)
        return np.stack([1 - positive, positive], axis=1)

    def _build(self) -> nn.Sequential:
        layers: list[nn.Module] = []
        before = 1
        for level in range(4):
            after = self.channels * 2**level
            layers += [nn.Conv3d(before, after, 3, stride=2, padding=1), nn.GroupNorm(1, after), nn.LeakyReLU(0.1)]
            before = after
        return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(before, 1))

    def _tensor(self, volumes: np.ndarray) -> torch.Tensor:
        values = torch.from_numpy(np.ascontiguousarray(volumes, dtype=np.float32))[:, None].to(self.device)
        mean, spread = values.mean(dim=(1, 2, 3, 4), keepdim=True), values.std(dim=(1, 2, 3, 4), keepdim=True)
        return (values - mean) / spread.clamp(min=1e-6)
