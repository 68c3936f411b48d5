"""Few images get small batches and many epochs; what a person chose stays."""

from dataclasses import replace

import pytest

from clearhead.training.config import TrainConfig
from clearhead.training.plan import Proposed, proposal, suited
from clearhead.training.recipes import RECIPES, quick


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_it_says_on_the_images_it_was_made_for(name: str) -> None:
    recipe = RECIPES[name]()
    assert suited(proposal(recipe), 60_000) == recipe


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs"),
    [
        (48, 8, 67),  # 6 steps an epoch, 402 steps
        (5, 8, 400),  # a step an epoch
        (1000, 125, 50),  # 8 steps an epoch
        (5003, 512, 45),  # 9 steps an epoch, 405 steps
    ],
)
def test_few_images_make_small_batches_and_at_least_400_steps(
    images: int, batch_size: int, epochs: int
) -> None:
    config = suited(proposal(quick()), images)
    assert config == replace(quick(), batch_size=batch_size, epochs=epochs)


def test_a_number_that_a_person_chose_stays_even_if_it_is_the_proposed_one() -> None:
    chosen = replace(proposal(quick()), batch_size=512)
    assert (suited(chosen, 48).batch_size, suited(chosen, 48).epochs) == (512, 400)
    chosen = replace(proposal(quick()), epochs=7)
    assert (suited(chosen, 48).batch_size, suited(chosen, 48).epochs) == (8, 7)
    assert suited(TrainConfig(epochs=3), 48) == TrainConfig(epochs=3)


def test_the_numbers_are_plain_again() -> None:
    config = suited(proposal(quick()), 48)
    assert isinstance(proposal(quick()).epochs, Proposed)
    assert (type(config.batch_size), type(config.epochs)) == (int, int)
