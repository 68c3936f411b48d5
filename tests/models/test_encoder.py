import torch
from torch import nn

from clearhead.models.layers import Block, Encoder


def make_encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder.of_blocks(14, 7, 3, mlp_ratio=2.5).double()


def test_the_encoder_is_its_blocks_one_after_the_other() -> None:
    encoder, tokens = make_encoder(), torch.randn(2, 5, 14, dtype=torch.float64)
    expected = tokens
    for block in encoder:
        expected = block(expected)
    assert torch.equal(encoder(tokens), expected)
    assert not torch.allclose(expected, tokens)


def test_every_block_gets_the_mask() -> None:
    encoder, tokens = make_encoder(), torch.randn(2, 5, 14, dtype=torch.float64)
    mask = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(1)) > 0.4
    expected = tokens
    for block in encoder:
        expected = block(expected, attn_mask=mask)
    assert torch.equal(encoder(tokens, attn_mask=mask), expected)
    assert not torch.allclose(expected, encoder(tokens))


def test_a_causal_encoder_does_not_see_what_comes_later() -> None:
    encoder, tokens = make_encoder(), torch.randn(2, 5, 14, dtype=torch.float64)
    changed = tokens.clone()
    changed[:, 3:] = 0.0
    before, after = (encoder(x, is_causal=True) for x in (tokens, changed))
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=1e-12)
    assert not torch.allclose(before[:, 3:], after[:, 3:])
    both_ways = encoder(changed)
    assert not torch.allclose(encoder(tokens)[:, :3], both_ways[:, :3])


def test_weights_are_named_as_in_a_plain_sequence_of_blocks() -> None:
    plain = nn.Sequential(*(Block(14, 7, mlp_ratio=2.5) for _ in range(3)))
    assert list(make_encoder().state_dict()) == list(plain.state_dict())


def test_settings_reach_every_block() -> None:
    encoder = Encoder.of_blocks(14, 7, 3, dropout=0.25, scale="learned")
    assert len(encoder) == 3
    for block in encoder:
        assert isinstance(block, Block)
        assert block.attn.dropout == block.mlp.dropout.p == 0.25
        assert block.attn.learned_scale is not None


def test_a_slice_is_an_encoder_of_those_blocks() -> None:
    encoder, tokens = make_encoder(), torch.randn(2, 5, 14, dtype=torch.float64)
    first, rest = encoder[:1], encoder[1:]
    assert isinstance(first, Encoder)
    assert isinstance(rest, Encoder)
    assert [*first, *rest] == [*encoder]
    torch.testing.assert_close(rest(first(tokens)), encoder(tokens), rtol=0, atol=0)
