"""Text models of transformers as readers, such as BERT and GPT-2, with their own tokenizers."""

from typing import Any

import torch

from clearhead.errors import CheckpointError, InputError
from clearhead.explanation.classifiers.hf import is_a_folder, quiet_bars
from clearhead.explanation.classifiers.libraries import fetching_weights, first_line, import_library
from clearhead.explanation.text.reader import TextReader, TextView

ELSEWHERE = "hf:FOLDER, a folder as save_pretrained of model and tokenizer writes it"
LEADING_SPACES = "Ġ▁"  # how GPT-2 and SentencePiece write the space before a word


def open_hf_text(name: str) -> TextReader:
    """A saved folder or OWNER/NAME, read by `AutoModel` and `AutoTokenizer`; no code of theirs."""
    source = f"hf:{name}"
    transformers: Any = import_library("transformers", source)
    is_here = is_a_folder(name, ELSEWHERE)
    with fetching_weights(source, ELSEWHERE, is_here=is_here), quiet_bars(transformers):
        _check_kind(transformers, name)
        tokenizer = _tokenizer(transformers, name, is_here=is_here)
        model = transformers.AutoModel.from_pretrained(name, use_safetensors=True).eval()
    if model.config.is_encoder_decoder:
        raise CheckpointError(
            f"{source} is an encoder with a decoder; give one that reads a single text, such as "
            "BERT or GPT-2"
        )
    return TextReader(
        name=source,
        about=_about(model),
        model=model,
        read=lambda text: _read(model, tokenizer, text, source),
    )


def _check_kind(transformers: Any, name: str) -> None:
    """Raise `CheckpointError` for a model of pictures, before its weights come."""
    config = transformers.AutoConfig.from_pretrained(name)
    pictures = type(config) in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    if pictures and not hasattr(config, "vocab_size"):
        raise CheckpointError(
            f"{name} is a model of pictures ({config.model_type}), which have no words; explain "
            f"shows it: clearhead explain PICTURE --model hf:{name}"
        )


def _tokenizer(transformers: Any, name: str, *, is_here: bool) -> Any:
    """The one saved beside the model; where there is none some models get one without words."""
    missing = f"no tokenizer in {name}; save it beside the model: tokenizer.save_pretrained(FOLDER)"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except Exception as error:  # which kind depends on the model
        if not is_here:  # nobody knows yet whether it is there
            raise
        raise CheckpointError(f"{missing} ({first_line(error)})") from error
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise CheckpointError(missing)
    return tokenizer


def _read(model: Any, tokenizer: Any, text: str, source: str) -> TextView:
    if not text.strip():
        raise InputError(f"expected a text with at least one word, got {text!r}")
    encoded = tokenizer(text, return_tensors="pt", verbose=False)
    ids = encoded["input_ids"]
    if not ids.numel():
        raise InputError(f"the tokenizer of {source} makes no token of {text!r}")
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and ids.shape[1] > longest:
        raise InputError(
            f"the text has {ids.shape[1]} tokens, {source} reads at most {longest}; "
            "give a shorter one"
        )
    tokens = tuple(map(shown, tokenizer.convert_ids_to_tokens(ids[0].tolist())))

    def run() -> object:
        with torch.no_grad():
            return model(**encoded)

    unknown = tokenizer.unk_token_id
    some = unknown is not None and bool((ids == unknown).any())
    remarks = (f"its tokenizer does not know some words: read as {tokenizer.unk_token}",)
    return TextView(tokens=tokens, run=run, remarks=remarks if some else ())


def shown(token: str) -> str:
    """A token for people: without the sign that stands for the space before it."""
    return token.lstrip(LEADING_SPACES) or token


def _about(model: Any) -> str:
    numbers = sum(parameter.numel() for parameter in model.parameters())
    return f"{type(model).__name__}: {numbers:,} parameters"
