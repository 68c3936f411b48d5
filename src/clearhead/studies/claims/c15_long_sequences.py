"""C15: attention works in parallel and efficiently for long sequences.

Vaswani et al. 2017: a layer of attention takes O(n² d) operations in O(1) sequential steps, a
recurrent layer O(n d²) in O(n). Rabe and Staats 2021 and Dao et al. 2022 avoid the n × n matrix in
memory, not its operations. "In parallel" is the longest chain of dependent operations;
"efficiently" means that twice the length costs about twice as much, an exponent of at most 1.2.
That this fails for time, and for memory of the explicit formula, follows from n² beforehand.

Exponents are slopes over all lengths and describe no power law: constant costs dominate short
sequences, and a matrix beyond the cache costs more than its size. The LSTM's memory is not judged,
because buffers of oneDNN are not counted, nor the gain by a second thread.
"""

from clearhead.studies import Cell, Grid, Hypothesis, PerBudget, Study, bound, exact, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import cost
from clearhead.studies.measures.cost import CONDITIONS, MEASURES

LENGTHS = (512, 1024, 2048, 4096, 8192)
SETTINGS = {
    "lengths": PerBudget(quick=LENGTHS[:-1], full=LENGTHS),
    "chain_lengths": (16, 32, 64, 128),
    "repeats": PerBudget(quick=2, full=5),
    "gain_length": 2_048,
    "width": 64,
}
EFFICIENT, PARALLEL = 1.2, 0.1  # largest exponents


def exponent(condition: str, measure: str, high: float = EFFICIENT) -> Hypothesis:
    """An exponent of at most `high`; the chain's follows from the formula."""
    cell = Cell(condition, cost.growth(cost.exponent, measure))
    name, unit = f"{condition} attention: exponent of {MEASURES[measure]}", "power of n"
    return (exact if measure == "chain" else bound)(name, unit, cell, high=high)


HYPOTHESES = {
    "the chain of operations does not grow": exponent("explicit", "chain", PARALLEL),
    "streamed, memory grows as the sequence": exponent("streamed", "bytes"),
    "fused, time grows as the sequence": exponent("fused", "seconds"),
    "by the formula, memory grows as the sequence": exponent("explicit", "bytes"),
}

STUDY = Study(
    **words(__name__),
    seeds={"quick": 4, "full": 12},
    grid=(Grid(CONDITIONS, cost.costs_by_length, SETTINGS),),
    parts=parts(HYPOTHESES),
    panels=cost.PANELS,
    summaries=cost.SUMMARIES,
    labels={"recurrent": "LSTM"},
    exclusive=True,
)
