"""One recording of `generate()`: every step, and all steps of a layer as one matrix."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import clearhead as ch
from clearhead.errors import CaptureError, UnfaithfulCaptureError
from clearhead.recording import AttentionRecord
from tests.marks import slow_after

from .models import T5, bart, gpt2, gpt_oss, hf_model, llama
from .reference import assert_close, attention, generator, normal, storages

PROMPT = torch.randint(5, 90, (2, 7), generator=generator())
PADDING = torch.ones_like(PROMPT)
PADDING[0, :3] = 0
NEW = 4
BART: dict[str, Any] = {"decoder_start_token_id": 2, "forced_eos_token_id": None}


def soft_caps() -> Any:
    return llama("Gemma2ForCausalLM", head_dim=8, attn_logit_softcapping=2.0, sliding_window=4)


def t5() -> Any:
    return hf_model("T5ForConditionalGeneration", **T5, decoder_start_token_id=0)


def bloom() -> Any:
    return hf_model("BloomForCausalLM", hidden_size=24, n_layer=2, n_head=3)


def sliding_window(size: int) -> Any:
    return llama("MistralForCausalLM", sliding_window=size)


def generate(model: Any, **options: Any) -> Any:
    fixed = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
    options = {"attention_mask": PADDING, **fixed, **options}
    return model.generate(PROMPT, return_dict_in_generate=True, **options)


def reference(model: Any, field: str, **options: Any) -> list[Tensor]:
    """For each layer the last row of each step, over all tokens, as the library returns them."""
    model.set_attn_implementation("eager")
    steps = generate(model, output_attentions=True, **options)[field]
    total = max(layers[0].shape[-1] for layers in steps)
    rows = []
    for number, layers in enumerate(steps):
        seen = PROMPT.shape[1] + number if field == "attentions" else layers[0].shape[-1]
        for row in (x[..., -1:, :] for x in layers):
            start = max(0, seen - row.shape[-1])  # sliding windows keep the last keys
            ends = (start, PROMPT.shape[1] + NEW - 1 - seen) if field == "attentions" else (0, 0)
            rows.append(torch.nn.functional.pad(row, ends) if ends[0] + ends[1] else row)
    width = max(x.shape[-1] for x in rows)
    rows = [torch.nn.functional.pad(x, (0, width - x.shape[-1])) for x in rows]
    assert total <= width
    count = len(steps[0])
    return [torch.cat(rows[layer::count], dim=-2) for layer in range(count)]


@pytest.mark.parametrize(
    ("build", "implementations"),
    [
        (gpt2, ("eager", "sdpa")),
        (llama, ("eager", "sdpa")),
        (lambda: sliding_window(4), ("eager", "sdpa")),
        (soft_caps, ("eager",)),
        (lambda: gpt_oss("GptOssForCausalLM", sliding_window=128), ("eager",)),
    ],
    ids=["gpt2", "grouped queries", "sliding window", "soft caps", "sinks"],
)
@pytest.mark.parametrize("padded", slow_after(1, [True, False]))
def test_each_new_token_in_a_decoder(
    build: Callable[[], Any], implementations: tuple[str, ...], padded: bool
) -> None:
    model = build()
    mask = PADDING if padded else torch.ones_like(PADDING)
    expected = reference(model, "attentions", attention_mask=mask)
    for implementation in implementations:
        model.set_attn_implementation(implementation)
        with ch.capture() as recording:
            generate(model, attention_mask=mask)
        joined = recording.generated()
        joined.verify()
        assert joined.names == recording.names[:2]
        for record, weights in zip(joined.records, expected, strict=True):
            assert record.shape == (2, weights.shape[1], NEW, PROMPT.shape[1] + NEW - 1)
            applied = record.applied_weights
            torch.testing.assert_close(applied.double(), weights.double(), atol=3e-5, rtol=0.0)
            hidden = (record.masked == -torch.inf)[..., : weights.shape[-1]]
            assert hidden[:, :, 0, PROMPT.shape[1] :].all()


@pytest.mark.parametrize(
    ("build", "paths"),
    [
        (
            t5,
            ("decoder.block.*.layer.0.*", "decoder.block.*.layer.1.*"),
        ),
        pytest.param(
            lambda: bart("BartForConditionalGeneration", **BART),
            ("*decoder.layers.*.self_attn*", "*decoder.layers.*.encoder_attn*"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["T5", "BART"],
)
def test_each_new_token_in_an_encoder_and_decoder(
    build: Callable[[], Any], paths: tuple[str, str]
) -> None:
    model = build()
    fields = ("decoder_attentions", "cross_attentions")
    expected = {field: reference(model, field) for field in fields}
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        for path, field in zip(paths, fields, strict=True):
            with ch.capture(path) as recording:
                generate(model)
            joined = recording.generated()
            joined.verify()
            assert len(joined) == 2
            for record, weights in zip(joined.records, expected[field], strict=True):
                torch.testing.assert_close(record.weights, weights, atol=1e-6, rtol=0.0)


def test_an_encoder_is_left_out() -> None:
    with ch.capture() as recording:
        generate(bart("BartForConditionalGeneration", **BART))
    assert any(".encoder." in name for name in recording)
    assert not any(".encoder." in name for name in recording.generated())


def test_two_attentions_of_a_module_in_each_step_share_their_keys_and_values() -> None:
    model = llama("DiffLlamaForCausalLM").eval()
    with ch.capture(gradients=True) as separate:  # without sharing
        generate(model)
    with ch.capture() as recording:
        generate(model)
    for name in ("key", "value", "weights", "output"):
        for one, other in zip(recording.records, separate.records, strict=True):
            assert torch.equal(getattr(one, name), getattr(other, name))
    last = [x for x in recording.records if x.name.startswith("model.layers.1")]
    assert len(last) == 2 * NEW
    for name in ("key", "value"):
        assert len({getattr(x, name).untyped_storage().data_ptr() for x in last[2:]}) <= 2
    recording.verify()


def test_keys_and_values_of_all_steps_take_the_memory_of_the_last() -> None:
    model = llama()
    model.set_attn_implementation("sdpa")
    with ch.capture(layers="*1.self_attn") as recording:
        generate(model)
    recording.verify()
    storages = {x.key.untyped_storage().data_ptr() for x in recording.records[1:]}
    assert len(storages) == 1
    assert [x.shape[-1] for x in recording.records] == [7, 8, 9, 10]


@pytest.mark.parametrize("implementation", slow_after(1, ["eager", "sdpa"]))
@pytest.mark.parametrize(
    "build",
    slow_after(
        2, [llama, lambda: sliding_window(8), t5, bloom, lambda: llama("DiffLlamaForCausalLM")]
    ),
    ids=["grouped queries", "sliding window", "T5", "ALiBi", "two attentions"],
)
def test_memory_grows_with_the_tokens_and_not_with_their_square(
    build: Callable[[], Any], implementation: str
) -> None:
    model = build()
    model.set_attn_implementation(implementation)
    sizes = []
    for new in (2, 4, 8):
        block = ch.capture()
        with block as recording:
            generate(model, max_new_tokens=new, min_new_tokens=new)
            inside = sum(storages(block._records).values())
        after, joined = (storages(x._records) for x in (recording, recording.generated()))
        sizes.append((inside, sum(after.values()), sum((after | joined).values())))
    last = [record for name, record in recording.items() if name.endswith(f"#{new}")]
    tensors = (x for record in last for x in (record.query, record.output))
    caches = (x[..., :1, :] for record in last for x in (record.key, record.value))
    per_token = sum(x.nbytes for x in (*tensors, *caches))  # at least; queries may be views
    for limit, (first, second, third) in zip(
        (2.0, 2.0, 4.0), zip(*sizes, strict=True), strict=True
    ):
        assert third - second <= 2.05 * (second - first)
        assert third - second <= limit * 4 * per_token


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "build",
    slow_after(2, [t5, bloom, lambda: bart("BartForConditionalGeneration", **BART)]),
    ids=["relative positions", "ALiBi", "padding"],
)
def test_masks_and_biases_of_all_steps_take_the_memory_of_the_last(
    build: Callable[[], Any], implementation: str
) -> None:
    model = build()
    with ch.capture(gradients=True) as separate:  # without sharing
        model.set_attn_implementation(implementation)
        generate(model)
    block = ch.capture()
    with block as recording:
        generate(model)
        inside = mask_storages(block._records)
    for name, record in recording.items():
        expected = separate[name].weights
        torch.testing.assert_close(record.weights, expected, atol=0, rtol=0, equal_nan=True)
    for by_path in (inside, mask_storages(recording)):
        assert by_path
        assert all(len(of) <= 2 for of in by_path.values())


def mask_storages(records: Mapping[str, AttentionRecord]) -> dict[str, set[int]]:
    """For each module, the storages of its masks and biases, without those of the first step."""
    by_path: dict[str, set[int]] = {}
    for name, record in records.items():
        path, _, call = name.partition("#")
        if call and "encoder.block" not in path:  # the first step has other rows
            steps = (x for step in record.pre_softmax for x in step.tensors())
            tensors = [x for x in (record.attn_mask, *steps) if x is not None and x.dim()]
            data = {x.untyped_storage().data_ptr() for x in tensors if x.numel()}
            by_path.setdefault(path, set()).update(data)
    return by_path


def test_a_mask_that_is_changed_after_its_step_is_detected_in_all_steps_that_share_it() -> None:
    mask = torch.zeros(1, 1, 1, NEW, dtype=torch.float64)
    q, k, v = (normal(2, 3, NEW, 11, seed=seed) for seed in (1, 2, 3))
    with ch.capture() as recording:
        for step in range(1, NEW + 1):
            parts = (q[:, :, step - 1 : step], k[:, :, :step], v[:, :, :step])
            F.scaled_dot_product_attention(*parts, attn_mask=mask[..., :step].clone())
    recording.verify()
    last = recording[-1].attn_mask
    assert last is not None
    last.add_(1.0)
    for record in recording.records:
        with pytest.raises(UnfaithfulCaptureError):
            record.check_not_modified()


def test_steps_with_a_mask_that_is_one_number() -> None:
    q, k, v = (normal(1, 2, NEW, 5, seed=seed) for seed in (1, 2, 3))
    low, allowed = torch.tensor(-torch.inf, dtype=torch.float64), torch.arange(NEW) != 1
    with ch.capture() as recording:
        for count in (3, NEW):
            scores = q[:, :, :1] @ k[:, :, :count].mT
            torch.where(allowed[:count], scores, low).softmax(-1) @ v[:, :, :count]
    recording.verify()
    assert [record.key.untyped_storage().nbytes() for record in recording.records] == [k.nbytes] * 2


def test_a_static_cache_is_recorded_from_copies() -> None:
    model = llama()
    expected = reference(model, "attentions")
    model.set_attn_implementation("sdpa")
    with ch.capture(copies=True) as recording:
        generate(model, cache_implementation="static", disable_compile=True)
    joined = recording.generated()
    joined.verify()
    for record, weights in zip(joined.records, expected, strict=True):
        torch.testing.assert_close(record.weights, weights, atol=3e-5, rtol=0.0)
    with ch.capture() as recording:
        generate(model, cache_implementation="static", disable_compile=True)
    with pytest.raises(CaptureError, match="copies"):
        recording.generated()


@pytest.mark.parametrize(
    "options",
    [{"num_beams": 3}, {"use_cache": False}, {"max_new_tokens": 1, "min_new_tokens": 1}],
    ids=["beams", "no cache", "one step"],
)
def test_steps_that_do_not_continue_one_another_are_refused(options: Any) -> None:
    model = gpt2("sdpa")
    with ch.capture() as recording:
        generate(model, **options)
    with pytest.raises(CaptureError, match=r"generate\(\)"):
        recording.generated()


def test_two_generations_are_refused() -> None:
    model = gpt2("sdpa")
    with ch.capture() as recording:
        generate(model)
        generate(model)
    with pytest.raises(CaptureError, match="one call of generate"):
        recording.generated()


def test_steps_of_different_scales_are_refused() -> None:
    query, key, value = normal(3, 1, 2, 5, 4)
    q, k, v = (x[..., :4, :] for x in (query, key, value))
    with ch.capture() as recording:
        F.scaled_dot_product_attention(q, k, v, is_causal=True)
        F.scaled_dot_product_attention(query[..., -1:, :], key, value, scale=0.3)
    with pytest.raises(CaptureError, match="its scale differs"):
        recording.generated()


def test_a_prompt_in_several_steps_is_refused() -> None:
    with ch.capture() as recording:
        generate(llama(), prefill_chunk_size=3)
    with pytest.raises(CaptureError, match="prefill_chunk_size"):
        recording.generated()


def test_steps_may_repeat_the_keys_that_the_first_step_shares_among_heads() -> None:
    query, key, value = (normal(1, heads, 5, 4, seed=heads) for heads in (6, 3, 3))
    repeated = [x.repeat_interleave(2, dim=1) for x in (key, value)]
    with ch.capture() as recording:
        q, k, v = (x[..., :3, :] for x in (query, key, value))
        F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        for count in (4, 5):
            q, k, v = (x[..., :count, :] for x in (query, *repeated))
            F.scaled_dot_product_attention(q[..., -1:, :], k, v)
    (record,) = recording.generated().records
    assert record.weights.shape == (1, 6, 3, 5)
    assert_close(
        record.weights, attention(query, repeated[0], repeated[1], causal=True).weights[..., 2:, :]
    )
    repeated[0].zero_()
    with pytest.raises(UnfaithfulCaptureError):
        recording.generated()


@pytest.mark.parametrize("prompt", [7, 1])
def test_a_module_may_compute_two_attentions_in_each_step(prompt: int) -> None:
    model = llama("DiffLlamaForCausalLM")
    model.set_attn_implementation("sdpa")
    with ch.capture() as recording:
        model.generate(PROMPT[:, :prompt], max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
    joined = recording.generated()
    joined.verify()
    assert joined.names == recording.names[:4]
    for number, record in enumerate(joined.records):
        last = recording[f"{record.name.partition('#')[0]}#{2 * NEW - 1 + number % 2}"].weights
        assert_close(record.weights[:, :, -1:], last, torch.float32)


def test_changed_queries_of_an_earlier_step_are_noticed() -> None:
    q, k, v = torch.randn(3, 1, 1, 4, 8)
    first, attend = q[..., :1, :].clone(), torch.nn.functional.scaled_dot_product_attention
    with ch.capture() as recording:
        attend(first, k[..., :2, :], v[..., :2, :])
        attend(q[..., 2:3, :], k[..., :3, :], v[..., :3, :])
        attend(q[..., 3:4, :], k, v)
        first.zero_()
    assert_close(recording["attention#2"].key, k[..., :3, :])
    with pytest.raises(ch.errors.UnfaithfulCaptureError):
        recording["attention"].check_not_modified()


def test_calls_with_tensors_without_data_are_recorded() -> None:
    query = torch.empty(2, 3, 5, 4, device="meta")
    with ch.capture() as recording:
        for _ in range(2):
            F.scaled_dot_product_attention(query, query, query)
    assert [record.shape for record in recording.records] == [(2, 3, 5, 5)] * 2
    assert recording[0].weights.shape == (2, 3, 5, 5)
