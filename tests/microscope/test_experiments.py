"""The experiments: what must not change does not, and the page says what is changed."""

import re

import numpy as np
import pytest

from tests.microscope.looking import Microscope

RUN = """() => clearhead.app.reading.run.layers.flatMap(
  ({ heads }) => heads.flatMap(({ weights }) => [...weights]))"""
LOGITS = "() => clearhead.app.reading.run.logits"


def power(text: str) -> float:
    """A number as the page writes it: 4.0 × 10⁻¹¹, or 0."""
    found = re.search(r"(\d\.\d) × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text)
    if found is None:
        return 0.0
    exponent = found[2].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(f"{found[1]}e{exponent}")


@pytest.mark.parametrize("state", [{}, {"temperature": 0.1}, {"silenced": "3.4"}, {"positions": 0}])
def test_every_row_of_weights_sums_to_one(state: dict[str, object], microscope: Microscope) -> None:
    microscope.show(**state)
    weights = np.array(microscope.ask(RUN)).reshape(6, 4, 16, 16)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=0, atol=1e-12)
    assert weights.min() >= 0
    if "silenced" in state:
        assert weights[..., 2:4].max() == 0


@pytest.mark.parametrize("mode", ["zero", "reversed"])
def test_values_take_no_part_in_the_weights_of_their_layer(
    mode: str, microscope: Microscope
) -> None:
    before = np.array(microscope.ask(RUN)).reshape(6, -1)
    microscope.show(tab="explore", focus="experiments", layer=3, values=mode)
    after = np.array(microscope.ask(RUN)).reshape(6, -1)
    assert (after[:3] == before[:3]).all()
    assert np.abs(after[3:] - before[3:]).max() > 0.01
    proof = microscope.text("[data-number=values]")
    assert proof.startswith("Weights of layer 3: max change 0. Logits: max change")
    assert power(proof) > 0


def test_shuffled_patches_without_positions_give_the_same_logits(microscope: Microscope) -> None:
    microscope.show(positions=0)
    before = np.array(microscope.ask(LOGITS))
    microscope.show(tab="explore", focus="experiments", positions=0, seed=5)
    after = np.array(microscope.ask(LOGITS))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-10)
    ink = np.array(microscope.ask("() => [...clearhead.app.reading.ink]")).reshape(28, 28)
    microscope.show(positions=0)
    still = np.array(microscope.ask("() => [...clearhead.app.reading.ink]")).reshape(28, 28)
    assert np.abs(ink - still).max() == 1.0
    assert sorted(patches(ink)) == sorted(patches(still))


def patches(ink: np.ndarray) -> list[bytes]:
    return [ink[r : r + 7, c : c + 7].tobytes() for r in range(0, 28, 7) for c in range(0, 28, 7)]


def test_the_shuffle_proof_tells_positions_from_none(microscope: Microscope) -> None:
    microscope.show(tab="explore", focus="experiments", seed=5, positions=0)
    assert power(microscope.text("[data-number=shuffle]")) < 1e-10
    microscope.show(tab="explore", focus="experiments", seed=5)
    assert power(microscope.text("[data-number=shuffle]")) > 0.01


def test_scaling_off_is_temperature_one_over_root_d(microscope: Microscope) -> None:
    microscope.show(tab="explore", focus="experiments")
    button = microscope.page.get_by_role("button", name="Divide by √d: on")
    button.click()
    microscope.page.get_by_role("button", name="Divide by √d: off").wait_for()
    assert microscope.ask("() => clearhead.app.state.temperature") == 0.25
    head = """() => {
      const { scores, scaled } = clearhead.app.reading.run.layers[0].heads[0];
      return [...scores, ...scaled];
    }"""
    scores, scaled = np.array(microscope.ask(head)).reshape(2, -1)
    np.testing.assert_allclose(scores, scaled, rtol=1e-12)
    assert "÷√d off" in microscope.text(".badges")


def test_where_nothing_is_divided_the_page_says_so(microscope: Microscope) -> None:
    microscope.show(tab="walk", step=6, temperature=0.25)
    assert "not divided: ÷ √d is off" in microscope.text(".formula")
    holders = microscope.page.locator(".pair .matrix-holder")
    assert holders.locator("h3").all_text_contents() == ["Scores  q·k", "Not scaled  q·k"]
    assert "÷ √d is off" in str(holders.nth(1).locator(".small").first.text_content())
    microscope.show(tab="explore", temperature=0.25)
    sums = microscope.page.locator(".explore .sums dt").all_text_contents()
    assert sums[1] == "not divided"
    assert not any(line.startswith("÷ T") for line in sums)
    microscope.show(tab="walk", step=6, temperature=0.5)
    assert "÷ √16 ÷ T 0.50 =" in microscope.text(".formula")
    assert holders.locator("h3").all_text_contents()[1] == "Scaled  q·k ÷ √d"


def test_scaling_that_is_switched_on_again_brings_back_the_temperature(
    microscope: Microscope,
) -> None:
    microscope.show(tab="explore", focus="experiments", temperature=2.5)
    microscope.page.get_by_role("button", name="Divide by √d: on").click()
    microscope.page.get_by_role("button", name="Divide by √d: off").click()
    microscope.page.get_by_role("button", name="Divide by √d: on").wait_for()
    assert microscope.ask("() => clearhead.app.state.temperature") == 2.5


def test_everything_changed_is_named_and_reset_takes_it_back(microscope: Microscope) -> None:
    before = microscope.ask(LOGITS)
    microscope.show(
        temperature=2,
        positions=0,
        seed=3,
        removed="1.9",
        values="zero",
        silenced="4",
        scope="layer",
        noisyPatches="6.7",
        centred=0,
    )
    badges = microscope.text(".badges")
    for said in (
        "temperature 2.00",
        "positions off",
        "patches shuffled",
        "2 heads removed",
        "values zero in layer 3",
        "patch 4 silenced in this layer",
        "noise on 2 patches",
        "not centred",
        "not the trained model",
    ):
        assert said in badges
    microscope.fresh()
    microscope.page.get_by_role("button", name="Reset").click()
    microscope.settle()
    assert microscope.ask(LOGITS) == before
    assert not microscope.page.locator(".badges").is_visible()


def test_noise_falls_on_the_chosen_patches_alone(microscope: Microscope) -> None:
    clean = np.array(microscope.ask("() => [...clearhead.app.reading.ink]")).reshape(28, 28)
    microscope.show(noisyPatches="6", noise=0.8)
    noisy = np.array(microscope.ask("() => [...clearhead.app.reading.ink]")).reshape(28, 28)
    changed = np.argwhere(noisy != clean)
    assert len(changed) > 20
    assert (changed // 7 == 1).all()
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_an_unsure_answer_shows_two(microscope: Microscope) -> None:
    microscope.show(temperature=4, removed=".".join(map(str, range(5, 25))))
    assert max(microscope.ask("() => clearhead.app.reading.run.probabilities")) < 0.6
    assert re.fullmatch(r"Unsure: \d \d+\s?%, or \d [\d.]+\s?%", microscope.text(".answer-words"))


def test_a_failed_check_is_shown_at_once(microscope: Microscope) -> None:
    microscope.ask("() => { clearhead.app.examples.failed = true; clearhead.app.set({}); }")
    microscope.page.locator(".failed").wait_for(state="visible")
    assert "Self-check failed" in microscope.text(".failed")
    microscope.ask("() => { clearhead.app.examples.failed = false; clearhead.app.set({}); }")
    microscope.page.locator(".failed").wait_for(state="hidden")


def test_about_shows_the_check_on_twenty_drawings(microscope: Microscope) -> None:
    microscope.show(tab="about")
    said = microscope.text("[data-number=self-check]")
    assert said.startswith("Passed: on 20 drawings")
    assert 0 < power(said) < 1e-5
    assert "99.52 % of 10,000 test digits" in microscope.text(".about .facts")
