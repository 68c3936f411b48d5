import json
from pathlib import Path

import pytest
from PIL import Image

from clearhead.cli.main import main
from clearhead.explanation.text.attend import attend

SENTENCE = "The dog chased the ball because it was hungry."


def call(*arguments: str | Path) -> int:
    return main(["attend", *map(str, arguments)])


def test_the_pronouns_row_is_a_table_of_per_cents(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(SENTENCE) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0].startswith("sentences: a tiny model: 25,001 parameters, 2 layers of 4 heads")
    assert "Whom “it” (word 7) asks, in per cent: the mean of 4 heads in each layer" in lines
    found = attend(SENTENCE)
    start = next(place for place, line in enumerate(lines) if line.startswith("───")) + 1
    for place, line in enumerate(lines[start : start + 10]):
        word, first, second = line.split()
        assert word == found.tokens[place]
        for said, number in ((first, 0), (second, 1)):
            share = 100 * found.shares(number, 0)[place]
            assert said == "<1" if share < 1 else abs(float(said) - share) <= 0.5
    assert "an even share is 10; proved: the weights of all 2 layers" in shown.out
    assert "asked “which one ?” it answers, in per cent: dog" in shown.out


def test_without_a_pronoun_there_is_a_table_for_each_layer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("The cat sat.", "--model", "sentences-causal") == 0
    shown = capsys.readouterr().out
    assert "sees the words before alone" in shown
    tables = [line for line in shown.splitlines() if line.startswith("asks ")]
    assert [line.split() for line in tables] == [["asks", "the", "cat", "sat", "."]] * 2
    rows = [line.split() for line in shown.splitlines() if line.startswith("the ")]
    assert rows == [["the", "100", "–", "–", "–"]] * 2  # the first word sees itself alone
    assert "an even share is 25 to 100, as each word can see 4 to 1; – cannot be seen" in shown


def test_what_cannot_be_seen_is_no_zero_and_no_part_of_an_even_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "it.csv"
    assert call(SENTENCE, "--model", "sentences-causal", "--csv", file) == 0
    lines = capsys.readouterr().out.splitlines()
    for word in ("was", "hungry", "."):  # they come after "it", the seventh word
        assert [word, "–", "–"] in [line.split() for line in lines]
    (said,) = (line for line in lines if line.startswith("an even share"))
    assert said.startswith("an even share is 14, of the 7 words that it can see; – cannot be seen;")
    weights = [line.rsplit(",", 1)[1] for line in file.read_text().splitlines()[1:]]
    assert [weight == "" for weight in weights] == ([False] * 7 + [True] * 3) * 2
    assert call(SENTENCE, "--model", "sentences-causal", "--json") == 0
    first = json.loads(capsys.readouterr().out)["attention"][0]
    assert first["visible"] == [[True] * 7 + [False] * 3]
    assert first["weights"][0][7:] == [0.0] * 3


def test_layers_and_heads_are_counted_from_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(SENTENCE, "--layer", "2", "--word", "dog") == 0
    shown = capsys.readouterr().out
    assert "Whom “dog” (word 2) asks, in per cent: single heads" in shown
    assert all(f"layer 2, head {head}" in shown for head in range(1, 5))
    assert "layer 1" not in shown
    assert call(SENTENCE, "--head", "3") == 0
    shown = capsys.readouterr().out
    assert "layer 1, head 3   layer 2, head 3" in shown
    assert call(SENTENCE, "--layer", "0") == 1
    assert capsys.readouterr().err == "clearhead: layers are counted from 1 here, got 0\n"


def test_help_and_output_say_from_where_layers_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(SENTENCE, "--layer", "2") == 0
    assert "\nlayers, heads and words are counted from 1, as on the page\n" in (
        capsys.readouterr().out
    )
    assert call("--help") == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--layer INT one layer with all its heads; layers are counted from 1, as on the" in said
    assert "--word STR the word that asks (optional; default: the pronoun, or else every" in said
    assert "--head INT one head, from 1 too," in said
    assert "None" not in said
    assert main(["explain", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "numbers, which count from 0 as in Python; the page's layer 1 is number 0" in said


def test_json_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = ("--png", "it.png", "--svg", "it.svg", "--csv", "it.csv")
    assert call(SENTENCE, "--json", *files) == 0
    shown = capsys.readouterr()
    data = json.loads(shown.out)
    assert data["tokens"][6] == "it"
    assert data["attention"][0]["weights"] == [list(attend(SENTENCE).shares(0, 0))]
    assert data["answer"]["words"][0]["word"] == "dog"
    assert [line.split()[-1] for line in shown.err.splitlines()] == ["it.csv", "it.png", "it.svg"]
    with Image.open("it.png") as picture:
        assert min(picture.size) > 200
    assert "<svg" in Path("it.svg").read_text()
    assert len(Path("it.csv").read_text().splitlines()) == 21


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("",), "expected a text with at least one word, got ''"),
        (("dog " * 40,), "the text has 40 words and signs, this model reads at most 32"),
        ((SENTENCE, "--word", "cow"), "no word 'cow' in this text; there are: the, dog, chased,"),
        (
            (SENTENCE, "--model", "digits"),
            "digits holds a VisionTransformer, expected a TextTransformer",
        ),
        ((SENTENCE, "--model", "nowhere"), "no model at 'nowhere'"),
        ((SENTENCE, "--png", "it.svg"), "--png writes a .png file; name it it.png"),
    ],
)
def test_errors_are_one_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("\n") == 1


def test_image_commands_refuse_text_models_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    for command in ("predict", "explain"):
        assert main([command, str(tmp_path / "a.png"), "--model", "sentences"]) == 1
        said = capsys.readouterr().err
        assert "sentences holds a TextTransformer, expected an image classifier" in said
        assert said.count("\n") == 1


def test_unknown_words_are_a_remark(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("The zebra sat.") == 0
    said = capsys.readouterr().err
    assert said == "clearhead: this model does not know “zebra”: it reads [unknown] there\n"
