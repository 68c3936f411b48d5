"""The measures of six claims on models of other libraries, with random weights."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from scipy.spatial.distance import jensenshannon

from clearhead.errors import CaptureError, InputError
from clearhead.explanation import open_classifier
from clearhead.insight import grid_of
from clearhead.insight.measures import agreement_of
from clearhead.recording import capture
from clearhead.studies.measures.classifiers import unseen_digits
from clearhead.studies.measures.heads import distance_between_heads
from clearhead.studies.measures.pretrained import (
    describe_attention,
    describe_classifier,
    describe_model,
)
from tests.studies.random_models import random_classifier
from tests.torchvision_operators import TORCHVISION

__all__ = ["TORCHVISION"]


IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def timm_model() -> Any:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    return timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3, num_classes=7
    ).eval()


def transformers_vit() -> Any:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        num_labels=7,
    )
    return transformers.ViTForImageClassification(config).eval()


@pytest.mark.parametrize("make", [timm_model, transformers_vit])
def test_image_classifiers_of_other_libraries_are_described(make: Any) -> None:
    model = make()

    found = describe_attention([lambda: model(IMAGES)])
    found |= describe_classifier(model, IMAGES, grid=grid_of(model))

    layers = len(found["C2 largest weight"])
    assert layers == (3 if make is timm_model else 2)
    for name, value in found.items():
        numbers = value if isinstance(value, list) else [value]
        assert len(numbers) == (layers if isinstance(value, list) else 1)
        assert all(x == x for x in numbers), name
    assert all(1 / 17 <= x <= 1 for x in found["C2 largest weight"])
    assert all(x < 1 for x in found["C4 error of a sum"])
    assert all(0 <= x <= 3 for x in found["C13 attention distance"])
    assert all(-1 <= found[f"C17 {x} and occlusion"] <= 1 for x in ("rollout", "raw attention"))


def test_text_models_of_transformers_are_described_without_patches() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
    )
    model = transformers.BertModel(config).eval()
    ids = [torch.randint(50, (1, n)) for n in (5, 9)]

    found = describe_attention([partial(model, x) for x in ids])

    assert {len(x) for x in found.values()} == {2}
    apart = [describe_attention([partial(model, x)])["C7 heads apart"][0] for x in ids]
    assert found["C7 heads apart"][0] == pytest.approx(sum(apart) / 2)


def test_grouped_queries_share_their_keys() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
    )
    model = transformers.LlamaModel(config).eval()

    found = describe_attention([lambda: model(torch.arange(9)[None])])

    assert found["C1 departure from variance d_k"][0] >= 1


def test_heads_apart_is_the_mean_jensen_shannon_distance() -> None:
    weights = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(1)).softmax(-1)
    expected = [
        jensenshannon(weights[image, a, query], weights[image, b, query], base=2)
        for image in range(2)
        for query in range(5)
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    found = distance_between_heads(agreement_of(weights.double()))
    assert found == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_our_models_are_described_by_name_and_measures_are_those_of_the_records() -> None:
    found = describe_model("sentences", ["the dog chased the ball because it was hungry ."])

    assert set(found) == {x for x in found if x.split()[0] in ("C1", "C2", "C4", "C7", "C13")}
    assert "C13 attention distance" not in found
    with pytest.raises(InputError, match="got none"):
        describe_model("digits", [])
    with pytest.raises(InputError, match=r"\.py is a file, and sentences takes texts"):
        describe_model("sentences", [__file__])
    with pytest.raises(CaptureError, match="no attention"):
        describe_attention([lambda: torch.zeros(1)])


@pytest.mark.usefixtures("mnist_test")
def test_a_classifier_is_described_on_pictures(tmp_path: Path) -> None:
    random_classifier(1, 0.5, embed_dim=12, num_heads=3).save_pretrained(tmp_path / "model")
    pictures = [tmp_path / f"{place}.png" for place in range(2)]
    for path, digit in zip(pictures, unseen_digits(2).images, strict=True):
        Image.fromarray(digit[0].numpy()).save(path)

    found = describe_model(str(tmp_path / "model"), list(map(str, pictures)))

    opened: Any = open_classifier(str(tmp_path / "model"))
    images = torch.cat([opened.preprocess(str(path)).inputs for path in pictures])
    expected = describe_classifier(opened.model, images, grid=grid_of(opened.model))
    assert found == expected | describe_attention([partial(opened.model, x[None]) for x in images])


def test_hubs_and_variances_are_those_of_the_weights() -> None:
    model = timm_model()
    with torch.no_grad(), capture() as recording:
        model(IMAGES)

    found = describe_attention([lambda: model(IMAGES)])

    for layer, record in enumerate(recording.records):
        top = record.weights.argmax(dim=-1)
        shares = [
            max(row.tolist().count(key) for key in range(17)) / 17 for row in top.flatten(0, 1)
        ]
        assert found["C13 queries on one key"][layer] == pytest.approx(sum(shares) / len(shares))
        variance = float(record.scaled.double().var())
        assert found["C1 variance of scaled scores"][layer] == pytest.approx(variance)
