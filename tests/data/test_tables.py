"""CSV, Parquet and Hugging Face data sets."""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from clearhead.data import load_dataset
from clearhead.errors import ConfigError, DataError

MARK = "\xef\xbb\xbf"  # the UTF-8 byte order mark, as Latin-1
PIXELS = np.random.default_rng(5).integers(0, 256, (10, 4, 4), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_csv(path: Path, labels: list[Any], *, header: str | None = None) -> Path:
    columns = ",".join(f"pixel{index}" for index in range(16))
    rows = [f"{x}," + ",".join(map(str, p.flatten())) for x, p in zip(labels, PIXELS, strict=False)]
    path.write_text("\n".join([header or f"label,{columns}", *rows]) + "\n")
    return path


def write_parquet(path: Path, labels: list[Any], images: list[Any], **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"img": images, "label": labels})
    pq.write_table(table.replace_schema_metadata(metadata or None), path)
    return path


def all_pixels(source: Path) -> dict[str, list[list[list[int]]]]:
    """The images of each class, of both splits together, sorted."""
    parts = [load_dataset(source, split) for split in ("train", "test")]
    return {
        name: sorted(
            image[0].tolist() for part in parts for image in part.images[part.labels == index]
        )
        for index, name in enumerate(parts[0].class_names)
    }


def expected(names: list[Any]) -> dict[str, list[list[list[int]]]]:
    return {
        str(name): sorted(p.tolist() for p, x in zip(PIXELS, names, strict=True) if x == name)
        for name in sorted(set(names))
    }


@pytest.mark.parametrize("labels", [[3, 12] * 5, ["bee", "ant"] * 5, ['"a, b"', "c"] * 5])
def test_a_csv_of_pixels_has_a_row_for_each_image(labels: list[Any], tmp_path: Path) -> None:
    path = write_csv(tmp_path / "train.csv", labels)
    names = [x.strip('"') if isinstance(x, str) else x for x in labels]
    assert all_pixels(path) == expected(names)
    assert load_dataset(path).class_names == tuple(map(str, sorted(set(names))))  # 3 before 12


def test_the_label_may_be_in_any_column_and_the_header_absent(tmp_path: Path) -> None:
    plain = "\n".join(
        f"{index % 2}," + ",".join(map(str, p.flatten())) for index, p in enumerate(PIXELS)
    )
    (tmp_path / "plain.csv").write_text(plain)
    columns = ",".join(f"p{index}" for index in range(16))
    rows = [",".join(map(str, p.flatten())) + f",{index % 2}" for index, p in enumerate(PIXELS)]
    (tmp_path / "last.csv").write_text("\n".join([f"{columns},Label", *rows]))
    assert all_pixels(tmp_path / "plain.csv") == expected([0, 1] * 5)
    assert all_pixels(tmp_path / "last.csv") == expected([0, 1] * 5)


def test_a_folder_as_of_a_competition_has_unlabelled_test_images(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", ["x", "y"] * 5)
    (tmp_path / "test.csv").write_text("pixel0,pixel1\n0,1\n")
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    with pytest.warns(UserWarning, match=r"test\.csv has no column of labels.*left out"):
        assert all_pixels(tmp_path) == expected(["x", "y"] * 5)


def test_splits_without_labels_are_left_out_and_unknown_labels_refused(tmp_path: Path) -> None:
    files = [png(pixels) for pixels in PIXELS]
    write_parquet(tmp_path / "test.parquet", [-1, -1], files[8:])
    write_parquet(tmp_path / "train.parquet", [0, 1] * 3, files[:6])
    write_parquet(tmp_path / "val.parquet", [1, 0], files[6:8])
    with pytest.warns(UserWarning, match="the test images have no labels; left out"):
        assert load_dataset(tmp_path, "val").labels.tolist() == [1, 0]
    write_parquet(tmp_path / "val.parquet", [1, 7], files[6:8])
    write_parquet(tmp_path / "test.parquet", [0, 1], files[8:])
    with pytest.raises(DataError, match=r"the val images have .* of the 2 classes: 7"):
        load_dataset(tmp_path)


def test_a_folder_without_training_images_or_with_damaged_ones_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "val.parquet", [1], [png(PIXELS[0])])
    with pytest.raises(DataError, match=r"no \.parquet file of training images"):
        load_dataset(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"train\.parquet cannot be read"):
        load_dataset(tmp_path)


def test_a_csv_may_name_files(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for index, pixels in enumerate(PIXELS):
        (tmp_path / "pictures" / f"{index}.png").write_bytes(png(pixels))
    rows = [f"pictures/{index}.png,{'even' if index % 2 == 0 else 'odd'}" for index in range(10)]
    (tmp_path / "labels.csv").write_text("\n".join(["file_name,label", *rows, "", ""]))
    assert all_pixels(tmp_path / "labels.csv") == expected(["even", "odd"] * 5)
    assert all_pixels(tmp_path) == expected(["even", "odd"] * 5)


@pytest.mark.parametrize("with_file", [False, True])
def test_the_tables_of_a_folder_may_have_images_of_several_sizes_and_kinds(
    with_file: bool, tmp_path: Path
) -> None:
    write_csv(tmp_path / "train-1.csv", ["a", "b"] * 5)
    (tmp_path / "train-2.csv").write_text("label,p,q,r,s\na,7,7,7,7\n")
    if with_file:
        (tmp_path / "x.png").write_bytes(png(PIXELS[0]))
        (tmp_path / "train-3.csv").write_text("label,file\nb,x.png\n")
    parts = [load_dataset(tmp_path, split, image_size=4) for split in ("train", "test")]
    images, labels = (torch.cat([getattr(x, name) for x in parts]) for name in ("images", "labels"))
    assert sorted(labels.tolist()) == [0] * 6 + [1] * (5 + with_file)
    for pixels, expected in ((np.full((4, 4), 7), [0]), (PIXELS[0], [0, 1][: 1 + with_file])):
        same = (images == torch.from_numpy(pixels)).flatten(1).all(1)
        assert sorted(labels[same].tolist()) == expected


@pytest.mark.parametrize("form", ["bytes", "struct", "path", "rows"])
def test_a_parquet_file_has_a_column_of_images(form: str, tmp_path: Path) -> None:
    files = [png(pixels) for pixels in PIXELS]
    for index, content in enumerate(files):
        (tmp_path / f"{index}.png").write_bytes(content)
    images: dict[str, list[Any]] = {
        "bytes": files,
        "struct": [{"bytes": content, "path": None} for content in files],
        "path": [f"{index}.png" for index in range(10)],
        "rows": [pixels.tolist() for pixels in PIXELS],
    }
    path = write_parquet(tmp_path / "x.pq", ["b", "a"] * 5, images[form])
    assert all_pixels(path) == expected(["b", "a"] * 5)


def test_a_folder_of_parquet_files_has_splits_and_class_names_like_the_hub(tmp_path: Path) -> None:
    features = '{"info": {"features": {"label": {"names": ["cat", "dog", "emu"]}}}}'
    files = [png(pixels) for pixels in PIXELS]
    for name, used in (("train-00000-of-00002", slice(4)), ("train-00001-of-00002", slice(4, 7))):
        path = tmp_path / "data" / f"{name}.parquet"
        write_parquet(path, ([0, 1] * 4)[used], files[used], huggingface=features)
    write_parquet(tmp_path / "data" / "validation-0.parquet", [1], files[7:8], huggingface=features)
    write_parquet(tmp_path / "data" / "test-0.parquet", [0, 2], files[8:], huggingface=features)
    train, val, test = (load_dataset(tmp_path, part) for part in ("train", "val", "test"))
    assert [len(part) for part in (train, val, test)] == [7, 1, 2]
    assert train.class_names == test.class_names == ("cat", "dog", "emu")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 0, 1, 0, 1, 0], [0, 2])
    assert train.images[5, 0].tolist() == PIXELS[5].tolist()


def test_data_sets_saved_on_disk_and_by_name_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    datasets: Any = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["odd", "even"])}
    )
    rows = {"image": [{"bytes": png(x), "path": None} for x in PIXELS], "label": [1, 0] * 5}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    dataset.save_to_disk(tmp_path / "saved")
    parts = {"train": dataset, "validation": dataset.select([0]), "test": dataset.select([1, 2])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "splits")
    (tmp_path / "owner").mkdir()
    dataset.to_parquet(tmp_path / "owner" / "train-0.parquet")

    classes = {"odd": expected([0, 1] * 5)["1"], "even": expected([0, 1] * 5)["0"]}
    assert all_pixels(tmp_path / "saved") == classes
    assert all_pixels(f"hf:{tmp_path / 'owner'}") == classes  # type: ignore[arg-type]
    assert load_dataset(tmp_path / "splits", "val").labels.tolist() == [1]
    assert load_dataset(tmp_path / "splits", "test").labels.tolist() == [0, 1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"^hf:\S+empty cannot be loaded \(.*check") as caught:
        load_dataset(f"hf:{tmp_path / 'empty'}")
    assert "\n" not in str(caught.value)


def test_without_a_network_the_hub_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clearhead.data.tables.hub_is_reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(DataError, match=r"^hf:owner/name: the Hugging Face hub cannot be reached"):
        load_dataset("hf:owner/name")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a,b\n1,2\n", r"no column of labels; expected one of label, .*, got a, b$"),
        ("label,p0,p1,p2\n1,2,3,4\n", "no column of images; .* got 3 beside the labels"),
        ("label\n1\n", "no column of images; .* got 0 beside the labels"),
        ("label,p0,p1,p2,p3\n1,2,3,4,256\n", r"pixels from 0 to 255 \("),
        *((f"{mark}label,p0,p1,p2,p3\n", "has no rows; add") for mark in ("", MARK)),
        *((f"file,label\n{rest}", "has no rows; add") for rest in ("", "\n\n")),
        *((mark, "is empty; expected the names of the columns") for mark in ("", MARK)),
        ("\n\nlabel,p0,p1,p2,p3\n", "begins with an empty line; expected the names of the columns"),
        ("label;p0;p1;p2;p3\n1;2;3;4;5\n", "got semicolons; save it with commas"),
        ("file\tlabel\na.png\t1\n", "got tabs; save it with commas"),
        ("1|2|3|4|5\n", "got vertical bars; save it with commas"),
        ("file,label\na.png,1\nb.png\nc.png,1\n", "line 3 has fewer fields"),
        ("file,label\na.png,\xe4\n", "not text in UTF-8"),
        ("file,label\na.png,x\nb.png,\nc.png,\n", "2 of 3 train images have no label; add"),
        (f"file,label\n{'a' * 200_000},x\n", "line 2 is not CSV .field larger"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=reason) as caught:
        load_dataset(tmp_path / "x.csv")
    assert "\n" not in str(caught.value)


def test_a_parquet_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load_dataset(tmp_path / "x.parquet")
    pq.write_table(pa.table({"a": [1], "label": [2]}), tmp_path / "y.parquet")
    with pytest.raises(DataError, match=r"no column of images; .* got a, label"):
        load_dataset(tmp_path / "y.parquet")
    pq.write_table(pa.table({"a": pa.array([], "binary"), "label": []}), tmp_path / "z.parquet")
    with pytest.raises(DataError, match=r"z\.parquet has no rows; add a row for each image"):
        load_dataset(tmp_path / "z.parquet")
    with pytest.raises(DataError, match=r"expected a folder, or a file \.csv or \.parquet"):
        load_dataset(Path(__file__))


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_rows_without_a_label_are_refused(missing: Any, tmp_path: Path) -> None:
    labels = [1.0, missing, 2.0, 1.0]
    path = write_parquet(tmp_path / "x.parquet", labels, [png(x) for x in PIXELS[:4]])
    for source in (path, (PIXELS[:4], labels)):
        with pytest.raises(DataError, match="1 of 4 train images have no label; add"):
            load_dataset(source)


@pytest.mark.parametrize(("library", "source"), [("pyarrow", "x.parquet"), ("datasets", "")])
def test_a_missing_library_is_named(
    library: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=f"pip install {library}$"):
        load_dataset(tmp_path / source if source else "hf:owner/name")
