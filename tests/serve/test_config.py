from typing import Any

import pytest

from clearhead.errors import ConfigError
from clearhead.serve.config import ServeConfig


def test_the_defaults_are_safe() -> None:
    config = ServeConfig()
    assert config.host == "127.0.0.1"
    assert config.allowed_hosts == {"127.0.0.1", "localhost", "::1"}
    assert (config.patience, config.decoders) == (10, ServeConfig().decoders)


def test_a_wide_address_does_not_allow_every_host() -> None:
    config = ServeConfig(host="0.0.0.0", allow_host=("Digits.Example",))
    assert config.allowed_hosts == {"127.0.0.1", "localhost", "::1", "0.0.0.0", "digits.example"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"port": -1}, "port"),
        ({"port": 65536}, "port"),
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "é"}, "name"),
        ({"capacity": 0}, "capacity"),
        ({"max_batch": 0}, "max_batch"),
        ({"body_limit": 0}, "body_limit"),
        ({"decoders": 0}, "decoders"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
        ({"patience": float("inf")}, "patience"),
        ({"grace": -1}, "grace"),
        ({"gather": 5.0}, "gather"),
        ({"gather": -0.1}, "gather"),
        ({"drain": 20.0}, "drain"),
    ],
)
def test_a_setting_that_cannot_work_is_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ServeConfig(**settings)
