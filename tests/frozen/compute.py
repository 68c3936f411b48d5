"""Computes with today's code what the fixtures hold of the first edition: a function per fixture.

Only this module calls the package, so that a renamed function is adapted here and nowhere else.

    python -m tests.frozen.compute --write [NAME ...]

writes fixture files again, for new weights or new published results only. Changed code is compared
with the files as they are.
"""

import argparse
import gzip
import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from clearhead.training import Callback
from tests.frozen.pictures import pictures
from tests.microscope.node import bundle

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]

Json = dict[str, Any]
Arrays = dict[str, ndarray]


def published() -> Json:
    """The published results: settings, verdicts and every trial."""
    with gzip.open(ROOT / "docs" / "results" / "trials.json.gz") as file:
        results: Json = json.load(file)
    return results


SENTENCES = (
    "The dog chased the ball because it was hungry.",
    "The dog chased the ball because it was round.",
    "The ball chased the dog because it was hungry.",
    "The ball chased the dog because it was round.",
    "The dog chased the ball because it was fast.",
    "the cat followed the apple because it was ripe . which one ? the [mask] .",
    "the cat followed the apple because it was tired . which one ? the [mask] .",
    "the truck hit the wolf because it was rusty . first or second ? the [mask] .",
    "the wolf hit the truck because it was rusty . first or second ? the [mask] .",
    "the lamb passed the disc because it was thirsty . which one ? the [mask] .",
    "the taxi pushed the peach because it was sweet . first or second ? the",
    "the marble touched the bus because it was parked . which one ? the",
    "the girl sat by the bank .",
    "the man slept .",
    "the rabbit was scared . the cake was fresh .",
    "the horse [mask] the hoop because it was shiny .",
    "the [mask] found the plum because it was noisy .",
    "the dog",
    "it",
    "An unknown zebra missed the tram, because it was electric!",
)
# Today's warnings and their texts in the fixture.
FIRST_EDITION_WARNINGS = {"low confidence": "unsure answer"}

TEXT_MODELS = ("sentences", "sentences-causal")
NUM_LOGITS = 500  # digits whose logits are in the fixture


def digits(count: int = 10_000) -> Arrays:
    """The shipped model on the first test digits: labels, largest probabilities, logits."""
    import clearhead as ch
    from clearhead.data import normalize

    model, dataset = ch.load(), ch.load_dataset("mnist", "test")
    with torch.inference_mode():
        logits = torch.cat(
            [model(normalize(batch, model.config)) for batch in dataset.images[:count].split(500)]
        )
    largest = logits.double().softmax(dim=1).max(dim=1)
    return {
        "labels": largest.indices.numpy().astype(np.uint8),
        "probabilities": largest.values.numpy().astype(np.float32),
        "logits": logits[:NUM_LOGITS].numpy(),
        "correct": np.array(int((largest.indices == dataset.labels[:count]).sum())),
    }


def sentences() -> Arrays:
    """Logits of the shipped text models at the last word of each sentence, and at its first "it".

    Also, at every word of all sentences, the likeliest word and the logarithm of the sum of exp.
    """
    import clearhead as ch
    from clearhead.data import WordTokenizer

    arrays: Arrays = {}
    for name in TEXT_MODELS:
        model = ch.load(name)
        tokenizer = WordTokenizer(model.config.vocabulary)
        encoded = [tokenizer.encode(sentence) for sentence in SENTENCES]
        with torch.inference_mode():
            logits = [model(torch.tensor([text.ids]))[0] for text in encoded]
        pronouns = [
            (rows, text.tokens.index("it"))
            for rows, text in zip(logits, encoded, strict=True)
            if "it" in text.tokens
        ]
        arrays[f"{name}: last"] = torch.stack([rows[-1] for rows in logits]).numpy()
        arrays[f"{name}: pronoun"] = torch.stack([rows[index] for rows, index in pronouns]).numpy()
        arrays[f"{name}: likeliest"] = torch.cat(logits).argmax(dim=1).numpy().astype(np.uint8)
        arrays[f"{name}: sum"] = torch.cat(logits).logsumexp(dim=1).numpy()
    return arrays


def attended() -> Json:
    """Attention in two sentences: every head, from the pronoun and from the last token."""
    import clearhead as ch

    sentences: Json = {}
    for name in TEXT_MODELS:
        for sentence in (SENTENCES[0], SENTENCES[8]):
            result = ch.explain(ch.load(name), sentence, heads="each")
            prediction = result.prediction
            sentences[f"{name}: {sentence}"] = {
                "tokens": list(result.tokens),
                "asking": list(result.queries),
                "layers": [part.layer for part in result.attention],
                "heads": [part.num_heads for part in result.attention],
                "verified": result.num_verified,
                "remarks": list(result.warnings),
                "answer": prediction
                and {"question": prediction.question, "words": _plain(prediction.words)},
                "weights": [
                    [_rounded(row.tolist()) for row in part.weights] for part in result.attention
                ],
            }
    return sentences


def preprocessed() -> Arrays:
    """The digit model's input for each picture, 28 × 28 bytes; zeros for a rejected file."""
    import clearhead as ch
    from clearhead.inference import prepare

    config = ch.load().config
    pixels = []
    for file in pictures().values():
        try:
            pixels.append(prepare(file, config, single=True).pixels[0].numpy())
        except ch.errors.ImageError:
            pixels.append(np.zeros((28, 28), np.uint8))
    return {"pixels": np.stack(pixels)}


def predicted() -> Json:
    """The prediction and warnings for each picture, and the digest of its file."""
    import clearhead as ch

    model = ch.load()
    predictions: Json = {}
    for name, file in pictures().items():
        digest = _digest(file)
        try:
            prediction = ch.predict(model, file, single=True)
        except ch.errors.ImageError:
            predictions[name] = {"file": digest, "refused": True}
            continue
        predictions[name] = {
            "file": digest,
            "label": prediction.label,
            "probability": round(prediction.probability, 6),
            "runner_up": prediction.runner_up,
            "warnings": [FIRST_EDITION_WARNINGS.get(x, x) for x in prediction.warnings],
        }
    return predictions


def changed_files(expected: Json) -> set[str]:
    """The pictures that this version of Pillow encodes in other bytes."""
    return {name for name, file in pictures().items() if expected[name]["file"] != _digest(file)}


def training() -> Json:
    """Losses and norms of the trained weights of tiny trainings in float32; and the machine.

    Losses are those of epochs, or ("in memory", as studies train) those of steps.
    """
    return {
        "machine": machine(),
        "images, Muon": _image_training("muon", average=0.9),
        "images, AdamW": _image_training("adamw", average=0.0),
        **_text_trainings(),
        "images, in memory": _image_fit(),
        "text, in memory": _text_fit(causal=False),
        "causal text, in memory": _text_fit(causal=True),
    }


def small_images() -> Any:
    """Three kinds of noisy pictures of 6 × 6 pixels, as a data set."""
    from clearhead.data import ImageDataset

    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(0, 3, (101,), generator=generator)
    pixels = torch.randint(0, 90, (101, 1, 6, 6), generator=generator)
    pixels[torch.arange(101), 0, labels * 2] += 150
    return ImageDataset("small", pixels.to(torch.uint8), labels, ("a", "b", "c"))


def small_image_settings(**changes: Any) -> Any:
    """Twenty steps in ten epochs, with distortion and dropout."""
    import clearhead as ch
    from clearhead.data import AugmentConfig

    settings: Json = {
        "model": ch.ViTConfig(
            image_size=6,
            patch_size=3,
            embed_dim=20,
            depth=2,
            num_heads=5,
            num_classes=3,
            dropout=0.1,
        ),
        "epochs": 10,
        "batch_size": 50,
        "augment": AugmentConfig(rotate=5, shift=0.5, elastic=0.2, elastic_knots=3),
        "precision": "float32",
        "compile": False,
    }
    return ch.TrainConfig(**(settings | changes))


def small_text_settings(*, causal: bool, **changes: Any) -> Any:
    """Sixteen steps in four epochs."""
    import clearhead as ch
    from clearhead.training.config import TextTrainConfig

    model = ch.TextConfig(embed_dim=14, num_heads=7, depth=1, causal=causal)
    return TextTrainConfig(model=model, texts=301, epochs=4, **changes)


def _image_training(optimizer: str, *, average: float) -> Json:
    log = _Log()
    from clearhead.training import fit

    config = small_image_settings(optimizer=optimizer, average=average)
    state = fit(config, small_images(), callback=log)
    return {"log": log.epochs, "weights": _norms(state.result)}


def _text_trainings() -> Json:
    """A causal model, and one that fills in masked words and starts from its weights."""
    import clearhead as ch

    trainings: Json = {}
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first"), Path(folder, "second")
        for out, causal, start in ((first, True, None), (second, False, str(first))):
            config = small_text_settings(causal=causal, start=start)
            done = ch.train(config, out=out, device="cpu", progress=False)
            trainings["causal text" if causal else "text"] = {
                "log": _log(out),
                "weights": _norms(done.model),
                "right": [float(score.correct) for score in done.scores],
            }
    return trainings


def _image_fit() -> Json:
    from clearhead.training import fit

    log = _Log()
    model = fit(small_image_settings(), small_images(), callback=log).result
    return {"losses": log.losses, "weights": _norms(model)}


def _text_fit(*, causal: bool) -> Json:
    from clearhead.training import fit

    log = _Log()
    model = fit(small_text_settings(causal=causal), callback=log).result
    return {"losses": log.losses, "weights": _norms(model)}


class _Log(Callback):
    """Keeps the metrics of each epoch and the sum of losses after each step."""

    def __init__(self) -> None:
        self.epochs: list[Json] = []
        self.losses: list[float] = []
        self._sum = 0.0

    def on_step(self, state: Any, loss: float) -> None:
        self.losses.append(state.sums.loss - self._sum)
        self._sum = state.sums.loss

    def on_epoch(self, state: Any, metrics: dict[str, float]) -> None:
        kept = ("epoch", "loss", "accuracy", "learning_rate")
        self._sum = 0.0
        self.epochs.append({"step": state.step} | {key: metrics[key] for key in kept})


def _log(folder: Path) -> list[Json]:
    """The log of each epoch, without times."""
    kept = ("step", "epoch", "loss", "accuracy", "learning_rate")
    lines = (folder / "log.jsonl").read_text("utf-8").splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key in kept} for line in lines
    ]


def _norms(model: torch.nn.Module) -> dict[str, float]:
    """The norm of each tensor of a model."""
    return {
        name: float(tensor.double().norm())
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }


SMALLER: Json = {
    "pairs": 2_000,
    "rows": 500,
    "digits": 400,
    "steps": 5,
    "epochs": 1,
    "epochs_on": 1,
    "texts": 300,
    "fours": 2,
    "images": 20,
    "unseen": 200,
    "draws": 1,
    "repeats": 1,
    "gain_length": 64,
    "lengths": [32, 64],
    "chain_lengths": [4, 8],
    "examples": 400,
    "depths": [2],
    "budgets": [4],
    "widths": [16],
}
"""Upper limits of settings, for studies that have them"""
TIMED = ("long-sequences",)  # its values are times, and differ in each run
UNTRAINED = ("drawn", "random", "shipped", "untrained", "layers", "shipped trained")


def trials() -> Json:
    """A smaller trial of each condition of each study; and the machine."""
    from clearhead.studies.claims import ENTRIES, load_study

    small = []
    for entry in ENTRIES:
        study = load_study(entry.source)
        conditions: Json = {}
        for trial in study.trials("quick", range(2000, 2000 + study.seeds["quick"])):
            conditions.setdefault(trial.condition, trial)
        for condition, trial in conditions.items():
            settings = _plain({key: _smaller(key, x) for key, x in trial.settings.items()})
            fields = {"study": entry.name, "condition": condition, "seed": trial.seed}
            record = fields | {"settings": settings}
            small.append(record | {"values": trial_values(record)})
    return {"machine": machine(), "trials": small}


def trial_values(record: Json) -> Json:
    """The values of a trial, to nine digits."""
    from clearhead.studies.claims import find_source, load_study
    from clearhead.studies.table import Trial

    trial = Trial(**{key: record[key] for key in ("study", "condition", "seed", "settings")})
    random.seed(trial.seed)
    np.random.seed(trial.seed)  # noqa: NPY002 - libraries that a study calls may use it
    torch.manual_seed(trial.seed)
    values: Json = _shorter(_plain(load_study(find_source(trial.study)).run(trial)))
    for key in ("roles", "roles_untrained"):
        if key in values:
            values[key] = [_role_before(label) for label in values[key]]
    return values


# Today's roles of heads and their names in the fixture.
ROLES_BEFORE = {
    "local: adjacent patches": "local: the patches around",
    "its own row": "along its own row",
    "its own column": "along its own column",
    "top patches to bottom patches, and back": "links between top and bottom patches",
    "foreground patches": "patches with ink, wherever they lie",
    "background patches": "blank patches, wherever they lie",
    "one fixed patch": "one fixed place",
    "class token and other prefix tokens": "class token and other tokens that are no patches",
}


def _role_before(label: str) -> str:
    for now, before in ROLES_BEFORE.items():
        label = label.replace(now, before)
    return re.sub(r"patch \d+ \((row \d+, column \d+)\)", r"patch at \1", label)


def published_trials() -> list[Json]:
    """Two short trials of the published results, one per condition."""
    (study,) = (x for x in published()["studies"] if x["name"] == "score-variance")
    trials = {trial["condition"]: trial for trial in study["trials"]}
    return [{"study": study["name"]} | trials[condition] for condition in ("shipped", "drawn")]


def _smaller(key: str, value: Any) -> Any:
    if key not in SMALLER:
        return value
    return SMALLER[key] if isinstance(value, list | tuple) else min(value, SMALLER[key])


def _shorter(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shorter(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shorter(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def captured() -> Json:
    """The records of each architecture in the published table."""
    return {name: captured_of(name) for name in _cases()}


def captured_of(name: str) -> Json:
    """Whether the records of one architecture are verified, and a summary of each.

    A summary is the name, the shape, whether attention is causal and masked, the numbers of steps
    before and after the softmax, and the mean over the rows of the largest weight.
    """
    import clearhead as ch
    from benchmarks.architectures import record

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries
        try:
            recording = record(_cases()[name])
            verifications = recording.verify()
        except ch.errors.CaptureError as error:
            return {"proved": False, "why": type(error).__name__}
    return {
        "proved": all(x.passed for x in verifications),
        "records": [_record(record) for record in recording.records],
    }


@cache
def _cases() -> Json:
    """The table's cases by library, architecture and implementation."""
    from benchmarks import architectures

    architectures.hf.logging.set_verbosity_error()
    return {
        " ".join((case.library, case.name, case.implementation)).strip(): case
        for case in architectures.cases()
    }


def _record(record: Any) -> list[Any]:
    kind = "causal " * record.is_causal + "masked " * (record.attn_mask is not None)
    kind += f"{len(record.pre_softmax)} before, {len(record.post_softmax)} after"
    peak = float(record.weights.amax(dim=-1).double().mean())
    return [record.name, " × ".join(map(str, record.shape)), kind, round(peak, 6)]


REPORTED = "pen of 8, off centre"  # the picture whose explanation is in the fixture
PAGE_DIGITS = 50


def reported() -> Json:
    """The explanation of one picture without its weights: as JSON, and as the data of its page."""
    from clearhead.explanation.page import facts

    result = _explained().to_dict()
    for layer in result["layers"]:
        del layer["weights"]
    result["digits"].clear()  # now has an entry for a single digit too
    result["box"] = None  # now where the digit is, as predict has it
    result["proofs"] = [
        {"name": x["name"]} for x in result.pop("verifications")
    ]  # rounding differs
    page = json.loads(json.dumps(facts(_explained())))
    renamed = {
        "omitted_layers": "left_out",
        "masking": "silencing",
        "max": "most",
        "prediction": "answer",
    }
    page_renamed = renamed | {"num_queries": "numQueries", "on_grid": "onGrid"}
    return {
        "json": _renamed(_shorter(result), renamed),
        "page": _renamed(_shorter(page), page_renamed),
    }


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """Today's keys replaced by those of the fixture."""
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value


def reported_weights() -> Arrays:
    """The weights in that explanation, by layer."""
    layers = _explained().to_dict()["layers"]
    return {layer["name"]: np.array(layer["weights"], np.float32) for layer in layers}


def page_numbers() -> Arrays:
    """Results of the microscope's own modules in node: logits, a head per digit, words."""
    import clearhead as ch
    from clearhead import microscope

    html, images = microscope.shipped_page(), ch.load_dataset("mnist", "test").images
    request = {
        "payload": json.loads(_element(html, "payload")),
        "weights": _element(html, "weights"),
        "textWeights": _element(html, "text-weights"),
        "digits": images[:PAGE_DIGITS].flatten(1).tolist(),
        "sentences": SENTENCES,
    }
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "page.mjs")
        bundle(FOLDER / "page.ts", script)
        process = subprocess.run(
            ["node", script],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
        )
    if process.returncode:
        raise RuntimeError(process.stderr)
    result = json.loads(process.stdout)
    return {
        "logits": np.array(result["logits"]),
        "weights": np.array(result["weights"], np.float32),
        "words": np.array(result["words"]),
    }


def page_reference() -> ndarray:
    """The logits of the same digits by torch, in double precision with the page's weights."""
    import clearhead as ch
    from clearhead.microscope._reference import rounded_model

    model = rounded_model(ch.load())
    images = ch.load_dataset("mnist", "test").images[:PAGE_DIGITS].double() / 255
    mean, std = (
        torch.tensor(x, dtype=torch.float64) for x in (model.config.mean, model.config.std)
    )
    with torch.no_grad():
        logits: ndarray = model((images - mean) / std).numpy()
    return logits


@cache
def _explained() -> Any:
    import clearhead as ch

    return ch.explain("digits", pictures()[REPORTED], name=REPORTED)


def _element(html: str, name: str) -> str:
    """The text of a script element of the page."""
    (text,) = re.findall(f'<script[^>]* id="{name}">(.*?)</script>', html, re.DOTALL)
    return str(text)


ITEMS: dict[str, Callable[[], Json] | Callable[[], Arrays]] = {
    "digits.npz": digits,
    "sentences.npz": sentences,
    "attended.json": attended,
    "pictures.npz": preprocessed,
    "pictures.json": predicted,
    "training.json": training,
    "trials.json": trials,
    "captured.json": captured,
    "report.json": reported,
    "report.npz": reported_weights,
    "page.npz": page_numbers,
}


def machine() -> Json:
    """The properties of the machine that rounding depends on."""
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
    (FOLDER / name).write_text(_as_text(fixture) + "\n", "utf-8")


def _as_text(fixture: Json) -> str:
    """JSON with a line for each part, for readable diffs."""
    dumped = partial(json.dumps, ensure_ascii=False, allow_nan=False)
    lines = []
    for key, value in fixture.items():
        parts = ",\n ".join(map(dumped, value)) if isinstance(value, list) else dumped(value)
        text = f"[\n {parts}\n]" if isinstance(value, list) else parts
        lines.append(f"{dumped(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _plain(value: Any) -> Any:
    """The value as JSON returns it: lists for tuples."""
    return json.loads(json.dumps(value))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _rounded(numbers: Iterable[float], decimals: int = 7) -> list[float]:
    return [round(number, decimals) for number in numbers]


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
