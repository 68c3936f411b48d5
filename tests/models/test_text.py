"""The text Transformer: its formula, padding, causality, and its settings."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import clearhead as ch
from clearhead.errors import CheckpointError, ConfigError, InputError
from clearhead.models import build, load
from clearhead.models.config import TextConfig, ViTConfig
from clearhead.models.pretrained import ImageModel
from clearhead.models.text import TextTransformer

WORDS = tuple("abcdefghijklm")
SMALL: dict[str, Any] = {
    "vocabulary": WORDS,
    "context_length": 11,
    "embed_dim": 14,
    "num_heads": 7,
    "depth": 3,
}


def made(seed: int = 0, **settings: Any) -> TextTransformer:
    """In float64, and all parameters random."""
    torch.manual_seed(seed)
    model = TextTransformer(TextConfig(**(SMALL | settings))).double()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


def some_ids(batch: int = 2, tokens: int = 5, seed: int = 0) -> Tensor:
    return torch.randint(len(WORDS), (batch, tokens), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pos_embed", ["learned", "sincos", "none"])
def test_logits_are_those_of_the_formula(causal: bool, pos_embed: str) -> None:
    """The same network, written out with torch's own Transformer layer."""
    model, ids = made(causal=causal, pos_embed=pos_embed), some_ids()
    state = model.state_dict()
    x = F.one_hot(ids, 13).double() @ state["token_embed.weight"]
    if pos_embed != "none":
        x = x + state["pos_embed"][:, :5]
    for number in range(3):
        layer = torch.nn.TransformerEncoderLayer(
            14, 7, 28, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True, dtype=torch.float64
        )
        named = {
            "self_attn.in_proj_": "attn.qkv.",
            "self_attn.out_proj.": "attn.proj.",
            "linear1.": "mlp.fc1.",
            "linear2.": "mlp.fc2.",
            "norm1.": "norm1.",
            "norm2.": "norm2.",
        }
        layer.load_state_dict(
            {
                theirs + part: state[f"blocks.{number}.{ours}{part}"]
                for theirs, ours in named.items()
                for part in ("weight", "bias")
            }
        )
        hidden = torch.ones(5, 5).triu(1).bool() if causal else None
        x = layer(x, src_mask=hidden)
    x = F.layer_norm(x, (14,), state["norm.weight"], state["norm.bias"], 1e-6)
    expected = x @ state["head.weight"].T + state["head.bias"]
    assert expected.shape == (2, 5, 13)
    torch.testing.assert_close(model(ids), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
def test_padding_has_no_effect_on_words(causal: bool) -> None:
    model, ids = made(causal=causal), some_ids(tokens=5)
    padded = torch.cat([ids, some_ids(tokens=3, seed=7)], dim=1)
    mask = torch.arange(8).expand(2, 8) < 5
    found = model(padded, mask)
    torch.testing.assert_close(found[:, :5], model(ids), rtol=0, atol=1e-12)
    if not causal:  # a causal model ignores what follows
        assert not torch.allclose(model(padded)[:, :5], model(ids))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("causal", [False, True])
def test_padding_before_the_words_or_alone_gives_no_nan(causal: bool) -> None:
    model = made(causal=causal)
    mask = torch.tensor([[False, False, True, True, True], [False] * 5])
    assert torch.isfinite(model(some_ids(), mask)).all()
    with ch.capture() as recording:
        model(some_ids(), mask)
    for record in recording.records:
        assert float(record.weights[0, :, :, :2].abs().max()) == 0.0
        assert float(record.weights[1].abs().max()) == 0.0
    recording.verify()


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (torch.zeros(5, dtype=torch.int64), None, r"ids must be \(batch, tokens\)"),
        (torch.zeros(2, 12, dtype=torch.int64), None, "with 1 … 11 tokens"),
        (torch.zeros(2, 0, dtype=torch.int64), None, "with 1 … 11 tokens"),
        (torch.zeros(2, 5), None, "int64 or int32"),
        (torch.full((2, 5), 13), None, "0 … 12, got 13 … 13"),
        (torch.full((2, 5), -1), None, "0 … 12, got -1 … -1"),
        (torch.zeros(2, 5, dtype=torch.int64), torch.ones(2, 4).bool(), "padding_mask"),
        (torch.zeros(2, 5, dtype=torch.int64), torch.ones(2, 5), "padding_mask must be bool"),
    ],
)
def test_wrong_inputs_are_an_error(ids: Tensor, mask: Tensor | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        made()(ids, mask)


def test_an_empty_vocabulary_is_an_error() -> None:
    with pytest.raises(ConfigError, match="needs a vocabulary"):
        TextTransformer(TextConfig())


def test_a_saved_model_without_a_vocabulary_is_an_error_that_names_it(tmp_path: Path) -> None:
    made().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_bytes())
    saved["model"]["vocabulary"] = []
    saved.pop("config_sha256")
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(CheckpointError, match=f"^{tmp_path}: a text model needs a vocabulary"):
        load(tmp_path)


@pytest.mark.parametrize("causal", [False, True])
def test_a_saved_model_is_loaded_with_its_vocabulary(causal: bool, tmp_path: Path) -> None:
    model = made(causal=causal, pos_embed="sincos", attention_scale="learned").float()
    model.save_pretrained(tmp_path / "words")
    again = load(tmp_path / "words", TextTransformer)
    assert again.config == model.config
    assert again.config.vocabulary == WORDS
    assert not again.training
    assert again(some_ids()).equal(model(some_ids()))


def test_a_model_of_another_class_than_expected_is_an_error(tmp_path: Path) -> None:
    build(TextConfig(**SMALL)).save_pretrained(tmp_path / "words")
    build(ViTConfig(depth=1)).save_pretrained(tmp_path / "image")
    with pytest.raises(CheckpointError, match="holds a TextTransformer, expected an image"):
        load(tmp_path / "words", ImageModel)
    assert isinstance(load(tmp_path / "words"), TextTransformer)
    with pytest.raises(CheckpointError, match="holds a VisionTransformer, expected a TextT"):
        load(tmp_path / "image", TextTransformer)
