"""The results of the first edition, which later code must give again.

Tolerances are stated beside each comparison. Numbers differ between machines by rounding, so some
are compared more closely where `compute.machine` is that of the fixture.
"""

from typing import Any

import pytest

from tests.frozen import compute


def same(found: Any, expected: Any, *, rel: float, abs: float = 0.0) -> None:  # noqa: A002
    """Equal structure and words; numbers within the tolerance, counts exactly."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            same(found[name], expected[name], rel=rel, abs=abs)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other, rel=rel, abs=abs)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=rel, abs=abs, nan_ok=True)
    else:
        assert found == expected


def without_names(verdicts: dict[str, Any]) -> dict[str, Any]:
    """Verdicts without the names and units of findings, which may be put into other words."""
    return {
        study: verdict
        | {
            "findings": [
                {key: value for key, value in finding.items() if key not in ("name", "unit")}
                for finding in verdict["findings"]
            ]
        }
        for study, verdict in verdicts.items()
    }


def test_the_published_trials_give_the_same_verdicts() -> None:
    expected = compute.read("verdicts.json")
    assert len(expected) == 17
    same(without_names(compute.verdicts()), without_names(expected), rel=1e-9, abs=1e-12)


def test_findings_have_the_same_names_and_units() -> None:
    same(compute.verdicts(), compute.read("verdicts.json"), rel=1e-9, abs=1e-12)


def test_the_published_verdicts_are_those() -> None:
    told = {study["name"]: study["verdict"] for study in compute.published()["studies"]}
    same(without_names(told), without_names(compute.read("verdicts.json")), rel=1e-9, abs=1e-12)
