"""Average the weights of several training runs, as for the shipped digit classifier.

    python -m clearhead.training.averaging RUN RUN … --out RUN

averages digit classifiers that were trained from the same start model, calibrates the mean on the
training digits that the recipes hold out, evaluates it, and writes model, metrics and picture as a
training run does. So the runs must be of recipes with a holdout. ("Model soups", Wortsman et al.
2022, arXiv 2203.05482.)
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from torch.optim.swa_utils import AveragedModel

from clearhead._atomic import write_atomic
from clearhead.data import load_dataset, split_dataset
from clearhead.errors import ClearheadError
from clearhead.inference import evaluate, save_evaluation_plot
from clearhead.models import load
from clearhead.models.vit import VisionTransformer
from clearhead.training.calibration import calibrate
from clearhead.training.recipes import HOLDOUT
from clearhead.training.results import METRICS, PICTURE
from clearhead.training.start import architecture


def main() -> None:
    """Average the models of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders with saved models")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder to write")
    options = parser.parse_args()
    try:
        models = [load(run, VisionTransformer) for run in options.runs]
    except ClearheadError as error:
        parser.error(str(error))
    for run, trained in zip(options.runs, models, strict=True):
        if architecture(trained.config) != architecture(models[0].config):
            parser.error(f"{run} has other model settings than {options.runs[0]}")
    mean = AveragedModel(models[0])
    for trained in models:
        mean.update_parameters(trained)
    model: Any = mean.module
    test = load_dataset("mnist", "test")
    _, held_out = split_dataset(load_dataset("mnist"), HOLDOUT)
    metrics = {"runs": options.runs, **calibrate(model, held_out)}
    evaluation = evaluate(model, test)
    model.save_pretrained(options.out)
    save_evaluation_plot(evaluation, test, options.out / PICTURE)
    metrics["test"] = evaluation.to_dict()
    write_atomic(options.out / METRICS, (json.dumps(metrics, indent=2) + "\n").encode())
    sys.stdout.write(f"{evaluation}\nwrote {options.out}\n")


if __name__ == "__main__":
    main()
