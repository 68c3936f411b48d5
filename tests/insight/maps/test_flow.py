import numpy as np
import pytest
import torch
from torch import nn

from clearhead.errors import InputError
from clearhead.insight.maps.flow import attention_flow
from clearhead.recording import capture

from ..plain_forward import oblong_images, oblong_model


def test_the_stages_of_one_head_follow_from_each_other() -> None:
    with torch.no_grad(), capture(1) as seen:
        oblong_model("class")(oblong_images(3))
    flow = attention_flow(seen[0], 14, image=2, head=1)
    query, key, value = (x.numpy() for x in (flow.query, flow.key, flow.value))
    np.testing.assert_array_equal(query, seen[0].query[2, 1])
    assert flow.scale == pytest.approx(7**-0.5)
    np.testing.assert_allclose(flow.scores, query @ key.T)
    np.testing.assert_allclose(flow.scaled, query @ key.T / np.sqrt(7))
    exponents = np.exp(flow.scaled.numpy())
    weights = exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(flow.weights, weights)
    np.testing.assert_allclose(flow.context, weights @ value)
    torch.testing.assert_close(flow.all_weights[1], flow.weights)
    torch.testing.assert_close(flow.all_contexts, seen[0].output[2])
    assert (flow.layer, flow.head, flow.embed_dim) == ("blocks.1.attn", 1, 14)


def test_a_causal_layer_with_shared_keys_keeps_its_mask() -> None:
    query, key, value = torch.randn(2, 6, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    with capture() as seen:
        nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        )
    flow = attention_flow(seen[0], 24, head=5)
    torch.testing.assert_close(flow.scores, query[0, 5] @ key[0, 2].T)
    assert torch.equal(flow.masked.isinf(), torch.ones(5, 5).triu(1).bool())
    torch.testing.assert_close(flow.context, flow.weights @ value[0, 2])


@pytest.mark.parametrize(("image", "head"), [(3, 0), (0, 2), (-1, 0)])
def test_an_image_or_head_that_is_not_there_is_refused(image: int, head: int) -> None:
    with torch.no_grad(), capture(0) as seen:
        oblong_model()(oblong_images(3))
    with pytest.raises(InputError, match="has 3 images and 2 heads"):
        attention_flow(seen[0], 14, image=image, head=head)
