"""The little world of the generated sentences: kinds of things, and what each kind can be."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Things that are alike: `nouns` stand in any sentence, `unseen_nouns` never with a pronoun.

    `qualities` fit this kind and no other.
    """

    nouns: tuple[str, ...]
    unseen_nouns: tuple[str, ...]
    qualities: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    "animal": Kind(
        nouns=("dog", "cat", "horse", "fox", "wolf", "rabbit", "mouse", "cow"),
        unseen_nouns=("lamb", "goat"),
        qualities=("hungry", "thirsty", "tired", "scared"),
    ),
    "toy": Kind(
        nouns=("ball", "balloon", "marble", "hoop", "bead", "top", "ring", "puck"),
        unseen_nouns=("disc", "globe"),
        qualities=("round", "shiny", "plastic", "smooth"),
    ),
    "food": Kind(
        nouns=("apple", "cake", "pear", "bun", "carrot", "cookie", "plum", "pie"),
        unseen_nouns=("peach", "melon"),
        qualities=("sweet", "tasty", "fresh", "ripe"),
    ),
    "vehicle": Kind(
        nouns=("car", "truck", "bus", "train", "tractor", "van", "bike", "tram"),
        unseen_nouns=("taxi", "jeep"),
        qualities=("rusty", "parked", "noisy", "electric"),
    ),
}

# These fit every kind: nothing in the sentence says which of the two is meant.
OPEN_QUALITIES = ("fast", "slow", "small", "old")

VERBS = ("chased", "followed", "passed", "hit", "touched", "found", "missed", "pushed")
PLAIN_VERBS = ("sat", "slept", "fell", "stopped", "moved", "waited")
PEOPLE = ("girl", "boy", "man", "woman")

# The bank of a river, and the bank that keeps money: what else stands in the sentence decides.
BANKS: Mapping[str, tuple[str, ...]] = {
    "river": ("water", "fish", "boat", "mud"),
    "money": ("coin", "loan", "cash", "gold"),
}
