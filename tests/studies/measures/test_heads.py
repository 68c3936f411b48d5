from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from clearhead.data import normalize
from clearhead.insight import roles
from clearhead.insight.measures import agreement_of
from clearhead.insight.roles import NO_CLEAR_ROLE
from clearhead.models import TextTransformer, build
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import Recording, capture, intervene
from clearhead.studies.measures import heads
from clearhead.studies.measures.classifiers import unseen_digits
from clearhead.studies.measures.heads import (
    accuracies_with_other_weights,
    accuracy_on_images,
    compare_with_untrained,
    distance_between_heads,
    exchange_weights,
    share_weights,
    specialised_head,
    weights_on_answers,
    without_head,
)
from clearhead.studies.measures.tasks import (
    FIRST_QUERY,
    RECALL_MODEL,
    RecallTexts,
    recall_accuracy,
    recall_texts,
)
from tests.studies.random_models import random_classifier, random_images


def classifier() -> VisionTransformer:
    return random_classifier(1, 0.5, embed_dim=12, num_heads=3)


def recording() -> Recording:
    with torch.no_grad(), capture() as recording:
        classifier()(random_images(4))
    return recording


@pytest.mark.parametrize("by", [1, 2])
def test_exchanged_heads_apply_each_others_weights_to_their_own_values(by: int) -> None:
    for record in recording().records:
        heads = [record.weights[:, (x - by) % 3] @ record.value[:, x] for x in range(3)]
        torch.testing.assert_close(exchange_weights(by)(record), torch.stack(heads, dim=1))


def test_sharing_gives_every_head_the_mean() -> None:
    record = recording()[0]
    expected = record.weights.mean(dim=1, keepdim=True) @ record.value
    torch.testing.assert_close(share_weights(record), expected)


def test_equal_heads_can_be_exchanged_and_others_cannot(mnist_test: object) -> None:
    model, inputs = classifier(), random_images(4)
    with torch.no_grad(), intervene(exchange_weights(1)):
        moved = model(inputs)
    with torch.no_grad():
        assert float((moved - model(inputs)).abs().max()) > 0.1
    for block in model.blocks:
        qkv = cast("Any", block).attn.qkv
        for part in (0, 1):  # queries and keys of all heads as those of the first
            first = slice(12 * part, 12 * part + 4)
            for head in (1, 2):
                rows = slice(12 * part + 4 * head, 12 * part + 4 * head + 4)
                qkv.weight.data[rows] = qkv.weight.data[first]
                qkv.bias.data[rows] = qkv.bias.data[first]

    alike = accuracies_with_other_weights(model, accuracy_on_images(model, unseen_digits(200, 3)))

    assert alike["exchanged"] == pytest.approx(alike["accuracy"])
    assert alike["shared"] == pytest.approx(alike["accuracy"])
    assert len(alike["falls"]) == 6


def test_without_a_head_its_output_is_the_mean_over_the_inputs() -> None:
    first, second = recording().records
    expected = first.context_from(first.weights).clone()
    expected[:, 1] = expected[:, 1].mean(dim=0, keepdim=True)
    torch.testing.assert_close(without_head(0, 1)(first), expected)
    assert without_head(0, 1)(second) is None


def text_model() -> TextTransformer:
    torch.manual_seed(4)
    model: TextTransformer = build(RECALL_MODEL).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_weights_on_the_answers_are_those_of_the_queries_on_the_values() -> None:
    model, texts = text_model(), recall_texts("test", 7, 2)

    found = weights_on_answers(model, texts)

    with torch.no_grad(), capture() as recording:
        model(texts.ids)
    for layer, record in enumerate(recording.records):
        for head in range(4):
            weights = [
                float(record.weights[text, head, FIRST_QUERY + query, 2 * pair + 1])
                for text in range(7)
                for query, pair in enumerate(texts.pairs[text].tolist())
            ]
            assert float(found[layer, head]) == pytest.approx(sum(weights) / len(weights))


def test_the_specialised_head_is_chosen_on_other_texts() -> None:
    model, texts = text_model(), recall_texts("test", 40, 2)
    halves = [
        weights_on_answers(model, RecallTexts(texts.ids[x], texts.answers[x], texts.pairs[x]))
        for x in (slice(20), slice(20, 40))
    ]
    layer, head = divmod(int(halves[0].argmax()), 4)

    found = specialised_head(model, texts)

    assert found["chosen"] == pytest.approx(float(halves[1][layer, head]))
    others = [float(halves[1][layer, x]) for x in range(4) if x != head]
    assert found["others"] == pytest.approx(sum(others) / 3)


def test_heads_of_recall_are_exchanged_and_removed() -> None:
    model, texts = text_model(), recall_texts("test", 20, 2)

    found = accuracies_with_other_weights(model, partial(recall_accuracy, model, texts))

    assert found["accuracy"] == pytest.approx(recall_accuracy(model, texts))
    assert len(found["falls"]) == 8
    with intervene(without_head(1, 2)):
        fall = found["accuracy"] - recall_accuracy(model, texts)
    assert found["falls"][6] == pytest.approx(fall)
    exchanged = []
    for offset in (1, 2, 3):
        with intervene(exchange_weights(offset)):
            exchanged.append(recall_accuracy(model, texts))
    assert len(set(exchanged)) > 1
    assert found["exchanged"] == pytest.approx(sum(exchanged) / 3)


def test_an_untrained_model_has_no_roles_and_the_distances_of_others(
    mnist_test: object,
) -> None:
    torch.manual_seed(9)
    model = VisionTransformer(ViTConfig(depth=1, embed_dim=16, num_heads=2)).eval()

    found = compare_with_untrained(model, unseen_digits(12, 4).images, 4)

    assert found["roles"] == [NO_CLEAR_ROLE] * 2
    with torch.no_grad(), capture() as recording:
        model(normalize(unseen_digits(12, 4).images, model.config))
    apart = distance_between_heads(agreement_of(recording[0].weights.double()))
    assert found["apart"] == pytest.approx(100 * apart, rel=1e-3)
    assert found["apart"] == pytest.approx(found["apart_fresh"], abs=1.0)


def test_roles_of_trained_and_untrained_heads_have_the_same_baselines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twenty models, as initialised and as sharp; one more is compared as the trained one is."""

    def measures(name: str) -> Any:
        return SimpleNamespace(name=name, agreement=torch.zeros(1, 2, 2))

    def untrained(*_: Any, seeds: list[int], match_entropy: Any = None, **__: Any) -> list[Any]:
        assert len(set(seeds)) == len(seeds)
        kind = "fresh" if match_entropy is None else f"as sharp as {match_entropy.name}"
        return [measures(f"{kind} {place}") for place in range(len(seeds))]

    def describe(heads: Any, *baselines: list[Any]) -> list[Any]:
        names = [heads.name, *(x.name for baseline in baselines for x in baseline)]
        return [SimpleNamespace(label=name) for name in names]

    monkeypatch.setattr(heads, "measure_heads", lambda *_, **__: measures("trained"))
    monkeypatch.setattr(roles, "untrained_heads", untrained)
    monkeypatch.setattr(roles, "describe_heads", describe)
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    found = compare_with_untrained(classifier(), images, seed=4)

    baselines = [f"{kind} {x}" for kind in ("fresh", "as sharp as trained") for x in range(20)]
    assert found["roles"] == ["trained", *baselines]
    assert found["roles_untrained"] == ["as sharp as trained 20", *baselines]
