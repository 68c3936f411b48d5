"""`clearhead data`: fetch a data set and say what it holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from clearhead.cli.options import DATA_HELP, AsJson, DataRoot, warn_if_unused

if TYPE_CHECKING:
    from clearhead.data.fetch import Fetched
    from clearhead.data.images import ImageDataset


def data(
    source: Positional[Annotated[str, arg(metavar="DATA", help=DATA_HELP)]] = "mnist",
    root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """Fetch a data set and say what it holds.

    Where its files lie, that their SHA-256 is right, and how many images each class has. After
    that, the data set can be used without a network.
    """
    from clearhead.cli.output import print_json

    warn_if_unused(root, source)
    facts = describe_data(source, root)
    if json:
        print_json(facts)
    else:
        _print_data(facts)


def describe_data(source: str, root: Path | None = None) -> dict[str, Any]:
    """What a data set is, as plain data."""
    from clearhead.cli.output import fetching
    from clearhead.data.datasets import KNOWN, load_dataset, read_files
    from clearhead.data.fetch import fetch

    known = KNOWN.get(source)
    if known is None:
        train, test = load_dataset(source, "train"), load_dataset(source, "test")
        return _describe(train, test) | {"folder": str(Path(source).expanduser().absolute())}
    with fetching() as report:
        files = fetch(known.collection, root=root, report=report)
    train, test = read_files(known, files[:2]), read_files(known, files[2:])
    return _describe(train, test) | {"files": [_describe_file(found) for found in files]}


def _describe(train: "ImageDataset", test: "ImageDataset") -> dict[str, Any]:
    return {
        "name": train.name,
        "image": dict(
            zip(("channels", "height", "width"), map(int, train.images.shape[1:]), strict=True)
        ),
        "train": len(train),
        "test": len(test),
        "classes": [
            {"name": name, "train": in_train, "test": in_test}
            for name, in_train, in_test in zip(
                train.class_names, train.counts, test.counts, strict=True
            )
        ],
    }


def _describe_file(found: "Fetched") -> dict[str, Any]:
    return {
        "path": str(found.path.absolute()),
        "from": found.origin,
        "bytes": len(found.content),
        "sha256": found.file.sha256,
    }


def _print_data(facts: dict[str, Any]) -> None:
    from clearhead.cli.output import print_facts, print_line, print_table

    image = facts["image"]
    lines = [
        ("images", f"{facts['train']:,} to train, {facts['test']:,} to test"),
        ("size", f"{image['height']} × {image['width']} pixels, {image['channels']} channel(s)"),
    ]
    if "folder" in facts:
        lines.append(("folder", facts["folder"]))
    print_facts(facts["name"], lines)
    for file in facts.get("files", []):
        print_line()
        print_facts(
            Path(file["path"]).name,
            (
                ("path", file["path"]),
                ("from", file["from"]),
                ("SHA-256", f"{file['sha256']}, right"),
            ),
        )
    print_line()
    rows = ((row["name"], f"{row['train']:,}", f"{row['test']:,}") for row in facts["classes"])
    print_table("Images of each class", ("class", "train", "test"), rows)
