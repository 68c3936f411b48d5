"""`clearhead info`: describe a model, and list the installed versions."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearhead.cli.options import AsJson, ModelSource
from clearhead.cli.output import percent, percent_range, print_facts, print_json, print_line

MAX_LISTED = 16

if TYPE_CHECKING:
    from clearhead.models import Model


def info(model: ModelSource = "digits", json: AsJson = False) -> None:
    """Describe a model, and list the installed versions.

    Prints architecture, settings, parameters by part, size, SHA-256 and path of the file, the test
    accuracy measured after training, and the versions of Clearhead, Python and torch.
    """
    facts = {"model": describe_model(model), "versions": versions()}
    if json:
        print_json(facts)
    else:
        _print_info(model, facts)


def describe_model(source: str) -> dict[str, Any]:
    """A saved model's description as plain data."""
    from clearhead._atomic import sha256
    from clearhead.models import SHIPPED, SHIPPED_TEXT, load, shipped_folder
    from clearhead.models.pretrained import WEIGHTS, saved_file

    network = load(source)
    shipped = source in (*SHIPPED, *SHIPPED_TEXT)
    path = saved_file(str(shipped_folder(source) if shipped else source), WEIGHTS)
    parts = parameters_by_part(network)
    return {
        "architecture": type(network).__name__,
        "settings": asdict(network.config),
        "parameters": sum(parts.values()),
        "parameters_by_part": parts,
        "file": str(path.absolute()),
        "bytes": path.stat().st_size,
        "sha256": sha256(path.read_bytes()),
        "recorded": recorded_accuracy(path.parent),
    }


def parameters_by_part(network: "Model") -> dict[str, int]:
    """Number of parameters in each direct part of the model."""
    parts: dict[str, int] = {}
    for name, parameter in network.named_parameters():
        part = name.split(".", 1)[0]
        parts[part] = parts.get(part, 0) + parameter.numel()
    return parts


def recorded_accuracy(folder: Path) -> dict[str, Any] | None:
    """The test accuracy in metrics.json, or else in the model card; None if it is in neither."""
    return _from_metrics(folder / "metrics.json") or _from_card(folder / "README.md")


def versions() -> dict[str, str | int]:
    """Versions of Clearhead, Python and torch, and the device that is used by default."""
    import platform

    import torch

    import clearhead

    device = "cpu"
    if torch.cuda.is_available():
        device = f"cuda ({torch.cuda.get_device_name()})"
    elif torch.accelerator.is_available():
        device = str(torch.accelerator.current_accelerator())
    return {
        "clearhead": clearhead.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "device": device,
        "threads": torch.get_num_threads(),
    }


def _from_metrics(path: Path) -> dict[str, Any] | None:
    import json

    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    metrics = content.get("test", content) if isinstance(content, dict) else {}
    if not isinstance(metrics, dict) or not isinstance(metrics.get("accuracy"), float | int):
        return None
    known = ("accuracy", "correct", "total", "interval")
    return {"from": path.name} | {key: metrics[key] for key in known if key in metrics}


def _from_card(path: Path) -> dict[str, Any] | None:
    from huggingface_hub import ModelCard

    if not path.is_file():
        return None
    try:
        results = ModelCard.load(path).data.eval_results or []
    except (OSError, ValueError):
        return None
    for result in results:
        if result.metric_type == "accuracy":
            return {"from": path.name, "accuracy": result.metric_value}
    return None


def _print_info(source: str, facts: dict[str, Any]) -> None:
    model = facts["model"]
    print_facts(
        f"{source}: {model['architecture']}",
        [
            ("parameters", f"{model['parameters']:,}"),
            ("test accuracy", _accuracy_line(model["recorded"])),
            ("file", model["file"]),
            ("size", f"{model['bytes']:,} bytes"),
            ("SHA-256", model["sha256"]),
        ],
    )
    print_line()
    parts = model["parameters_by_part"].items()
    print_facts("Parameters by part", ((name, f"{count:>9,}") for name, count in parts))
    print_line()
    settings = {
        name: f"{len(value)}: {', '.join(value[:3])}, …"
        if isinstance(value, tuple) and len(value) > MAX_LISTED
        else str(value)
        for name, value in model["settings"].items()
    }
    print_facts("Settings", settings.items())
    print_line()
    print_facts("Versions", ((name, str(value)) for name, value in facts["versions"].items()))


def _accuracy_line(recorded: dict[str, Any] | None) -> str:
    if recorded is None:
        return "not recorded; measure it with clearhead evaluate"
    line = f"{percent(recorded['accuracy'])} %"
    if "interval" in recorded:
        line += f"  (95 % interval {percent_range(tuple(recorded['interval']))} %)"
    return f"{line}  from {recorded['from']}"
