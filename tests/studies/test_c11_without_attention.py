import pytest

from clearhead.models import build
from clearhead.studies.claims.c11_without_attention import MANY, STEPS, STUDY
from clearhead.studies.measures.classifiers import COMPARED_MODELS
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import check_study, made_up, samples_of, supported


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(
    ("mlp", "no_attention", "uniform", "outcomes"),
    [
        (96.0, 95.0, 90.0, [True, True]),
        (96.0, 98.0, 97.0, [False, False]),
        (96.0, 96.0, 96.3, [True, True]),  # a little better is within the allowance
        (96.0, 95.0, 97.0, [True, False]),
    ],
)
def test_blocks_without_attention_are_compared_with_the_mlp(
    budget: Budget, mlp: float, no_attention: float, uniform: float, outcomes: list[bool]
) -> None:
    def values(trial: Trial) -> Values:
        usual = {"vit": 99.0, "mlp": mlp, "no-attention": no_attention, "uniform": uniform}
        few = {"vit": 50.0, "mlp": 50.0, "no-attention": 99.0, "uniform": 60.0}  # decides nothing
        accuracies = usual if trial.settings["digits"] == MANY else few
        return {"accuracy": accuracies[trial.condition] + trial.seed % 5 / 10}

    measured = made_up(STUDY, values, budget=budget)
    comparisons = samples_of(STUDY, measured)

    assert [supported(x) for x in comparisons] == outcomes
    assert {len(x.values) for x in comparisons} == {STUDY.seeds[budget]}
    check_study(STUDY, measured)


def test_uniform_attention_does_not_use_queries_and_keys() -> None:
    model = build(COMPARED_MODELS["uniform"].config)
    unused = sum(
        block.attn.qkv.weight[:64].numel() + block.attn.qkv.bias[:64].numel()
        for block in model.blocks  # type: ignore[union-attr]
    )

    assert unused == 4_224
    assert unused / sum(x.numel() for x in model.parameters()) == pytest.approx(0.15, abs=0.005)
    assert "4,224 parameters (15 %)" in STUDY.conditions


def test_steps_are_whole_epochs() -> None:
    assert all(steps % (digits // 100) == 0 for digits, steps in STEPS.items())
