"""Which tokens the words of a text attend to: our models, and a BERT and a GPT-2 for the test."""

import csv
import importlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import clearhead as ch
from clearhead.data import WordTokenizer
from clearhead.data.tokenizer import split_words
from clearhead.errors import (
    CaptureError,
    CheckpointError,
    ClearheadError,
    ConfigError,
    InputError,
)
from clearhead.explanation import TextExplanation, explain, open_classifier
from clearhead.explanation.classifiers import predict_referent
from clearhead.explanation.figures import text_figure
from clearhead.explanation.page import text_data
from clearhead.explanation.tables import text_csv
from clearhead.models import TextConfig, build

SENTENCE = "The dog chased the ball because it was hungry."
TOKENS = ("the", "dog", "chased", "the", "ball", "because", "it", "was", "hungry", ".")


@pytest.fixture(scope="module")
def it() -> TextExplanation:
    return explain("sentences", SENTENCE)


@pytest.fixture(scope="module")
def causal() -> TextExplanation:
    return explain("sentences-causal", SENTENCE)


def weights_of(model: str, text: str = SENTENCE) -> list[torch.Tensor]:
    """The softmax of the scaled scores of each layer, written out, without a capture."""
    network = ch.load(model)
    ids = torch.tensor([WordTokenizer(network.config.vocabulary).encode(text).ids])
    x, weights = network.embedded(ids), []
    later = torch.ones(ids.shape[1], ids.shape[1]).triu(1).bool()
    for block in network.blocks:
        qkv = block.attn.qkv(block.norm1(x))
        query, key, _ = qkv.unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / 8**0.5
        if network.config.causal:
            scores = scores.masked_fill(later, -torch.inf)
        weights.append(scores.softmax(dim=-1)[0].double())
        x = block(x, is_causal=network.config.causal)
    return weights


@pytest.mark.parametrize("model", ["sentences", "sentences-causal"])
def test_the_pronoun_is_the_query_and_heads_are_averaged(model: str) -> None:
    explanation = explain(model, SENTENCE)
    assert (explanation.tokens, explanation.queries) == (TOKENS, (6,))
    assert [(x.label, x.head, x.num_heads) for x in explanation.attention] == [
        ("L1", None, 4),
        ("L2", None, 4),
    ]
    assert explanation.num_verified == 2
    for part, expected in zip(explanation.attention, weights_of(model), strict=True):
        torch.testing.assert_close(part.weights[0], expected.mean(dim=0)[6], rtol=0, atol=1e-6)


def test_layers_heads_and_words_can_be_chosen() -> None:
    expected = weights_of("sentences")
    each = explain("sentences", SENTENCE, layers=1, heads="each", word="BALL")
    assert [x.label for x in each.attention] == ["L2 H1", "L2 H2", "L2 H3", "L2 H4"]
    assert each.queries == (4,)
    for head, part in enumerate(each.attention):
        torch.testing.assert_close(part.weights[0], expected[1][head, 4], rtol=0, atol=1e-6)
    third = explain("sentences", SENTENCE, heads=2)
    assert [x.label for x in third.attention] == ["L1 H3", "L2 H3"]
    torch.testing.assert_close(third.attention[1].weights[0], expected[1][2, 6], rtol=0, atol=1e-6)


def test_without_a_pronoun_every_word_is_a_query() -> None:
    explanation = explain("sentences", "The cat sat.")
    assert explanation.queries == (0, 1, 2, 3)
    whole = weights_of("sentences", "The cat sat.")
    weights = explanation.attention[1].weights
    torch.testing.assert_close(weights, whole[1].mean(dim=0), rtol=0, atol=1e-6)
    assert explanation.prediction is None
    assert explain("sentences", SENTENCE, word="the").queries == (0, 3)


def test_of_a_long_text_the_pronoun_or_a_named_word_is_explained() -> None:
    config = TextConfig(
        vocabulary=("[padding]", "[unknown]", "[mask]", "dog", "it"), context_length=66, depth=1
    )
    model = build(config).eval()
    assert explain(model, "dog " * 64).queries == tuple(range(64))
    with pytest.raises(InputError, match=r"65 tokens, too many .* \(at most 64\); name a word"):
        explain(model, "dog " * 65)
    assert explain(model, "dog " * 65 + "it").queries == (65,)
    assert len(explain(model, "dog " * 65, word="dog").queries) == 65


def test_later_words_are_not_visible_in_a_causal_model(
    it: TextExplanation, causal: TextExplanation
) -> None:
    for part in causal.attention:
        assert part.weights[0, 7:].tolist() == [0.0] * 3
        assert part.visible.tolist() == [[True] * 7 + [False] * 3]
        assert float(part.weights.sum()) == pytest.approx(1)
    assert causal.num_visible() == (7,)
    assert explain("sentences-causal", "The cat sat.").num_visible() == (1, 2, 3, 4)
    assert it.num_visible() == (10,)


@pytest.mark.parametrize("model", ["sentences", "sentences-causal"])
@pytest.mark.parametrize(("quality", "noun"), [("hungry", "dog"), ("round", "ball")])
def test_the_shipped_models_predict_the_referent_and_one_attends_to_it(
    model: str, quality: str, noun: str
) -> None:
    for subject, other in (("dog", "ball"), ("ball", "dog")):
        text = f"The {subject} chased the {other} because it was {quality}."
        prediction = explain(model, text).prediction
        assert prediction is not None
        assert prediction.question == "which one ?"
        probabilities = dict(prediction.words)
        assert probabilities[noun] > 0.1
        assert probabilities.get("dog" if noun == "ball" else "ball", 0.0) < 0.02
        assert list(probabilities.values()) == sorted(probabilities.values(), reverse=True)
        if model == "sentences":  # the other one may predict a noun that is not in the sentence
            assert prediction.words[0][0] == noun
            # As its card states: some head of the second layer attends to the referent.
            explanation = explain(model, text, layers=1, heads="each")
            weights = torch.cat([part.weights for part in explanation.attention])
            referent = explanation.tokens.index(noun)
            assert bool((weights[:, referent] > 0.5).any())
            assert bool((weights[:, 5 - referent] < 0.5).all())  # the nouns are tokens 1 and 4


def test_unknown_words_are_a_warning_and_prevent_a_prediction(it: TextExplanation) -> None:
    explanation = explain("sentences", "The zebra chased the dog, because it was hungry.")
    assert explanation.tokens[1] == "zebra"
    assert explanation.warnings == (
        "outside the model's vocabulary, replaced by [unknown]: “zebra” and “,”",
    )
    assert explain("sentences", SENTENCE.replace("dog", "zebra")).prediction is None
    assert it.prediction is not None


def test_the_referent_is_predicted_only_where_the_question_applies() -> None:
    model = build(TextConfig(vocabulary=("[padding]", "[unknown]", "[mask]", "it", "."))).eval()
    assert predict_referent(model, "it.") is None  # its vocabulary lacks the question
    shipped = ch.load("sentences")
    assert predict_referent(shipped, "The cat sat. The dog sat because it was tired.") is None
    length = len(split_words(f"{SENTENCE} which one ? the [mask] ."))
    for context in (length, length - 1):
        config = replace(shipped.config, context_length=context)
        prediction = predict_referent(build(config).eval(), SENTENCE)
        assert (prediction is None) == (context < length)


@pytest.mark.parametrize(
    ("text", "options", "message", "kind"),
    [
        ("", {}, "at least one word", InputError),
        ("  \n", {}, "at least one word", InputError),
        ("dog " * 33, {}, "33 words and signs, this model takes at most 32", InputError),
        (SENTENCE, {"word": "cat"}, "no word 'cat' in this text; there are: the, dog", InputError),
        (SENTENCE, {"layers": 2}, r"no layer 2 \(counted from 0\) among the 2", CaptureError),
        (SENTENCE, {"heads": 4}, "has 4 heads, numbered 0 … 3; got 4", InputError),
        (b"SENTENCE", {}, "sentences is a text model; give a text, got a bytes", InputError),
    ],
)
def test_invalid_texts_and_choices_are_errors_of_one_line(
    text: Any, options: dict[str, Any], message: str, kind: type[ClearheadError]
) -> None:
    with pytest.raises(kind, match=message) as caught:
        explain("sentences", text, **options)
    assert "\n" not in str(caught.value)


def test_a_text_explanation_as_json_csv_and_figure() -> None:
    explanation = explain("sentences", SENTENCE, word="the", heads=1)
    data = explanation.to_dict()
    assert data["counted_from"] == 0
    assert data["queries"] == [{"position": 0, "token": "the"}, {"position": 3, "token": "the"}]
    assert [part["layer"] for part in data["attention"]] == ["blocks.0.attn", "blocks.1.attn"]
    weights = explanation.attention[1].weights
    assert data["attention"][1]["weights"] == weights.tolist()
    assert data["prediction"]["words"][0]["word"] == "dog"
    shown = text_data(explanation)
    assert (shown["tokens"], shown["queries"]) == (TOKENS, (0, 3))
    parts = [(part["label"], part["layer"], part["head"]) for part in shown["attention"]]
    assert parts == [("L1 H2", "L1", "H2"), ("L2 H2", "L2", "H2")]
    torch.testing.assert_close(
        torch.tensor(shown["attention"][1]["weights"]).double(), weights, rtol=0, atol=1e-8
    )
    rows = list(csv.DictReader(io.StringIO(text_csv(explanation))))
    assert len(rows) == 2 * 2 * 10
    assert rows[-1] == {
        "layer": "blocks.1.attn",
        "head": "1",
        "query": "3",
        "query_token": "the",
        "key": "9",
        "key_token": ".",
        "weight": str(float(weights[1, 9])),
    }
    panels = [axes for axes in text_figure(explanation).axes if axes.images]
    drawn: Any = panels[1].images[0].get_array()
    torch.testing.assert_close(torch.tensor(drawn.tolist()).double(), weights)
    assert [text.get_text() for text in panels[0].get_xticklabels()] == list(TOKENS)
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["the", "the"]


def test_masked_words_are_hatched_in_the_figure_and_empty_in_csv(
    it: TextExplanation, causal: TextExplanation
) -> None:
    figure = text_figure(causal)
    (panel,) = (axes for axes in figure.axes if axes.images)
    patches: list[Any] = [patch for patch in panel.patches if patch.get_hatch()]
    assert [patch.get_xy() for patch in patches] == [(x, y) for y in (0, 1) for x in (7, 8, 9)]
    assert "uniform weight 14.3 %" in [
        text.get_text() for axes in figure.axes for text in axes.texts
    ]
    assert not [patch for axes in text_figure(it).axes for patch in axes.patches]
    weights = [line.rsplit(",", 1)[1] for line in text_csv(causal).splitlines()[1:]]
    assert [weight == "" for weight in weights] == ([False] * 7 + [True] * 3) * 2


def test_a_text_explanation_has_a_short_repr_and_a_table_for_notebooks(
    causal: TextExplanation,
) -> None:
    assert repr(causal) == (
        "TextExplanation('The dog chased the ball because it was …', model='sentences-causal', "
        "1 of 10 tokens as queries, 2 weight matrices)"
    )
    html = replace(causal, text="<b>", tokens=("<i>", *TOKENS[1:]))._repr_html_()
    assert "<b>" not in html
    assert '<th scope="row">&lt;i&gt;</th>' in html
    assert html.count("<td>–</td>") == 6


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
        vocab_size=13, hidden_size=14, num_hidden_layers=3, num_attention_heads=7,
        intermediate_size=11, max_position_embeddings=17,
    )  # fmt: skip
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
        vocab_size=300, n_embd=14, n_layer=2, n_head=7, n_positions=19, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    transformers.GPT2Model(config).save_pretrained(folder)
    return folder


def of_transformers(folder: Path, text: str) -> tuple[list[str], tuple[torch.Tensor, ...]]:
    """Tokens and attention weights as the library itself returns them."""
    transformers: Any = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    encoded = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        attentions = model(**encoded, output_attentions=True).attentions
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0].tolist())
    return tokens, tuple(weights.double() for weights in attentions)


def test_a_bert_has_special_tokens_and_pieces_of_words(bert: Path) -> None:
    explanation = explain(f"hf:{bert}", "The dog chased it.")
    tokens, attentions = of_transformers(bert, "The dog chased it.")
    assert list(explanation.tokens) == tokens == "[CLS] the dog chas ##ed it . [SEP]".split()
    assert explanation.queries == (5,)
    assert explanation.description.startswith("BertModel: ")
    assert (explanation.prediction, explanation.warnings) == (None, ())
    for part, expected in zip(explanation.attention, attentions, strict=True):
        torch.testing.assert_close(part.weights[0], expected[0].mean(dim=0)[5], rtol=0, atol=1e-5)
    assert "[UNK]" in explain(f"hf:{bert}", "A dog.").warnings[0]
    for text, message in ((" ", "at least one word"), ("dog " * 18, r"20 tokens, .* at most 17")):
        with pytest.raises(InputError, match=message):
            explain(f"hf:{bert}", text)


def test_tokens_of_a_gpt2_lose_their_mark_for_a_space(gpt2: Path) -> None:
    explanation = explain(f"hf:{gpt2}", "the dog sat because it was round", layers=1, heads="each")
    tokens, attentions = of_transformers(gpt2, "the dog sat because it was round")
    assert [token.lstrip("Ġ") for token in tokens] == list(explanation.tokens)
    query = explanation.tokens.index("it")
    assert "Ġit" in tokens
    assert explanation.queries == (query,)
    for head, part in enumerate(explanation.attention):
        torch.testing.assert_close(
            part.weights[0], attentions[1][0, head, query], atol=1e-5, rtol=0
        )
    assert explanation.num_visible() == (query + 1,)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("der Hund war müde", "müde"),
        ("ich mag 🐶 sehr", "🐶"),
        ("猫が座った", "猫"),
        ("猫が座った", "座った"),
        ("the unbelievable dog", "Unbelievable"),
        ("a dog, a dog", "dog"),
    ],
)
def test_a_word_of_several_pieces_is_found_and_readable(gpt2: Path, text: str, word: str) -> None:
    explanation = explain(f"hf:{gpt2}", text, word=word)
    tokens, attentions = of_transformers(gpt2, text)
    shown = [explanation.tokens[query] for query in explanation.queries]
    assert set("".join(token.partition(" ")[0] for token in shown)) == set(word.lower())
    assert len(shown) > 1
    assert not set("".join(explanation.tokens)) & set("Ã¼ðŁç")
    assert len(explanation.tokens) == len(tokens)
    weights = attentions[0][0].mean(0)[list(explanation.queries)]
    torch.testing.assert_close(explanation.attention[0].weights, weights, atol=1e-5, rtol=0)


def test_pieces_of_one_character_are_numbered(gpt2: Path) -> None:
    pieces = explain(f"hf:{gpt2}", "mag🐶", word="🐶").tokens[3:]
    assert pieces == tuple(f"🐶 {number}/4" for number in range(1, 5))


def test_a_roberta_takes_as_many_tokens_as_it_has_positions(gpt2: Path, tmp_path: Path) -> None:
    transformers: Any = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(gpt2)
    tokenizer.save_pretrained(tmp_path)
    config = transformers.RobertaConfig(
        vocab_size=300, hidden_size=14, num_hidden_layers=1, num_attention_heads=7,
        intermediate_size=11, max_position_embeddings=17, pad_token_id=1,
    )  # fmt: skip
    transformers.RobertaModel(config).save_pretrained(tmp_path)
    text = "the dog sat because it was round"
    length = len(tokenizer(text)["input_ids"])
    while len(tokenizer(text + " it")["input_ids"]) <= 15:
        text += " it"
    assert length < 15 == len(explain(f"hf:{tmp_path}", text, word="it").tokens)
    with pytest.raises(InputError, match=r"16 tokens, .* takes at most 15"):
        explain(f"hf:{tmp_path}", text + " it", word="it")


def test_a_missing_tokenizer_is_an_error_with_the_call_that_saves_it(
    bert: Path, tmp_path: Path
) -> None:
    """The library makes up a tokenizer without words for a BERT that has none."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((bert / name).read_bytes())
    missing = f"no tokenizer in {tmp_path}; save it beside the model: tokenizer.save_pretrained("
    for content in (None, "{}"):
        if content is not None:
            (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(CheckpointError) as caught:
            open_classifier(f"hf:{tmp_path}")
        assert str(caught.value).startswith(missing)
        assert len(str(caught.value)) < 300


def test_an_opened_model_explains_many_texts(it: TextExplanation) -> None:
    model: Any = open_classifier("sentences")
    assert explain(model, "The cat sat.").tokens == ("the", "cat", "sat", ".")
    assert explain(model, SENTENCE).to_dict() == it.to_dict()
    assert explain(ch.load("sentences"), SENTENCE).attention[0].label == "L1"


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": "foo"}, 'heads must be "mean", "each" or the index .* got .foo'),
        ({"layers": 1.5}, "layers takes names, patterns and indices"),
        ({"word": 3}, "word is the query word, a string, got 3"),
    ],
)
def test_options_of_the_wrong_kind_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explain("sentences", SENTENCE, **options)
