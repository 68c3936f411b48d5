"""Explanations of pictures as figures, JSON, CSV and files."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from clearhead.errors import ConfigError, StorageError
from clearhead.explanation import Explanation, Influence, explain, write_report
from clearhead.explanation._explain import encode
from clearhead.explanation.figures import picture_figure
from clearhead.explanation.page import picture_page
from clearhead.explanation.pictures import first_view
from clearhead.explanation.tables import percent, picture_csv, rank_correlations, signed
from clearhead.insight.plots import new_figure, weight_norm


@pytest.fixture(scope="module")
def figure(nine: Explanation) -> Any:
    return picture_figure(nine)


@pytest.fixture(scope="module")
def windows(windows_folder: Path, photo: Path) -> Explanation:
    return explain(f"timm:{windows_folder}", photo)  # type: ignore[no-any-return]


def drawn(axes: Any) -> Any:
    return axes.images[0].get_array()


def rows_of(explanation: Explanation) -> list[list[str]]:
    return list(csv.reader(io.StringIO(picture_csv(explanation))))


def test_every_head_is_drawn_and_labelled_on_one_scale(nine: Explanation, figure: Any) -> None:
    above, below = figure.subfigs
    query = first_view(nine)["query"]
    panels = [axes for axes in below.axes if axes.images]
    expected = [layer.weights[0, head, query] for layer in nine.layers for head in range(4)]
    assert len(panels) == 24
    for axes, row in zip(panels, expected, strict=True):
        np.testing.assert_allclose(drawn(axes), row.reshape(4, 4))
        norm = axes.images[0].norm
        assert (norm.vmin, norm.vmax, norm(0.25)) == (0.0, 1.0, weight_norm()(0.25))
    probability = 100 * nine.prediction.probability
    assert f": 9, {probability:.1f}" in above.get_suptitle()
    labels = [axes.get_ylabel() for axes in panels[::4]]
    assert labels == [f"L{number + 1}\nblocks.{number}.attn" for number in range(6)]
    assert [axes.get_title() for axes in panels[:4]] == ["H1", "H2", "H3", "H4"]
    assert "multiples" not in below.get_suptitle()


def test_small_weights_are_drawn_as_multiples_of_the_uniform_weight(nine: Explanation) -> None:
    """As in a ViT of 197 tokens, whose uniform weight is 0.5 %."""
    layer = replace(nine.layers[2], weights=nine.layers[2].weights / 60)
    figure: Any = picture_figure(replace(nine, layers=(layer,)))
    below = figure.subfigs[1]
    panels = [axes for axes in below.axes if axes.images]
    row = layer.weights[0, 3, first_view(nine)["query"]]
    expected = np.clip(16 * row.numpy().reshape(4, 4), 1 / 16, None)
    np.testing.assert_allclose(drawn(panels[3]), expected, rtol=1e-6)
    norm = panels[0].images[0].norm
    assert [norm(1 / 16), norm(1.0), norm(16.0)] == pytest.approx([0.0, 0.5, 1.0])
    assert "shown as multiples of the uniform weight" in below.get_suptitle()
    labels = [axes.get_ylabel() for axes in below.axes]
    assert "multiple of the uniform weight of 6.25 %,\nlogarithmic scale" in labels


def test_the_measures_are_drawn(nine: Explanation, figure: Any) -> None:
    original, picture, *panels = figure.subfigs[0].axes
    assert drawn(original).shape == (140, 140, 3)
    np.testing.assert_allclose(drawn(picture), nine.pixels[0] / 255)
    for axes, influence in zip(
        panels,
        (nine.rollout, nine.relevance.shares(), nine.shapley, nine.masking),
        strict=True,
    ):
        assert influence.values is not None
        factor = -100 if influence is nine.masking else 1  # the change in points
        values = factor * influence.values.reshape(4, 4)
        np.testing.assert_allclose(drawn(axes), values)
        if influence in (nine.shapley, nine.masking):
            limit = float(values.abs().max())
            assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (-limit, limit)


def test_layers_outside_the_grid_are_drawn_as_matrices(windows: Explanation) -> None:
    figure: Any = picture_figure(windows)
    panels = [axes for axes in figure.subfigs[1].axes if axes.images]
    assert len(panels) == 5
    np.testing.assert_allclose(drawn(panels[0]), windows.layers[0].weights[0, 0])
    texts = [axes.texts[0].get_text() for axes in figure.subfigs[0].axes[2:]]
    assert texts == ["not available"] * 4


def test_json_has_the_whole_explanation(nine: Explanation) -> None:
    data = json.loads(encode(nine, "json"))
    assert nine.prediction.to_dict().items() <= data.items()
    assert data["grid"] == {"rows": 4, "columns": 4, "prefix": []}
    for saved, layer in zip(data["layers"], nine.layers, strict=True):
        np.testing.assert_allclose(saved["weights"], layer.weights, atol=5.1e-9)
        assert (saved["name"], saved["queries"]) == (layer.name, list(range(16)))
    for name, influence in nine.influences.items():
        assert influence.values is not None
        np.testing.assert_allclose(data[name]["values"], influence.values, atol=5.1e-9)
    errors = [verification.output_error for verification in nine.verifications]
    assert [verification["output_error"] for verification in data["verifications"]] == errors


def test_csv_has_a_row_for_each_query_and_counts_from_one(nine: Explanation) -> None:
    head, *rows = rows_of(nine)
    assert head[:6] == ["measure", "layer", "window", "head", "query", "patch 1 (row 1, column 1)"]
    assert len(rows) == 6 * 4 * 16 + 4
    row = rows[(2 * 4 + 3) * 16 + 7]
    assert row[:5] == ["weights", "blocks.2.attn", "", "4", "patch 8 (row 2, column 4)"]
    np.testing.assert_allclose(
        [float(x) for x in row[5:]], nine.layers[2].weights[0, 3, 7], atol=1e-8
    )
    assert [row[0] for row in rows[-4:]] == ["rollout", "relevance", "shapley", "masking"]
    assert nine.masking.values is not None
    np.testing.assert_allclose([float(x) for x in rows[-1][5:]], nine.masking.values, atol=1e-8)


def test_prefix_tokens_have_columns_but_no_masking(timm_folder: Path, photo: Path) -> None:
    head, *rows = rows_of(explain(f"timm:{timm_folder}", photo))
    assert head[5:8] == ["class token", "register 1", "register 2"]
    assert rows[0][4] == "class token"
    assert rows[-1][5:10] == [""] * 5
    assert all(rows[-1][10:])
    assert {len(row) for row in rows} == {len(head)}


def test_windows_are_numbered_in_csv_and_a_missing_rollout_has_its_reason(
    windows: Explanation,
) -> None:
    head, *rows = rows_of(windows)
    assert head[5] == "token 1"
    assert len(rows) == 4 * 2 * 16 + 3 * 16
    row = rows[(2 * 2 + 1) * 16 + 5]
    assert row[:5] == ["weights", windows.layer_names[0], "3", "2", "token 6"]
    expected = windows.layers[0].weights[2, 1, 5]
    np.testing.assert_allclose([float(x) for x in row[5:]], expected, atol=1e-8)
    data = windows.to_dict()
    assert (data["grid"], data["rollout"]["values"]) == (None, None)
    assert "attends inside windows" in data["rollout"]["reason"]


def test_rank_correlations_are_spearmans_over_the_patches(nine: Explanation) -> None:
    values = {name: x.values.numpy() for name, x in nine.influences.items() if x.values is not None}
    correlations = rank_correlations(nine)
    assert len(correlations) == 6
    for (a, b), value in correlations.items():
        assert value == pytest.approx(spearmanr(values[a], values[b]).statistic, abs=1e-9)
    flat = replace(nine, rollout=Influence(values=torch.ones(16).double() / 16))
    assert list(rank_correlations(flat)) == [
        ("relevance", "shapley"),
        ("relevance", "masking"),
        ("shapley", "masking"),
    ]


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0.0, 1, "0.0 %"), (0.0004, 1, "<0.1 %"), (0.0006, 1, "0.1 %"), (0.41349, 2, "41.35 %")],
)
def test_percentages_never_round_a_small_share_to_zero(
    share: float, digits: int, text: str
) -> None:
    assert percent(share, digits).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("number", "text"), [(46.3, "+46.30"), (-0.123, "−0.12"), (-0.001, "0.00"), (0.0, "0.00")]
)
def test_numbers_have_their_sign(number: float, text: str) -> None:
    assert signed(number) == text


def test_a_report_is_one_file_and_other_formats_get_its_name(
    nine: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Explanation] = []

    def small_figure(explanation: Explanation) -> Any:  # faster than the whole one
        drawn.append(explanation)
        return new_figure(5, 4)

    monkeypatch.setattr("clearhead.explanation.figures.picture_figure", small_figure)
    layer = replace(nine.layers[3], weights=nine.layers[3].weights[:, :1])
    one, page = replace(nine, layers=(layer,)), tmp_path / "new" / "nine.v2.html"
    assert write_report(one, str(page)) == (page,)
    assert list(page.parent.iterdir()) == [page]
    assert page.read_text(encoding="utf-8") == picture_page(one)
    written = write_report(one, page, formats=("csv", "png", "json", "svg"))
    assert [explanation is one for explanation in drawn] == [True, True]
    suffixes = ("html", "png", "svg", "json", "csv")
    assert [path.name for path in written] == [f"nine.v2.{x}" for x in suffixes]
    with Image.open(written[1]) as image:
        image.load()
        assert min(image.size) > 400
    assert ElementTree.fromstring(written[2].read_text()).tag.endswith("svg")
    assert json.loads(written[3].read_text())["label"] == "9"
    assert written[4].read_text().startswith("measure,layer")


def test_unknown_formats_and_unwritable_files_are_errors(nine: Explanation, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"such as report\.html, got 'nine\.pdf'"):
        write_report(nine, tmp_path / "nine.pdf")
    with pytest.raises(ConfigError, match=r"a format must be one of html, png.* got 'gif'"):
        write_report(nine, tmp_path / "nine.html", formats=("gif", "png"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "nine.csv" / "kept").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot write .*nine\.csv"):
        write_report(nine, tmp_path / "nine.html", formats=("csv",))
    assert [path.name for path in tmp_path.iterdir()] == ["nine.csv"]
