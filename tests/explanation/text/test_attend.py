"""What words attend to, in our text models and in a BERT and a GPT-2 made for the test."""

import csv
import importlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import clearhead as ch
from clearhead.data.text.words import WordTokenizer, split_words
from clearhead.errors import CheckpointError, ConfigError, InputError
from clearhead.explanation.text.attend import attend, open_text_reader
from clearhead.explanation.text.files import attended_csv, attended_dict, attended_figure
from clearhead.explanation.text.own import answer_of
from clearhead.insight.tables import attention_table
from clearhead.models.build import build
from clearhead.models.config import TextConfig

SENTENCE = "The dog chased the ball because it was hungry."
TOKENS = ("the", "dog", "chased", "the", "ball", "because", "it", "was", "hungry", ".")


def weights_of(model: str, text: str = SENTENCE) -> list[torch.Tensor]:
    """Written out: the softmax of scaled scores of each layer, with no capture."""
    network = ch.load(model)
    ids = torch.tensor([WordTokenizer(network.config.vocabulary).encode(text).ids])
    x, found = network.embedded(ids), []
    later = torch.ones(ids.shape[1], ids.shape[1]).triu(1).bool()
    for block in network.blocks:
        qkv = block.attn.qkv(block.norm1(x))
        query, key, _ = qkv.unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / 8**0.5
        if network.config.causal:
            scores = scores.masked_fill(later, -torch.inf)
        found.append(scores.softmax(dim=-1)[0])
        x = block(x, is_causal=network.config.causal)
    return found


@pytest.mark.parametrize("model", ["sentences", "sentences-causal"])
def test_the_pronoun_asks_and_the_mean_of_the_heads_is_shown(model: str) -> None:
    found = attend(SENTENCE, model)
    assert found.tokens == TOKENS
    assert found.asking == (6,)
    assert [table.head for table in found.tables] == [None, None]
    assert (found.layers, found.heads, found.verified) == ((0, 1), (4, 4), 2)
    for number, expected in enumerate(weights_of(model)):
        shares = torch.tensor(found.shares(number, 0))
        torch.testing.assert_close(shares, expected.mean(dim=0)[6], rtol=0, atol=1e-6)
        names = [(row.query, row.key) for row in found.tables[number].rows]
        assert names == [("it", token) for token in TOKENS]


def test_one_layer_and_single_heads_can_be_chosen() -> None:
    expected = weights_of("sentences")
    each = attend(SENTENCE, layer=1, head="each", word="BALL")
    assert [table.head for table in each.tables] == [0, 1, 2, 3]
    assert (each.layers, each.asking) == ((1, 1, 1, 1), (4,))
    for head in range(4):
        shares = torch.tensor(each.shares(head, 0))
        torch.testing.assert_close(shares, expected[1][head, 4], rtol=0, atol=1e-6)
    one = attend(SENTENCE, head=2)
    assert [table.head for table in one.tables] == [2, 2]
    torch.testing.assert_close(torch.tensor(one.shares(1, 0)), expected[1][2, 6], rtol=0, atol=1e-6)


def test_without_a_pronoun_every_word_asks_and_a_word_that_stands_twice_asks_twice() -> None:
    found = attend("The cat sat.")
    assert found.asking == (0, 1, 2, 3)
    whole = weights_of("sentences", "The cat sat.")
    for row in range(4):
        assert sum(found.shares(0, row)) == pytest.approx(1)
        torch.testing.assert_close(
            torch.tensor(found.shares(1, row)), whole[1].mean(dim=0)[row], rtol=0, atol=1e-6
        )
    assert found.answer is None
    assert attend(SENTENCE, word="the").asking == (0, 3)


def test_a_causal_model_gives_nothing_to_later_words() -> None:
    found = attend(SENTENCE, "sentences-causal")
    for number in range(2):
        assert set(found.shares(number, 0)[7:]) == {0.0}
        assert found.visible(number, 0) == (True,) * 7 + (False,) * 3
        assert sum(found.shares(number, 0)) == pytest.approx(1)
    assert found.can_see() == (7,)
    assert attend("The cat sat.", "sentences-causal").can_see() == (1, 2, 3, 4)
    assert attend(SENTENCE).can_see() == (10,)


def test_later_words_are_hatched_in_a_causal_models_picture() -> None:
    figure = attended_figure(attend(SENTENCE, "sentences-causal"))
    (panel,) = (axes for axes in figure.axes if axes.images)
    patches: list[Any] = [patch for patch in panel.patches if patch.get_hatch()]
    hatched = [patch.get_xy() for patch in patches]
    assert hatched == [(column, row) for row in (0, 1) for column in (7, 8, 9)]
    told = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert told.count("–") == 6
    assert "even share 14.3 %" in told  # 1 of 7
    assert not [patch for axes in attended_figure(attend(SENTENCE)).axes for patch in axes.patches]


@pytest.mark.parametrize("model", ["sentences", "sentences-causal"])
@pytest.mark.parametrize(("quality", "noun"), [("hungry", "dog"), ("round", "ball")])
def test_the_models_that_ship_say_which_noun_is_meant(model: str, quality: str, noun: str) -> None:
    for subject, other in (("dog", "ball"), ("ball", "dog")):
        text = f"The {subject} chased the {other} because it was {quality}."
        answer = attend(text, model).answer
        assert answer is not None
        assert answer.question == "which one ?"
        shares = dict(answer.words)
        assert shares[noun] > 0.1
        assert shares.get("dog" if noun == "ball" else "ball", 0.0) < 0.02
        assert sum(shares.values()) <= 1 + 1e-6
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        if model == "sentences":  # the other one may name a noun that is not in the sentence
            assert answer.words[0][0] == noun


@pytest.mark.parametrize(("quality", "noun"), [("hungry", "dog"), ("round", "ball")])
def test_it_attends_to_the_noun_that_is_meant_in_the_model_that_ships(
    quality: str, noun: str
) -> None:
    """As its card says, and as the manual shows: two heads of the second layer, in both places."""
    for subject, other in (("dog", "ball"), ("ball", "dog")):
        found = attend(
            f"The {subject} chased the {other} because it was {quality}.", layer=1, head="each"
        )
        right = found.tokens.index(noun)
        wrong = 5 - right  # the nouns stand at 1 and 4
        assert sum(found.shares(head, 0)[right] > 0.5 for head in range(4)) >= 1
        assert all(found.shares(head, 0)[wrong] < 0.5 for head in range(4))


def test_unknown_words_are_said() -> None:
    found = attend("The zebra chased the dog, because it was hungry.")
    assert found.tokens[1] == "zebra"
    assert found.remarks == ("this model does not know “zebra” and “,”: it reads [unknown] there",)


def test_who_is_meant_is_not_asked_of_a_model_that_does_not_know_the_words() -> None:
    assert attend("The zebra chased the ball because it was hungry.").answer is None
    assert attend("The dog chased the ball because it was hungry.").answer is not None


def test_no_question_is_asked_where_none_can_be() -> None:
    model = build(TextConfig(vocabulary=("[padding]", "[unknown]", "[mask]", "it", "."))).eval()
    assert answer_of(model, "it.") is None  # it has no words for the question
    shipped = ch.load("sentences")
    assert answer_of(shipped, "The cat sat.") is None
    assert answer_of(shipped, "The cat sat. The dog sat because it was tired.") is None
    assert answer_of(shipped, SENTENCE) is not None
    asked = len(split_words(f"{SENTENCE} which one ? the [mask] ."))
    for room in (asked, asked - 1):
        config = replace(shipped.config, context_length=room)
        assert (answer_of(build(config).eval(), SENTENCE) is None) == (room < asked)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "at least one word"),
        ("  \n", {}, "at least one word"),
        ("dog " * 33, {}, "33 words and signs, this model reads at most 32"),
        (SENTENCE, {"word": "cat"}, "no word 'cat' in this text; there are: the, dog, chased"),
        (SENTENCE, {"layer": 2}, "there are 2 layers; got number 3, counting from 1"),
        (SENTENCE, {"layer": -1}, "got number 0, counting from 1"),
        (SENTENCE, {"head": 4}, "4 heads; got number 5, counting from 1"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(
    text: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        attend(text, **options)
    assert "\n" not in str(caught.value)


def test_models_that_read_no_text_are_refused() -> None:
    with pytest.raises(CheckpointError, match="digits is a VisionTransformer, which reads images"):
        attend(SENTENCE, "digits")
    with pytest.raises(ConfigError, match="names no text model"):
        attend(SENTENCE, "timm:vit_tiny_patch16_224")
    with pytest.raises(CheckpointError, match="there is no folder /nowhere"):
        attend(SENTENCE, "hf:/nowhere")


def test_the_same_as_json_csv_and_picture() -> None:
    found = attend(SENTENCE, word="the", head=1)
    data = attended_dict(found)
    assert data["counted_from"] == 0
    assert data["asking"] == [{"place": 0, "word": "the"}, {"place": 3, "word": "the"}]
    assert [entry["layer"] for entry in data["attention"]] == ["blocks.0.attn", "blocks.1.attn"]
    assert data["attention"][1]["weights"][1] == list(found.shares(1, 1))
    rows = list(csv.DictReader(io.StringIO(attended_csv(found))))
    assert len(rows) == 2 * 2 * 10
    assert rows[-1] == {
        "layer": "blocks.1.attn",
        "head": "1",
        "place": "3",
        "asks": "the",
        "key_place": "9",
        "answers": ".",
        "weight": str(found.shares(1, 1)[9]),
    }
    panels = [axes for axes in attended_figure(found).axes if axes.images]
    drawn = panels[1].images[0].get_array()
    assert drawn is not None
    assert drawn.tolist() == [pytest.approx(found.shares(1, row), abs=1e-6) for row in range(2)]
    assert [text.get_text() for text in panels[0].get_xticklabels()] == list(TOKENS)
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["the", "the"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    transformers: Any = importlib.import_module("transformers")
    tokenizers: Any = importlib.import_module("tokenizers")
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] the dog it was chas . ##ed round".split()
    inner = tokenizers.BertWordPieceTokenizer({word: place for place, word in enumerate(words)})
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=inner._tokenizer, **special)
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=13,
        hidden_size=14,
        num_hidden_layers=3,
        num_attention_heads=7,
        intermediate_size=11,
        max_position_embeddings=17,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    transformers: Any = importlib.import_module("transformers")
    tokenizers: Any = importlib.import_module("tokenizers")
    inner = tokenizers.ByteLevelBPETokenizer()
    inner.train_from_iterator(["the dog sat because it was round"] * 9, vocab_size=300)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=inner._tokenizer)
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=300,
        n_embd=14,
        n_layer=2,
        n_head=7,
        n_positions=19,
        bos_token_id=0,
        eos_token_id=0,
    )
    transformers.GPT2Model(config).save_pretrained(folder)
    return folder


def theirs(folder: Path, text: str) -> tuple[list[str], tuple[torch.Tensor, ...]]:
    """What the library itself gives as tokens and attentions."""
    transformers: Any = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    encoded = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        attentions = model(**encoded, output_attentions=True).attentions
    return tokenizer.convert_ids_to_tokens(encoded["input_ids"][0].tolist()), attentions


def test_a_bert_shows_its_special_tokens_and_pieces_of_words(bert: Path) -> None:
    found = attend("The dog chased it.", f"hf:{bert}")
    tokens, attentions = theirs(bert, "The dog chased it.")
    assert list(found.tokens) == tokens == "[CLS] the dog chas ##ed it . [SEP]".split()
    assert found.asking == (5,)
    assert found.about.startswith("BertModel: ")
    assert (found.answer, found.remarks, found.verified) == (None, (), 3)
    for number, expected in enumerate(attentions):
        shares = torch.tensor(found.shares(number, 0))
        torch.testing.assert_close(shares, expected[0].mean(dim=0)[5], rtol=0, atol=1e-5)
    assert "[UNK]" in attend("A dog.", f"hf:{bert}").remarks[0]
    with pytest.raises(InputError, match=r"20 tokens, .* reads at most 17"):
        attend("dog " * 18, f"hf:{bert}")
    with pytest.raises(InputError, match="at least one word"):
        attend(" ", f"hf:{bert}")


def test_a_gpt2_shows_words_without_its_sign_for_a_space(gpt2: Path) -> None:
    found = attend("the dog sat because it was round", f"hf:{gpt2}", layer=1, head="each")
    tokens, attentions = theirs(gpt2, "the dog sat because it was round")
    assert [token.lstrip("Ġ") for token in tokens] == list(found.tokens)
    assert "Ġit" in tokens
    place = found.tokens.index("it")
    assert found.asking == (place,)
    assert found.verified == 2
    for head in range(7):
        shares = torch.tensor(found.shares(head, 0))
        torch.testing.assert_close(shares, attentions[1][0, head, place], rtol=0, atol=1e-5)
    assert max(found.shares(0, 0)[place + 1 :]) == 0.0
    assert found.can_see() == (place + 1,)
    assert found.visible(6, 0) == tuple(key <= place for key in range(len(tokens)))


@pytest.mark.parametrize("lowest", [-torch.inf, torch.finfo(torch.float32).min, -10_000.0])
def test_however_a_mask_is_spelt_what_it_covers_is_not_visible(lowest: float) -> None:
    query = torch.zeros(1, 2, 3, 5)
    query[..., 0], key = 200.0, torch.zeros(1, 2, 3, 5)
    key[..., 1, 0] = 5.0  # so far ahead that the others' weights are a plain 0
    mask = torch.tensor([[0.0, 0.0, lowest]] * 3)
    with ch.capture() as seen:
        torch.nn.functional.scaled_dot_product_attention(query, key, key, attn_mask=mask)
    table = attention_table(seen[0], ("a", "b", "c"), head=1, query=0)
    assert [row.weight for row in table.rows] == [0.0, 1.0, 0.0]
    assert [row.visible for row in table.rows] == [True, True, False]
    assert table.rows[1].multiple == pytest.approx(2)  # even shares among two
    assert [str(row) for row in table.rows] == ["a → a: 0 %", "a → b: 100 %", "a → c: –"]
    assert str(table).splitlines()[-1] == "a → c    –"
    least = attention_table(seen[0], ("a", "b", "c"), head=1, query=0, max_keys=1).rest
    assert [(row.key, row.multiple, row.visible) for row in least] == [("2 others", 0.0, True)]


def test_a_reader_serves_for_many_texts() -> None:
    reader = open_text_reader("sentences")
    assert attend("The cat sat.", reader).tokens == ("the", "cat", "sat", ".")
    assert attend(SENTENCE, reader) == attend(SENTENCE)
