"""Jobs: each picture has exactly one row, whatever interrupts them."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from clearhead.errors import ConfigError, InputError, StorageError
from clearhead.inference import JobSummary, _jobs, predict, predict_to_file
from clearhead.models import ConvNet, build
from clearhead.models.config import CNNConfig
from clearhead.models.pretrained import ImageModel

CONFIG = CNNConfig(image_size=12, num_classes=3, class_names=("a", "é", "c"), widths=(3,))


@pytest.fixture(scope="module")
def model() -> ImageModel:
    torch.manual_seed(0)
    network = build(CONFIG)
    torch.nn.init.normal_(network.head.weight)
    return network.eval()


def png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (12, 12), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_folder(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:04}.png").write_bytes(png(number))
    return folder


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jobs, "UNIT", 5)


def run(model: ImageModel, inputs: Sequence[object], out: Path, **options: Any) -> JobSummary:
    return predict_to_file(model, [*map(str, inputs)], out, **{"num_workers": 0, **options})


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_input_has_one_row_in_every_format(model: ImageModel, tmp_path: Path) -> None:
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    folder = write_folder(tmp_path / "folder", 7)
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "notes.txt").touch()
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(folder / "0003.png", "k.png")
    table = pa.table({"image": [png(20), b"broken", None]})
    pq.write_table(table, tmp_path / "table.parquet")
    inputs = [folder, tmp_path / "shard.tar", tmp_path / "table.parquet", "missing.png", "none*"]
    summary = run(model, inputs, tmp_path / "out.jsonl")
    assert summary == JobSummary(rows=14, errors=5, resumed=0, left_out={".txt": 1})
    rows = rows_of(tmp_path / "out.jsonl")
    expected = {f"{folder}/{n:04}.png": png(n) for n in range(7)}
    expected |= {f"{tmp_path}/shard.tar/k.png": png(3), f"{tmp_path}/table.parquet#0": png(20)}
    assert len({row["image"] for row in rows}) == 14
    for row in rows:
        if row["image"] in expected:
            prediction = predict(model, expected[row["image"]]).to_dict()
            assert row.pop("digits") == [{key: row[key] for key in prediction.pop("digits")[0]}]
            assert row.pop("probabilities") == pytest.approx(prediction.pop("probabilities"))
            for key in ("probability", "runner_up_probability"):
                assert row.pop(key) == pytest.approx(prediction.pop(key))
            assert row == {"image": row["image"], **prediction}
        else:
            assert set(row) == {"image", "error"}
    rows = rows_of(tmp_path / "out.jsonl")
    run(model, inputs, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    for row, cells in zip(rows, read, strict=True):
        for name in ("image", "status", "label", "probability", "runner_up", "error"):
            assert cells[name] == str(row.get(name, ""))
    run(model, inputs, tmp_path / "out.parquet")
    for row, found in zip(rows, pq.read_table(tmp_path / "out.parquet").to_pylist(), strict=True):
        assert found == dict.fromkeys(found) | row


@pytest.mark.parametrize("kill_after", [0, 1, 3])
def test_an_interrupted_job_continues_without_repeating_a_unit(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_after: int
) -> None:
    folder = write_folder(tmp_path / "folder", 18)
    run(model, [folder], tmp_path / "whole.jsonl")

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        assert total == 18
        if done >= min(18, 5 * kill_after):
            raise KilledError

    out = tmp_path / "out.jsonl"
    with pytest.raises(KilledError):
        run(model, [folder], out, on_progress=kill)
    assert not out.exists()
    (folder / "later.png").write_bytes(png(99))  # it is not in the list
    counts: list[tuple[int, int]] = []
    summary = run(model, [folder], out, on_progress=lambda *c: counts.append(c))
    assert (summary.rows, summary.resumed) == (18, 5 * kill_after)
    assert counts == [(n, 18) for n in (0, 5, 10, 15, 18)[kill_after:]]
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob("*.job"))


def test_an_unfinished_job_continues_with_the_same_settings_only(
    model: ImageModel, tmp_path: Path
) -> None:
    folder, out = write_folder(tmp_path / "folder", 6), tmp_path / "out.csv"

    def stop(done: int, _: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, [folder], out, on_progress=stop)
    other = build(CONFIG)
    for network, options, name in (
        (other, {}, "model"),
        (model, {"single": True}, "single"),
        (model, {"inputs": [folder, folder]}, "inputs"),
    ):
        with pytest.raises(ConfigError, match=f"another {name}"):
            run(network, **{"inputs": [folder], "out": out, **options})  # type: ignore[arg-type]
    assert run(model, [folder, folder], out, restart=True).rows == 12
    with pytest.raises(ConfigError, match="exists; name another"):
        run(model, [folder], out)
    assert run(model, [folder], out, restart=True).rows == 6


@pytest.mark.parametrize("cut", [0, 1])
def test_rows_that_were_changed_are_an_error_and_incomplete_ones_are_repeated(
    model: ImageModel, tmp_path: Path, cut: int
) -> None:
    folder, out = write_folder(tmp_path / "folder", 6), tmp_path / "out.jsonl"
    rows = tmp_path / "out.jsonl.job" / "rows.jsonl"

    def change(done: int, _: int) -> None:
        if done == 6:
            content = rows.read_bytes()
            rows.write_bytes(content[:-9] if cut else content.split(b"\n", 1)[1])

    with pytest.raises(StorageError, match=r"rows\.jsonl was changed; restart=True starts again"):
        run(model, [folder], out, on_progress=change)
    assert not out.exists()
    if cut:
        assert run(model, [folder], out).resumed == 5
    else:
        with pytest.raises(StorageError, match="was changed"):
            run(model, [folder], out)
        assert run(model, [folder], out, restart=True).resumed == 0
    assert len(rows_of(out)) == 6


def test_a_job_that_cannot_start_leaves_no_folder(model: ImageModel, tmp_path: Path) -> None:
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    pq.write_table(pa.table({"a": [b"1"], "b": [b"2"]}), tmp_path / "two.parquet")
    with pytest.raises(ConfigError, match="name the image column"):
        run(model, [tmp_path / "two.parquet"], tmp_path / "out.csv")
    with pytest.raises(ConfigError, match=r"must end in \.jsonl, \.csv, \.parquet"):
        run(model, [tmp_path], tmp_path / "out.txt")
    with pytest.raises(ConfigError, match="num_workers must be an integer of at least 0, got -1"):
        run(model, [tmp_path], tmp_path / "out.csv", num_workers=-1)
    with pytest.raises(StorageError, match=r"cannot write .*out\.csv\.job"):
        run(model, [tmp_path], tmp_path / "two.parquet" / "out.csv")
    with pytest.raises(InputError, match="needs a model"):
        predict_to_file("digits", [], tmp_path / "out.csv")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["two.parquet"]


def test_two_processes_cannot_work_on_one_job(model: ImageModel, tmp_path: Path) -> None:
    (tmp_path / "out.csv.job").mkdir()
    with (
        FileLock(tmp_path / "out.csv.job" / ".lock"),
        pytest.raises(ConfigError, match="another process"),
    ):
        run(model, [tmp_path], tmp_path / "out.csv")


def test_a_name_that_is_not_utf8_is_escaped(model: ImageModel, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.png"
    with open(path, "wb") as file:  # noqa: PTH123 - the name is bytes
        file.write(png(1))
    run(model, [os.fsdecode(path)], tmp_path / "out.jsonl")
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert row["image"] == rf"{tmp_path}/\xff.png"
    assert "label" in row


@pytest.mark.slow
@pytest.mark.unchecked
def test_a_picture_that_ends_its_process_has_an_error_and_the_others_predictions(
    model: ImageModel, tmp_path: Path
) -> None:
    class Fragile(ConvNet):  # sent to the processes by value
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if (images.flatten(1).std(dim=1) == 0).any():
                os._exit(1)
            return super().forward(images)

    fragile = Fragile(CONFIG)
    fragile.load_state_dict(model.state_dict())
    folder = write_folder(tmp_path / "folder", 23)
    Image.new("L", (12, 12)).save(folder / "0008.png")
    summary = run(fragile, [folder], tmp_path / "out.jsonl", num_workers=2)
    assert (summary.rows, summary.errors) == (23, 1)
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["image"][-8:] for row in rows] == [f"{number:04}.png" for number in range(23)]
    assert "process that read this picture ended" in rows[8]["error"]


SCRIPT = """
import sys
from clearhead.inference import _jobs
from clearhead.models import load
_jobs.UNIT = 8
model, inputs, out = sys.argv[1:]
_jobs.predict_to_file(load(model), [inputs], out, num_workers=2)
"""


@pytest.mark.slow
def test_a_job_killed_three_times_has_the_rows_of_an_undisturbed_one(
    model: ImageModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "model")
    folder = write_folder(tmp_path / "folder", 400)
    (folder / "0123.png").write_bytes(b"no picture")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "model"), str(folder)]
    out = tmp_path / "out.jsonl"
    rows, seen = tmp_path / "out.jsonl.job" / "rows.jsonl", 0
    for _ in range(3):
        process = subprocess.Popen([*command, str(out)])
        while (not rows.exists() or rows.stat().st_size <= seen) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        seen = rows.stat().st_size
    assert 0 < rows.read_bytes().count(b"\n") < 400
    subprocess.run([*command, str(out)], check=True)
    run(model, [folder], tmp_path / "undisturbed.jsonl")
    found, expected = rows_of(out), rows_of(tmp_path / "undisturbed.jsonl")
    assert [row["image"] for row in found] == [f"{folder}/{n:04}.png" for n in range(400)]
    assert [row.get("label") for row in found] == [row.get("label") for row in expected]
    assert not rows.parent.exists()


@pytest.mark.slow
@pytest.mark.unchecked
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("only_ray_cluster")
def test_ray_writes_the_same_rows(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folder = write_folder(tmp_path / "folder", 37)
    (folder / "0012.png").write_bytes(b"no picture")
    local = run(model, [folder], tmp_path / "local.jsonl")
    ray = run(model, [folder], tmp_path / "ray.jsonl", runner="ray", num_workers=1)
    assert local == ray
    for one, other in zip(
        rows_of(tmp_path / "local.jsonl"), rows_of(tmp_path / "ray.jsonl"), strict=True
    ):
        assert one.keys() == other.keys()
        assert (one["image"], one.get("label")) == (other["image"], other.get("label"))
        assert one.get("probabilities") == pytest.approx(other.get("probabilities"))
