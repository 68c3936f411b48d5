"""Tables of benchmarks in the documentation, between two markers, with the machine's name."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
START, END = "<!-- table -->", "<!-- end of table -->"


def write_between_markers(page: str, text: str) -> None:
    """Replace what is between the markers of a page in docs/."""
    path = ROOT / "docs" / page
    document = path.read_text(encoding="utf-8")
    before, after = document.split(START)[0], document.split(END)[1]
    path.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def markdown_table(head: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A Markdown table; all columns but the first `left` are aligned to the right."""
    lines = [" | ".join(head), "|".join(["---"] * left + ["--:"] * (len(head) - left))]
    lines += [" | ".join(row) for row in rows]
    return "\n".join(f"|{line}|" if line.startswith("-") else f"| {line} |" for line in lines)


def processor() -> str:
    """The name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"
