from pathlib import Path

import pytest
import torch

from clearhead.errors import CheckpointError, ConfigError
from clearhead.models import SHIPPED, build, load
from clearhead.models.baselines import ConvNet, PatchMLP
from clearhead.models.config import CNNConfig, ImageModelConfig, MLPConfig, TextConfig, ViTConfig
from clearhead.models.vit import VisionTransformer


@pytest.mark.parametrize(
    ("config", "kind"),
    [(ViTConfig(), VisionTransformer), (MLPConfig(), PatchMLP), (CNNConfig(), ConvNet)],
)
def test_each_configuration_builds_its_model(config: ImageModelConfig, kind: type) -> None:
    model = build(config)
    assert type(model) is kind
    assert model.config is config
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    "config", [ViTConfig(), MLPConfig(), TextConfig(vocabulary=tuple("abcdefg"))]
)
def test_initial_weights_are_small_and_determined_by_the_seed(
    config: ViTConfig | MLPConfig | TextConfig,
) -> None:
    torch.manual_seed(3)
    one = build(config)
    torch.manual_seed(3)
    other = build(config)
    for (name, x), y in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert x.equal(y), name
        if name == "pos_embed" or (name.endswith("weight") and x.dim() > 1):
            assert 0.015 < x.std() < 0.025, name
            assert name == "pos_embed" or x.abs().max() <= 0.04, name
        elif name.endswith("bias"):
            assert not x.any(), name


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_are_loaded_by_name(name: str) -> None:
    model = load(name)
    assert not model.training
    config = model.config
    logits = model(torch.zeros(2, config.in_channels, *config.image_shape))
    assert logits.shape == (2, config.num_classes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("letters", "no model at 'letters': give a folder"),
        ("digit", "no model at 'digit'; did you mean digits?"),
        ("sentences_causal", "no model at 'sentences_causal'; did you mean sentences-causal?"),
    ],
)
def test_an_unknown_name_is_an_error_and_a_similar_one_is_suggested(
    name: str, message: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(name)
    assert str(caught.value).startswith(message)


def test_a_folder_or_a_name_on_the_hub_is_preferred_to_a_similar_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="'me/digits' is not a folder, the Hugging Face hub"):
        load("me/digits", local_files_only=True)
    monkeypatch.chdir(tmp_path)
    build(CNNConfig(widths=(3,))).save_pretrained("digit")
    assert isinstance(load("digit"), ConvNet)


@pytest.mark.unchecked
def test_a_source_that_is_not_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"load needs the name or folder of a model, .* got 3"):
        load(3)  # type: ignore[call-overload]
