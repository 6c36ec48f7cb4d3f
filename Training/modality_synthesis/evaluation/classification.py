"""What a synthetic volume is worth for telling patients from controls: the same classifier on every kind of input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from modality_synthesis.evaluation.statistics import FEWEST_FOR_INTERVAL

FEWEST_PER_CLASS = 2


class Classifier(Protocol):
    """What scikit-learn's classifiers and `volume_classifier.VolumeClassifier` have in common."""

    def fit(self, features: np.ndarray, labels: np.ndarray) -> Any:
        """Learn; labels are 0 and 1."""

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """(subject, 2): probabilities of 0 and 1."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % bootstrap interval over patients; NaN with fewer than five of a class."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Classification:
    """How well one kind of input separates the two groups.

    Attributes:
        probabilities: of the patients' class, out of fold, one per visit.
        figures: balanced accuracy, F1 and AUC.
    """

    probabilities: np.ndarray
    figures: dict[str, Estimate]


def roi_features(volume: np.ndarray, labels: np.ndarray, codes: Sequence[int]) -> np.ndarray:
    """Mean of a volume in atlas regions; NaN for a region that the grid does not hold.

    Args:
        volume: (z, y, x).
        labels: atlas labels on the same grid.
        codes: which regions, in this order.
    """
    counts = np.bincount(labels.ravel(), minlength=max(codes) + 1)
    sums = np.bincount(labels.ravel(), weights=volume.ravel().astype(np.float64), minlength=max(codes) + 1)
    with np.errstate(invalid="ignore"):
        return (sums / counts)[list(codes)]


def logistic_regression() -> Classifier:
    """Ridge-penalized logistic regression on standardized features; what is unknown takes the training median."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000),
    )


def classify(
    inputs: Mapping[str, np.ndarray],
    labels: Sequence[int],
    patients: Sequence[str],
    *,
    classifier: Callable[[], Classifier] = logistic_regression,
    folds: int = 5,
    seed: int = 0,
    draws: int = 1000,
) -> dict[str, Classification]:
    """Cross-validate one classifier on several kinds of input, all with the same folds.

    A patient's visits are in one fold only, so that nobody is recognized; intervals resample patients, not visits.

    Args:
        inputs: kind (real PET, synthetic PET, MRI, clinical variables) -> one row of features, or volume, per visit.
        labels: 0 or 1 per visit.
        patients: whose visit it is.
        classifier: makes an untrained classifier.
        folds: of the cross-validation.
        seed: of folds and bootstrap.
        draws: of the bootstrap.

    Raises:
        ValueError: too few patients of a class for the folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    truth, owner = np.asarray(labels), np.asarray(patients)
    for value in (0, 1):
        if len(set(owner[truth == value])) < max(folds, FEWEST_PER_CLASS):
            raise ValueError(f"{folds} folds need at least as many patients of each class")
    splits = list(
        StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(truth)), truth, owner)
    )
    result = {}
    for name, features in inputs.items():
        probabilities = np.empty(len(truth))
        for train, test in splits:
            fitted = classifier()
            fitted.fit(features[train], truth[train])
            probabilities[test] = fitted.predict_proba(features[test])[:, 1]
        result[name] = Classification(probabilities, _figures(truth, probabilities, owner, seed, draws))
    return result


def _figures(
    truth: np.ndarray, probabilities: np.ndarray, owner: np.ndarray, seed: int, draws: int
) -> dict[str, Estimate]:
    rng = np.random.default_rng(seed)
    visits = [np.flatnonzero(owner == patient) for patient in np.unique(owner)]
    drawn: list[dict[str, float]] = []
    for _ in range(draws):
        chosen = np.concatenate([visits[index] for index in rng.integers(len(visits), size=len(visits))])
        if 0 < truth[chosen].sum() < len(chosen):
            drawn.append(scores(truth[chosen], probabilities[chosen]))
    figures = {}
    enough = all(len(set(owner[truth == value])) >= FEWEST_FOR_INTERVAL for value in (0, 1))
    for name, value in scores(truth, probabilities).items():
        low, high = np.percentile([one[name] for one in drawn], [2.5, 97.5]) if enough else [float("nan")] * 2
        figures[name] = Estimate(value, float(low), float(high))
    return figures


def scores(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Balanced accuracy and F1 at probability 0.5, and the area under the ROC curve."""
    from scipy.stats import rankdata

    said = probabilities >= 0.5
    positive, negative = truth == 1, truth == 0
    hits, rejections = (said & positive).sum(), (~said & negative).sum()
    ranks = rankdata(probabilities)[positive].sum()
    pairs = positive.sum() * negative.sum()
    return {
        "balanced accuracy": float((hits / positive.sum() + rejections / negative.sum()) / 2),
        "F1": float(2 * hits / (said.sum() + positive.sum())),
        "AUC": float((ranks - positive.sum() * (positive.sum() + 1) / 2) / pairs),
    }
