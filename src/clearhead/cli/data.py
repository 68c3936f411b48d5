"""`clearhead data`: download a data set and describe it."""

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from clearhead._paths import exists, expanded
from clearhead.cli.options import DATA_HELP, AsJson, DataRoot, warn_if_unused
from clearhead.cli.output import fetching, print_facts, print_json, print_line, print_table


def data(
    source: Positional[Annotated[str, arg(metavar="[DATA]", help=DATA_HELP)]] = "mnist",
    root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """Download a data set and describe it.

    Prints the paths of its files, whose SHA-256 is verified, and the number of images of each
    class. After that, the data set can be used without a network.
    """
    warn_if_unused(root, source)
    facts = describe_data(source, root)
    if json:
        print_json(facts)
    else:
        _print_data(facts)


def describe_data(source: str, root: Path | None = None) -> dict[str, Any]:
    """A data set's size, classes and files, as JSON types."""
    from clearhead.data import DATASETS, fetch_dataset, load_dataset

    if source in DATASETS:
        with fetching() as progress:
            files = fetch_dataset(source, root=root, progress=progress)
        place: dict[str, Any] = {
            "files": [
                {
                    "path": str(file.path.absolute()),
                    "from": file.origin,
                    "bytes": len(file.content),
                    "sha256": file.file.sha256,
                }
                for file in files
            ]
        }
    else:
        path = expanded(source)
        place = {"folder": str(path.absolute()) if exists(path) else source}
    train, test = (load_dataset(source, split, root=root) for split in ("train", "test"))
    counts = zip(train.class_names, train.class_counts, test.class_counts, strict=True)
    channels, height, width = train.images.shape[1:]
    return {
        "name": train.name,
        "image": {"channels": channels, "height": height, "width": width},
        "train": len(train),
        "test": len(test),
        "classes": [
            {"name": name, "train": in_train, "test": in_test} for name, in_train, in_test in counts
        ],
        **place,
    }


def _print_data(facts: dict[str, Any]) -> None:
    image = facts["image"]
    colour = {1: "grey", 3: "colour"}.get(image["channels"], f"{image['channels']} channels")
    lines = [
        ("images", f"{facts['train']:,} to train, {facts['test']:,} to test"),
        ("size", f"{image['height']} × {image['width']} pixels, {colour}"),
    ]
    if "folder" in facts:
        lines.append(("folder", facts["folder"]))
    print_facts(facts["name"], lines)
    for file in facts.get("files", []):
        print_line()
        checked = f"{file['sha256']}, as expected"
        lines = [("path", file["path"]), ("from", file["from"]), ("SHA-256", checked)]
        print_facts(Path(file["path"]).name, lines)
    print_line()
    rows = ((row["name"], f"{row['train']:,}", f"{row['test']:,}") for row in facts["classes"])
    print_table("Images of each class", ("class", "train", "test"), rows)
