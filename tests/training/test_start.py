"""Fine-tuning: which weights are taken from another model, and which are frozen."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.layers.pos_embed import resample_abs_pos_embed

import clearhead as ch
from clearhead.errors import ConfigError
from clearhead.models import CNNConfig, MLPConfig, build, timm_config, to_timm_state_dict
from clearhead.training import fit, initial_model
from clearhead.training.start import freeze, transfer

from .small_run import MODEL, small_config, small_dataset

NAMED = replace(MODEL, depth=2, class_names=("a", "b", "c"), dropout=0.0, key_dropout=0.0)


def pair(seed: int = 3, start: Any = NAMED, **changes: Any) -> tuple[Any, Any]:
    """A start model, and one with other settings and other random weights."""
    torch.manual_seed(seed)
    return build(start), build(replace(start, **changes))


def test_the_head_keeps_the_rows_of_classes_of_the_same_name() -> None:
    start, model = pair(num_classes=4, class_names=("c", "new", "a", "b"))
    fresh = model.head.weight.detach().clone()
    line = transfer(model, start, "runs/a")
    assert line == "start runs/a: head: 3 of 4 classes, new new; all other weights are taken"
    expected = torch.stack([start.head.weight[2], fresh[1], *start.head.weight[:2]])
    assert torch.equal(model.head.weight, expected)
    for name, tensor in start.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(model.state_dict()[name], tensor), name
    images = torch.randn(5, 1, 6, 6)
    kept = model.eval()(images)[:, [2, 3, 0]]
    torch.testing.assert_close(kept, start.eval()(images))


def test_positions_are_interpolated_as_timm_does() -> None:
    settings = replace(NAMED, image_size=(12, 18), pool="class", num_registers=2)
    start, model = pair(start=settings, image_size=(15, 9))
    line = transfer(model, start)
    assert "positions interpolated from 4 × 6 to 5 × 3" in line
    expected = resample_abs_pos_embed(start.pos_embed, [5, 3], [4, 6], num_prefix_tokens=3)
    torch.testing.assert_close(model.pos_embed, expected)


@pytest.mark.parametrize(("channels", "to"), [(1, 3), (3, 1)])
def test_a_patch_embedding_gives_the_same_for_grey_images_in_other_channels(
    channels: int, to: int
) -> None:
    start, model = pair(start=replace(NAMED, in_channels=channels), in_channels=to)
    assert f"patch embedding: {channels} to {to} channels" in transfer(model, start)
    grey = torch.randn(2, 1, 6, 6)
    found, expected = (
        x.eval()(grey.expand(-1, x.config.in_channels, -1, -1)) for x in (model, start)
    )
    torch.testing.assert_close(found, expected)


def test_a_baseline_is_fine_tuned_at_another_size() -> None:
    settings = MLPConfig(image_size=6, patch_size=3, embed_dim=20, depth=2, num_classes=3)
    start, model = pair(start=settings, image_size=9)
    line = transfer(model, start)
    assert line == (
        "start the start model: positions interpolated from 2 × 2 to 3 × 3; all other weights are "
        "taken"
    )
    middle = start.pos_embed.mean(1)
    torch.testing.assert_close(model.pos_embed[:, 4], middle, atol=1e-6, rtol=0)


def test_positions_of_patches_are_copied_where_the_number_of_registers_differs() -> None:
    start, model = pair(start=replace(NAMED, num_registers=2), num_registers=1)
    own = model.pos_embed[:, :1].detach().clone()
    transfer(model, start)
    assert torch.equal(model.pos_embed[:, 1:], start.pos_embed[:, 2:])
    assert torch.equal(model.pos_embed[:, :1], own)


def test_what_does_not_fit_is_named_and_new() -> None:
    start, model = pair(depth=4, patch_size=2, image_size=4)
    fresh = model.blocks[2].mlp.fc1.weight.detach().clone()
    line = transfer(model, start)
    assert line.endswith(
        "do not fit and are new: patch_embed, blocks.2, blocks.3; all other weights are taken"
    )
    assert torch.equal(model.blocks[1].mlp.fc1.weight, start.blocks[1].mlp.fc1.weight)
    assert torch.equal(model.blocks[2].mlp.fc1.weight, fresh)


def test_a_start_model_of_which_nothing_fits_is_an_error() -> None:
    start, model = pair(embed_dim=10)
    with pytest.raises(ConfigError, match=r"no weights of x fit .*embed_dim 20 instead of 10"):
        transfer(model, start, "x")
    start, model = pair(start=replace(NAMED, num_registers=2), embed_dim=10, num_registers=1)
    with pytest.raises(ConfigError, match=r"no weights of x fit .*embed_dim 20 instead of 10"):
        transfer(model, start, "x")
    cnn = build(CNNConfig(image_size=6, num_classes=3, widths=(5, 7)))
    with pytest.raises(ConfigError, match="other model settings"):
        initial_model(small_config(), cnn)


def test_frozen_parameters_keep_their_values_and_the_others_train() -> None:
    start, _ = pair()
    config = small_config(2, model=NAMED, freeze=("blocks.0.*", "patch_embed.*", "pos_embed"))
    result = fit(config, small_dataset(), model=start).result
    assert all(parameter.requires_grad for parameter in result.parameters())
    before, after = start.state_dict(), result.state_dict()
    frozen = {name for name in before if torch.equal(before[name], after[name])}
    assert frozen == {
        name for name in before if name.startswith(("blocks.0.", "patch_embed.", "pos_embed"))
    }


@pytest.mark.parametrize("patterns", [("blocks.*",), ("blocks.*", "norm.*", "*embed*")])
def test_only_the_rest_is_trained_with_one_optimizer_or_two(patterns: tuple[str, ...]) -> None:
    start, _ = pair()
    result: Any = fit(
        small_config(1, model=NAMED, freeze=patterns), small_dataset(), model=start
    ).result
    assert torch.equal(result.blocks[0].mlp.fc1.weight, start.blocks[0].mlp.fc1.weight)
    assert not torch.equal(result.head.weight, start.head.weight)


@pytest.mark.parametrize(
    ("patterns", "reason"),
    [(("block.*",), "no parameter is named 'block.*'; they begin with"), (("*",), "no parameter")],
)
def test_patterns_that_match_nothing_or_everything_are_refused(
    patterns: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        freeze(build(MODEL), patterns)
    assert reason in str(caught.value)


def test_a_recipe_takes_the_model_of_its_start_with_another_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"device": "cpu", "compile": False, "epochs": 1}
    small = {"embed_dim": 20, "num_heads": 5, "depth": 2, "pool": "class"}
    first = ch.train(
        "quick", data=small_dataset(200), out=tmp_path / "first", model=small, **options
    )
    assert first.config.model.pool == "class"  # type: ignore[union-attr]
    assert "6 × 6 pixels, grey, in patches of 2 × 2" in capsys.readouterr().err
    more = small_dataset(200)
    labels = torch.where(torch.arange(200) % 2 == 0, more.labels, 3)
    more = replace(more, labels=labels, class_names=("a", "b", "c", "z"))
    second = ch.train(
        "quick", data=more, start=str(tmp_path / "first"), out=tmp_path / "second", **options
    )
    error = capsys.readouterr().err
    assert "head: 3 of 4 classes, new z; all other weights are taken" in error
    expected = replace(first.config.model, class_names=more.class_names, num_classes=4)  # type: ignore[arg-type]
    found = second.config.model
    assert found == replace(expected, mean=found.mean, std=found.std)  # type: ignore[arg-type, union-attr]


def test_a_checkpoint_of_timm_is_a_start_model(tmp_path: Path) -> None:
    start, _ = pair()
    save_file(to_timm_state_dict(start), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(timm_config(NAMED)))
    model = initial_model(small_config(model=NAMED, start=f"timm:{tmp_path}"))
    for name, tensor in start.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
