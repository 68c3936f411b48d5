import csv
import io
import json
from pathlib import Path

import numpy as np

from clearhead.explanation.picture.explanation import Explanation, explain
from clearhead.explanation.picture.tables import summary, to_csv, to_json


def test_json_holds_all_that_the_explanation_does(nine: Explanation) -> None:
    data = json.loads(to_json(nine))
    assert summary(nine).items() <= data.items()
    assert data["grid"] == {"rows": 4, "columns": 4, "prefix": []}
    assert data["probabilities"] == list(nine.probabilities)
    for told, layer in zip(data["layers"], nine.layers, strict=True):
        np.testing.assert_allclose(told["weights"], layer.weights, atol=5.1e-9)
        assert (told["name"], told["queries"]) == (layer.name, list(range(16)))
    for name in ("rollout", "relevance", "silencing"):
        values = getattr(nine, name).values
        np.testing.assert_allclose(data[name]["values"], values, atol=5.1e-9)
    assert [proof["output_error"] for proof in data["proofs"]] == [
        proof.output_error for proof in nine.proofs
    ]


def test_csv_has_a_row_for_each_query_and_names_that_count_from_one(nine: Explanation) -> None:
    head, *rows = csv.reader(io.StringIO(to_csv(nine)))
    assert head[:6] == ["measure", "layer", "window", "head", "query", "patch at row 1, column 1"]
    assert len(rows) == 6 * 4 * 16 + 3
    row = rows[(2 * 4 + 3) * 16 + 7]
    assert row[:5] == ["weights", "blocks.2.attn", "", "4", "patch at row 2, column 4"]
    np.testing.assert_allclose(
        [float(x) for x in row[5:]], nine.layers[2].weights[0, 3, 7], atol=1e-8
    )
    assert [row[0] for row in rows[-3:]] == ["rollout", "relevance", "silencing"]
    assert nine.silencing.values is not None
    np.testing.assert_allclose([float(x) for x in rows[-1][5:]], nine.silencing.values, atol=1e-8)


def test_prefix_tokens_have_columns_but_no_silencing(timm_folder: Path, photo: Path) -> None:
    explanation = explain(photo, f"timm:{timm_folder}")
    head, *rows = csv.reader(io.StringIO(to_csv(explanation)))
    assert head[5:8] == ["class token", "register 1", "register 2"]
    assert rows[0][4] == "class token"
    assert rows[-1][5:10] == [""] * 5
    assert all(rows[-1][10:])
    assert {len(row) for row in rows} == {len(head)}


def test_windows_are_numbered_and_why_there_is_no_rollout_is_told(
    windows_folder: Path, photo: Path
) -> None:
    explanation = explain(photo, f"timm:{windows_folder}")
    head, *rows = csv.reader(io.StringIO(to_csv(explanation)))
    assert head[5] == "token 1"
    assert len(rows) == 4 * 2 * 16 + 3 * 16
    place = (2 * 2 + 1) * 16 + 5
    assert rows[place][:5] == ["weights", explanation.names[0], "3", "2", "token 6"]
    expected = explanation.layers[0].weights[2, 1, 5]
    np.testing.assert_allclose([float(x) for x in rows[place][5:]], expected, atol=1e-8)
    data = json.loads(to_json(explanation))
    assert data["grid"] is None
    assert data["rollout"]["values"] is None
    assert "windows" in data["rollout"]["missing"]
