"""Models with their preprocessing or tokenizer."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from clearhead.data import ImageSource, WordTokenizer, normalize
from clearhead.data.sentences import QUESTIONS, matches_pronoun_template
from clearhead.data.tokenizer import MASK
from clearhead.errors import ConfigError, InputError
from clearhead.inference import Prediction, predict_inputs, prepare, uses_digit_preprocessing
from clearhead.insight import Grid, grid_of
from clearhead.models import ImageModel, Model, TextTransformer
from clearhead.models.config import ImageModelConfig

MAX_PREDICTED_WORDS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageInput:
    """A picture after preprocessing.

    Attributes:
        inputs: What the model takes.
        pixels: The same before normalisation, for display.
        is_ink: Whether pixels are light ink on a dark background, as in MNIST.
        warnings: What makes a prediction doubtful, such as "low contrast".
        prediction: The prediction, if preprocessing has made it; else it is made from the logits.
        digits: The single digits if the picture shows several, in reading order.
    """

    inputs: Float[Tensor, "1 channels height width"] = field(repr=False)
    pixels: UInt8[Tensor, "channels height width"] = field(repr=False)
    is_ink: bool = False
    warnings: tuple[str, ...] = ()
    prediction: Prediction | None = None
    digits: tuple["ImageInput", ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageClassifier:
    """An image classifier with its preprocessing.

    Attributes:
        name: What the model is called in reports.
        model: Maps `ImageInput.inputs` to logits, or to an object that has them as `.logits`.
        class_names: The classes in the order of the logits; empty for a model without classes.
        preprocess: Makes a model input of a picture.
        warnings: Remarks that hold for every picture.
        doubtful_below, rejected_below: As in `ImageModelConfig`.
    """

    name: str
    model: nn.Module
    class_names: tuple[str, ...]
    preprocess: Callable[[ImageSource], ImageInput]
    warnings: tuple[str, ...] = ()
    doubtful_below: float = ImageModelConfig.doubtful_below
    rejected_below: float = ImageModelConfig.rejected_below

    def __repr__(self) -> str:
        return f"ImageClassifier({self.name!r}, {len(self.class_names)} classes)"

    def grid(self, model_input: ImageInput) -> Grid | None:
        """The grid of patches for pictures of this size; None if undeclared by the model.

        Args:
            model_input: A preprocessed picture; only its height and width matter.

        Returns:
            Rows and columns of patches, and the tokens before them.
        """
        height, width = model_input.inputs.shape[-2:]
        try:
            return grid_of(self.model, (int(height), int(width)))
        except ConfigError:
            return None


@dataclass(frozen=True, kw_only=True, eq=False)
class TextInput:
    """A text after tokenization.

    Attributes:
        tokens: Words or pieces of words, with special tokens such as [CLS].
        run: Runs the model on them.
        warnings: Remarks for the user.
        spans: First character and end of each token in the text, where the tokenizer reports them;
            both 0 for special tokens.
    """

    tokens: tuple[str, ...]
    run: Callable[[], object]
    warnings: tuple[str, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class TextPrediction:
    """The likeliest words after a question about a pronoun, with their probabilities."""

    question: str
    words: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TextModel:
    """A text model with its tokenizer.

    Attributes:
        name: What the model is called in reports.
        description: Its size, in one line.
        model: The module.
        tokenize: Makes a model input of a text.
        predict: Predicts what a pronoun refers to; None for models not trained for that.
    """

    name: str
    description: str
    model: nn.Module
    tokenize: Callable[[str], TextInput]
    predict: Callable[[str], TextPrediction | None] = field(default=lambda _: None)

    def __repr__(self) -> str:
        return f"TextModel({self.name!r}, {self.description!r})"


def classifier_of(model: Model, name: str) -> ImageClassifier | TextModel:
    """One of Clearhead's models that is loaded already; it is put into evaluation mode."""
    model.eval()
    return _text_model(model, name) if isinstance(model, TextTransformer) else _images(model, name)


def _images(model: ImageModel, name: str) -> ImageClassifier:
    config = model.config
    is_ink = uses_digit_preprocessing(config)

    def preprocess(image: ImageSource) -> ImageInput:
        whole = prepare(image, config)

        def model_input(one: Prediction) -> ImageInput:
            pixels = one.image if is_ink and one.image is not None else whole.pixels
            return ImageInput(
                inputs=normalize(pixels[None], config).to(next(model.parameters()).dtype),
                pixels=pixels,
                is_ink=is_ink,
                prediction=one,
                digits=tuple(map(model_input, one.digits)),
            )

        return model_input(predict_inputs(model, [whole])[0])

    return ImageClassifier(name=name, model=model, class_names=config.labels, preprocess=preprocess)


def _text_model(model: TextTransformer, name: str) -> TextModel:
    config, tokenizer = model.config, WordTokenizer(model.config.vocabulary)

    def tokenize(text: str) -> TextInput:
        encoded = tokenizer.encode(text)
        if len(encoded.ids) > config.context_length:
            raise InputError(
                f"the text has {len(encoded.ids)} words and signs, this model takes at most "
                f"{config.context_length}; give a shorter one"
            )
        words = " and ".join(f"“{word}”" for word in encoded.unknown)
        unknown = f"outside the model's vocabulary, replaced by [unknown]: {words}"
        return TextInput(
            tokens=encoded.tokens,
            run=lambda: model(torch.tensor([encoded.ids])),
            warnings=(unknown,) if words else (),
        )

    direction = "causal" if config.causal else "bidirectional"
    return TextModel(
        name=name,
        description=(
            f"a tiny model: {num_parameters(model):,} parameters, {config.depth} layers of "
            f"{config.num_heads} heads, {len(config.vocabulary)} words, {direction}"
        ),
        model=model,
        tokenize=tokenize,
        predict=lambda text: predict_referent(model, text),
    )


@torch.no_grad()
def predict_referent(model: TextTransformer, text: str) -> TextPrediction | None:
    """The model's continuation of the text with "which one ?".

    None unless the text has the shape of the training sentences ("the … … the … because it was …"),
    its words are known, and the question fits into the context.
    """
    tokenizer = WordTokenizer(model.config.vocabulary)
    question = QUESTIONS["noun"]
    encoded = tokenizer.encode(f"{text} {question} {MASK} .")
    is_applicable = matches_pronoun_template(text) and encoded.unknown == ()
    if not is_applicable or len(encoded.ids) > model.config.context_length:
        return None
    position = len(encoded.ids) - (3 if model.config.causal else 2)
    logits: Tensor = model(torch.tensor([encoded.ids]))[0, position]
    best = logits.softmax(dim=0).topk(min(MAX_PREDICTED_WORDS, len(logits)))
    words = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return TextPrediction(
        question=question.removesuffix(" the"),
        words=tuple((tokenizer.vocabulary[word], probability) for word, probability in words),
    )


def num_parameters(model: nn.Module) -> int:
    """The number of parameters of a model."""
    return sum(parameter.numel() for parameter in model.parameters())
