"""The 17 claims: `c01_…` to `c17_…`, one claim a file, each with a `STUDY`."""
