"""Models of timm and transformers, with the preprocessing or the tokenizer saved with them."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from clearhead._paths import is_folder
from clearhead.data import ImageSource, load_image, normalize, resize_and_crop
from clearhead.errors import CheckpointError, InputError
from clearhead.explanation.classifiers import (
    ImageClassifier,
    ImageInput,
    TextInput,
    TextModel,
    num_parameters,
)
from clearhead.models._libraries import (
    check_folder,
    import_library,
    load_timm,
    loading_weights,
    timm_class_names,
)
from clearhead.models.pretrained import first_line, is_path, missing_folder

HF_FOLDER = "hf:FOLDER, a folder as transformers' save_pretrained writes it"
NO_PROCESSOR = (
    "no image processor is saved with this model: pictures were resized to its input size and "
    "normalised with mean 0.5 and deviation 0.5"
)
SPACE_MARKS = "Ġ▁"  # how GPT-2 and SentencePiece write the space before a word
HALF = SimpleNamespace(mean=(0.5,), std=(0.5,))  # of most Vision Transformers of this library


def open_timm(name: str) -> ImageClassifier:
    """A model that timm knows by name, with its trained weights, or a folder in timm's layout."""
    model = load_timm(name)
    timm: Any = import_library("timm", f"timm:{name}")
    settings = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**settings, is_training=False)

    def preprocess(image: ImageSource) -> ImageInput:
        inputs = transform(open_photo(image, settings["input_size"][0]))[None]
        pixels = denormalize(inputs, settings["mean"], settings["std"])
        return ImageInput(inputs=inputs, pixels=pixels)

    return ImageClassifier(
        name=f"timm:{name}",
        model=model.eval(),
        class_names=timm_class_names(model),
        preprocess=preprocess,
    )


def open_transformers(name: str) -> ImageClassifier | TextModel:
    """A saved folder or OWNER/NAME; code that comes with a model is not run.

    The attention implementation is the library's default: `capture` needs no other.
    """
    source = f"hf:{name}"
    transformers: Any = import_library("transformers", source)
    is_local = is_folder(name)
    if is_local:
        check_folder(Path(name), "transformers")
    elif is_path(name):
        raise CheckpointError(f"{missing_folder(name)}; give {HF_FOLDER}, or hf:OWNER/NAME")
    with (
        loading_weights(source, HF_FOLDER, is_local=is_local) as reachable,
        _no_progress_bars(transformers),
    ):
        files = {"local_files_only": not reachable}
        config = transformers.AutoConfig.from_pretrained(name, **files)
        if _is_image_classifier(transformers, config):
            return _image_classifier(transformers, name, source, files)
        if not hasattr(config, "vocab_size") or config.is_encoder_decoder:
            raise CheckpointError(
                f"{name} ({config.model_type}) is neither an image classifier nor a model of "
                f"single texts such as BERT or GPT-2; give {HF_FOLDER}"
            )
        return _text_model(transformers, name, source, files, is_local=is_local)


def _is_image_classifier(transformers: Any, config: Any) -> bool:
    """Models for both kinds of input (Perceiver) are what their saved head is for."""
    head = " ".join(config.architectures or ())
    known = type(config) in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    return known and (not hasattr(config, "vocab_size") or "ImageClassification" in head)


def _image_classifier(
    transformers: Any, name: str, source: str, files: dict[str, bool]
) -> ImageClassifier:
    model, loading = transformers.AutoModelForImageClassification.from_pretrained(
        name, output_loading_info=True, use_safetensors=True, **files
    )
    warnings = []
    if missing := ", ".join(sorted(loading["missing_keys"])):
        warnings.append(
            f"these weights are not saved, so the prediction is partly random: {missing}"
        )
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name, **files)
    except Exception:  # noqa: BLE001, which kind depends on the model, and it is only a warning
        processor = None
        warnings.append(NO_PROCESSOR)
    names: dict[int, str] = model.config.id2label or {}
    return ImageClassifier(
        name=source,
        model=model.eval(),
        class_names=tuple(str(names.get(index, index)) for index in range(model.config.num_labels)),
        preprocess=_preprocessing(processor, model),
        warnings=tuple(warnings),
    )


def _preprocessing(processor: Any, model: nn.Module) -> Callable[[ImageSource], ImageInput]:
    # Models of pictures and texts have a configuration of their own for pictures.
    config: Any = getattr(model.config, "vision_config", model.config)
    channels, size = int(getattr(config, "num_channels", 3)), getattr(config, "image_size", None)
    if processor is None and size is None:
        raise CheckpointError(
            f"no image processor is saved with this {type(model).__name__}; save it: "
            "processor.save_pretrained(FOLDER)"
        )
    height, width = (size, size) if isinstance(size, int) else (size or (0, 0))
    mean, std = (0.0,), (1.0,)
    if getattr(processor, "do_normalize", True) and processor is not None:
        mean, std = tuple(processor.image_mean), tuple(processor.image_std)

    def preprocess(image: ImageSource) -> ImageInput:
        if processor is None:
            pixels = resize_and_crop(load_image(image), (int(height), int(width)), channels)
            return ImageInput(inputs=normalize(pixels[None], HALF), pixels=pixels)
        batch = processor(images=open_photo(image, channels), return_tensors="pt")
        inputs: Tensor = batch["pixel_values"].to(torch.float32)
        return ImageInput(inputs=inputs, pixels=denormalize(inputs, mean, std))

    return preprocess


def _text_model(
    transformers: Any, name: str, source: str, files: dict[str, bool], *, is_local: bool
) -> TextModel:
    tokenizer = _tokenizer(transformers, name, files, is_local=is_local)
    model = transformers.AutoModel.from_pretrained(name, use_safetensors=True, **files).eval()
    max_tokens = _max_tokens(model)

    def tokenize(text: str) -> TextInput:
        if not text.strip():
            raise InputError(f"expected a text with at least one word, got {text!r}")
        offsets = {"return_offsets_mapping": bool(tokenizer.is_fast)}
        encoded = tokenizer(text, return_tensors="pt", verbose=False, **offsets)
        spans = [_trimmed(text, *x) for x in encoded.pop("offset_mapping", [[]])[0]]
        ids = encoded["input_ids"]
        if not ids.numel():
            raise InputError(f"the tokenizer of {source} makes no token of {text!r}")
        if max_tokens is not None and ids.shape[1] > max_tokens:
            raise InputError(
                f"the text has {ids.shape[1]} tokens, {source} takes at most {max_tokens}; give a "
                "shorter one"
            )
        unknown = tokenizer.unk_token_id
        has_unknown = unknown is not None and bool((ids == unknown).any())
        warning = f"words outside the model's vocabulary, replaced by {tokenizer.unk_token}"
        tokens = tokenizer.convert_ids_to_tokens(ids[0].tolist())
        return TextInput(
            tokens=_readable(tokens, text, spans, tokenizer.all_special_tokens),
            run=lambda: model(**encoded),
            warnings=(warning,) if has_unknown else (),
            spans=tuple(spans),
        )

    return TextModel(
        name=source,
        description=f"{type(model).__name__}: {num_parameters(model):,} parameters",
        model=model,
        tokenize=tokenize,
    )


def _max_tokens(model: Any) -> int | None:
    """How many tokens the model has positions for; RoBERTa's start after that of the padding."""
    for name, layer in model.named_modules():
        padding = getattr(layer, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            return int(layer.num_embeddings) - int(padding) - 1
    count: int | None = getattr(model.config, "max_position_embeddings", None)
    return count


def _trimmed(text: str, start: Any, end: Any) -> tuple[int, int]:
    """A span without white space at its start and end."""
    piece = text[int(start) : int(end)]
    first = int(start) + len(piece) - len(piece.lstrip())
    return first, first + len(piece.strip())


def _readable(
    tokens: Sequence[str],
    text: str,
    spans: Sequence[tuple[int, int]],
    special: Collection[str],
) -> tuple[str, ...]:
    """Tokens as they stand in the text, not as bytes; "🐶 2/3" for the second of three pieces."""
    readable = [token.lstrip(SPACE_MARKS) or token for token in tokens]
    places: dict[tuple[int, int], list[int]] = {}
    for index, (start, end) in enumerate(spans):
        same = readable[index].removeprefix("##").lower() == text[start:end].lower()
        if tokens[index] not in special and start < end and not same:
            places.setdefault((start, end), []).append(index)
    for (start, end), pieces in places.items():
        for number, index in enumerate(pieces, start=1):
            part = f" {number}/{len(pieces)}" if len(pieces) > 1 else ""
            readable[index] = text[start:end] + part
    return tuple(readable)


def _tokenizer(transformers: Any, name: str, files: dict[str, bool], *, is_local: bool) -> Any:
    """The saved tokenizer; where there is none, some models get one without words."""
    missing = f"no tokenizer in {name}; save it beside the model: tokenizer.save_pretrained(FOLDER)"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **files)
    except Exception as error:  # which kind depends on the model
        if not is_local:  # the hub may be unreachable
            raise
        raise CheckpointError(f"{missing} ({first_line(error)})") from error
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise CheckpointError(missing)
    return tokenizer


@contextmanager
def _no_progress_bars(transformers: Any) -> Iterator[None]:
    bars = transformers.utils.logging
    were_on = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            bars.enable_progress_bar()


def open_photo(image: ImageSource, channels: int) -> Image.Image:
    """The whole picture in its own size, RGB or grey; `ImageError` if it cannot be decoded."""
    picture = load_image(image)
    pixels = resize_and_crop(picture, (picture.height, picture.width), channels)
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).numpy())


def denormalize(
    inputs: Float[Tensor, "1 channels height width"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> UInt8[Tensor, "channels height width"]:
    """The pixels of a normalised picture: inputs · std + mean, as bytes."""
    shape = (1, -1, 1, 1)
    values = inputs * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)
    return (values[0].clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
