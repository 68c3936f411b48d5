from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from clearhead.data import normalize
from clearhead.insight import attribute, grid_of, shapley
from clearhead.insight.attribution import INK, RANDOM
from clearhead.models import TextTransformer, build
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from clearhead.studies.measures.classifiers import unseen_digits
from clearhead.studies.measures.influence import (
    MAPS,
    ablation_effects,
    by_map,
    influence,
    recall_influence,
)
from clearhead.studies.measures.tasks import (
    FIRST_QUERY,
    NUM_PAIRS,
    NUM_WORDS,
    RECALL_MODEL,
    recall_texts,
)
from tests.studies.random_models import random_classifier, random_images


def sharp_model() -> VisionTransformer:
    return random_classifier(3, 0.4, embed_dim=20, num_heads=2)


def test_ablation_masks_the_key_in_all_layers_and_gives_the_total_variation() -> None:
    model, inputs = sharp_model(), random_images(3)

    effects = ablation_effects(model, inputs, grid_of(model))

    with torch.no_grad():
        whole = model(inputs).double().softmax(dim=1)
        for patch in (0, 5, 15):
            mask = torch.ones(1, 1, 1, 16, dtype=torch.bool)
            mask[..., patch] = False
            tokens = model.embedded(inputs)
            for block in model.blocks:
                tokens = block(tokens, attn_mask=mask)
            without = model.head(model.pooled(model.norm(tokens))).double().softmax(dim=1)
            expected = (without - whole).abs().sum(dim=1) / 2
            torch.testing.assert_close(effects[:, patch], expected, atol=1e-6, rtol=1e-4)
    assert float(effects.max()) > 0.01


@pytest.mark.usefixtures("mnist_test")
def test_influence_is_the_size_of_the_shapley_values() -> None:
    """Eight players of sixteen patches: the lower half of the digits is blank."""
    model, digits = sharp_model(), unseen_digits(3, 5)
    digits.images[:, :, 14:] = 0
    pixels = normalize(digits.images, model.config)

    result = influence(model, digits, 5)

    values = shapley(model, pixels).values
    assert (values[:, 8:] == 0).all()
    ink = attribute(INK, model, pixels)
    expected = [spearmanr(x, abs(y)).statistic for x, y in zip(ink, values.numpy(), strict=True)]
    assert result["correlation"][INK] == pytest.approx(float(np.mean(expected)))
    signed = [spearmanr(x, y).statistic for x, y in zip(ink, values.numpy(), strict=True)]
    assert result["signed"][INK] == pytest.approx(float(np.mean(signed)))
    assert result["correlation"].keys() == result["masking"].keys() == set(MAPS)
    assert set(result["beyond_ink"]) == set(MAPS) - {INK}
    assert by_map("beyond_ink")(result)[-1] == result["beyond_ink"][RANDOM]
    assert influence(model, digits, 5) == result


def test_the_influence_of_pairs_is_their_exact_shapley_value() -> None:
    torch.manual_seed(4)
    model: TextTransformer = build(RECALL_MODEL).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    texts = recall_texts("test", 6, 2)
    ids = texts.ids[:, : FIRST_QUERY + 1]

    @cache
    def score(kept: tuple[int, ...], text: int, predicted: int) -> float:
        mask = torch.ones(1, FIRST_QUERY + 1, dtype=torch.bool)
        for pair in range(NUM_PAIRS):
            mask[0, 2 * pair : 2 * pair + 2] = pair in kept
        with torch.no_grad():
            odds = model(ids[text : text + 1], mask)[0, -1, NUM_WORDS:].double().softmax(0)
        return float(torch.log(odds[predicted] / (1 - odds[predicted])))

    found, correlations = recall_influence(model, texts), []
    with torch.no_grad(), capture() as recording:
        predicted = model(ids)[:, -1, NUM_WORDS:].argmax(dim=1).tolist()
    weights = recording[-1].weights[:, :, -1, :FIRST_QUERY].mean(dim=1).view(6, NUM_PAIRS, 2).sum(2)
    for text in range(6):
        values = np.zeros(NUM_PAIRS)
        orders = list(permutations(range(NUM_PAIRS)))
        for order in orders:
            for place, pair in enumerate(order):
                after = score(tuple(sorted(order[: place + 1])), text, predicted[text])
                before = score(tuple(sorted(order[:place])), text, predicted[text])
                values[pair] += (after - before) / len(orders)
        correlations.append(spearmanr(weights[text], abs(values)).statistic)
    assert found["weights"] == pytest.approx(float(np.mean(correlations)), abs=1e-6)
    own = weights.gather(1, texts.pairs[:, :1])
    assert found["on_answer"] == pytest.approx(100 * float(own.mean()), rel=1e-5)
    assert abs(found["random"]) <= 1
