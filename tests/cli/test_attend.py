"""`clearhead attend`, and `clearhead explain` with a text model."""

import json
from pathlib import Path

import pytest
from PIL import Image

import clearhead as ch
from clearhead.cli.main import main
from clearhead.insight.plots import new_figure

SENTENCE = "The dog chased the ball because it was hungry."


def call(*arguments: str | Path) -> int:
    return main(["attend", *map(str, arguments)])


def test_the_weights_of_the_pronoun_are_a_table_of_percentages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(SENTENCE) == 0
    output = capsys.readouterr()
    assert output.err == ""
    lines = output.out.splitlines()
    assert lines[0].startswith("sentences, a tiny model: 25,001 parameters, 2 layers of 4 heads")
    assert lines[2].startswith("“it” (word 7): attention weights in per cent, mean of 4 heads")
    explanation = ch.explain("sentences", SENTENCE)
    start = next(place for place, line in enumerate(lines) if line.startswith("───")) + 1
    for place, line in enumerate(lines[start : start + 10]):
        token, *cells = line.split()
        assert token == explanation.tokens[place]
        for cell, part in zip(cells, explanation.attention, strict=True):
            share = 100 * float(part.weights[0, place])
            assert cell == "<1" if share < 1 else abs(float(cell) - share) <= 0.5
    assert "uniform weight: 10; verified: the weights of all 2 layers" in output.out
    assert "predicted after the text and “which one ?”, in per cent: dog" in output.out


@pytest.mark.parametrize("command", [["attend"], ["explain", "--model", "sentences"]])
def test_a_text_may_be_longer_than_the_name_of_a_file(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, f"It was {'extraordinarily ' * 20}hungry."]) == 0
    assert "uniform weight: 4; verified" in capsys.readouterr().out


def test_a_name_for_the_page_is_checked_before_the_text_is_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(SENTENCE, "--out", "page.png") == 2
    assert capsys.readouterr() == (
        "",
        "clearhead: --out names an HTML file or a folder, got 'page.png'\n",
    )


def test_without_a_pronoun_there_is_a_table_for_each_layer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("The cat sat.", "--model", "sentences-causal") == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line.split() for line in lines if line.startswith("query ")]
    assert heads == [["query", "the", "cat", "sat", "."]] * 2
    rows = [line.split() for line in lines if line.startswith("the ")]
    assert rows == [["the", "100", "–", "–", "–"]] * 2  # the first word attends to itself alone
    assert any(
        x.startswith("uniform weight: 25 to 100, of 4 to 1 visible tokens; – m") for x in lines
    )


def test_masked_words_are_not_zeros_and_do_not_count_in_the_uniform_weight(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(SENTENCE, "--model", "sentences-causal") == 0
    lines = capsys.readouterr().out.splitlines()
    for word in ("was", "hungry", "."):  # they come after "it", the seventh word
        assert [word, "–", "–"] in [line.split() for line in lines]
    assert any(
        line.startswith("uniform weight: 14, of 7 visible tokens; – masked;") for line in lines
    )
    assert call(SENTENCE, "--model", "sentences-causal", "--json") == 0
    first = json.loads(capsys.readouterr().out)["attention"][0]
    assert first["visible"] == [[True] * 7 + [False] * 3]
    assert first["weights"][0][7:] == [0.0] * 3


@pytest.mark.parametrize("command", ["attend", "explain"])
def test_layers_and_heads_count_from_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    base = [command, *SENTENCE.split(), "--model", "sentences"]
    assert main([*base, "--layers", "2", "--word", "dog"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "“dog” (word 2): attention weights in per cent, single heads" in lines
    assert ["token", *"L2 H1 L2 H2 L2 H3 L2 H4".split()] in [line.split() for line in lines]
    assert main([*base, "--head", "3"]) == 0
    assert "L1 H3   L2 H3" in capsys.readouterr().out
    for option in ("--layers", "--head"):
        assert main([*base, option, "0"]) == 2
        assert capsys.readouterr().err == f"clearhead: {option} counts from 1, got 0\n"


def test_a_page_is_written_with_other_formats_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("clearhead.explanation.figures.text_figure", lambda _: new_figure(3, 3))
    assert call(SENTENCE, "--json", "--out", "it.html", "--png", "--svg", "--csv") == 0
    output = capsys.readouterr()
    data = json.loads(output.out)
    assert data["tokens"][6] == "it"
    assert data["attention"] == ch.explain("sentences", SENTENCE).to_dict()["attention"]
    files = [line.split()[-1] for line in output.err.splitlines()]
    assert files == ["it.html", "it.png", "it.svg", "it.csv"]
    with Image.open("it.png") as picture:
        assert min(picture.size) > 200
    assert "<svg" in Path("it.svg").read_text()
    assert len(Path("it.csv").read_text().splitlines()) == 21
    assert '"queries":[6]' in Path("it.html").read_text().replace(" ", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "Error parsing TEXT ...: expected a text, got ''; run `clearhead attend"),
        ((" ",), "expected a text with at least one word, got ' '"),
        (("dog " * 40,), "the text has 40 words and signs, this model takes at most 32"),
        ((SENTENCE, "--word", "cow"), "no word 'cow' in this text; there are: the, dog, chased,"),
        ((SENTENCE, "--head", "9"), "has 4 heads, numbered 1 … 4; got 9"),
        ((SENTENCE, "--layers", "9"), "there is no layer 9 (counted from 1) among the 2: "),
        ((SENTENCE, "--layers", "1,-9"), "there is no layer -9 (counted from 1) among the 2: "),
        ((SENTENCE, "--model", "digits"), "digits is an image classifier, expected a text model"),
        ((SENTENCE, "--model", "nowhere"), "no model at 'nowhere'"),
        ((SENTENCE, "--out", "it.pdf"), "--out names an HTML file or a folder, got 'it.pdf'"),
    ],
)
def test_errors_are_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_unknown_words_are_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("The zebra sat.") == 0
    assert "replaced by [unknown]: “zebra”\n" in capsys.readouterr().err


def test_the_help_is_about_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attend", "--help"]) == 0
    text = capsys.readouterr().out
    assert "picture" not in text
    assert all(f"--{name}" in text for name in ("out", "layers", "word", "head", "json", "csv"))


def test_a_text_for_an_image_model_is_an_error_that_names_a_text_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain", "The cat sat."]) == 1
    assert "--model sentences" in capsys.readouterr().err
    assert main(["explain", "missing.png"]) == 1
    assert "--model sentences" not in capsys.readouterr().err
