"""The results of the first edition, which later code must give again.

Tolerances are stated beside each comparison. Numbers differ between machines by rounding, so some
are compared more closely where `compute.machine` is that of the fixture.
"""

import math
import shutil
from typing import Any

import numpy as np
import pytest

from tests.frozen import compute


def same(found: Any, expected: Any, *, rel: float, abs: float = 0.0) -> None:  # noqa: A002
    """Equal structure and words; numbers within the tolerance, whole ones exactly.

    Without a limit (`abs` infinite) whole numbers may differ, too.
    """
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            same(found[name], expected[name], rel=rel, abs=abs)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other, rel=rel, abs=abs)
    elif isinstance(expected, float) or (abs == math.inf and isinstance(expected, int)):
        assert found == pytest.approx(expected, rel=rel, abs=abs, nan_ok=True)
    else:
        assert found == expected


def without_names(verdicts: dict[str, Any]) -> dict[str, Any]:
    """Verdicts without the names and units of findings, which may be reworded.

    The labels of the first edition were renamed in the fixture: "as claimed" and "holds" to
    "supported", "not as claimed" and "does not hold" to "contradicted", "depends" to "mixed".
    """
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


def test_the_published_verdicts_are_those() -> None:
    told = {study["name"]: study["verdict"] for study in compute.published()["studies"]}
    same(without_names(told), without_names(compute.read("verdicts.json")), rel=1e-9, abs=1e-12)


@pytest.mark.usefixtures("mnist_test")
def test_the_digit_model_reads_the_test_digits_as_before() -> None:
    """Probabilities within 1e-4, logits within 1e-3; labels exactly, unless two are as likely."""
    found, expected = compute.digits(), compute.read_arrays("digits.npz")
    assert expected["correct"] == 9_952 == found["correct"]
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=0, atol=1e-4)
    decided = expected["probabilities"] > 0.505
    assert decided.sum() > 9_980
    np.testing.assert_array_equal(found["labels"][decided], expected["labels"][decided])


def test_the_text_models_answer_as_before() -> None:
    """Logits within 1e-3; the likeliest word exactly."""
    found, expected = compute.sentences(), compute.read_arrays("sentences.npz")
    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_allclose(found[name], numbers, rtol=0, atol=1e-3, err_msg=name)


def test_words_attend_to_the_same_words() -> None:
    """Weights and probabilities within 1e-5."""
    same(compute.attended(), compute.read("attended.json"), rel=0, abs=1e-5)


def test_pictures_are_prepared_as_before() -> None:
    """Each pixel within 1 of 255; a file that its encoder writes otherwise today, 5 in the mean."""
    files, found = compute.read("pictures.json"), compute.preprocessed()["pixels"].astype(int)
    changed = compute.changed_files(files)
    distance = np.abs(found - compute.read_arrays("pictures.npz")["pixels"])
    assert len(files) == len(distance)
    apart = {
        name: f"{distance[place].max()} at most, {distance[place].mean():.1f} in the mean"
        for place, name in enumerate(files)
        if distance[place].max() > 1 and (name not in changed or distance[place].mean() > 5)
    }
    assert apart == {}


def test_pictures_are_answered_as_before() -> None:
    """Probabilities within 1e-4; a file that its encoder writes otherwise today, within 0.02."""
    found, expected = compute.predicted(), compute.read("pictures.json")
    assert found.keys() == expected.keys()
    changed = compute.changed_files(expected)
    for name, told in expected.items():
        files = {"file": told["file"]}
        same(found[name] | files, told, rel=0, abs=0.02 if name in changed else 1e-4)


@pytest.fixture(scope="module")
def trainings() -> dict[str, Any]:
    return compute.training()


TRAININGS = [name for name in compute.read("training.json") if name != "machine"]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_takes_the_same_steps(trainings: dict[str, Any], name: str) -> None:
    """Losses and weights within 1e-5, relative; on another machine 5e-2, for Muon rounds."""
    expected = compute.read("training.json")
    here = expected["machine"] == trainings["machine"]
    # Images are now distorted before they are normalised, which rounds differently.
    close = 2e-3 if name.startswith("images") else 1e-5
    same(trainings[name], expected[name], rel=close if here else 5e-2, abs=1e-9 if here else 5e-2)


TRIALS = compute.read("trials.json")


def as_parameter(told: dict[str, Any]) -> Any:
    """A trial by its name; one takes four seconds."""
    name = f"{told['study']} {told['arm']}"
    marks = [pytest.mark.slow] if name == "specialised-heads shipped" else []
    return pytest.param(told, id=name, marks=marks)


@pytest.mark.usefixtures("mnist_train", "mnist_test")
@pytest.mark.parametrize("told", [as_parameter(told) for told in TRIALS["trials"]])
def test_a_small_trial_of_each_arm_measures_the_same(told: dict[str, Any]) -> None:
    """Within 1e-6, relative. On another machine 1e-3 without training, else the same measures.

    Times are not compared.
    """
    rel, least = 1e-6, 1e-8
    if TRIALS["machine"] != compute.machine():
        rel, least = (1e-3, 1e-4) if told["arm"] in compute.UNTRAINED else (1.0, math.inf)
    if told["study"] in compute.TIMED:
        rel, least = 1.0, math.inf
    same(compute.trial_values(told), told["values"], rel=rel, abs=least)


@pytest.mark.usefixtures("mnist_test")
@pytest.mark.parametrize("told", compute.published_trials(), ids=lambda told: told["arm"])
def test_a_published_trial_measures_the_same(told: dict[str, Any]) -> None:
    """Within 1e-4, relative."""
    same(compute.trial_values(told), told["values"], rel=1e-4, abs=1e-6)


CAPTURED = compute.read("captured.json")
QUICK = [name for name in CAPTURED if name.startswith("transformers")]
LARGE = [name for name in CAPTURED if name not in QUICK]


@pytest.mark.parametrize("name", QUICK)
def test_the_same_attention_is_captured_and_proved(name: str) -> None:
    """The same records in the same order; the means of their rows' largest weights within 1e-3."""
    same(compute.captured_of(name), CAPTURED[name], rel=0, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_same_attention_of_large_models_is_captured_and_proved(name: str) -> None:
    """As above."""
    same(compute.captured_of(name), CAPTURED[name], rel=0, abs=1e-3)


def test_a_report_tells_the_same() -> None:
    """Numbers within 1e-5."""
    same(compute.reported(), compute.read("report.json"), rel=0, abs=1e-5)


def test_a_report_has_the_same_weights() -> None:
    """Within 1e-5."""
    found, expected = compute.reported_weights(), compute.read_arrays("report.npz")
    assert list(found) == list(expected)
    for name, weights in expected.items():
        np.testing.assert_allclose(found[name], weights, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.usefixtures("mnist_test")
@pytest.mark.skipif(shutil.which("node") is None, reason="no node here")
def test_the_microscope_computes_the_same() -> None:
    """Logits within 1e-9, weights (which are kept in single precision) within 1e-6."""
    found, expected = compute.page_numbers(), compute.read_arrays("page.npz")
    for name, limit in (("logits", 1e-9), ("words", 1e-9), ("weights", 1e-6)):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=limit, err_msg=name)


@pytest.mark.usefixtures("mnist_test")
def test_the_microscope_computes_what_torch_does() -> None:
    """In double precision with the page's rounded weights; logits within 1e-9."""
    expected = compute.read_arrays("page.npz")["logits"]
    np.testing.assert_allclose(compute.page_reference(), expected, rtol=0, atol=1e-9)
