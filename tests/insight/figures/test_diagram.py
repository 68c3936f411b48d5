import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from clearhead.insight.figures.diagram import flow_diagram
from clearhead.insight.figures.drawing import figure_bytes
from clearhead.insight.maps.flow import AttentionFlow, attention_flow
from clearhead.recording import capture

from ..plain_forward import oblong_images, oblong_model


def a_flow() -> AttentionFlow:
    with torch.no_grad(), capture(1) as seen:
        oblong_model("class")(oblong_images(2))
    return attention_flow(seen[0], 14, head=1)


def every_text(figure: Figure) -> str:
    parts = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        parts += [axes.get_title(), axes.get_xlabel(), *(text.get_text() for text in axes.texts)]
    return "\n".join(parts)


def test_the_diagram_shows_the_models_own_numbers() -> None:
    flow = a_flow()
    drawn = {
        axes.get_title(): np.asarray(axes.images[0].get_array())
        for axes in flow_diagram(flow).axes
        if axes.images
    }
    for title, numbers in {
        "Q": flow.query,
        "K": flow.key,
        "V": flow.value,
        "scores  Q Kᵀ": flow.scores,
        "scaled scores": flow.scaled,
        "weights": flow.weights,
        "context: new tokens": flow.context,
        "head 1": flow.all_weights[0],
        "head 2": flow.all_weights[1],
    }.items():
        np.testing.assert_allclose(drawn[title], numbers, err_msg=title)


def test_scores_and_scaled_scores_share_one_scale_so_that_the_shrink_is_seen() -> None:
    norms = {
        axes.get_title(): axes.images[0].norm for axes in flow_diagram(a_flow()).axes if axes.images
    }
    scores, scaled = norms["scores  Q Kᵀ"], norms["scaled scores"]
    assert (scores.vmin, scores.vmax) == (scaled.vmin, scaled.vmax)
    assert scores.vmax == pytest.approx(float(a_flow().scores.abs().max()))


def test_the_diagram_tells_every_shape() -> None:
    text = every_text(flow_diagram(a_flow()))
    for told in (
        "blocks.1.attn: head 2 of 2", "tokens\n16 × 14", "16 × 7", "16 × 16", "joined\n16 × 14",
        "new tokens\n16 × 14", "× 0.378", "softmax", "weighted\nsum of V", "concat", "linear\nW_O",
        "heads in parallel",
    ):  # fmt: skip
        assert told in text, told
    assert "mask" not in text


def test_a_masked_layer_says_so_and_many_heads_are_counted() -> None:
    query = torch.randn(1, 11, 5, 4)
    with capture() as seen:
        torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    figure = flow_diagram(attention_flow(seen[0], 44))
    text = every_text(figure)
    assert "softmax\n+ mask" in text
    assert "heads in parallel (11, 6 drawn)" in text
    assert len(figure_bytes(figure, "svg")) > 10_000
