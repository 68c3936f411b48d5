"""A whole job, and its work shared out over processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from clearhead.errors import ConfigError
from clearhead.inference import evaluate
from clearhead.models.build import build, load
from clearhead.models.config import ViTConfig
from clearhead.training.config import NEEDED
from clearhead.training.distributed import World, choose_device, join_world
from clearhead.training.job import Parts, fitted, load_parts, run_job
from clearhead.training.recipes import digits_finish

from .small_run import MODEL, small_config, small_dataset

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]


def test_a_job_leaves_model_metrics_log_and_picture(tmp_path: Path) -> None:
    data = Parts(small_dataset(), small_dataset(59))
    job = run_job(small_config(3), data, tmp_path, device="cpu")
    assert job.trained.finished
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md",
        "checkpoints",
        "config.json",
        "digits.png",
        "log.jsonl",
        "metrics.json",
        "model.safetensors",
        "run.json",
    }
    metrics = json.loads((tmp_path / "metrics.json").read_bytes())
    measured = evaluate(load(tmp_path), data.test)
    assert metrics["test"] == measured.to_dict()
    assert metrics["test"]["total"] == 59
    assert metrics["config"]["epochs"] == 3
    correct, (low, high) = measured.correct, measured.interval
    assert (
        f"**Accuracy**: {correct / 59:.2%} (95 % interval {low:.2%} – {high:.2%}), {correct} of 59 "
        "test images of small;"
    ) in (tmp_path / "README.md").read_text("utf-8")
    with Image.open(tmp_path / "digits.png") as picture:
        assert picture.width > 1000


def test_settings_of_a_second_part_are_refused_until_somebody_names_the_first(
    tmp_path: Path,
) -> None:
    data = Parts(small_dataset(), small_dataset(59))
    assert digits_finish().start == NEEDED
    with pytest.raises(ConfigError, match="goes on from a saved model; name it in start"):
        run_job(small_config(1, start=NEEDED), data, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
    run_job(small_config(1), data, tmp_path / "first", device="cpu")
    second = small_config(1, start=str(tmp_path / "first"))
    assert run_job(second, data, tmp_path / "out", device="cpu").trained.finished


def test_a_folder_of_pictures_becomes_a_model_that_knows_its_classes(tmp_path: Path) -> None:
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(15):
            picture = Image.new("RGB", (11, 9), (level, level + number, 0))
            picture.save(tmp_path / "pictures" / name / f"{number}.png")
    model = ViTConfig(
        image_size=(6, 9), patch_size=3, in_channels=3, embed_dim=20, depth=1, num_heads=5
    )
    config = small_config(8, model=model, data=str(tmp_path / "pictures"), batch_size=5)
    job = run_job(config, load_parts(config), tmp_path / "out", device="cpu")
    saved = load(tmp_path / "out").config
    assert saved.labels == ("dark", "light")
    assert len(saved.mean) == 3
    assert job.evaluation is not None
    assert job.evaluation.accuracy == 1.0


def test_pixel_statistics_are_those_of_the_training_images() -> None:
    dataset = small_dataset()
    model = fitted(ViTConfig(image_size=6, patch_size=3), dataset)
    pixels = dataset.images.double() / 255
    assert model.mean[0] == pytest.approx(pixels.mean().item(), abs=1e-4)
    assert model.std[0] == pytest.approx(pixels.std().item(), abs=1e-4)
    assert model.class_names == ("a", "b", "c")


def test_many_processes_evaluate_as_one_does_to_the_last_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    build(MODEL).save_pretrained(tmp_path / "model")
    child = [str(HERE / "small_run.py"), "evaluate", str(tmp_path / "model")]
    for launcher, out in ((TORCHRUN, "many"), ([sys.executable], "one")):
        command = [*launcher, *child, str(tmp_path / out)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=120)
    many, one = (json.loads((tmp_path / name).read_bytes()) for name in ("many", "one"))
    assert many["total"] == 2357
    assert many == one


def test_one_killed_process_ends_them_all_within_15_seconds(tmp_path: Path) -> None:
    child = [str(HERE / "small_run.py"), "train", str(tmp_path / "out"), "100000"]
    launcher = subprocess.Popen(
        [*TORCHRUN, *child], stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not (tmp_path / "out" / "checkpoints" / "latest.json").exists():
        assert launcher.poll() is None
        time.sleep(0.05)
    workers = children_of(launcher.pid)
    assert len(workers) == 3
    os.kill(workers[1], 9)
    assert launcher.wait(timeout=15) != 0
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True
    )
    return [int(line) for line in listed.stdout.split()]


def test_shares_cover_everything_once() -> None:
    cpu = torch.device("cpu")
    for size in (1, 2, 3, 7):
        parts = [World(rank=rank, size=size, device=cpu).part(101) for rank in range(size)]
        assert [i for part in parts for i in range(101)[part]] == list(range(101))


def test_a_process_alone_gets_back_what_it_gives() -> None:
    with join_world("cpu") as world:
        values = torch.tensor([2.0, 3.0])
        assert world.is_first
        assert world.any(True)
        assert not world.any(False)
        assert torch.equal(world.total(values), values)
        assert world.gather(values)[0] is values


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="toaster"):
        choose_device("toaster")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="torch sees no GPU"):
            choose_device("cuda")
