from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearhead import attention
from clearhead.attention import MultiHeadAttention
from clearhead.data import ImageDataset
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies import c05_queries_keys_values as c05
from clearhead.studies.study import Check, Outcome, Trial


def as_claimed(outcomes: list[Outcome]) -> list[bool]:
    return [
        all(one.low <= x <= one.high for x in one.values)
        for one in c05.evidence(outcomes)
        if isinstance(one, Check)
    ]


def made_up(**changes: float) -> list[Outcome]:
    exact: dict[str, Any] = {
        "values": 0.0,
        "other_rows": 0.0,
        "other_columns": 1e-16,
        "own_row": 0.2,
        "own_column": 0.3,
    }
    drawn = {**exact, **changes}
    read = {**exact, "weights_above": [0.1, 0.3], "rows_apart": [[0.1, 0.2], [0.4, 0.6], [0, 0.1]]}
    return [
        Outcome(trial=Trial(study="queries-keys-values", arm=arm, seed=seed), values=values)
        for seed in (1, 2)
        for arm, values in (("random", drawn), ("shipped", read), ("trained", read))
    ]


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_in_random_tensors_only_what_is_ones_own_changes(seed: int) -> None:
    trial = Trial(study="queries-keys-values", arm="random", seed=seed, settings={"draws": 2})
    found = c05.run(trial)
    assert found["values"] == 0
    assert max(found["other_rows"], found["other_columns"]) <= c05.ROUNDING
    assert min(found["own_row"], found["own_column"]) >= c05.CHANGED


@pytest.mark.parametrize(
    ("fault", "caught"),
    [("values in the weights", 0), ("a key for each query", 1), ("one row for all", 2)],
)
def test_planted_faults_are_caught(
    monkeypatch: pytest.MonkeyPatch, fault: str, caught: int
) -> None:
    honest = attention.attention_stages

    def faulty(query: Any, key: Any, value: Any) -> attention.AttentionStages:
        if fault == "values in the weights":
            query = query + 1e-9 * value.mean()
        if fault == "a key for each query":
            key = key + 1e-6 * key.mean(dim=0)
        if fault == "one row for all":
            query = query.mean(dim=0).expand(query.shape)
        return honest(query, key, value)

    monkeypatch.setattr(attention, "attention_stages", faulty)
    trial = Trial(study="queries-keys-values", arm="random", seed=1, settings={"draws": 5})
    wrong = Outcome(trial=trial, values=c05.run(trial))
    others = [x for x in made_up() if x.trial.arm != "random"]
    assert not as_claimed([*others, wrong])[caught]


def test_in_a_reader_values_move_the_layers_above_only(mnist_test: ImageDataset) -> None:
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(embed_dim=16, num_heads=2, depth=3)).eval()
    for layer in model.modules():
        if isinstance(layer, MultiHeadAttention):
            torch.nn.init.normal_(layer.qkv.weight, std=0.5)
            torch.nn.init.normal_(layer.proj.weight, std=0.5)
    trial = Trial(study="queries-keys-values", arm="trained", seed=1, settings={"images": 6})
    found = c05.reader_changes(model, trial)
    assert found["values"] == 0
    assert max(found["other_rows"], found["other_columns"]) <= c05.ROUNDING
    assert min(found["own_row"], found["own_column"]) > 1e-4
    assert len(found["weights_above"]) == 2
    assert min(found["weights_above"]) > 0.01
    assert [len(heads) for heads in found["rows_apart"]] == [2, 2, 2]


def test_a_layer_that_takes_its_values_for_keys_is_caught(mnist_test: ImageDataset) -> None:
    """Queries and keys get their numbers from where values are: swapped projections."""
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(embed_dim=16, num_heads=2, depth=2)).eval()
    first = next(x for x in model.modules() if isinstance(x, MultiHeadAttention))
    torch.nn.init.normal_(first.qkv.weight, std=0.5)

    def swap(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        query, key, value = output.chunk(3, dim=-1)
        return torch.cat([query, value, key], dim=-1)

    images = torch.randn(2, 1, 28, 28).double()
    model = model.double()
    before = c05._captured(model, images)

    def values(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        value.mul_(2)

    with c05._changed(model, 0, values):
        honest = c05._captured(model, images)
    assert torch.equal(before[0].weights, honest[0].weights)
    with c05._changed(model, 0, values):
        handle = first.qkv.register_forward_hook(swap)
        wrong = c05._captured(model, images)
        handle.remove()
    assert not torch.allclose(before[0].weights, wrong[0].weights)


def test_how_far_rows_lie_apart() -> None:
    same = torch.full((1, 1, 3, 4), 0.25)
    nothing = torch.eye(3)[None, None]
    half = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])[None, None]
    assert c05.rows_apart(same).item() == 0
    assert c05.rows_apart(nothing).item() == pytest.approx(1)
    assert c05.rows_apart(half).item() == pytest.approx((0.5 + 0 + 0.5) / 3)


def test_evidence_both_ways() -> None:
    assert as_claimed(made_up()) == [True] * 4
    assert as_claimed(made_up(values=1e-15)) == [False, True, True, True]
    assert as_claimed(made_up(other_columns=1e-9)) == [True, False, True, True]
    assert as_claimed(made_up(other_rows=1e-9)) == [True, True, False, True]
    assert as_claimed(made_up(own_row=0.0)) == [True, True, True, False]
    assert as_claimed(made_up(own_column=0.0)) == [True, True, True, False]


def test_sentences_and_figure_tell_what_was_measured() -> None:
    told = c05.sentences(made_up())
    assert "0.10 to 0.30" in told[1]
    assert "0.05 apart in layer 3, and 0.50 in layer 2" in told[2]
    assert len(c05.figure(made_up()).axes) == 2
