"""C15: attention works in parallel and efficiently for long sequences.

Vaswani et al. 2017 (arXiv 1706.03762, table 1): a layer of attention takes O(n² d) operations in
O(1) steps that wait for one another, a recurrent layer O(n d²) in O(n). Rabe and Staats 2021 (arXiv
2112.05682) and Dao et al. 2022 (FlashAttention, arXiv 2205.14135) do away with the n × n matrix in
memory, not with its operations.

Measured for one head of 64 components, batch 1, float32, one thread, forward only: processor time
and memory against n for the explicit formula, torch's fused kernel and a streamed one in plain
PyTorch, beside an LSTM of the same width (with its projections, which attention here is spared).
Memory is the peak of what torch's allocator held, by torch's profiler, the result included and the
inputs not; buffers that oneDNN takes past the allocator are not seen, so the LSTM's is not judged.
Exponents are slopes of log against log over all lengths; they describe no power law. What a call
always costs hides n where it is short, and a matrix that no longer fits the cache costs more than
its size, so slopes from one length to the next are told as well (since a first full run, in which
nothing of what decides was changed). "In parallel" is the longest chain of operations that wait
for one another, and, described only, the gain from a second thread: for that alone a trial takes
two threads.

"Efficiently" is read as: twice the sequence costs about twice as much, an exponent of at most 1.2.
That this fails for time, and for the explicit formula's memory, follows from n² before anything is
measured; a fused kernel takes the same n² operations and gains by a factor, not by a power. It
cannot say where attention pays on other hardware.

Cost: quick 60, full about 360 seconds, in which nothing else may run (`exclusive`). Times differ
from run to run.
"""

import os
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student_t
from torch import Tensor, nn

from clearhead import attention
from clearhead.insight.plots import KEY, MUTED, OUTLINE, QUERY, VALUE, new_figure
from clearhead.studies._unconverted import Check, Evidence, Study, outcomes_of
from clearhead.studies.measures.cost import (
    longest_chain,
    peak_bytes,
    processor_seconds,
    speedup,
    streamed_attention,
)
from clearhead.studies.table import Budget, Outcome, Trial, Values

WIDTH = 64
ARMS = {"explicit": KEY, "fused": QUERY, "streamed": VALUE, "recurrent": OUTLINE}
LENGTHS = {"quick": (512, 1024, 2048, 4096), "full": (512, 1024, 2048, 4096, 8192)}
CHAIN_LENGTHS = (16, 32, 64, 128)
REPEATS = {"quick": 2, "full": 5}
GAIN_LENGTH = 2_048
THREADS = 2
# The LSTM's memory is not all seen, a fused kernel's chain not at all, and the streamed one's grows
# only from one block of keys to the next.
DRAWN = {
    "explicit": ("seconds", "bytes", "chain"),
    "fused": ("seconds", "bytes"),
    "streamed": ("seconds", "bytes"),
    "recurrent": ("seconds", "chain"),
}

EFFICIENT = 1.2
IN_PARALLEL = 0.1

Layer = Callable[[Tensor], Any]


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Each way to attend, and a recurrent layer, over all lengths in one trial."""
    settings = {
        "lengths": LENGTHS[budget],
        "chain_lengths": CHAIN_LENGTHS,
        "repeats": REPEATS[budget],
        "gain_length": GAIN_LENGTH,
        "width": WIDTH,
    }
    return tuple(
        Trial(study=STUDY.name, condition=arm, seed=seed, settings=settings)
        for seed in seeds
        for arm in ARMS
    )


def run(trial: Trial) -> Values:
    """Seconds and bytes for each length; the chain for each short one; the gain from threads."""
    settings, generator = trial.settings, torch.Generator().manual_seed(trial.seed)
    width, lengths = settings["width"], list(settings["lengths"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        layer = _layer(trial.condition, width)
    seconds, held, gain = [], [], None
    with torch.no_grad():
        for length in lengths:
            x = torch.randn(1, length, width, generator=generator)
            seconds.append(processor_seconds(lambda x=x: layer(x), settings["repeats"]))  # type: ignore[misc]
            held.append(peak_bytes(lambda x=x: layer(x)))  # type: ignore[misc]
        if cores() >= THREADS:
            x = torch.randn(1, settings["gain_length"], width, generator=generator)
            gain = speedup(lambda: layer(x), settings["repeats"], THREADS)
    chain = [_chain(trial.condition, length, width) for length in settings["chain_lengths"]]
    return {
        "lengths": lengths,
        "seconds": seconds,
        "bytes": held,
        "chain_lengths": list(settings["chain_lengths"]),
        "chain": chain,
        "gain": gain,
        "cores": cores(),
    }


def cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _layer(arm: str, width: int) -> Layer:
    if arm == "recurrent":
        layer: nn.Module = nn.LSTM(width, width, batch_first=True)
        return layer
    attends: dict[str, Callable[..., Any]] = {
        "explicit": lambda q, k, v: attention.attention_stages(q, k, v).context,
        "fused": nn.functional.scaled_dot_product_attention,
        "streamed": streamed_attention,
    }
    attend = attends[arm]
    # with an axis of heads: without one torch falls back on the explicit formula
    return lambda x: attend(x[:, None], x[:, None], x[:, None])


def _chain(arm: str, length: int, width: int) -> int:
    """The LSTM step by step: as one kernel it would hide its steps."""
    x = torch.zeros(1, length, width, requires_grad=True)
    if arm != "recurrent":
        result: Tensor = _layer(arm, width)(x)
        return longest_chain(result)
    cell = nn.LSTMCell(width, width)
    hidden = memory = torch.zeros(1, width)
    for step in x.unbind(dim=1):
        hidden, memory = cell(step, (hidden, memory))
    return longest_chain(hidden)


def exponent(lengths: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost against log length, by least squares."""
    return float(np.polyfit(np.log(lengths), np.log(costs), 1)[0])


def local_slopes(lengths: Sequence[float], costs: Sequence[float]) -> list[float]:
    """The same from each length to the next."""
    return [float(x) for x in np.diff(np.log(costs)) / np.diff(np.log(lengths))]


def interval(numbers: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean over seeds."""
    mean = statistics.fmean(numbers)
    if len(numbers) < 2:
        return mean, mean
    error = statistics.stdev(numbers) / len(numbers) ** 0.5
    reach = float(student_t.ppf((1 + confidence) / 2, len(numbers) - 1)) * error
    return mean - reach, mean + reach


def evidence(outcomes: Sequence[Outcome]) -> tuple[Evidence, ...]:
    """Time of the fastest way, memory of the leanest, and the chain of the plain formula."""
    return (
        Check(
            name="explicit attention: exponent of the longest chain of waiting operations",
            unit="power of n",
            values=_exponents(outcomes, "explicit", "chain"),
            high=IN_PARALLEL,
        ),
        Check(
            name="streamed attention: exponent of memory",
            unit="power of n",
            values=_exponents(outcomes, "streamed", "bytes"),
            high=EFFICIENT,
        ),
        Check(
            name="fused attention: exponent of processor time",
            unit="power of n",
            values=_exponents(outcomes, "fused", "seconds"),
            high=EFFICIENT,
        ),
        Check(
            name="explicit attention: exponent of memory",
            unit="power of n",
            values=_exponents(outcomes, "explicit", "bytes"),
            high=EFFICIENT,
        ),
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Time, memory, and what waits for what."""
    first = outcomes_of(outcomes, "fused")[0].values
    shortest, longest = first["lengths"][0], first["lengths"][-1]
    arms = ("explicit", "fused", "streamed")
    times = ", ".join(f"{arm} {_told(outcomes, arm, 'seconds')}" for arm in arms)
    memory = ", ".join(f"{arm} {_told(outcomes, arm, 'bytes')}" for arm in arms)
    faster = {
        n: _median_seconds(outcomes, "recurrent", n) / _median_seconds(outcomes, "fused", n)
        for n in (shortest, longest)
    }
    chains = {arm: outcomes_of(outcomes, arm)[0].values for arm in ("explicit", "recurrent")}
    least, most = (chains["explicit"]["chain_lengths"][place] for place in (0, -1))
    steps = {arm: (values["chain"][0], values["chain"][-1]) for arm, values in chains.items()}
    gains = {
        arm: [x.values["gain"] for x in outcomes_of(outcomes, arm) if x.values["gain"]]
        for arm in ("fused", "recurrent")
    }
    threads = (
        f"; a second thread made the fused kernel {statistics.median(gains['fused']):.2f} times as "
        f"fast, the LSTM {statistics.median(gains['recurrent']):.2f} times, with whatever else the "
        "machine did then"
        if all(gains.values())
        else ""
    )
    explicit = _median_seconds(outcomes, "explicit", longest)
    slopes = {
        measure: ", ".join(f"{arm} {_slopes(outcomes, arm, measure)}" for arm in arms)
        for measure in ("seconds", "bytes")
    }
    return (
        f"From {shortest:,} to {longest:,} tokens processor time grows as n to the power of "
        f"{times} in a line through all lengths ({slopes['seconds']} from one length to the next); "
        f"an LSTM's of the same width, {_told(outcomes, 'recurrent', 'seconds')}: it takes "
        f"{faster[shortest]:.2f} times the fused kernel's time at {shortest:,} tokens and "
        f"{faster[longest]:.2f} times at {longest:,}, on one thread; more than n follows from the "
        f"formula's n², and the fused kernel's gain is a factor ({longest:,} tokens in "
        f"{_median_seconds(outcomes, 'fused', longest) / explicit:.2f} times the explicit time).",
        f"Memory grows as n to the power of {memory}, and from one length to the next "
        f"{slopes['bytes']}: where these differ, no single power describes it "
        f"({_megabytes(outcomes, 'explicit'):.0f}, {_megabytes(outcomes, 'fused'):.1f} and "
        f"{_megabytes(outcomes, 'streamed'):.1f} MB at {longest:,} tokens).",
        f"From {least} to {most} tokens the longest chain of operations that wait for one another "
        f"goes from {steps['explicit'][0]} to {steps['explicit'][1]} in attention and from "
        f"{steps['recurrent'][0]} to {steps['recurrent'][1]} in an LSTM{threads}.",
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Time, memory and chain against the length, both axes logarithmic."""
    drawing = new_figure(12.0, 4.0)
    panels = (
        ("lengths", "seconds", "processor time of one sequence (s)", 1.0),
        ("lengths", "bytes", "peak memory (MB)", 1e-6),
        ("chain_lengths", "chain", "operations that wait for one another", 1.0),
    )
    for axes, (across, measure, label, unit) in zip(drawing.subplots(1, 3), panels, strict=True):
        for arm, colour in ARMS.items():
            if measure in DRAWN[arm]:
                _draw(axes, outcomes_of(outcomes, arm), across, measure, unit, colour)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("tokens in the sequence (n)")
        axes.set_ylabel(label)
        axes.legend(fontsize=7)
    drawing.suptitle(
        f"One head of {WIDTH} components, batch 1, float32, one thread; grey: ∝ n and ∝ n²",
        fontsize=10,
    )
    return drawing


def _draw(
    axes: Axes, arm: Sequence[Outcome], across: str, measure: str, unit: float, colour: str
) -> None:
    lengths = arm[0].values[across]
    for outcome in arm:
        axes.plot(lengths, [unit * x for x in outcome.values[measure]], ".", color=colour, ms=4)
    middle = [
        unit * statistics.median(x.values[measure][place] for x in arm)
        for place in range(len(lengths))
    ]
    power = statistics.fmean(exponent(lengths, x.values[measure]) for x in arm)
    axes.plot(
        lengths,
        middle,
        color=colour,
        lw=1.2,
        label=f"{arm[0].trial.condition}: n^{round(power, 2) + 0.0:.2f}",
    )
    if arm[0].trial.condition == "explicit" and measure != "chain":
        for slope in (1, 2):
            axes.plot(
                lengths, [middle[0] * (x / lengths[0]) ** slope for x in lengths], MUTED, lw=0.6
            )


def _exponents(outcomes: Sequence[Outcome], arm: str, measure: str) -> tuple[float, ...]:
    across = "chain_lengths" if measure == "chain" else "lengths"
    return tuple(exponent(x.values[across], x.values[measure]) for x in outcomes_of(outcomes, arm))


def _told(outcomes: Sequence[Outcome], arm: str, measure: str) -> str:
    numbers = _exponents(outcomes, arm, measure)
    low, high = interval(numbers)
    return f"{statistics.fmean(numbers):.2f} ({low:.2f} to {high:.2f})"


def _slopes(outcomes: Sequence[Outcome], arm: str, measure: str) -> str:
    """The least and the largest slope between neighbouring lengths, of the medians over seeds."""
    of_arm = [x.values for x in outcomes_of(outcomes, arm)]
    lengths = of_arm[0]["lengths"]
    costs = [statistics.median(x[measure][i] for x in of_arm) for i in range(len(lengths))]
    slopes = local_slopes(lengths, costs)
    return f"{min(slopes):.1f} to {max(slopes):.1f}"


def _median_seconds(outcomes: Sequence[Outcome], arm: str, length: int) -> float:
    of_arm = [x.values for x in outcomes_of(outcomes, arm)]
    return statistics.median(float(x["seconds"][x["lengths"].index(length)]) for x in of_arm)


def _megabytes(outcomes: Sequence[Outcome], arm: str) -> float:
    return float(outcomes_of(outcomes, arm)[0].values["bytes"][-1]) / 1e6


STUDY = Study(
    name="long-sequences",
    claim="C15",
    statement="Attention works in parallel and efficiently for long sequences.",
    hypothesis=(
        "The chain of operations that wait for one another does not grow with the sequence "
        f"(exponent at most {IN_PARALLEL}), and processor time and memory grow about as fast as it "
        f"does (exponents at most {EFFICIENT})."
    ),
    conditions=(
        f"One head of {WIDTH} components, batch 1, float32, forward only, one thread; explicit, "
        "fused (torch) and streamed in plain PyTorch, without projections; beside them an LSTM of "
        "the same width with its own. A sum over all keys counts as one operation."
    ),
    measure=(
        "Processor seconds (least of several runs), peak bytes of torch's allocator by its "
        "profiler, length of the longest chain in the autograd graph; slopes of log against log, "
        "over all lengths and from each to the next."
    ),
    seeds={"quick": 4, "full": 12},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    exclusive=True,
    references=(
        "Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, table 1",
        "Rabe and Staats 2021, Self-attention Does Not Need O(n²) Memory, arXiv 2112.05682",
        "Dao et al. 2022, FlashAttention, arXiv 2205.14135",
    ),
)
