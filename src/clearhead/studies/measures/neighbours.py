"""Classification by nearest neighbours among all training digits."""

import torch
from torch.nn import functional as F

from clearhead.studies.measures.classifiers import unseen_digits, whole_dataset

NEIGHBOURS = 3
ROWS = 500  # digits at a time


def nearest_neighbours_accuracy(unseen: int, seed: int, training: int = 60_000) -> float:
    """Accuracy, in per cent, of a vote of the three nearest of the first `training` digits.

    With Euclidean distances of pixels, on the test digits that `unseen_digits` draws; of classes
    with as many votes, the one with the nearest digit.
    """
    whole, digits = whole_dataset("train"), unseen_digits(unseen, seed)
    known = whole.images[:training].flatten(1).float() / 255
    labels = F.one_hot(whole.labels[:training], 10).double()
    half_norms = known.square().sum(dim=1) / 2
    votes = 1 - torch.arange(NEIGHBOURS).double()[:, None] / (10 * NEIGHBOURS)
    right = 0
    for images, expected in zip(
        digits.images.flatten(1).split(ROWS), digits.labels.split(ROWS), strict=True
    ):
        closeness = torch.addmm(-half_norms, images.float() / 255, known.T)
        nearest = closeness.topk(NEIGHBOURS).indices
        right += int(((labels[nearest] * votes).sum(dim=1).argmax(dim=1) == expected).sum())
    return 100 * right / unseen
