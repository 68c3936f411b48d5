import pytest
from fastapi import HTTPException

from clearhead.serve.admission import MAX_RETRY_AFTER, Admission
from clearhead.serve.metrics import Metrics


@pytest.fixture
def admission() -> Admission:
    return Admission(Metrics(), capacity=2, max_bytes=100)


def test_there_are_as_many_places_as_the_capacity(admission: Admission) -> None:
    with admission.place(), admission.place():
        assert admission.is_full
        with pytest.raises(HTTPException) as refused, admission.place():
            pass
        assert admission.taken == 2
    assert refused.value.status_code == 429
    assert refused.value.headers == {"retry-after": "1"}
    assert (admission.taken, admission.is_full) == (0, False)


def test_a_place_is_given_back_after_a_failure(admission: Admission) -> None:
    with pytest.raises(ZeroDivisionError), admission.place():
        raise ZeroDivisionError
    assert admission.taken == 0


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, 1), (0.2, 1), (1.01, 2), (7, 7), (900, MAX_RETRY_AFTER)]
)
def test_retry_after_is_what_the_last_one_took_in_whole_seconds(
    admission: Admission, seconds: float, expected: int
) -> None:
    admission.last_seconds = seconds
    assert admission.refusal().headers == {"retry-after": str(expected)}


def test_the_bytes_in_memory_are_bounded(admission: Admission) -> None:
    admission.hold(60)
    with pytest.raises(HTTPException) as refused:
        admission.hold(41)
    assert (refused.value.status_code, admission.bytes) == (429, 60)
    admission.hold(40)
    admission.hold(-100)
    assert admission.bytes == 0
