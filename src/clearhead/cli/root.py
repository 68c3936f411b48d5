"""What becomes of `--root`: the cache is looked into first, and pictures need no files of a set."""

from pathlib import Path


def remark_unread(source: str, root: Path | None) -> None:
    """Say so where a folder was named that will not be read."""
    from clearhead.cli.output import print_remark
    from clearhead.data.datasets import KNOWN
    from clearhead.data.fetch import cache_folder, is_cached

    if root is None:
        return
    if source not in KNOWN:
        print_remark(f"--root is for {' and '.join(KNOWN)}; {root} is not read")
    elif is_cached(KNOWN[source].collection):
        print_remark(f"the cache {cache_folder()} has {source} and comes first; {root} is not read")
