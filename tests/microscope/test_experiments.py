"""The experiments: what must stay equal does, and the page names every change."""

import re

import numpy as np
import pytest
from scipy.special import softmax

from clearhead.microscope.shipped import read_shipped
from clearhead.models import load
from clearhead.models.config import ImageModelConfig
from tests.microscope.driver import Microscope, number

WEIGHTS = """() => clearhead.app.result.run.layers.flatMap(
  ({ heads }) => heads.flatMap(({ weights }) => [...weights]))"""
EXPERIMENTS = {"tab": "explore", "focus": "experiments"}


def weights_of(microscope: Microscope) -> np.ndarray:
    """Layers × heads × queries × keys."""
    return np.reshape(microscope.evaluate(WEIGHTS), (6, 4, 16, 16))


def max_logit_change(microscope: Microscope, proof: str) -> float:
    """The number at the end of a proof: a power of ten, or 0."""
    return number(re.split("=|change", microscope.text(f"[data-number={proof}]"))[-1])


@pytest.mark.parametrize("state", [{}, {"temperature": 0.1}, {"masked": "3.4"}, {"positions": 0}])
def test_every_row_of_weights_sums_to_one(state: dict[str, object], microscope: Microscope) -> None:
    weights = weights_of(microscope.show(**state))
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=0, atol=1e-12)
    assert weights.min() >= 0
    if "masked" in state:
        assert weights[..., 2:4].max() == 0


@pytest.mark.parametrize("mode", ["zero", "reversed"])
def test_values_do_not_change_the_weights_of_their_layer(mode: str, microscope: Microscope) -> None:
    before = weights_of(microscope)
    after = weights_of(microscope.show(**EXPERIMENTS, layer=3, values=mode))
    assert (after[:3] == before[:3]).all()
    assert np.abs(after[3:] - before[3:]).max() > 0.01
    proof = microscope.text("[data-number=values]")
    assert proof.startswith("Weights of L3: max change 0. Logits: max change")
    assert max_logit_change(microscope, "values") > 0


def test_shuffled_patches_change_logits_only_with_positions(microscope: Microscope) -> None:
    still = microscope.show(positions=0).ink()
    before = microscope.logits()
    microscope.show(**EXPERIMENTS, positions=0, seed=5)
    np.testing.assert_allclose(microscope.logits(), before, rtol=0, atol=1e-10)
    assert max_logit_change(microscope, "shuffle") < 1e-10
    assert np.abs(microscope.ink() - still).max() == 1.0
    assert sorted(patches(microscope.ink())) == sorted(patches(still))
    microscope.show(**EXPERIMENTS, seed=5)
    assert max_logit_change(microscope, "shuffle") > 0.01


def patches(ink: np.ndarray) -> list[bytes]:
    return [ink[r : r + 7, c : c + 7].tobytes() for r in range(0, 28, 7) for c in range(0, 28, 7)]


def test_scaling_off_is_temperature_one_over_root_d_until_it_is_on_again(
    microscope: Microscope,
) -> None:
    microscope.show(**EXPERIMENTS, temperature=2.5).click("Divide by √d: on")
    assert microscope.state("temperature") == 0.25
    scores, scaled = microscope.evaluate(
        """() => {
          const { scores, scaled } = clearhead.app.result.run.layers[0].heads[0];
          return [[...scores], [...scaled]];
        }"""
    )
    np.testing.assert_allclose(scores, scaled, rtol=1e-12)
    assert "÷√d off" in microscope.text(".badges")
    microscope.click("Divide by √d: off")
    assert microscope.state("temperature") == 2.5


def test_without_scaling_no_label_shows_a_division(microscope: Microscope) -> None:
    headings = ".pair .matrix-holder h3"
    microscope.show(tab="walk", step=6, temperature=0.25)
    assert "not divided: ÷ √d is off" in microscope.text(".formula")
    assert microscope.texts(headings) == ["Scores  q·k", "Not scaled  q·k"]
    assert "÷ √d is off" in microscope.texts(".pair .matrix-holder .small")[1]
    sums = microscope.show(tab="explore", temperature=0.25).texts(".explore .sums dt")
    assert sums[1] == "not divided"
    assert not any(line.startswith("÷ T") for line in sums)
    microscope.show(tab="walk", step=6, temperature=0.5)
    assert "÷ √16 ÷ T 0.50 =" in microscope.text(".formula")
    assert microscope.texts(headings)[1] == "Scaled  q·k ÷ √d"


def test_every_change_is_named_and_reset_undoes_all(microscope: Microscope) -> None:
    before = microscope.logits()
    microscope.show(
        temperature=2,
        positions=0,
        seed=3,
        removed="1.9",
        values="zero",
        masked="4",
        scope="layer",
        noisyPatches="6.7",
        centred=0,
    )
    badges = microscope.text(".badges")
    for change in (
        "temperature 2.00",
        "positions off",
        "patches shuffled",
        "2 heads removed",
        "values zero in L3",
        "patch 4 masked in this layer",
        "noise on 2 patches",
        "not centred",
        "not the trained model",
    ):
        assert change in badges
    microscope.click("Reset")
    assert microscope.logits() == before
    assert not microscope.page.locator(".badges").is_visible()


def test_noise_falls_on_the_chosen_patches_alone(microscope: Microscope) -> None:
    clean = microscope.ink()
    noisy = microscope.show(noisyPatches="6", noise=0.8).ink()
    changed = np.argwhere(noisy != clean)
    assert len(changed) > 20
    assert (changed // 7 == 1).all()
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_an_unsure_prediction_shows_two(microscope: Microscope) -> None:
    microscope.show(temperature=4, removed=".".join(map(str, range(5, 25))))
    before = microscope.evaluate(
        "() => [clearhead.app.config.doubtfulBelow, clearhead.app.config.rejectedBelow]"
    )
    microscope.evaluate(SET_THRESHOLDS, [1, 0])
    microscope.frames()
    assert re.fullmatch(
        r"Unsure: \d \d+\s?%, or \d [\d.]+\s?%", microscope.text(".prediction-words")
    )
    microscope.evaluate(SET_THRESHOLDS, before)


SET_THRESHOLDS = """([doubtful, rejected]) => {
  Object.assign(clearhead.app.config, { doubtfulBelow: doubtful, rejectedBelow: rejected });
  clearhead.app.set({});
}"""


def test_the_thresholds_of_the_model_decide_the_status(microscope: Microscope) -> None:
    before = microscope.evaluate(
        "() => [clearhead.app.config.doubtfulBelow, clearhead.app.config.rejectedBelow]"
    )
    config = load().config
    assert isinstance(config, ImageModelConfig)
    assert before == [config.doubtful_below, config.rejected_below]
    for thresholds, expected, marked in (
        ([0, 0], r"Predicted \d, .*", ""),
        ([1, 0], r"Unsure: \d .*, or \d .*", " unsure"),
        ([1, 1], r"Not recognised; the closest is \d, .*", " none"),
    ):
        microscope.evaluate(SET_THRESHOLDS, thresholds)
        microscope.frames()
        assert re.fullmatch(expected, microscope.text(".prediction-words"))
        words = microscope.page.locator(".prediction-words")
        assert words.get_attribute("class") == f"prediction-words{marked}"
    microscope.evaluate(SET_THRESHOLDS, before)


def test_the_thresholds_apply_at_their_temperature(microscope: Microscope) -> None:
    keys = ["doubtfulBelow", "rejectedBelow", "thresholdTemperature"]
    before = microscope.evaluate("(keys) => keys.map((x) => clearhead.app.config[x])", keys)
    logits = np.array(microscope.evaluate("() => [...clearhead.app.result.run.logits]"))
    softened = float(softmax(logits / 8).max())
    for below, expected in (
        (softened - 1e-4, r"Predicted \d, .*"),
        (softened + 1e-4, r"Unsure: \d .*, or \d .*"),
    ):
        set_config(microscope, dict(zip(keys, (below, 0, 8), strict=True)))
        assert re.fullmatch(expected, microscope.text(".prediction-words"))
    set_config(microscope, dict(zip(keys, before, strict=True)))


def set_config(microscope: Microscope, changes: dict[str, float]) -> None:
    microscope.evaluate(
        "(x) => { Object.assign(clearhead.app.config, x); clearhead.app.set({}); }", changes
    )
    microscope.frames()


def test_two_digits_on_the_pad_give_a_remark(microscope: Microscope) -> None:
    one, two = [[[80, 60], [90, 200]]], [[[180, 50], [190, 205]]]
    crossing, short = [[[60, 70], [200, 190]]], [[[180, 50], [190, 80]]]
    for strokes, several in (
        (one, False),
        (one + two, True),
        (two + one, True),
        (one + two + crossing, False),
        (one + short, False),
    ):
        microscope.evaluate("(strokes) => clearhead.app.set({ strokes })", strokes)
        assert ("Several digits?" in microscope.frames().text(".prediction-words")) == several


def test_a_failed_self_check_is_shown_at_once(microscope: Microscope) -> None:
    for failed in (True, False):
        microscope.evaluate(
            "(failed) => { clearhead.app.examples.failed = failed; clearhead.app.set({}); }", failed
        )
        assert microscope.frames().page.locator(".failed").is_visible() == failed
        assert ("Self-check failed" in microscope.text(".failed")) == failed


def test_about_shows_the_self_check_and_the_accuracy(microscope: Microscope) -> None:
    shown = microscope.settle().show(tab="about").text("[data-number=self-check]")
    assert shown.startswith("Passed: on 20 drawings")
    assert 0 < number(shown.split("at most")[1]) < 1e-5
    accuracy = read_shipped("digits").facts["accuracy"]["correct"] / 10_000
    assert f"{accuracy:.2%} of 10,000 test digits".replace("%", " %") in microscope.text(
        ".about .facts"
    )
