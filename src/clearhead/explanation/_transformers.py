"""Image classifiers and text models of transformers, with their processors and tokenizers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from clearhead.data import ImageSource, load_image, normalize, resize_and_crop
from clearhead.errors import CheckpointError, InputError
from clearhead.explanation._libraries import (
    check_folder,
    denormalize,
    first_line,
    import_library,
    loading_weights,
    open_photo,
)
from clearhead.explanation.classifiers import ImageClassifier, ImageInput, TextInput, TextModel
from clearhead.models.pretrained import is_path, missing_folder

ALTERNATIVE = "hf:FOLDER, a folder as transformers' save_pretrained writes it"
NO_PROCESSOR = (
    "no image processor is saved with this model: pictures were resized to its input size and "
    "normalised with mean 0.5 and deviation 0.5"
)
SPACE_MARKS = "Ġ▁"  # how GPT-2 and SentencePiece write the space before a word
HALF = SimpleNamespace(mean=(0.5,), std=(0.5,))  # of most Vision Transformers of this library


def open_transformers(name: str) -> ImageClassifier | TextModel:
    """A saved folder or OWNER/NAME; code that comes with a model is not run.

    The attention implementation is the library's default: `capture` needs no other.
    """
    source = f"hf:{name}"
    transformers: Any = import_library("transformers", source)
    is_local = Path(name).is_dir()
    if is_local:
        check_folder(Path(name), "transformers")
    elif is_path(name):
        raise CheckpointError(f"{missing_folder(name)}; give {ALTERNATIVE}, or hf:OWNER/NAME")
    with (
        loading_weights(source, ALTERNATIVE, is_local=is_local) as reachable,
        _no_progress_bars(transformers),
    ):
        files = {"local_files_only": not reachable}
        config = transformers.AutoConfig.from_pretrained(name, **files)
        if _is_image_classifier(transformers, config):
            return _image_classifier(transformers, name, source, files)
        if not hasattr(config, "vocab_size") or config.is_encoder_decoder:
            raise CheckpointError(
                f"{name} ({config.model_type}) is neither an image classifier nor a model of "
                f"single texts such as BERT or GPT-2; give {ALTERNATIVE}"
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
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name, **files)
    except Exception:  # noqa: BLE001, which kind depends on the model, and it is only a warning
        processor = None
    missing = ", ".join(sorted(loading["missing_keys"]))
    warnings = []
    if missing:
        warnings.append(
            "these weights are not saved, so the prediction is partly random: " + missing
        )
    if processor is None:
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
    max_tokens = getattr(model.config, "max_position_embeddings", None)

    def tokenize(text: str) -> TextInput:
        if not text.strip():
            raise InputError(f"expected a text with at least one word, got {text!r}")
        encoded = tokenizer(text, return_tensors="pt", verbose=False)
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
        return TextInput(
            tokens=tuple(map(_readable, tokenizer.convert_ids_to_tokens(ids[0].tolist()))),
            run=lambda: model(**encoded),
            warnings=(warning,) if has_unknown else (),
        )

    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return TextModel(
        name=source,
        description=f"{type(model).__name__}: {num_parameters:,} parameters",
        model=model,
        tokenize=tokenize,
    )


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


def _readable(token: str) -> str:
    """A token without the mark for the space before it."""
    return token.lstrip(SPACE_MARKS) or token


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
