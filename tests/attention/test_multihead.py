"""MultiHeadAttention against torch's own layer, and against a loop over its heads."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearhead.attention import MultiHeadAttention, causal_mask
from clearhead.errors import ConfigError, InputError
from tests.recording.reference import normal

EMBED, HEADS = 15, 5  # head_dim 3


def randomised(layer: nn.Module) -> None:
    """Every parameter away from its start: biases too, which begin at zero."""
    for seed, parameter in enumerate(layer.parameters()):
        parameter.data = normal(*parameter.shape, seed=seed + 100)


def pair(bias: bool) -> tuple[MultiHeadAttention, nn.MultiheadAttention]:
    theirs = nn.MultiheadAttention(EMBED, HEADS, bias=bias, batch_first=True, dtype=torch.float64)
    randomised(theirs)
    return MultiHeadAttention.from_torch(theirs), theirs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["none", "bool", "float", "causal"])
@pytest.mark.parametrize("cross", [False, True])
def test_equals_torchs_layer_with_the_same_weights(bias: bool, kind: str, cross: bool) -> None:
    ours, theirs = pair(bias)
    query = normal(2, 7, EMBED).requires_grad_()
    other = normal(2, 11, EMBED, seed=1).requires_grad_() if cross else query
    sizes = (7, other.shape[1])
    allowed = normal(*sizes, seed=2) > 0
    allowed[:, 0] = True  # torch's layer gives NaN where a row is fully masked
    added = normal(*sizes, seed=3)
    # nn.MultiheadAttention has the opposite polarity: True = ignore
    options: dict[str, tuple[dict[str, Any], Tensor | None]] = {
        "none": ({}, None),
        "bool": ({"attn_mask": allowed}, ~allowed),
        "float": ({"attn_mask": added}, added),
        "causal": ({"is_causal": True}, ~causal_mask(*sizes)),
    }
    mine, mask = options[kind]
    found = ours(query, other if cross else None, **mine)
    expected, _ = theirs(query, other, other, attn_mask=mask)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)

    names = {"qkv.weight": theirs.in_proj_weight, "proj.weight": theirs.out_proj.weight}
    if bias:
        names |= {"qkv.bias": theirs.in_proj_bias, "proj.bias": theirs.out_proj.bias}
    parameters = dict(ours.named_parameters())
    assert parameters.keys() == names.keys()
    inputs = (query, other) if cross else (query,)
    direction = normal(*found.shape, seed=4)
    one = torch.autograd.grad((found * direction).sum(), [*inputs, *map(parameters.get, names)])
    two = torch.autograd.grad((expected * direction).sum(), [*inputs, *names.values()])
    for gradient, same in zip(one, two, strict=True):
        torch.testing.assert_close(gradient, same, atol=1e-11, rtol=0)


def test_a_copy_of_torchs_layer_shares_nothing_with_it_and_keeps_its_mode_and_type() -> None:
    theirs = nn.MultiheadAttention(EMBED, HEADS, dropout=0.3, dtype=torch.float64).eval()
    state = torch.get_rng_state()
    ours = MultiHeadAttention.from_torch(theirs)
    assert torch.get_rng_state().equal(state)
    assert (ours.training, ours.dropout) == (False, 0.3)
    assert ours.qkv.weight.dtype == torch.float64
    before = theirs.in_proj_weight.clone()
    ours.qkv.weight.data.zero_()
    assert theirs.in_proj_weight.equal(before)


@pytest.mark.parametrize("options", [{"kdim": 7}, {"add_bias_kv": True}, {"add_zero_attn": True}])
def test_torch_layers_with_other_parameters_cannot_be_copied(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^cannot copy a MultiheadAttention with kdim, vdim"):
        MultiHeadAttention.from_torch(nn.MultiheadAttention(EMBED, HEADS, **options))


def head_by_head(layer: MultiHeadAttention, query: Tensor, other: Tensor, scale: float) -> Tensor:
    """Concat(head_1 … head_h) W_O with each head's own matrices, one after the other."""
    heads, head_dim, value_dim = layer.num_heads, layer.head_dim, layer.value_dim
    joined = []
    for head in range(heads):
        starts = (head * head_dim, (heads + head) * head_dim, 2 * heads * head_dim)
        lengths = (head_dim, head_dim, value_dim)
        q_rows, k_rows, v_rows = (
            slice(start, start + length)
            for start, length in zip(
                (starts[0], starts[1], starts[2] + head * value_dim), lengths, strict=True
            )
        )
        weight, bias = layer.qkv.weight, layer.qkv.bias
        q = query @ weight[q_rows].T + bias[q_rows]
        k = other @ weight[k_rows].T + bias[k_rows]
        v = other @ weight[v_rows].T + bias[v_rows]
        exponentials = (torch.einsum("bqe,bke->bqk", q, k) * scale).exp()
        joined.append(
            torch.einsum("bqk,bkd->bqd", exponentials / exponentials.sum(-1, keepdim=True), v)
        )
    return torch.cat(joined, dim=-1) @ layer.proj.weight.T + layer.proj.bias


@pytest.mark.parametrize("value_dim", [None, 2, 7])
@pytest.mark.parametrize("cross", [False, True])
def test_equals_a_loop_over_the_heads_for_any_value_dim(value_dim: int | None, cross: bool) -> None:
    layer = MultiHeadAttention(EMBED, HEADS, value_dim=value_dim).double()
    layer.load_state_dict(
        {name: normal(*x.shape, seed=len(name)) / 3 for name, x in layer.state_dict().items()}
    )
    query, other = normal(2, 7, EMBED), normal(2, 11, EMBED, seed=1)
    found = layer(query, other) if cross else layer(query)
    expected = head_by_head(layer, query, other if cross else query, 3**-0.5)
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize(("scale", "factor"), [("sqrt", 3**-0.5), ("none", 1), (0.37, 0.37)])
def test_the_scale_is_the_one_of_the_setting(scale: str | float, factor: float) -> None:
    layer = MultiHeadAttention(EMBED, HEADS, scale=scale).double()
    tokens = normal(2, 7, EMBED)
    expected = head_by_head(layer, tokens, tokens, factor)
    torch.testing.assert_close(layer(tokens), expected, atol=1e-12, rtol=0)
    assert len(list(layer.parameters())) == 4


def test_a_learned_scale_starts_at_one_over_the_root_and_learns_for_each_head() -> None:
    learned = MultiHeadAttention(EMBED, HEADS, scale="learned").double()
    fixed = MultiHeadAttention(EMBED, HEADS).double()
    assert learned.load_state_dict(fixed.state_dict(), strict=False).missing_keys == [
        "learned_scale"
    ]
    tokens = normal(2, 7, EMBED)
    torch.testing.assert_close(learned(tokens), fixed(tokens), atol=1e-7, rtol=0)
    assert learned.learned_scale is not None
    assert learned.learned_scale.numel() == HEADS
    learned(tokens).square().sum().backward()
    assert learned.learned_scale.grad is not None
    assert learned.learned_scale.grad.all()
    learned.learned_scale.data.fill_(0.37)
    expected = head_by_head(learned, tokens, tokens, 0.37)
    torch.testing.assert_close(learned(tokens), expected, atol=1e-12, rtol=0)


def test_a_learned_scale_affects_its_own_head_alone() -> None:
    layer = MultiHeadAttention(EMBED, HEADS, scale="learned").double()
    layer.proj.weight.data, layer.proj.bias.data = torch.eye(EMBED).double(), normal(EMBED) * 0
    tokens = normal(2, 7, EMBED)
    before = layer(tokens)
    assert layer.learned_scale is not None
    layer.learned_scale.data[2] *= 3
    changed = (layer(tokens) != before).unflatten(-1, (HEADS, 3)).flatten(3).any(-1).any(0).any(0)
    assert changed.tolist() == [False, False, True, False, False]


def test_a_mask_may_differ_from_image_to_image_and_from_head_to_head() -> None:
    layer, tokens = MultiHeadAttention(EMBED, HEADS).double(), normal(2, 7, EMBED)
    mask = normal(2, HEADS, 7, 7, seed=1) > 0
    found = layer(tokens, attn_mask=mask)
    for image in range(2):
        alone = layer(tokens[image : image + 1], attn_mask=mask[image : image + 1])
        torch.testing.assert_close(found[image : image + 1], alone, atol=1e-12, rtol=0)
    same = layer(tokens, attn_mask=mask[:, :1].expand_as(mask))
    torch.testing.assert_close(layer(tokens, attn_mask=mask[:, :1]), same, atol=1e-12, rtol=0)
    assert not found.isclose(same).any()


def test_dropout_acts_in_training_alone_and_is_right_on_average() -> None:
    layer = MultiHeadAttention(EMBED, HEADS, dropout=0.4).double()
    tokens = normal(1, 3, EMBED)
    expected = layer.eval()(tokens)
    assert layer(tokens).equal(expected)
    layer.train()
    torch.manual_seed(0)
    many = layer(tokens.expand(4001, -1, -1))
    torch.manual_seed(0)
    assert layer(tokens.expand(4001, -1, -1)).equal(many)
    deviation = many.std(0, keepdim=True)
    assert (deviation > 1e-3).all()
    assert ((many.mean(0, keepdim=True) - expected).abs() < 5 * deviation / math.sqrt(4001)).all()


@pytest.mark.parametrize("scale", ["sqrt", "learned"])
def test_runs_under_autocast(scale: str) -> None:
    layer = MultiHeadAttention(EMBED, HEADS, scale=scale)
    tokens = normal(2, 7, EMBED).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(tokens)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), layer(tokens), atol=2e-2, rtol=0)


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("queries", [0, 1])
def test_empty_batches_and_sequences_keep_their_shape(batch: int, queries: int) -> None:
    layer = MultiHeadAttention(EMBED, HEADS).double()
    assert layer(normal(batch, queries, EMBED)).shape == (batch, queries, EMBED)
    output = layer(normal(batch, queries, EMBED), normal(batch, 0, EMBED))
    assert output.equal(layer.proj.bias.expand_as(output))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 4}, r"embed_dim \(15\) must be divisible by num_heads \(4\)"),
        ({"num_heads": 0}, r"embed_dim \(15\) must be divisible by num_heads \(0\)"),
        ({"embed_dim": 0}, r"embed_dim \(0\) must be divisible by num_heads \(5\)"),
        ({"value_dim": 0}, "value_dim must be at least 1, got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1, got -0.1"),
        ({"scale": "root"}, 'scale must be "sqrt", "none", "learned" or a number, got \'root\''),
    ],
)
def test_settings_out_of_range_are_an_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        MultiHeadAttention(**({"embed_dim": EMBED, "num_heads": HEADS} | arguments))


@pytest.mark.unchecked
def test_inputs_of_another_shape_are_an_error() -> None:
    layer = MultiHeadAttention(EMBED, HEADS).double()
    for shape in ((2, 7, 13), (7, 15)):
        with pytest.raises(InputError, match=r"^query must be \(batch, tokens, 15\), got \("):
            layer(normal(*shape))
    with pytest.raises(InputError, match=r"^context must be .*, got \(2, 7, 2\)"):
        layer(normal(2, 7, 15), normal(2, 7, 2))
    with pytest.raises(InputError, match="leading axes"):
        layer(normal(2, 7, 15), normal(3, 7, 15))
