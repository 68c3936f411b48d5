import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clearhead.explanation import Explanation, Influence, explain
from clearhead.explanation.files import encode
from clearhead.explanation.tables import picture_csv, rank_correlations


def test_json_holds_the_whole_explanation(nine: Explanation) -> None:
    data = json.loads(encode(nine, "json"))
    assert nine.prediction.to_dict().items() <= data.items()
    assert data["grid"] == {"rows": 4, "columns": 4, "prefix": []}
    assert data["probabilities"] == list(nine.prediction.probabilities)
    for data_of_layer, layer in zip(data["layers"], nine.layers, strict=True):
        np.testing.assert_allclose(data_of_layer["weights"], layer.weights, atol=5.1e-9)
        assert (data_of_layer["name"], data_of_layer["queries"]) == (layer.name, list(range(16)))
    for name in ("rollout", "relevance", "masking"):
        values = getattr(nine, name).values
        np.testing.assert_allclose(data[name]["values"], values, atol=5.1e-9)
    assert [proof["output_error"] for proof in data["proofs"]] == [
        proof.output_error for proof in nine.proofs
    ]


def test_csv_has_a_row_for_each_query_and_names_that_count_from_one(nine: Explanation) -> None:
    head, *rows = csv.reader(io.StringIO(picture_csv(nine)))
    assert head[:6] == ["measure", "layer", "window", "head", "query", "patch at row 1, column 1"]
    assert len(rows) == 6 * 4 * 16 + 3
    row = rows[(2 * 4 + 3) * 16 + 7]
    assert row[:5] == ["weights", "blocks.2.attn", "", "4", "patch at row 2, column 4"]
    np.testing.assert_allclose(
        [float(x) for x in row[5:]], nine.layers[2].weights[0, 3, 7], atol=1e-8
    )
    assert [row[0] for row in rows[-3:]] == ["rollout", "relevance", "masking"]
    assert nine.masking.values is not None
    np.testing.assert_allclose([float(x) for x in rows[-1][5:]], nine.masking.values, atol=1e-8)


def test_prefix_tokens_have_columns_but_no_masking(timm_folder: Path, photo: Path) -> None:
    explanation = explain(f"timm:{timm_folder}", photo)
    head, *rows = csv.reader(io.StringIO(picture_csv(explanation)))
    assert head[5:8] == ["class token", "register 1", "register 2"]
    assert rows[0][4] == "class token"
    assert rows[-1][5:10] == [""] * 5
    assert all(rows[-1][10:])
    assert {len(row) for row in rows} == {len(head)}


def test_windows_are_numbered_and_a_missing_rollout_has_its_reason(
    windows_folder: Path, photo: Path
) -> None:
    explanation = explain(f"timm:{windows_folder}", photo)
    head, *rows = csv.reader(io.StringIO(picture_csv(explanation)))
    assert head[5] == "token 1"
    assert len(rows) == 4 * 2 * 16 + 3 * 16
    place = (2 * 2 + 1) * 16 + 5
    assert rows[place][:5] == ["weights", explanation.layer_names[0], "3", "2", "token 6"]
    expected = explanation.layers[0].weights[2, 1, 5]
    np.testing.assert_allclose([float(x) for x in rows[place][5:]], expected, atol=1e-8)
    data = explanation.to_dict()
    assert data["grid"] is None
    assert data["rollout"]["values"] is None
    assert "windows" in data["rollout"]["reason"]


def test_rank_correlations_are_spearmans_over_the_patches(nine: Explanation) -> None:
    from scipy.stats import spearmanr

    values = {name: x.values.numpy() for name, x in nine.influences.items() if x.values is not None}
    correlations = rank_correlations(nine)
    assert len(correlations) == 3
    for (a, b), value in correlations.items():
        assert value == pytest.approx(spearmanr(values[a], values[b]).statistic, abs=1e-9)
    flat = replace(nine, rollout=Influence(values=torch.ones(16).double() / 16))
    assert list(rank_correlations(flat)) == [("relevance", "masking")]
