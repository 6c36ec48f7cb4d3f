"""Clinical variables are forgotten in one place: as often as the recipe says, and never in PASTA to the letter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_samples import make_pair

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch
from modality_synthesis.training import read_recipe
from modality_synthesis.training.data import PairData

RECIPES = Path(__file__).parents[2] / "Training" / "recipes"
PEOPLE = [
    {"age": "60", "sex": "F", "education": "12", "mmse": "29", "adas_cog_13": "10", "apoe4": "0"},
    {"age": "80", "sex": "M", "education": "18", "mmse": "21", "adas_cog_13": "30", "apoe4": "1"},
]
DRAWS = 3000


def known_to_the_network(folder: Path, *overrides: str) -> np.ndarray:
    """(draw, variable): which variables the network learns that it knows, in training, of a person who has all six."""
    recipe = read_recipe(RECIPES / "pasta-small.yaml", ["meta_roi=[]", *overrides])
    pairs = [make_pair(folder, who, variables=values) for who, values in zip("ab", PEOPLE, strict=True)]
    recipe = recipe.fitted(recipe.samples.fitted(pairs))
    data = PairData(recipe, pairs, pairs, processes=1).training
    values = []
    for epoch in range(DRAWS):
        data.set_epoch(epoch)
        values.append(data._known(0, 0))
    generator = build_generator("pasta", recipe.generator.parameters).train()
    torch.manual_seed(0)
    vector = generator._clinical(Batch(source=torch.zeros(DRAWS, 1, 1, 1, 1), clinical=torch.stack(values)))
    return vector[:, 6:].detach().numpy()


@pytest.mark.parametrize(("overrides", "rate"), [((), 0.1), (("training.clinical_dropout=0.3",), 0.3)])
def test_variables_are_forgotten_at_the_recipe_s_rate(tmp_path, overrides, rate):
    known = known_to_the_network(tmp_path, *overrides)
    # All together with the probability p, else each with p.
    everything, each, none = (1 - rate) ** 7, (1 - rate) ** 2, rate + (1 - rate) * rate**6
    spread = 4 * np.sqrt(0.25 / DRAWS)
    assert known.all(axis=1).mean() == pytest.approx(everything, abs=spread)
    assert known.mean(axis=0) == pytest.approx([each] * 6, abs=spread)
    assert (~known.any(axis=1)).mean() == pytest.approx(none, abs=spread)


def test_the_published_training_knows_everything(tmp_path):
    assert known_to_the_network(tmp_path, "generator.parameters.literal=true").all()
    assert read_recipe(RECIPES / "pasta-published.yaml").training.clinical_dropout == 0.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["generator.parameters.clinical_dropout=0.2"], r"move it there"),
        (["generator.parameters.literal=true", "training.clinical_dropout=0.1"], "set it to 0"),
    ],
)
def test_a_second_place_is_refused(overrides, message):
    with pytest.raises(BadInputError, match=message) as refusal:
        read_recipe(RECIPES / "pasta-small.yaml", overrides)
    assert "pasta-small.yaml" in str(refusal.value)


def test_a_package_of_an_earlier_version_is_still_built():
    parameters = read_recipe(RECIPES / "pasta-small.yaml").generator.parameters
    build_generator("pasta", {**parameters, "clinical_dropout": 0.2})
