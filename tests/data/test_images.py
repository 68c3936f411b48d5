import pytest
import torch

from clearhead.data.images import ImageDataset
from clearhead.errors import InputError

IMAGES = torch.zeros(3, 1, 5, 7, dtype=torch.uint8)
LABELS = torch.tensor([1, 1, 0])


def test_a_data_set_counts_its_images_and_those_of_each_class() -> None:
    dataset = ImageDataset("two", IMAGES, LABELS, ("a", "b", "never seen"))
    assert len(dataset) == 3
    assert dataset.counts == (1, 2, 0)


def test_images_and_labels_move_to_another_device_together() -> None:
    moved = ImageDataset("none", IMAGES[:0], LABELS[:0], ("a", "b")).to("meta")
    assert (moved.images.device.type, moved.labels.device.type) == ("meta", "meta")


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (IMAGES.float(), LABELS, "bytes"),
        (IMAGES[:, 0], LABELS, "shape"),
        (IMAGES, LABELS[:2], "3 images need as many labels"),
        (IMAGES, LABELS.int(), "int64"),
        (IMAGES, LABELS + 1, r"0 … 1.*got 1 … 2"),
        (IMAGES, LABELS - 1, r"0 … 1.*got -1 … 0"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    images: torch.Tensor, labels: torch.Tensor, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        ImageDataset("two", images, labels, ("a", "b"))
