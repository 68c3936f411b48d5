from typing import Any

import pytest

from clearhead.errors import ConfigError
from clearhead.serve.config import ServeConfig


def test_the_defaults_are_safe() -> None:
    config = ServeConfig()
    assert config.host == "127.0.0.1"
    assert config.allowed_hosts == ("127.0.0.1", "localhost", "[::1]", "127.0.0.1")
    assert ServeConfig(host="::1").allowed_hosts[-1] == "[::1]"


def test_a_wide_address_does_not_allow_every_host() -> None:
    config = ServeConfig(host="0.0.0.0", allow_host=("digits.example",))
    assert config.allowed_hosts[-2:] == ("0.0.0.0", "digits.example")
    assert "*" not in config.allowed_hosts


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"port": -1}, "port"),
        ({"port": 65536}, "port"),
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "é"}, "name"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"max_batch": 0}, "max_batch"),
        ({"body_limit": 0}, "body_limit"),
        ({"model_processes": 0}, "model_processes"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
        ({"client_timeout": float("inf")}, "client_timeout"),
        ({"drain_timeout": 0}, "drain_timeout"),
        ({"drain_delay": -1}, "drain_delay"),
        ({"host": 5}, "host"),
        ({"host": ""}, "host"),  # it would be every address of the machine
        ({"host": "ü"}, "host"),
        ({"port": "8000"}, "port"),
        ({"name": 5}, "name"),
        ({"allow_host": 5}, "allow_host"),
        ({"allow_host": (5,)}, "allow_host"),
        ({"max_concurrency": 1.5}, "max_concurrency"),
        ({"max_batch": float("nan")}, "max_batch"),
        ({"model_processes": True}, "model_processes"),
        ({"deadline": None}, "deadline"),
        ({"deadline": "5"}, "deadline"),
        ({"log_level": "loud"}, "log_level"),
        ({"access_log": 1}, "access_log"),
        ({"telemetry": 1}, "telemetry"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be"):
        ServeConfig(**settings)


def test_one_allowed_host_may_be_given_as_a_string() -> None:
    assert "example.org" in ServeConfig(allow_host="example.org").allowed_hosts  # type: ignore[arg-type]
