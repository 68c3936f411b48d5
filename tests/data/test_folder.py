import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image

from clearhead.data import ImageDataset, Split
from clearhead.data.datasets import load_dataset, open_dataset
from clearhead.data.labelled import decode
from clearhead.errors import ConfigError, DataError

NOBODY = 65_534


def load_folder(
    folder: Path, split: Split, *, image_size: tuple[int, int] = (28, 28), in_channels: int = 1
) -> ImageDataset:
    return load_dataset(folder, split, image_size=image_size, in_channels=in_channels)


def listed(folder: Path, split: Split) -> list[tuple[str, int]]:
    """Names and labels of the images of a split."""
    images = open_dataset(folder)[split]
    return list(zip(images.keys, images.labels, strict=True))


def paint(path: Path, colour: object = (255, 0, 0), size: tuple[int, int] = (11, 13)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)  # type: ignore[arg-type]
    return path


def animals(folder: Path, count: int = 10) -> Path:
    for number in range(count):
        paint(folder / "cat" / f"{number}.png", (number, 0, 0))
        paint(folder / "ant" / f"{number}.png", (0, number, 0))
    return folder


def test_classes_are_sorted_folder_names_and_images_are_sorted_by_name(
    tmp_path: Path,
) -> None:
    for part in ("train", "test"):
        for name, level in (("b", 20), ("a", 10)):
            for picture in ("2.png", "1.jpg", "3.BMP"):
                paint(tmp_path / part / name / picture, (level + int(picture[0]),) * 3)
    dataset = load_folder(tmp_path, "train", image_size=(5, 7))
    assert dataset.class_names == ("a", "b")
    assert tuple(dataset.images.shape) == (6, 1, 5, 7)
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.images[:, 0, 2, 3].tolist() == [11, 12, 13, 21, 22, 23]
    assert dataset.name == tmp_path.name


def test_without_split_folders_a_fifth_of_each_class_is_the_test_split(
    tmp_path: Path,
) -> None:
    train = listed(animals(tmp_path), "train")
    test = listed(tmp_path, "test")
    assert [sum(label == wanted for _, label in train) for wanted in (0, 1)] == [8, 8]
    assert [sum(label == wanted for _, label in test) for wanted in (0, 1)] == [2, 2]
    assert len(set(train + test)) == 20
    other = animals(tmp_path / "elsewhere" / "again")
    assert listed(other, "test") == test


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_train_val_and_test_folders_are_the_splits_and_labels_agree(
    val: str, tmp_path: Path
) -> None:
    for name in "abc":
        paint(tmp_path / "train" / name / "x.png")
    paint(tmp_path / "test" / "a" / "x.png")
    paint(tmp_path / "test" / "c" / "y.png")
    paint(tmp_path / val / "b" / "z.png")
    assert open_dataset(tmp_path)["test"].class_names == ("a", "b", "c")
    assert listed(tmp_path, "test") == [("test/a/x.png", 0), ("test/c/y.png", 2)]
    assert listed(tmp_path, "val") == [(f"{val}/b/z.png", 1)]


def test_without_a_test_folder_the_test_images_are_some_of_the_training_images(
    tmp_path: Path,
) -> None:
    animals(tmp_path / "train")
    animals(tmp_path / "val", count=1)
    assert [len(listed(tmp_path, split)) for split in ("train", "val", "test")] == [16, 2, 4]


def test_a_test_class_without_training_images_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        paint(tmp_path / "train" / name / "x.png")
        paint(tmp_path / "test" / f"{name}z" / "x.png")
    with pytest.raises(DataError, match=r"classes that .*train lacks: az, bz"):
        listed(tmp_path, "train")


def test_a_long_image_is_cropped_at_its_centre_and_not_distorted(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = (0, 0, 250)
    (tmp_path / "b").mkdir()
    Image.fromarray(wide).save(tmp_path / "b" / "1.png")
    paint(tmp_path / "b" / "2.png", size=(3, 90))
    animals(tmp_path)
    dataset = load_folder(tmp_path, "train", image_size=(10, 10), in_channels=3)
    test = load_folder(tmp_path, "test", image_size=(10, 10), in_channels=3)
    blues = [p for d in (dataset, test) for p in d.images[d.labels == 1] if p[2, 5, 5] > 200]
    (blue,) = blues
    assert blue[2, :, 2:8].min() >= 249
    assert blue[:2].max() == 0


def test_height_and_width_are_in_order(tmp_path: Path) -> None:
    upper = np.zeros((50, 70), dtype=np.uint8)
    upper[:20] = 250
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(upper).save(tmp_path / name / "1.png")
    image = load_folder(tmp_path, "train", image_size=(5, 7)).images[0, 0]
    assert image[:2].min() > 200
    assert image[2:].max() < 50


def test_colours_are_kept_with_3_channels_and_weighted_with_1(tmp_path: Path) -> None:
    paint(tmp_path / "train" / "a" / "1.png", (200, 100, 50))
    paint(tmp_path / "train" / "b" / "1.png", (0, 0, 255))
    animals(tmp_path / "test")
    (tmp_path / "test" / "ant").rename(tmp_path / "test" / "a")
    (tmp_path / "test" / "cat").rename(tmp_path / "test" / "b")
    coloured = load_folder(tmp_path, "train", image_size=(3, 5), in_channels=3)
    assert coloured.images[:, :, 1, 2].tolist() == [[200, 100, 50], [0, 0, 255]]
    grey = load_folder(tmp_path, "train", image_size=(3, 5))
    assert grey.images[:, 0, 1, 2].tolist() == [124, 29]  # 0.299 R + 0.587 G + 0.114 B


def test_16_bits_and_transparency_are_handled(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
        deep = np.full((5, 5), 30_000, dtype=np.uint16)
        Image.fromarray(deep).save(tmp_path / part / "a" / "deep.png")
        Image.new("RGBA", (5, 5), (250, 0, 0, 0)).save(tmp_path / part / "b" / "clear.png")
    coloured = load_folder(tmp_path, "train", image_size=(3, 3), in_channels=3)
    assert coloured.images[:, :, 1, 1].tolist() == [[117] * 3, [255] * 3]
    grey = load_folder(tmp_path, "train", image_size=(3, 3))
    assert grey.images[:, 0, 1, 1].tolist() == [117, 255]


def planted(folder: Path) -> set[str]:
    """Files that are no images of a class, and hidden ones; the names of the former."""
    others = ("README.txt", "cat/Thumbs.db", "cat/more/7.png", "stray.png", "cat/clip.mov")
    for name in (*others, ".cache/8.png", "cat/.hidden.png", "ant/.DS_Store"):
        paint(folder / "other.png").rename(folder / "moved.png")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "moved.png").rename(folder / name)
    (folder / "cat" / "link").symlink_to(folder / ".cache")
    return {*others, "cat/link"}


@pytest.mark.parametrize("split_folders", [False, True])
def test_a_warning_names_every_file_that_is_left_out_except_hidden_ones(
    split_folders: bool, tmp_path: Path
) -> None:
    if split_folders:
        animals(tmp_path / "train", count=2)
        animals(tmp_path / "test", count=1)
        others = {f"train/{name}" for name in planted(tmp_path / "train")} | {"more/a/1.png"}
        paint(tmp_path / "more" / "a" / "1.png")
    else:
        others = planted(animals(tmp_path, count=3))
    with pytest.warns(UserWarning, match="left out") as caught:
        images = len(load_folder(tmp_path, "train")) + len(load_folder(tmp_path, "test"))
    assert images == 6
    for warning in caught:
        names = str(warning.message).removeprefix(f"{tmp_path}: ").partition(": ")[2]
        assert set(names.split(", ")) == others


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("linked", ["train", "train/ant", "train/ant/0.png"])
def test_images_behind_a_link_are_used_without_a_warning(linked: str, tmp_path: Path) -> None:
    animals(tmp_path / "train", count=2)
    animals(tmp_path / "test", count=1)
    expected = listed(tmp_path, "train")
    (tmp_path / linked).rename(tmp_path / ".elsewhere")
    (tmp_path / linked).symlink_to(tmp_path / ".elsewhere")
    assert listed(tmp_path, "train") == expected


def test_files_whose_names_are_not_utf_8_can_be_split(tmp_path: Path) -> None:
    for number in range(10):
        for name in ("a", "b"):
            picture = paint(tmp_path / name / "x.png")
            picture.rename(picture.with_name(os.fsdecode(f"{number}ö.png".encode("latin-1"))))
    assert [len(load_folder(tmp_path, split)) for split in ("train", "test")] == [16, 4]


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user who may not read everything, as root may."""
    with TemporaryDirectory() as folder:
        user = os.geteuid()
        if not user:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_an_unreadable_folder_beside_the_classes_is_left_out_with_a_warning(
    mode: int, unprivileged: Path
) -> None:
    animals(unprivileged / "train", count=2)
    closed = [unprivileged / "notes", unprivileged / "train" / "ant" / "more"]
    for folder in closed:
        folder.mkdir()
        paint(folder / "1.png")
        folder.chmod(mode)
    with pytest.warns(UserWarning, match=r"left out.*: .*notes") as caught:
        assert len(load_folder(unprivileged, "train")) > 0
    assert all("train/ant/more" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("mode", [0o000, 0o444])
@pytest.mark.parametrize("place", ["", "train", "train/ant", "test"])
def test_an_unreadable_folder_of_a_class_or_split_is_an_error_that_names_it(
    place: str, mode: int, unprivileged: Path
) -> None:
    animals(unprivileged / "train", count=2)
    animals(unprivileged / "test", count=1)
    (unprivileged / place).chmod(mode)
    try:
        with pytest.raises(DataError, match=re.escape(str(unprivileged / place))):
            _ = load_folder(unprivileged, "test"), load_folder(unprivileged, "train")
    finally:
        (unprivileged / place).chmod(0o755)


def test_an_unreadable_table_is_an_error_that_names_it(unprivileged: Path) -> None:
    table = unprivileged / "train.csv"
    table.write_text("label,file\n1,1.png\n")
    table.chmod(0)
    for source in (table, unprivileged):
        with pytest.raises(DataError, match=r"train\.csv cannot be read \(Permission denied\)"):
            load_dataset(source)


def test_errors_are_one_line_and_name_the_folder(tmp_path: Path) -> None:
    def refusal(folder: Path, split: str = "train", **settings: int) -> str:
        with pytest.raises((DataError, ConfigError)) as caught:
            load_folder(folder, "test" if split == "test" else "train", **settings)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no file or folder of that name" in refusal(tmp_path / "absent")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty) in refusal(empty)
    assert "found none" in refusal(empty)
    paint(tmp_path / "one" / "only" / "1.png")
    assert "found only only" in refusal(tmp_path / "one")
    assert "3 (colour), got 2" in refusal(animals(tmp_path / "pets"), in_channels=2)
    (tmp_path / "pets" / "bee").mkdir()
    assert f"{tmp_path / 'pets' / 'bee'} has no images" in refusal(tmp_path / "pets")
    few = animals(tmp_path / "few", count=1)
    assert "no test split" in refusal(few, "test")
    assert len(load_folder(few, "train")) == 2


def test_all_broken_images_of_all_splits_are_listed_in_one_error(tmp_path: Path) -> None:
    broken = ["cat/1.png", "cat/2.png", "ant/3.png"]
    animals(tmp_path, count=5)
    for name in broken:
        (tmp_path / name).write_bytes(b"no picture")
    splits = open_dataset(tmp_path)
    assert not set(broken) <= set(splits["train"].keys)
    with pytest.raises(DataError, match=r"^3 of 10 images of .*; repair or remove them$") as caught:
        decode(splits, (3, 5), 1)
    assert all(str(tmp_path / name) in str(caught.value) for name in broken)
    with pytest.raises(DataError, match=r"images of .* cannot be read"):
        load_dataset(tmp_path)  # in the usual shape of the others
    assert "\n" not in str(caught.value)
