import math

import numpy as np
import pytest
import torch
import transformers
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight.heads.measured import MEASURES, HeadMeasures, measure_heads, measure_records
from clearhead.insight.ink import Ink
from clearhead.insight.tokens import Grid, Words
from clearhead.recording import capture

from ..plain_forward import oblong_images, oblong_model

GRID = Grid(5, 3, 1, ("class token",))
IMAGES = 7


def random_weights(layers: int = 3, heads: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (IMAGES, heads, 16, 16)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).mul(3).softmax(dim=-1)
        for _ in range(layers)
    ]


def random_ink() -> Ink:
    generator = torch.Generator().manual_seed(1)
    amount = torch.rand(IMAGES, 5, 3, generator=generator, dtype=torch.float64)
    amount[torch.rand(IMAGES, 5, 3, generator=generator) < 0.4] = 0.0
    return Ink(amount=amount, centre=torch.randint(0, 15, (IMAGES,), generator=generator))


def place(patch: int) -> tuple[int, int]:
    return divmod(patch, 3)


def in_loops(weights: np.ndarray) -> dict[str, float]:
    """The geometric measures of one image and head, (16, 16) weights, in loops over patches."""
    totals = dict.fromkeys(
        ("distance", "horizontal", "vertical", "itself", "neighbours", "row", "column"), 0.0
    )
    links, mass = [], 0.0
    for i in range(15):
        band = 0.0
        for j in range(15):
            weight = weights[i + 1, j + 1]
            (row, column), (other_row, other_column) = place(i), place(j)
            down, across = abs(row - other_row), abs(column - other_column)
            mass += weight
            totals["distance"] += weight * math.hypot(down, across)
            totals["horizontal"] += weight * across
            totals["vertical"] += weight * down
            totals["itself"] += weight * (i == j)
            totals["neighbours"] += weight * (max(down, across) == 1)
            totals["row"] += weight * (row == other_row and i != j)
            totals["column"] += weight * (column == other_column and i != j)
            band += weight * ({row, other_row} == {0, 4})
        if place(i)[0] in (0, 4):
            links.append(band)
    for name in ("distance", "horizontal", "vertical"):
        totals[name] /= mass
    for name in ("itself", "neighbours", "row", "column"):
        totals[name] /= 15
    nats = [-sum(w * math.log(w) for w in row if w > 0) for row in weights]
    return totals | {
        "top_bottom": float(np.mean(links)),
        "entropy": float(np.mean(nats)),
        "relative_entropy": float(np.mean(nats)) / math.log(16),
        "prefix": float(weights[:, 0].mean()),
    }


def test_measures_equal_loops_over_every_pair_of_patches() -> None:
    layers = random_weights()
    found = measure_records(layers, GRID)
    for layer in range(3):
        for head in range(2):
            each = [in_loops(layers[layer][image, head].numpy()) for image in range(IMAGES)]
            for name in each[0]:
                values = np.array([one[name] for one in each])
                mean, error = found[name]
                assert error is not None
                assert float(mean[layer, head]) == pytest.approx(values.mean())
                assert float(error[layer, head]) == pytest.approx(
                    values.std(ddof=1) / math.sqrt(IMAGES)
                )


def test_shares_on_ink_are_means_over_all_queries() -> None:
    layers, ink = random_weights(), random_ink()
    found = measure_records(layers, GRID, ink=ink)
    for head in range(2):
        inked, blank, centre = [], [], []
        for image in range(IMAGES):
            asked = layers[1][image, head].numpy().mean(axis=0)[1:]
            amount = ink.amount[image].flatten().numpy()
            inked.append(asked[amount >= 0.1].sum())
            blank.append(asked[amount < 0.01].sum())
            centre.append(asked[int(ink.centre[image])])
        for name, values in (("ink", inked), ("blank", blank), ("centre", centre)):
            assert float(found[name].mean[1, head]) == pytest.approx(np.mean(values))


def test_lift_of_ink_compares_with_the_other_images() -> None:
    layers, ink = random_weights(), random_ink()
    found = measure_records(layers, GRID, ink=ink)
    asked = layers[2][:, 0].mean(dim=1)[:, 1:].numpy()
    kinds = {"ink": ink.inked.numpy(), "centre": np.eye(15)[ink.centre.numpy()]}
    for name, kind in kinds.items():
        lifts = []
        for image in range(IMAGES):
            others = [other for other in range(IMAGES) if other != image]
            usual = np.mean([(asked[other] * kind[image]).sum() for other in others])
            lifts.append((asked[image] * kind[image]).sum() - usual)
        assert float(found[f"{name}_lift"].mean[2, 0]) == pytest.approx(np.mean(lifts))


def test_lift_of_a_place_compares_with_the_other_queries() -> None:
    weights = random_weights()
    found = measure_records(weights, GRID)
    lifts = []
    for image in range(IMAGES):
        on_patches = weights[0][image, 1, 1:, 1:].numpy()
        for query in range(15):
            others = [other for other in range(15) if other != query]
            lifts.append(on_patches[query, query] - on_patches[others, query].mean())
    assert float(found["itself_lift"].mean[0, 1]) == pytest.approx(np.mean(lifts))


def constant_head(weights: Tensor) -> HeadMeasures:
    return measure_records([weights.expand(IMAGES, 1, 15, 15)], Grid(5, 3), ink=random_ink())


def test_a_head_that_always_asks_one_place_has_share_there_and_no_lift() -> None:
    weights = torch.zeros(15, 15)
    weights[:, 7] = 1.0
    found = constant_head(weights)
    assert float(found["fixed_place"].mean) == 1.0
    assert int(found.most_asked) == 7
    assert float(found["neighbours"].mean) == pytest.approx(8 / 15)
    for name in MEASURES:
        if name.endswith("_lift"):
            assert float(found[name].mean) == pytest.approx(0.0, abs=1e-12), name


def test_a_head_that_asks_itself_is_known_by_it() -> None:
    found = constant_head(torch.eye(15))
    assert float(found["itself"].mean) == float(found["itself_lift"].mean) == pytest.approx(1.0)
    assert float(found["entropy"].mean) == 0.0
    assert float(found["distance"].mean) == 0.0
    assert float(found["row"].mean) == 0.0


def test_even_weights_have_all_the_entropy_there_is() -> None:
    found = constant_head(torch.full((15, 15), 1 / 15))
    assert float(found["relative_entropy"].mean) == pytest.approx(1.0)
    assert float(found["entropy"].mean) == pytest.approx(math.log(15))
    assert float(found["row_lift"].mean) == pytest.approx(0.0, abs=1e-12)


def test_a_head_that_follows_the_centre_has_its_lift() -> None:
    ink = random_ink()
    following = torch.eye(15)[ink.centre][:, None, None].expand(-1, 1, 15, -1)
    found = measure_records([following], Grid(5, 3), ink=ink)
    assert float(found["centre"].mean) == 1.0
    assert float(found["centre_lift"].mean) > 0.5


def test_agreement_is_one_less_the_jensen_shannon_distance() -> None:
    layers = random_weights(heads=3)
    found = measure_records(layers, GRID).agreement
    assert found.shape == (3, 3, 3)
    for one in range(3):
        for other in range(3):
            distances = jensenshannon(
                layers[1][:, one].numpy(), layers[1][:, other].numpy(), base=2, axis=-1
            )
            assert float(found[1, one, other]) == pytest.approx(1 - distances.mean())


def test_heads_that_never_ask_the_same_key_do_not_agree() -> None:
    weights = torch.stack([torch.eye(15), torch.eye(15).roll(1, 0)])[None]
    found = measure_records([weights], Grid(5, 3)).agreement[0]
    torch.testing.assert_close(found, torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_a_model_is_measured_in_batches_of_any_size(batch_size: int) -> None:
    model, images, ink = oblong_model("class"), oblong_images(IMAGES), random_ink()
    with torch.no_grad(), capture() as seen:
        model(images)
    expected = measure_records(seen, GRID, ink=ink)
    found = measure_heads(model, images, ink=ink, batch_size=batch_size)
    assert found.layers == ("blocks.0.attn", "blocks.1.attn", "blocks.2.attn")
    assert (found.tokens, found.num_images, found.num_heads) == (GRID, IMAGES, 2)
    assert set(found.figures) == set(expected.figures) == set(MEASURES)
    for name in MEASURES:
        torch.testing.assert_close(found[name].mean, expected[name].mean)
        torch.testing.assert_close(found[name].error, expected[name].error)
    torch.testing.assert_close(found.agreement, expected.agreement)


def test_words_are_measured_along_the_sentence() -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=7,
        vocab_size=31,
    )  # fmt: skip
    model = transformers.BertModel(config)
    model.train(False)
    inputs = {"input_ids": torch.randint(0, 31, (5, 4)), "return_dict": True}
    found = measure_heads(model, inputs, Words(("The", "cat", "sat", ".")), batch_size=2)
    with torch.no_grad(), capture() as seen:
        model(**inputs)
    weights = seen[1].weights.double().numpy()
    apart = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    expected = (weights * apart).sum(axis=(2, 3)).mean(axis=0) / 4
    np.testing.assert_allclose(found["distance"].mean[1], expected)
    np.testing.assert_allclose(found["vertical"].mean, 0)
    assert "row" not in found.figures
    with pytest.raises(KeyError, match="no measure 'row' was taken; there is entropy"):
        found["row"]


def test_one_image_has_no_error_and_no_lift_of_ink() -> None:
    one = [layer[:1] for layer in random_weights()]
    ink = Ink(amount=random_ink().amount[:1], centre=random_ink().centre[:1])
    found = measure_records(one, GRID, ink=ink)
    assert found["entropy"].error is None
    assert "ink" in found.figures
    assert "ink_lift" not in found.figures


def test_without_ink_there_are_no_measures_of_it() -> None:
    found = measure_records(random_weights(), GRID)
    assert not {"ink", "blank", "centre", "ink_lift"} & set(found.figures)


def test_what_cannot_be_measured_is_refused() -> None:
    model, images = oblong_model("class"), oblong_images(2)
    with pytest.raises(InputError, match="ink must be of the same 2 images"):
        measure_heads(model, images, ink=random_ink())
    with pytest.raises(InputError, match="there are no inputs"):
        measure_heads(model, images[:0])
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        measure_heads(model, images, batch_size=0)
    with pytest.raises(InputError, match=r"blocks\.0\.attn: expected 5 × 3 = 15 tokens, got 16"):
        measure_heads(model, images, Grid(5, 3))
    with pytest.raises(InputError, match="choose layers of one shape"):
        measure_records([*random_weights(heads=2), *random_weights(heads=3)], GRID)
    with pytest.raises(InputError, match="tensors of one length"):
        measure_heads(model, {"images": images, "other": images[:1]}, GRID)
