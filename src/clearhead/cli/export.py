"""`clearhead export`: a model as a file for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from clearhead.cli.evaluate import DATA_HINT, trained_on
from clearhead.cli.options import AsJson, ModelSource
from clearhead.cli.output import fetching, print_json, print_line
from clearhead.errors import ConfigError
from clearhead.inference._names import ExportFormat, Precision

if TYPE_CHECKING:
    from clearhead.inference import Export

CALIBRATION_IMAGES = 256

Format = Annotated[ExportFormat, arg(help="the format of the file")]
OUT_HELP = "the file, or for timm the folder (default: the model's name in this folder)"
Out = Annotated[Path | None, arg(metavar="FILE", help=OUT_HELP)]
DATA_HELP = "data set for the accuracy of float16 and int8, and for the calibration of int8"

Data = Annotated[str | None, arg(metavar="DATA", help=DATA_HELP, help_behavior_hint=DATA_HINT)]


def export(
    *,
    model: ModelSource = "digits",
    to: Format = "onnx",
    out: Out = None,
    precision: Annotated[Precision, arg(help="of weights and computation")] = "float32",
    attention: Annotated[bool, arg(help="attention weights as a second output")] = False,
    data: Data = None,
    json: AsJson = False,
) -> None:
    """Write a classifier as a file for ONNX Runtime, OpenVINO, torch.export or timm.

    The file holds preprocessing constants, class names and thresholds as metadata. It is loaded and
    compared with torch before it is written; of float16 and int8, the accuracy on test images is
    printed too.
    """
    from clearhead import inference
    from clearhead.inference._export import SUFFIXES, check_export, check_packages
    from clearhead.models import load
    from clearhead.models.pretrained import ImageModel

    if data is not None and precision == "float32":
        raise ConfigError("--data is for --precision float16 and int8; leave it out")
    check_packages(to, precision)
    classifier = load(model, ImageModel)
    kind = "" if precision == "float32" else f"-{precision}"
    path = out or Path(f"{Path(model).name or 'model'}{kind}{SUFFIXES[to]}")
    check_export(classifier, path, to, precision=precision, attention=attention)
    dataset = calibration = None
    if precision != "float32":
        data = data or trained_on(Path(model))
        with fetching() as report:
            dataset = inference.load_dataset_for(classifier.config, data, "test", report=report)
            images = inference.load_dataset_for(classifier.config, data, "train").images
        calibration = images[:: max(1, len(images) // CALIBRATION_IMAGES)][:CALIBRATION_IMAGES]
    result = inference.export(
        classifier,
        path,
        to,
        precision=precision,
        attention=attention,
        dataset=dataset,
        calibration=calibration,
    )
    if json:
        print_json(_as_dict(result))
        return
    files = " and ".join(map(str, result.paths))
    print_line(f"{files}: {result.size:,} bytes, logits within {result.difference:.1e} of torch's")
    for name, evaluation in (("this file", result.evaluation), ("the model", result.reference)):
        if evaluation is not None:
            counts = f"{evaluation.correct:,} of {evaluation.total:,}"
            print_line(f"accuracy of {name}: {evaluation.accuracy:.2%} ({counts} test images)")


def _as_dict(result: "Export") -> dict[str, object]:
    data: dict[str, object] = {
        "files": [str(path) for path in result.paths],
        "bytes": result.size,
        "difference": result.difference,
    }
    if result.evaluation is not None and result.reference is not None:
        data |= {
            "accuracy": result.evaluation.accuracy,
            "model_accuracy": result.reference.accuracy,
            "images": result.evaluation.total,
        }
    return data
