"""Results are equal to those of the first edition, within the tolerance of each test.

Rounding differs between machines, so tolerances are smaller on the machine of the fixture.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from tests.frozen import compute
from tests.marks import slow_after


def assert_same(result: Any, expected: Any, *, rel: float, abs: float = 0.0) -> None:  # noqa: A002
    """Equal structure and text; floats within the tolerance, integers exactly.

    With an infinite absolute tolerance, integers may differ, too.
    """
    if isinstance(expected, dict):
        assert result.keys() == expected.keys()
        for name in expected:
            assert_same(result[name], expected[name], rel=rel, abs=abs)
    elif isinstance(expected, list):
        assert len(result) == len(expected)
        for x, y in zip(result, expected, strict=True):
            assert_same(x, y, rel=rel, abs=abs)
    elif isinstance(expected, float) or (abs == math.inf and isinstance(expected, int)):
        assert result == pytest.approx(expected, rel=rel, abs=abs, nan_ok=True)
    else:
        assert result == expected


def assert_all_same(names: Iterable[str], check: Callable[[str], None]) -> None:
    """Run a check for each name, and report all that fail."""
    failures = {}
    for name in names:
        try:
            check(name)
        except Exception as error:  # noqa: BLE001 - reported below
            failures[name] = error
    assert not failures, "\n".join(f"{name}: {error!r}" for name, error in failures.items())


@pytest.mark.usefixtures("mnist_test")
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_predictions_of_the_digit_model_are_the_same(count: int) -> None:
    """Probabilities within 1e-4, logits within 1e-3; labels exactly, but for even odds."""
    result, expected = compute.digits(count), compute.read_arrays("digits.npz")
    if count == 10_000:
        assert result["correct"] == expected["correct"]
    probabilities = expected["probabilities"][:count]
    np.testing.assert_allclose(result["logits"], expected["logits"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(result["probabilities"], probabilities, rtol=0, atol=1e-4)
    decided = probabilities > 0.505
    assert decided.mean() > 0.995
    np.testing.assert_array_equal(result["labels"][decided], expected["labels"][:count][decided])


def test_logits_of_the_text_models_are_the_same() -> None:
    """Within 1e-3; the likeliest word exactly."""
    result, expected = compute.sentences(), compute.read_arrays("sentences.npz")
    assert result.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_allclose(result[name], numbers, rtol=0, atol=1e-3, err_msg=name)


def test_words_attend_to_the_same_words() -> None:
    """Weights and probabilities within 1e-5."""
    assert_same(compute.attended(), compute.read("attended.json"), rel=0, abs=1e-5)


@pytest.mark.slow
def test_model_inputs_of_pictures_are_the_same() -> None:
    """Each pixel within 1 of 255; for a file that Pillow now encodes differently, 5 on average."""
    files = compute.read("pictures.json")
    pixels = compute.preprocessed()["pixels"].astype(int)
    changed = compute.changed_files(files)
    distance = np.abs(pixels - compute.read_arrays("pictures.npz")["pixels"])
    assert len(files) == len(distance)
    different = {
        name: f"at most {distance[index].max()}, on average {distance[index].mean():.1f}"
        for index, name in enumerate(files)
        if distance[index].max() > 1 and (name not in changed or distance[index].mean() > 5)
    }
    assert different == {}


def test_predictions_for_pictures_are_the_same() -> None:
    """Probabilities within 1e-4; for a file that Pillow now encodes differently, within 0.02."""
    result, expected = compute.predicted(), compute.read("pictures.json")
    assert result.keys() == expected.keys()
    changed = compute.changed_files(expected)
    for name, prediction in expected.items():
        tolerance = 0.02 if name in changed else 1e-4
        digest = {"file": prediction["file"]}
        assert_same(result[name] | digest, prediction, rel=0, abs=tolerance)


@pytest.fixture(scope="module")
def trainings() -> dict[str, Any]:
    return compute.training()


TRAININGS = [name for name in compute.read("training.json") if name != "machine"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_losses_and_weights_of_a_training_are_the_same(
    trainings: dict[str, Any], name: str
) -> None:
    """Within 1e-5, relative; on another machine 5e-2, as Muon amplifies rounding."""
    expected = compute.read("training.json")
    same_machine = expected["machine"] == trainings["machine"]
    # Images are now augmented before they are normalised, which rounds differently.
    rel = 2e-3 if name.startswith("images") else 1e-5
    rel, tolerance = (rel, 1e-9) if same_machine else (5e-2, 5e-2)
    assert_same(trainings[name], expected[name], rel=rel, abs=tolerance)


TRIALS = compute.read("trials.json")
LONG_TRIALS = {
    ("specialised-heads", "small"),
    ("specialised-heads", "common digit"),
    ("specialised-heads", "shipped"),
    ("weights-and-influence", "digits"),
    ("noisy-pixels", "digits"),
    ("number-of-heads", "heads"),
    ("queries-keys-values", "trained"),
    ("receptive-fields", "ViT untrained"),
    ("receptive-fields", "ViT trained"),
    ("receptive-fields", "CNN trained"),
    ("pronoun", "models"),
    ("depth", "depths"),
    ("depth", "shipped"),
    ("queries-keys-values", "shipped"),
}


ROUNDING_ERRORS = {"sum_error", "sum_error_by_type"}


def check_trial(trial: dict[str, Any]) -> None:
    """Within 1e-6, relative. On another machine 1e-3 without training, else the same measures.

    Times are not compared. Rounding errors, in epsilons, may differ by 0.1 on another machine.
    """
    rel, tolerance = 1e-6, 1e-8
    values, expected = compute.trial_values(trial), dict(trial["values"])
    if TRIALS["machine"] != compute.machine():
        for name in ROUNDING_ERRORS & expected.keys():
            assert_same(values.pop(name), expected.pop(name), rel=0, abs=0.1)
        untrained = trial["condition"] in compute.UNTRAINED
        rel, tolerance = (1e-3, 1e-4) if untrained else (1.0, math.inf)
    if trial["study"] in compute.TIMED:
        rel, tolerance = 1.0, math.inf
    assert_same(values, expected, rel=rel, abs=tolerance)


def check_trials(*, long: bool) -> None:
    trials = {
        f"{trial['study']} {trial['condition']}": trial
        for trial in TRIALS["trials"]
        if ((trial["study"], trial["condition"]) in LONG_TRIALS) == long
    }
    assert_all_same(trials, lambda name: check_trial(trials[name]))


@pytest.mark.slow
@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_a_small_trial_of_each_condition_measures_the_same() -> None:
    check_trials(long=False)


@pytest.mark.slow
@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_a_longer_trial_of_the_other_conditions_measures_the_same() -> None:
    check_trials(long=True)


@pytest.mark.usefixtures("mnist_test")
@pytest.mark.parametrize(
    "trial", slow_after(1, compute.published_trials()), ids=lambda trial: trial["condition"]
)
def test_a_published_trial_measures_the_same(trial: dict[str, Any]) -> None:
    """Within 1e-4, relative."""
    assert_same(compute.trial_values(trial), trial["values"], rel=1e-4, abs=1e-6)


CAPTURED = compute.read("captured.json")
REPRESENTATIVE = (
    "timm vit_tiny_patch16_224 fused",
    "timm vit_tiny_patch16_224 explicit",
    "timm xcit_nano_12_p16_224 explicit",  # attention between channels
    "transformers Bert sdpa",  # padding
    "transformers Llama sdpa",  # grouped queries
    "transformers Llama eager",
    "transformers Mistral eager",  # a sliding window
    "transformers Gemma2 eager",  # soft caps
    "transformers GptOss eager",  # sinks
    "transformers DeepseekV3 sdpa",  # values of another size than keys
    "transformers DebertaV2 eager",  # disentangled positions
    "transformers Bloom eager",  # baddbmm
    "transformers T5 eager",  # position bias
    "transformers Bart eager",  # cross-attention
    "transformers Perceiver eager",
    "transformers Longformer",  # not recorded
    "transformers Mamba",  # no attention
)


def check_captured(name: str) -> None:
    """The same records in the same order; mean largest weights within 1e-3."""
    assert_same(compute.captured_of(name), CAPTURED[name], rel=0, abs=1e-3)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_the_same_attention_is_recorded_and_verified(name: str) -> None:
    check_captured(name)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["timm", "torchvision", "transformers"])
def test_the_same_attention_is_recorded_in_all_other_models(library: str) -> None:
    names = [name for name in CAPTURED if name.startswith(library) and name not in REPRESENTATIVE]
    assert_all_same(names, check_captured)


@pytest.mark.slow
def test_an_explanation_has_the_same_content() -> None:
    """Numbers and weights within 1e-5."""
    assert_same(compute.reported(), compute.read("report.json"), rel=0, abs=1e-5)
    weights, expected = compute.reported_weights(), compute.read_arrays("report.npz")
    assert list(weights) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(weights[name], array, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.usefixtures("mnist_test")
def test_the_microscope_computes_the_same() -> None:
    """Logits within 1e-9, weights (which are in single precision) within 1e-6."""
    result, expected = compute.page_numbers(), compute.read_arrays("page.npz")
    for name, limit in (("logits", 1e-9), ("words", 1e-9), ("weights", 1e-6)):
        np.testing.assert_allclose(result[name], expected[name], rtol=0, atol=limit, err_msg=name)


@pytest.mark.usefixtures("mnist_test")
def test_the_microscope_computes_the_logits_of_torch() -> None:
    """In double precision with the page's rounded weights; logits within 1e-9."""
    expected = compute.read_arrays("page.npz")["logits"]
    np.testing.assert_allclose(compute.page_reference(), expected, rtol=0, atol=1e-9)
