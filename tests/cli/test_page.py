import os
from pathlib import Path

import pytest
from PIL import Image

from clearhead.cli.main import main
from clearhead.models import build
from clearhead.models.config import CNNConfig, ViTConfig


def test_the_page_is_written_to_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deep" / "look.html"
    assert main(["page", "-o", str(file)]) == 0
    page = file.read_text("utf-8")
    assert page.startswith("<!doctype html>")
    shown = capsys.readouterr()
    assert shown.out == f"wrote {file} ({len(page.encode()) / 1e6:.2f} MB); open it in a browser\n"
    assert shown.err == ""


def test_a_dash_writes_the_page_to_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["page", "--out", "page.html"]) == 0
    capfdbinary.readouterr()
    assert main(["page", "-o", "-"]) == 0
    shown = capfdbinary.readouterr()
    assert (shown.out, shown.err) == ((tmp_path / "page.html").read_bytes(), b"")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_pipe_is_not_replaced_by_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert main(["page", "-o", str(pipe)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"clearhead: cannot write {pipe}: it is a pipe; name a file\n"
    assert pipe.is_fifo()


def test_by_default_the_page_is_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["page"]) == 0
    assert (tmp_path / "microscope.html").is_file()


def test_a_saved_model_has_a_page(tmp_path: Path) -> None:
    model = build(ViTConfig(depth=1, embed_dim=12, num_heads=3))
    model.save_pretrained(tmp_path / "mine")
    assert main(["page", "--model", str(tmp_path / "mine"), "--out", str(tmp_path / "p.html")]) == 0
    assert '"name":"mine"' in (tmp_path / "p.html").read_text("utf-8")


def test_example_pictures_have_the_names_of_their_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ViTConfig(depth=1, embed_dim=12, num_heads=3, num_classes=2, class_names=("a", "b"))
    build(config).save_pretrained(tmp_path / "mine")
    Image.new("L", (40, 30), 128).save(tmp_path / "grey one.png")
    page = ["page", "--model", str(tmp_path / "mine"), "--out", str(tmp_path / "p.html")]
    assert main([*page, "--pictures", str(tmp_path / "grey one.png")]) == 0
    assert '"label":"grey one"' in (tmp_path / "p.html").read_text("utf-8")
    assert main([*page, "--pictures", str(tmp_path / "grey one.png"), "grey one.jpg"]) == 2
    assert "expected --pictures with different names" in capsys.readouterr().err


def test_an_unsupported_model_is_an_error_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(CNNConfig(widths=(3,))).save_pretrained(tmp_path / "cnn")
    assert main(["page", "--model", str(tmp_path / "cnn"), "-o", str(tmp_path / "p.html")]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(
        "clearhead: the microscope shows clearhead's own VisionTransformer, got "
    )
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "p.html").exists()
