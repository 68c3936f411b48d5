from ._check import CheckResult as CheckResult
from ._check import check as check
from ._check import given as given
from ._digit import example_digit as example_digit
