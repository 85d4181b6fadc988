"""How our backends compare with the compiled public way on excerpts of every case, from the result files alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.suite_tables import Row, seconds, table_row, title

COMPILED = ("public-compile", "public-autocast-compile")
"""The peer of each dtype: under torch.compile, and in half precision under autocast too."""

GROUP = ("suite", "model", "lr", "batch", "scattered", "dtype")
"""What makes a line of the table; outputs are its columns."""


class Compared(NamedTuple):
    """One of our backends on one case."""

    row: Row
    ratio: float
    """The peer's median time over ours."""


def compared(rows: Iterable[Row]) -> list[Compared]:
    """Every excerpt that both one of our backends and the compiled public way were timed on."""
    good = [row for row in rows if row.get("excerpt") and not row.get("error")]
    peers = {row["case"]: row for row in good if row["contestant"] in COMPILED}
    return [
        Compared(row, peers[row["case"]]["quartiles_s"][1] / row["quartiles_s"][1])
        for row in good
        if row["case"] in peers and not row["contestant"].startswith("public")
    ]


def summary(found: list[Compared], where: str) -> str:
    """Of each of our backends: on how many cases it is how much faster in each dtype; `where` all of them stand."""
    ratios: dict[str, dict[str, list[float]]] = {}
    for each in found:
        ratios.setdefault(each.row["contestant"], {}).setdefault(each.row["dtype"], []).append(each.ratio)
    sentences = []
    for name, by_dtype in ratios.items():
        ranges = [
            f"{min(mine):.2f} to {max(mine):.2f} times in {dtype} (median {statistics.median(mine):.2f})"
            for dtype, mine in sorted(by_dtype.items())
        ]
        count = sum(map(len, by_dtype.values()))
        sentences.append(
            f"On excerpts of {count} cases ({where}) {title(name)} has the speed of the public way under torch.compile "
            f"(in half precision with autocast) {', '.join(ranges)}. The LR map, made once for all queries of an image,"
            " weighs more in an excerpt than in the whole."
        )
    return " ".join(sentences)


def excerpt_table(found: list[Compared]) -> list[str]:
    """Lines of the table: how many times faster ours is, and its median time; random queries have a column."""
    lines: dict[tuple[str, ...], dict[str, Compared]] = {}
    for each in found:
        key = (*(str(each.row[name]) for name in GROUP), each.row["contestant"])
        lines.setdefault(key, {})[_column(each.row)] = each
    columns = sorted({column for cells in lines.values() for column in cells}, key=lambda name: (len(name), name))
    head = ["suite", "model", "LR", "images", "dtype", "backend", *columns]
    table = [table_row(head), table_row(["---"] * len(head))]
    for cells in lines.values():
        row = next(iter(cells.values())).row
        facts = [row["suite"], row["model"], " x ".join(map(str, row["lr"])), str(row["batch"]), row["dtype"]]
        told = [f"{cells[name].ratio:.2f} x ({_median(cells[name])})" if name in cells else "" for name in columns]
        table.append(table_row([*facts, title(row["contestant"]), *told]))
    return table


def excerpt_page(found: list[Compared]) -> str:
    """The whole page: how it was measured, then the table."""
    machine = found[0].row["machine"]
    lines = [
        "# Every case, an excerpt of each",
        "",
        "How many times faster our backend is than the public way under torch.compile (in half precision with "
        "autocast), and its median time in brackets. Timed were only some rows in the middle of each output, or some "
        "of the random queries, as the result file says. The LR map, made once for all queries of an image by ours, "
        f"weighs more in an excerpt than in the whole. On {machine['processor']}, {machine['threads']} thread"
        f"{'s' * (machine['threads'] > 1)}, torch {machine['torch']}, {machine['date'][:10]}. Made by `python -m "
        "benchmarks report`.",
        "",
        *excerpt_table(found),
    ]
    return "\n".join(lines) + "\n"


def _column(row: Row) -> str:
    return "random" if row["scattered"] else " x ".join(map(str, row["output"]))


def _median(each: Compared) -> str:
    return seconds(each.row["quartiles_s"][1])
