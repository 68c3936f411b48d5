"""Whether the Hugging Face hub can be reached."""

HUB_TIMEOUT = 5.0


def hub_is_reachable(endpoint: str | None = None) -> bool:
    """Whether the Hugging Face hub can be reached: one request, with a time-out of 5 s.

    The hub's own library retries for half a minute before it falls back on its cache.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(endpoint or constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception:  # noqa: BLE001, the errors of whichever HTTP client the hub's library uses
        return False
    return True
