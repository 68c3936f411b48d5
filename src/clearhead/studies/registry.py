"""Which studies there are, by the name on the command line, without importing one of them."""

import difflib
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from clearhead.errors import ConfigError
from clearhead.studies.study import Study

OBJECT = "STUDY"


@dataclass(frozen=True)
class Entry:
    """A study of the project: where it is, and what `clearhead study list` says of it."""

    module: str
    """Its file in `claims/`, without ending"""
    name: str
    statement: str

    @property
    def claim(self) -> str:
        """From the file's name: c01_… tests C1."""
        return f"C{int(self.module[1:3])}"

    @property
    def source(self) -> str:
        """Where its `Study` is, as for anybody's: MODULE:OBJECT."""
        return f"clearhead.studies.claims.{self.module}:{OBJECT}"


# One line a study, in the order of the claims; a test compares each with its STUDY.
ENTRIES: tuple[Entry, ...] = (
    Entry(
        "c01_score_variance",
        "score-variance",
        "With unit-variance inputs, q·k has variance d_k; dividing by √d_k keeps it near "
        "1 whatever d_k is.",
    ),
    Entry(
        "c02_saturation",
        "saturation",
        "Without scaling, softmax saturates as d_k grows (almost one-hot), and its "
        "gradient vanishes.",
    ),
    Entry(
        "c03_scaling_in_training",
        "scaling-in-training",
        "Without scaling, training is unstable or less effective.",
    ),
    Entry(
        "c04_distributions",
        "distributions",
        "Softmax rows are probability distributions, and interpretable ones.",
    ),
    Entry(
        "c05_queries_keys_values",
        "queries-keys-values",
        "Values take no part in the weights; a key is the same for every query; each "
        "query has its own weights.",
    ),
    Entry(
        "c06_positions",
        "positions",
        "Self-attention does not depend on position: permute the tokens and the outputs "
        "permute; positional encodings restore order, and the digit model needs them.",
    ),
    Entry(
        "c07_specialised_heads",
        "specialised-heads",
        "Heads specialise: different heads look at different things, beyond what "
        "untrained heads do.",
    ),
    Entry(
        "c08_number_of_heads",
        "number-of-heads",
        "More heads give better features, up to a saturation point.",
    ),
    Entry(
        "c09_receptive_fields",
        "receptive-fields",
        "A ViT sees globally from the first layer; a CNN widens its receptive field "
        "slowly, layer by layer.",
    ),
    Entry(
        "c10_convolution",
        "convolution",
        "Global reasoning beats convolution alone on these digits.",
    ),
    Entry(
        "c11_without_attention",
        "without-attention",
        "Without attention a Transformer is no better than a plain MLP.",
    ),
    Entry(
        "c12_noisy_pixels",
        "noisy-pixels",
        "Patches attend to relevant neighbours and so cope with noisy pixels.",
    ),
    Entry(
        "c13_depth",
        "depth",
        "Higher layers combine global clues: attention or information spreads with depth.",
    ),
    Entry(
        "c14_tiny_models", "tiny-models", "Even tiny ViTs do well on MNIST with the right set-up."
    ),
    Entry(
        "c15_long_sequences",
        "long-sequences",
        "Attention works in parallel and efficiently for long sequences.",
    ),
    Entry(
        "c16_pronoun",
        "pronoun",
        "In “The dog chased the ball because it was fast”, attention can resolve “it”.",
    ),
    Entry(
        "c17_weights_and_influence",
        "weights-and-influence",
        "Attention weights show what mattered: stronger attention, stronger influence on "
        "the output.",
    ),
)


def find_source(name: str) -> str:
    """MODULE:OBJECT of a study of the project, by name or claim; of your own, as it is given.

    Raises `ConfigError` with the nearest name if there is none.
    """
    if ":" in name:
        return name
    for entry in ENTRIES:
        if name.lower() in (entry.name, entry.claim.lower()):
            return entry.source
    known = [entry.name for entry in ENTRIES]
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "`clearhead study list` names them"
    raise ConfigError(f"there is no study {name!r}; {hint} (your own is MODULE:OBJECT)")


def load_study(source: str) -> Study:
    """The study at MODULE:OBJECT; the module is imported, also from the current folder."""
    module_name, _, attribute = source.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"there is no module {module_name!r} for the study {source!r}; a study of your own is "
            "MODULE:OBJECT, with MODULE on Python's path or in the current folder"
        ) from error
    study = getattr(module, attribute or OBJECT, None)
    if not isinstance(study, Study):
        raise ConfigError(
            f"{source!r} names no Study: {module_name} has {attribute or OBJECT!r} as "
            f"{type(study).__name__}"
        )
    return study
