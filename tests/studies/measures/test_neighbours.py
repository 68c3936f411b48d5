import numpy as np
import pytest
from scipy.spatial.distance import cdist

from clearhead.data import load_dataset
from clearhead.studies.measures.classifiers import nearest_neighbours_accuracy, unseen_digits
from tests.studies.random_models import trial


@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_votes_are_those_of_the_three_smallest_distances() -> None:
    train, unseen = load_dataset("mnist", "train"), unseen_digits(600, 5)
    known = train.images[:2_000].flatten(1).numpy().astype(float)
    new = unseen.images.flatten(1).numpy().astype(float)
    nearest = cdist(new, known).argsort(axis=1)[:, :3]
    votes = train.labels.numpy()[nearest]
    expected = [row[0] if len(set(row)) == 3 else np.bincount(row).argmax() for row in votes]

    found = nearest_neighbours_accuracy(trial(seed=5, digits=2_000, unseen=600))["accuracy"]

    assert found == pytest.approx(100 * np.mean(np.array(expected) == unseen.labels.numpy()))
    assert found > 85
