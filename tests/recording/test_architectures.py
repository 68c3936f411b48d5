"""The table of architectures. (The frozen tests record the architectures themselves.)"""

from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"


@pytest.fixture(scope="module")
def architectures() -> Any:
    """The benchmark; it imports all of transformers that it measures."""
    from benchmarks import architectures

    return architectures


def measured(architectures: Any, name: str) -> Any:
    return architectures.measure(next(architectures.hf_cases([name])))


def test_a_verified_architecture_has_its_figures(architectures: Any) -> None:
    row = measured(architectures, "T5")
    assert row.verified, row.why
    assert row.attentions == 6
    assert row.first == (3, 11, 11)
    assert 0.0 <= row.error <= row.tolerance < 1e-4
    assert str(row).endswith("| verified |")


@pytest.mark.parametrize("name", ["Longformer", "ConvNext"])
def test_an_architecture_without_attention_has_a_reason(architectures: Any, name: str) -> None:
    row = measured(architectures, name)
    assert not row.verified
    assert row.why == architectures.WITHOUT[name]


def test_matrices_keep_the_variance_of_their_input(architectures: Any) -> None:
    layer = torch.nn.Linear(64, 400, bias=False)
    torch.nn.init.normal_(layer.weight, std=1e-3)
    architectures.spread(layer)
    x = torch.randn(1000, 64, generator=torch.Generator().manual_seed(0))
    assert layer(x).std().item() == pytest.approx(1.0, rel=0.05)


@pytest.mark.slow
def test_the_page_lists_exactly_the_architectures(architectures: Any) -> None:
    listed = [
        tuple(cell.strip() for cell in line.split("|")[1:4])
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| library")
    ]
    assert listed == [
        (case.library, case.name, case.implementation) for case in architectures.cases()
    ]


def test_the_page_counts_verified_runs(architectures: Any) -> None:
    first, *_, second = architectures.hf_cases(["T5", "ConvNext"])
    verified = architectures.Row(
        case=first, attentions=2, first=(3, 5, 7), error=1e-7, tolerance=2e-6
    )
    failed = architectures.Row(case=second, why="no attention")
    page = architectures.page([verified, failed])
    assert "In 1 of 2 runs" in page
    assert "| 2 | 3 × 5 × 7 | 1.0e-07 | 2.0e-06 | verified |" in page
    assert "| no attention |" in page
