"""A few of the architectures in the published table, and the page that lists them all."""

import warnings
from pathlib import Path

import pytest
import torch

from benchmarks import architectures
from benchmarks.architectures import Case, Row

CASES = architectures.cases()
PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
QUICK = {
    "xcit_nano_12_p16_224": 14,
    "Bert": 2,
    "DebertaV2": 2,
    "GPTNeo": 2,
    "Bloom": 2,
    "Gemma2": 2,
    "GptOss": 2,
    "T5": 6,
    "Whisper": 6,
    "Swinv2": 4,
    "ViTMAE": 2,
    "Perceiver": 3,
}


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.name in QUICK],
    ids=lambda case: f"{case.name} {case.implementation}",
)
def test_small_ones_are_captured_and_proved(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries
        row = architectures.measure(case)
    assert row.proved, row.why
    assert row.attentions == QUICK[case.name]
    assert 0.0 <= row.error <= row.tolerance < 1e-4
    assert str(row).endswith("| proved |")


@pytest.mark.parametrize("name", ["Longformer", "FNet", "ConvNext", "Mamba"])
def test_those_without_such_attention_are_named(name: str) -> None:
    (case,) = (case for case in CASES if case.name == name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = architectures.measure(case)
    assert not row.proved
    assert row.why == architectures.WITHOUT[name]


def test_matrices_pass_on_the_variance_they_are_given() -> None:
    layer = torch.nn.Linear(64, 400, bias=False)
    torch.nn.init.normal_(layer.weight, std=1e-3)
    architectures.spread(layer)
    numbers = torch.randn(1000, 64, generator=torch.Generator().manual_seed(0))
    assert layer(numbers).std().item() == pytest.approx(1.0, rel=0.05)


def test_the_page_lists_every_architecture_and_only_those() -> None:
    listed = [
        tuple(cell.strip() for cell in line.split("|")[1:4])
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| library")
    ]
    assert listed == [(case.library, case.name, case.implementation) for case in CASES]


def test_the_page_counts_what_was_proved() -> None:
    proved = Row(case=CASES[0], attentions=2, first=(3, 5, 7), error=1e-7, tolerance=2e-6)
    failed = Row(case=CASES[1], why="no attention")
    page = architectures.page([proved, failed])
    assert "In 1 of 2 runs" in page
    assert "| 2 | 3 × 5 × 7 | 1.0e-07 | 2.0e-06 | proved |" in page
    assert "| no attention |" in page
