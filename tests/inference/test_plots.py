import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from clearhead.data import ImageDataset
from clearhead.errors import InputError, StorageError
from clearhead.inference import Evaluation, plot_evaluation, save_evaluation_plot

DIGITS = tuple("0123456789")


def random_case(
    names: tuple[str, ...], shape: tuple[int, int, int] = (1, 13, 11), count: int = 67
) -> tuple[Evaluation, ImageDataset]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, len(names), (count,), generator=generator)
    probabilities = torch.randn(count, len(names), generator=generator).softmax(dim=1)
    dataset = ImageDataset(name="random", images=images, labels=labels, class_names=names)
    return Evaluation.from_probabilities(probabilities, labels, names), dataset


def panels(evaluation: Evaluation, dataset: ImageDataset) -> dict[str, Axes]:
    return {str(axes.get_label()): axes for axes in plot_evaluation(evaluation, dataset).axes}


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_plot_is_a_png_of_the_documented_size(tmp_path: Path) -> None:
    path = tmp_path / "new" / "digits.png"
    evaluation, dataset = random_case(DIGITS, count=7)
    save_evaluation_plot(evaluation, dataset, path)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (1800, 1140))
        assert len(picture.convert("L").getcolors(256) or []) > 50
    assert [file.name for file in path.parent.iterdir()] == ["digits.png"]
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_the_title_has_accuracy_and_interval() -> None:
    labels, probabilities = torch.tensor([0] * 19 + [1]), torch.tensor([[0.75, 0.25]] * 20)
    _, dataset = random_case(("a", "b"), count=20)
    evaluation = Evaluation.from_probabilities(probabilities, labels, ("a", "b"))
    assert plot_evaluation(evaluation, dataset).get_suptitle() == (
        "Accuracy 95.00 % (19 of 20), 95 % interval 76.39 to 99.11 %; calibration error 20.00 %"
    )


def test_each_image_has_its_own_prediction_as_caption() -> None:
    evaluation, dataset = random_case(DIGITS)
    drawn = panels(evaluation, dataset)
    for axes, examples in (
        (drawn["examples"], evaluation.examples),
        (drawn["mistakes"], evaluation.mistakes),
    ):
        assert len(axes.images) == len(examples) == 32
        for image, text, example in zip(axes.images, axes.texts, examples, strict=True):
            assert np.array_equal(image.get_array(), dataset.images[example.index, 0])  # type: ignore[arg-type]
            right = example.true == example.predicted
            name = f"{example.predicted}" if right else f"{example.true} → {example.predicted}"
            assert text.get_text() == f"{name}\n{100 * example.probability:.0f} %"
            assert (text.get_color() == "#b3261e") is not right
            left, end, bottom, top = image.get_extent()
            assert left < text.get_position()[0] < end
            assert text.get_position()[1] < top < bottom
            assert (end - left) / (bottom - top) == pytest.approx(11 / 13)
    assert all("→" in caption for caption in texts(drawn["mistakes"]))


def test_the_cells_of_the_confusion_matrix_hold_its_counts() -> None:
    evaluation, dataset = random_case(DIGITS)
    confusion = panels(evaluation, dataset)["confusion"]
    assert len(confusion.texts) == 100
    for text in confusion.texts:
        column, row = map(int, text.get_position())
        assert text.get_text() == (str(evaluation.confusion[row][column] or "·"))
    assert [label.get_text() for label in confusion.get_yticklabels()] == list(DIGITS)


def test_colour_images_and_any_names_are_drawn(tmp_path: Path) -> None:
    names = ("$dog$", "a cat with a long name", "馬", "[bold]", "x_1^2", "$\\frac{$")
    evaluation, dataset = random_case(names, shape=(3, 11, 23), count=11)
    save_evaluation_plot(evaluation, dataset, tmp_path / "animals.png")
    samples = panels(evaluation, dataset)["examples"]
    first = samples.images[0].get_array()
    assert np.array_equal(first, dataset.images[0].permute(1, 2, 0))  # type: ignore[arg-type]
    captions = "".join(texts(samples))
    assert "a cat with …" in captions
    assert "$dog$" in captions


def test_a_small_grid_shows_samples_from_the_whole_set() -> None:
    names = tuple(f"class {index}" for index in range(4))
    evaluation, dataset = random_case(names)
    shown = panels(evaluation, dataset)["examples"].images
    assert len(shown) == 16
    last = dataset.images[evaluation.examples[-2].index, 0]
    assert np.array_equal(shown[-1].get_array(), last)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [23, 53])
def test_many_classes_are_drawn_without_counts(classes: int) -> None:
    confusion = panels(*random_case(tuple(f"class {i}" for i in range(classes))))["confusion"]
    assert not confusion.texts
    shown = [label.get_text() for label in confusion.get_yticklabels()]
    assert ("class 22" in shown) is (classes == 23)


def test_a_perfect_model_has_an_empty_grid_of_mistakes() -> None:
    _, dataset = random_case(tuple("abcde"))
    evaluation = Evaluation.from_probabilities(
        torch.eye(5)[dataset.labels], dataset.labels, tuple("abcde")
    )
    assert panels(evaluation, dataset)["mistakes"].get_title() == "No mistake"


def test_another_data_set_and_a_plot_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    names = DIGITS[:2]
    evaluation, dataset = random_case(names, count=2)
    for other in (random_case(names, count=3)[1], random_case(names[::-1], count=2)[1]):
        with pytest.raises(InputError, match="the evaluation is of 2 images of 2 classes"):
            save_evaluation_plot(evaluation, other, tmp_path / "digits.png")
    assert not list(tmp_path.iterdir())
    (tmp_path / "digits.png").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        save_evaluation_plot(evaluation, dataset, tmp_path / "digits.png")
