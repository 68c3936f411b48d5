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
from clearhead.studies._unconverted import Check, Comparison
from clearhead.studies.claims import c04_distributions as c04
from clearhead.studies.table import Outcome, Trial

GOOD = {"sum_error": 0.1, "outside": 0.0, "forbidden": 0.0, "not_numbers": 0.0, "rows": 100.0}


def made_up(moved: float = 0.1, shipped: float = 0.1, **changes: float) -> list[Outcome]:
    figures: dict[str, Any] = {**GOOD, **changes}
    drawn = {**figures, "sum_error_by_type": dict.fromkeys(c04.TYPES, 0.1)}
    read = {**figures, "moved": moved, "moved_all": 0.6, "moved_none": 0.0}
    return [
        Outcome(trial=Trial(study="distributions", condition=arm, seed=seed), values=values)
        for seed in (1, 2, 3)
        for arm, values in (
            ("random", drawn),
            ("shipped", {**read, "moved": shipped}),
            ("trained", read),
        )
    ]


def as_claimed(outcomes: list[Outcome]) -> list[bool]:
    return [
        all(one.low <= x <= one.high for x in one.values)
        if isinstance(one, Check)
        else all(x >= one.margin for x in one.differences)
        for one in c04.evidence(outcomes)
    ]


@given(
    st.integers(0, 2**32),
    st.sampled_from(list(c04.TYPES.values())),
    st.sampled_from(c04.MASKS),
    st.floats(0, 1e6),
)
@settings(deadline=None, max_examples=60)
def test_rows_are_distributions_whatever_they_are_made_of(
    seed: int, dtype: torch.dtype, kind: str, size: float
) -> None:
    if dtype == torch.float16:
        size = min(size, 1e3)
    figures = c04._drawn_figures(dtype, size, kind, torch.Generator().manual_seed(seed))
    assert figures["sum_error"] <= c04.ROUNDING
    assert (figures["outside"], figures["forbidden"], figures["not_numbers"]) == (0, 0, 0)


def test_figures_of_rows_that_are_no_distributions() -> None:
    weights = torch.tensor([[0.5, 0.5, 0.0], [1.5, -0.5, 0.0], [0.0, 0.0, 0.0]])
    allowed = torch.tensor([[True, True, True], [True, True, True], [False, False, False]])
    good = c04.row_figures(weights[[0, 2]], allowed[[0, 2]])
    assert (good["sum_error"], good["outside"], good["rows"]) == (0, 0, 1)
    assert c04.row_figures(weights[:2])["outside"] == pytest.approx(0.5, abs=1e-5)
    assert c04.row_figures(weights)["sum_error"] > 1e5
    leak = c04.row_figures(torch.tensor([[0.75, 0.25]]), torch.tensor([[True, False]]))
    assert leak["forbidden"] == 0.25
    assert c04.row_figures(torch.tensor([[torch.nan, 0.5]]))["not_numbers"] == 1


@pytest.mark.parametrize("fault", ["sigmoid", "leak", "nan"])
def test_planted_faults_are_caught(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    honest = attention.attention_stages

    def faulty(*arguments: Any) -> attention.AttentionStages:
        found = honest(*arguments)
        weights = {
            "sigmoid": torch.sigmoid(found.masked),
            "leak": torch.softmax(found.masked.clamp_min(-9.0), dim=-1),
            "nan": torch.softmax(found.masked, dim=-1),
        }[fault]
        return found._replace(weights=weights)

    monkeypatch.setattr(attention, "attention_stages", faulty)
    trial = Trial(study="distributions", condition="random", seed=1, settings={"draws": 1})
    wrong = Outcome(trial=trial, values=c04.run(trial))
    others = [x for x in made_up() if x.trial.condition != "random"]
    assert not all(as_claimed([*others, wrong])[:2])


def test_random_rows_are_counted_and_kept_by_type() -> None:
    trial = Trial(study="distributions", condition="random", seed=1, settings={"draws": 1})
    found = c04.run(trial)
    assert set(found["sum_error_by_type"]) == set(c04.TYPES)
    assert found["sum_error"] == max(found["sum_error_by_type"].values())
    most = len(c04.TYPES) * len(c04.SIZES) * len(c04.MASKS) * 2 * 3 * c04.QUERIES
    assert most / 2 < found["rows"] < most


def test_dealing_anew_moves_answers_and_putting_back_does_not(mnist_test: ImageDataset) -> None:
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(embed_dim=16, num_heads=2, depth=2)).eval()
    for layer in model.modules():
        if isinstance(layer, MultiHeadAttention):
            torch.nn.init.normal_(layer.qkv.weight, std=1.0)
            torch.nn.init.normal_(layer.proj.weight, std=1.0)
    torch.nn.init.normal_(model.head.weight, std=1.0)
    trial = Trial(study="distributions", condition="trained", seed=1, settings={"images": 20})
    found = c04.reader_rows(model, trial)
    assert found["moved_none"] < 1e-6
    assert found["moved"] > 0.01
    assert found["moved_all"] > 0.01
    assert found["sum_error"] <= c04.ROUNDING


def test_even_weights_dealt_out_anew_move_nothing(mnist_test: ImageDataset) -> None:
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(embed_dim=16, num_heads=2, depth=2)).eval()
    for layer in model.modules():
        if isinstance(layer, MultiHeadAttention):
            torch.nn.init.zeros_(layer.qkv.weight[:32])
    trial = Trial(study="distributions", condition="trained", seed=1, settings={"images": 20})
    found = c04.reader_rows(model, trial)
    assert found["moved"] < 1e-6


def test_evidence_both_ways() -> None:
    assert as_claimed(made_up()) == [True, True, True, True]
    assert as_claimed(made_up(moved=0.004)) == [True, True, False, True]
    assert as_claimed(made_up(shipped=0.004)) == [True, True, True, False]
    assert as_claimed(made_up(sum_error=2.0)) == [False, True, True, True]
    assert as_claimed(made_up(forbidden=1e-9)) == [True, False, True, True]
    assert as_claimed(made_up(not_numbers=1.0)) == [False, True, True, True]
    assert isinstance(c04.evidence(made_up())[2], Comparison)


def test_a_small_reader_is_trained_and_read(
    mnist_train: ImageDataset, mnist_test: ImageDataset
) -> None:
    told = {"digits": 60, "epochs": 1, "images": 7}
    found = c04.run(Trial(study="distributions", condition="trained", seed=5, settings=told))
    assert found["rows"] == 7 * c04.CONFIG.depth * 4 * 16


def test_sentences_and_figure_tell_what_was_measured() -> None:
    told = " ".join(c04.sentences(made_up(moved=0.012)))
    assert "All 900 rows" in told
    assert "by 0.012 in small readers" in told
    assert "C17" in told
    assert len(c04.figure(made_up()).axes) == 2
