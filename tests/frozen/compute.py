"""Results of the first edition, computed by the code that is here: one function for each fixture.

All calls of the package's own functions are in this file, so that a new name changes one place.

    python -m tests.frozen.compute --write [NAME ...]

writes the fixture files again. This is for new weights or new published results only: whoever
changes the code compares it with the files as they are.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]

Json = dict[str, Any]
Arrays = dict[str, ndarray]


def verdicts() -> Json:
    """All verdicts, from the published trials."""
    from clearhead.studies.registry import ENTRIES, load_study
    from clearhead.studies.study import Outcome, Trial
    from clearhead.studies.verdict import judge_evidence

    evidence = {}
    entries = {entry.name: entry for entry in ENTRIES}
    for told in published()["studies"]:
        outcomes = [
            Outcome(
                trial=Trial(
                    study=told["name"],
                    arm=trial["arm"],
                    seed=trial["seed"],
                    settings=trial["settings"],
                ),
                values=trial["values"],
            )
            for trial in told["trials"]
        ]
        evidence[told["name"]] = load_study(entries[told["name"]].source).evidence(outcomes)
    return {name: _plain(verdict.to_dict()) for name, verdict in judge_evidence(evidence).items()}


def published() -> Json:
    """The published results: settings, verdicts and every trial."""
    with gzip.open(ROOT / "docs" / "results" / "trials.json.gz") as file:
        results: Json = json.load(file)
    return results


ITEMS: dict[str, Callable[[], Json] | Callable[[], Arrays]] = {
    "verdicts.json": verdicts,
}


def machine() -> Json:
    """What rounding depends on: on the same machine numbers are compared more closely."""
    return {
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    }


def read(name: str) -> Json:
    """A fixture in JSON."""
    fixture: Json = json.loads((FOLDER / name).read_text("utf-8"))
    return fixture


def read_arrays(name: str) -> Arrays:
    """A fixture of arrays."""
    with np.load(FOLDER / name) as file:
        return dict(file)


def write(name: str) -> None:
    """Compute a fixture and write its file."""
    fixture: Any = ITEMS[name]()
    if name.endswith(".npz"):
        np.savez_compressed(FOLDER / name, **fixture)
        return
    indent = 1 if name == "verdicts.json" else None
    text = json.dumps(fixture, ensure_ascii=False, allow_nan=False, indent=indent)
    (FOLDER / name).write_text(text + "\n", "utf-8")


def _plain(value: Any) -> Any:
    """The same as JSON has it: lists for tuples."""
    return json.loads(json.dumps(value))


def main() -> None:
    """Write the files that are named, or all of them."""
    parser = argparse.ArgumentParser(description="Write the frozen results again.")
    parser.add_argument("--write", nargs="*", choices=[*ITEMS, []], required=True, metavar="NAME")
    torch.set_num_threads(1)
    for name in parser.parse_args().write or ITEMS:
        write(name)
        sys.stdout.write(f"wrote {name}\n")


if __name__ == "__main__":
    main()
