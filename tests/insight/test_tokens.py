from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn

from clearhead.errors import ConfigError, InputError
from clearhead.insight.tokens import Grid, Words, check_tokens, coordinates, grid_of
from clearhead.models import build
from clearhead.models.config import ViTConfig
from clearhead.recording import capture

GRID = Grid(3, 5, 2, ("class token", "register 1"))
SMALL = {
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 7,
}
CLASS = ("class token",)
DISTILLED = (*CLASS, "distillation token")
REGISTERS = (*CLASS, *(f"register {number}" for number in range(1, 5)))


def test_names_count_rows_and_columns_from_one_after_the_prefix_tokens() -> None:
    names = GRID.names()
    assert len(names) == GRID.num_tokens == 17
    assert names[:3] == ("class token", "register 1", "patch 1 (row 1, column 1)")
    for row in range(1, 4):
        for column in range(1, 6):
            patch = f"patch {5 * (row - 1) + column}"
            assert names[GRID.token(row, column)] == f"{patch} (row {row}, column {column})"
    assert Grid(2, 3, 2).names()[:2] == ("prefix token 1", "prefix token 2")


def test_fold_arranges_the_patches_and_prefix_keeps_the_rest() -> None:
    x = torch.arange(7 * 17).reshape(7, 17).float()
    folded, prefix = GRID.fold(x), GRID.prefix(x)
    assert folded.shape == (7, 3, 5)
    for row in range(3):
        for column in range(5):
            assert torch.equal(folded[:, row, column], x[:, GRID.token(row + 1, column + 1)])
    assert torch.equal(prefix, x[:, :2])


def test_other_numbers_of_tokens_and_patches_outside_the_grid_are_refused() -> None:
    for count in (15, 18):
        with pytest.raises(InputError, match=r"expected 2 \+ 3 × 5 = 17 tokens, got"):
            GRID.fold(torch.zeros(count))
    with pytest.raises(InputError, match=r"blocks\.1\.attn: expected"):
        check_tokens(GRID, 15, "blocks.1.attn")
    for row, column in ((0, 1), (1, 0), (4, 1), (1, 6)):
        with pytest.raises(InputError, match=r"3 rows and 5 columns, counted from 1"):
            GRID.token(row, column)
    for sizes in ((0, 3, 0), (3, 0, 0), (3, 3, -1)):
        with pytest.raises(ConfigError, match="at least one row"):
            Grid(*sizes)
    with pytest.raises(ConfigError, match="1 names for 2 prefix tokens"):
        Grid(3, 3, 2, ("class token",))


def test_coordinates_are_row_and_column_of_every_patch_in_order() -> None:
    assert coordinates(GRID).tolist() == [[row, column] for row in range(3) for column in range(5)]
    assert coordinates(Words(("a", "b", "c"))).tolist() == [[0, 0], [0, 1], [0, 2]]
    assert coordinates(Grid(1, 1)).shape == (1, 2)


def test_patch_shape_needs_patches_that_divide_the_image_evenly() -> None:
    assert GRID.patch_shape(torch.zeros(1, 1, 6, 35)) == (2, 7)
    with pytest.raises(InputError, match="divided evenly by 3 × 5 patches"):
        GRID.patch_shape(torch.zeros(1, 1, 7, 35))


@pytest.mark.unchecked
def test_words_are_a_row_of_tokens_and_not_one_string() -> None:
    words = Words(("The", "cat", "sat", "."))
    assert (words.rows, words.columns, words.num_tokens, words.num_prefix_tokens) == (1, 4, 4, 0)
    assert words.names() == ("The", "cat", "sat", ".")
    with pytest.raises(ConfigError, match="got one string 'The cat'"):
        Words("The cat")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one token"):
        Words(())


def timm_model(name: str) -> nn.Module:
    model: nn.Module = timm.create_model(
        name, img_size=(21, 35), patch_size=7, depth=1, embed_dim=12, num_heads=3, num_classes=5
    )
    return model.eval()


def transformers_model(kind: str, **changes: object) -> nn.Module:
    sizes = {"image_size": 21, "patch_size": 7} | changes
    config = getattr(transformers, f"{kind}Config")(**SMALL, **sizes)
    model: nn.Module = getattr(transformers, f"{kind}Model")(config)
    return model.eval()


def recorded_tokens(model: nn.Module, height: int, width: int) -> int:
    with torch.no_grad(), capture(0) as recording:
        model(torch.zeros(1, 3, height, width))
    return int(recording[0].query.shape[-2])


@pytest.mark.parametrize(
    ("settings", "prefix"),
    [
        ({"pool": "mean"}, ()),
        ({"pool": "class"}, CLASS),
        ({"pool": "class", "num_registers": 4, "patch_overlap": 2}, REGISTERS),
    ],
)
def test_grid_of_our_model(settings: dict[str, Any], prefix: tuple[str, ...]) -> None:
    model = build(ViTConfig(image_size=(14, 35), patch_size=7, depth=1, **settings))
    assert grid_of(model) == Grid(2, 5, len(prefix), prefix)
    with pytest.raises(ConfigError, match=r"takes images of \(14, 35\) pixels only"):
        grid_of(model, image_size=28)


@pytest.mark.parametrize(
    ("make", "name", "width", "prefix"),
    [
        (timm_model, "vit_tiny_patch16_224", 35, CLASS),
        (timm_model, "deit_tiny_distilled_patch16_224", 35, DISTILLED),
        (timm_model, "vit_small_patch14_reg4_dinov2", 35, REGISTERS),
        (timm_model, "vit_small_patch16_dinov3", 35, REGISTERS),
        (timm_model, "vit_base_patch16_siglip_224", 35, ()),
        (transformers_model, "ViT", 21, CLASS),
        (transformers_model, "DeiT", 21, DISTILLED),
        (transformers_model, "Dinov2WithRegisters", 21, REGISTERS),
        (transformers_model, "CLIPVision", 21, CLASS),
        (transformers_model, "SiglipVision", 21, ()),
    ],
)
def test_grid_of_models_of_libraries(
    make: Callable[[str], nn.Module], name: str, width: int, prefix: tuple[str, ...]
) -> None:
    model = make(name)
    assert grid_of(model) == Grid(3, width // 7, len(prefix), prefix)
    assert recorded_tokens(model, 21, width) == grid_of(model).num_tokens


def test_grid_of_models_with_images_of_another_size() -> None:
    model = transformers_model("Dinov2", image_size=70)
    assert grid_of(model) == Grid(10, 10, 1, CLASS)
    assert grid_of(model, image_size=21) == Grid(3, 3, 1, CLASS)
    assert recorded_tokens(model, 21, 21) == grid_of(model, image_size=21).num_tokens
    assert grid_of(timm_model("vit_tiny_patch16_224"), image_size=(14, 21)) == Grid(2, 3, 1, CLASS)


def test_grid_of_the_vision_encoder_of_clip_and_of_torchvision() -> None:
    config = transformers.CLIPConfig(
        text_config=SMALL | {"vocab_size": 13, "bos_token_id": 1, "eos_token_id": 2},
        vision_config=SMALL | {"image_size": 21, "patch_size": 7},
    )
    assert grid_of(transformers.CLIPModel(config)) == Grid(3, 3, 1, CLASS)
    model = torchvision.models.VisionTransformer(
        image_size=21, patch_size=7, num_layers=1, num_heads=3, hidden_dim=12, mlp_dim=7
    ).eval()
    assert grid_of(model) == Grid(3, 3, 1, CLASS)
    assert recorded_tokens(model, 21, 21) == 10


def transformers_swin() -> nn.Module:
    config = transformers.SwinConfig(
        image_size=28, patch_size=7, embed_dim=12, depths=[1], num_heads=[3], window_size=2
    )
    model: nn.Module = transformers.SwinModel(config)
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: timm.models.SwinTransformer(
            img_size=28, patch_size=7, embed_dim=12, depths=(1,), num_heads=(3,), window_size=2
        ),
        lambda: transformers_model("Yolos", image_size=[21, 35], num_detection_tokens=2),
        transformers_swin,
        lambda: nn.Linear(16, 16),
    ],
    ids=["timm windows", "tokens after the patches", "transformers windows", "no grid"],
)
def test_a_model_without_one_grid_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(ConfigError, match=r"give it by hand: Grid\(rows, columns"):
        grid_of(make())
