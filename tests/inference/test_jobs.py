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
from concurrent.futures import BrokenExecutor, Future
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import psutil
import pytest
import torch
from filelock import FileLock
from PIL import Image

from clearhead._atomic import TEMPORARY_PREFIX
from clearhead.errors import ConfigError, InputError, StorageError
from clearhead.inference import JobSummary, _jobs, _parallel, _runners, predict, predict_to_file
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
    assert summary.to_dict() == {"rows": 14, "errors": 5, "resumed": 0, "left_out": {".txt": 1}}
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
    (tmp_path / "out.jsonl.job" / f"{TEMPORARY_PREFIX}7-job.json").touch()  # of a killed process
    counts: list[tuple[int, int]] = []
    summary = run(model, [folder], out, on_progress=lambda *c: counts.append(c))
    assert (summary.rows, summary.resumed) == (18, 5 * kill_after)
    assert counts == [(n, 18) for n in (0, 5, 10, 15, 18)[kill_after:]]
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob("*.job"))


def test_an_unfinished_job_continues_with_the_same_settings_only(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        (model, {"image_column": "front"}, "image_column"),
        (model, {"inputs": [folder, folder]}, "inputs"),
    ):
        with pytest.raises(ConfigError, match=f"another {name}"):
            run(network, **{"inputs": [folder], "out": out, **options})  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)  # names of pictures may be relative
        with pytest.raises(ConfigError, match="another folder"):
            run(model, [folder], out)
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


def test_options_and_packages_are_checked_before_pictures_are_listed(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_jobs, "list_pictures", pytest.fail)
    monkeypatch.setattr("clearhead.errors.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        run(model, [tmp_path], tmp_path / "out.parquet")
    with pytest.raises(ConfigError, match="install the extra `ray`"):
        run(model, [tmp_path], tmp_path / "out.csv", runner="ray")
    with pytest.raises(ConfigError, match=r"runner must be one of local, ray, got 'spark'"):
        run(model, [tmp_path], tmp_path / "out.csv", runner="spark")
    assert not [*tmp_path.iterdir()]


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


def fragile(model: ImageModel) -> ImageModel:
    """The same model, which ends its process on a picture of one grey value."""

    class Fragile(ConvNet):  # sent to the processes by value
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if (images.flatten(1).std(dim=1) == 0).any():
                os._exit(1)
            return super().forward(images)

    copy = Fragile(CONFIG)
    copy.load_state_dict(model.state_dict())
    return copy


@pytest.mark.unchecked
def test_a_picture_that_the_model_fails_on_has_an_error_and_the_others_predictions(
    model: ImageModel, tmp_path: Path
) -> None:
    class Failing(ConvNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if (images.flatten(1).std(dim=1) == 0).any():
                raise ZeroDivisionError("of one\ngrey value")
            return super().forward(images)

    failing = Failing(CONFIG)
    failing.load_state_dict(model.state_dict())
    folder = write_folder(tmp_path / "folder", 11)
    Image.new("L", (12, 12)).save(folder / "0007.png")
    summary = run(failing, [folder], tmp_path / "out.jsonl")
    assert (summary.rows, summary.errors) == (11, 1)
    run(model, [folder], tmp_path / "expected.jsonl")
    rows, expected = (rows_of(tmp_path / f"{name}.jsonl") for name in ("out", "expected"))
    assert rows.pop(7) == {
        "image": expected.pop(7)["image"],
        "error": "ZeroDivisionError: of one grey value",
    }
    assert [(row["image"], row["label"]) for row in rows] == [
        (row["image"], row["label"]) for row in expected
    ]


@pytest.fixture
def light_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that do not import torch: they have the same two functions, by value."""
    monkeypatch.setattr(_parallel, "_start", lambda function: setattr(sys, "_own", function))
    monkeypatch.setattr(_parallel, "_run", lambda unit: sys._own(unit))  # type: ignore[attr-defined]


@pytest.mark.usefixtures("light_processes")
def test_results_have_the_order_of_the_units_and_the_end_of_a_job_ends_its_processes(
    tmp_path: Path,
) -> None:
    folder = str(tmp_path)

    def classify(unit: list[bytes]) -> list[bytes]:  # sent to the processes by value
        noted = Path(folder, unit[0].decode())
        if unit == [b"first"]:  # it has its result after the second
            while not Path(folder, "second").exists():
                time.sleep(0.01)
        noted.write_text(str(os.getpid()))
        if unit == [b"long"]:
            time.sleep(900)
            noted.with_suffix(".complete").touch()
        return unit

    units = [[b"first"], [b"second"], [b"long"]]
    rows = _runners.run(iter(units), cast(_runners.Classifier, classify), "local", 2)
    assert [next(rows), next(rows)] == [[b"first"], [b"second"]]
    while not (tmp_path / "long").exists() or not (tmp_path / "long").read_text():
        time.sleep(0.01)
    rows.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "long.complete").exists()
    assert not psutil.pid_exists(int((tmp_path / "long").read_text()))


@pytest.mark.slow
@pytest.mark.unchecked
def test_a_picture_that_ends_its_process_has_an_error_and_the_others_predictions(
    model: ImageModel, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "folder", 23)
    Image.new("L", (12, 12)).save(folder / "0008.png")
    summary = run(fragile(model), [folder], tmp_path / "out.jsonl", num_workers=2)
    assert (summary.rows, summary.errors) == (23, 1)
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["image"][-8:] for row in rows] == [f"{number:04}.png" for number in range(23)]
    assert "process that read this picture ended" in rows[8]["error"]


def test_a_new_process_has_one_thread_and_ends_with_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[object] = []
    monkeypatch.setattr(_parallel, "_functions", [])
    monkeypatch.setattr(_parallel, "exit_with_parent", lambda: calls.append("parent"))
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    for name in (b"first", b"second"):
        _parallel._start(lambda unit, name=name: [name + item for item in unit])  # type: ignore[misc]
        assert _parallel._run([b"!", b"?"]) == [name + b"!", name + b"?"]
    assert calls == ["parent", 1] * 2


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


class LosingRay:
    """In place of Ray and Ray Data: units whose actor ended twice have no result."""

    __spec__ = "ray is installed"

    def __init__(self, lost: set[int]) -> None:
        self.lost = lost
        self.data = self
        self.context = SimpleNamespace(execution_options=SimpleNamespace())
        self.DataContext = SimpleNamespace(get_current=lambda: self.context)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def ActorPoolStrategy(self, **sizes: int) -> dict[str, int]:  # noqa: N802 - Ray's name
        return sizes

    def from_items(self, items: list[dict[str, Any]], *, override_num_blocks: int) -> "LosingRay":
        assert 0 < override_num_blocks == len(items)
        self.items = items
        return self

    def map(self, kind: Any, *, fn_constructor_args: Any, **_: object) -> "LosingRay":
        self.actor = kind(*fn_constructor_args)
        return self

    def iter_rows(self) -> Any:
        assert self.context.max_errored_blocks == -1
        assert self.context.execution_options.preserve_order
        return (self.actor(item) for item in self.items if item["number"] not in self.lost)


class OneProcess(_parallel.Pool[bytes, bytes]):
    """In place of the pool of processes: picture 8 ends it."""

    calls: ClassVar[list[str]] = []

    def __exit__(self, *_: object) -> None:
        self.calls.append("shutdown")

    def start(self) -> None:
        self.calls.append("start")

    def submit(self, unit: list[bytes]) -> Future[list[bytes]]:
        future: Future[list[bytes]] = Future()
        (line,) = unit
        self.calls.append(Path(json.loads(line)[0]).stem)
        if self.calls[-1] == "0008":
            future.set_exception(BrokenExecutor())
        else:
            future.set_result(self.function(unit))
        return future


@pytest.mark.parametrize("lost", [set(), {0}, {1, 3, 4}, {0, 1, 2, 3, 4}], ids=str)
def test_units_whose_actor_ended_twice_are_classified_locally_one_by_one(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: set[int]
) -> None:
    ray = LosingRay(lost)
    monkeypatch.setitem(sys.modules, "ray", cast(Any, ray))
    monkeypatch.setitem(sys.modules, "ray.data", cast(Any, ray))
    monkeypatch.setattr(_runners, "ray_cluster", lambda workers: nullcontext())
    monkeypatch.setattr(_runners, "Pool", OneProcess)
    OneProcess.calls.clear()
    folder = write_folder(tmp_path / "folder", 23)
    run(model, [folder], tmp_path / "local.jsonl")
    summary = run(model, [folder], tmp_path / "ray.jsonl", runner="ray", num_workers=2)
    expected = rows_of(tmp_path / "local.jsonl")
    here = [f"{n:04}" for n in range(23) if n // 5 in lost]
    if 1 in lost:
        expected[8] = {"image": expected[8]["image"], "error": _parallel.PROCESS_ENDED}
        here.insert(here.index("0008") + 1, "start")
    found = rows_of(tmp_path / "ray.jsonl")
    assert [row["image"] for row in found] == [row["image"] for row in expected]
    assert [row.get("error") for row in found] == [row.get("error") for row in expected]
    assert [row.get("label") for row in found] == [row.get("label") for row in expected]
    assert (summary.rows, summary.errors) == (23, 1 in lost)
    assert OneProcess.calls == ["start", *here, "shutdown"]
    assert run(model, [], tmp_path / "none.csv", runner="ray", num_workers=2).rows == 0


@pytest.mark.slow
@pytest.mark.unchecked
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("only_ray_cluster")
def test_a_picture_that_ends_its_actor_of_ray_twice_has_an_error(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folder = write_folder(tmp_path / "folder", 23)
    Image.new("L", (12, 12)).save(folder / "0008.png")
    summary = run(fragile(model), [folder], tmp_path / "out.jsonl", runner="ray", num_workers=1)
    assert (summary.rows, summary.errors) == (23, 1)
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["image"][-8:] for row in rows] == [f"{number:04}.png" for number in range(23)]
    assert rows[8]["error"] == _parallel.PROCESS_ENDED


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
