import json
from pathlib import Path

import pytest

from clearhead.errors import ConfigError, StorageError
from clearhead.explanation.picture.explanation import Explanation, explain
from clearhead.explanation.picture.html import to_html
from clearhead.explanation.picture.write import write_report


def test_a_report_is_one_file(nine: Explanation, tmp_path: Path) -> None:
    page = tmp_path / "new folder" / "report.html"
    assert write_report(nine, str(page)) == (page,)
    assert page.read_text(encoding="utf-8") == to_html(nine)
    assert list(page.parent.iterdir()) == [page]


def test_other_formats_stand_beside_it_under_its_name(digits: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "nine.v2.html"
    written = write_report(
        explain(digits[9], layers=[3]), page, formats=("csv", "png", "json", "svg")
    )
    assert [path.name for path in written] == [
        f"nine.v2.{x}" for x in ("html", "png", "svg", "json", "csv")
    ]
    assert written[1].read_bytes().startswith(b"\x89PNG")
    assert written[2].read_text().startswith("<?xml")
    assert json.loads(written[3].read_text())["label"] == "9"
    assert written[4].read_text().startswith("measure,layer")


def test_a_name_that_is_no_page_is_an_error(nine: Explanation, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"named like report\.html, got 'nine\.pdf'"):
        write_report(nine, tmp_path / "nine.pdf")
    with pytest.raises(ConfigError, match=r"unknown formats \['gif'\]; known are html, png"):
        write_report(nine, tmp_path / "nine.html", formats=("gif", "png"))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_where_one_file_cannot_be(nine: Explanation, tmp_path: Path) -> None:
    (tmp_path / "nine.csv").mkdir()
    (tmp_path / "nine.csv" / "kept").write_text("kept")
    with pytest.raises(StorageError, match=r"cannot write .*nine\.csv"):
        write_report(nine, tmp_path / "no" / ".." / "nine.html", formats=("csv",))
    assert (tmp_path / "nine.csv" / "kept").read_text() == "kept"
