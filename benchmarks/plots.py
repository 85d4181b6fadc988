"""Plots of the suites, from their result files alone: time and memory against output size, share of the ceiling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pandas import DataFrame

from arasfsr.files import replacing
from benchmarks.tables import NAMES

COLOURS = {"tiled": "#1f6fb4", "triton": "#2b8a3e", "cuda": "#b3261e"}
COLOURS |= {"public": "#888888", "public-autocast": "#888888"}
COLOURS |= {"public-compile": "#c98b2b", "public-autocast-compile": "#c98b2b"}
STYLES = {"float32": "-", "tf32": ":", "bfloat16": "--", "float16": "-."}
LOG: Any = {"xscale": "log", "yscale": "log"}
SHARES: Any = {"xscale": "log", "ylim": (0, 100)}
KINDS: dict[str, tuple[str, float, Any]] = {
    "time": ("median", 1.0, LOG | {"ylabel": "seconds", "title": "Query path from 64 x 64"}),
    "memory": ("peak_bytes", 1e-6, LOG | {"ylabel": "MB above the model", "title": "Peak memory"}),
    "share": ("share", 100.0, SHARES | {"ylabel": "% of the matrix product's rate", "title": "Share of the ceiling"}),
}
"""Of each kind the column, the factor to its unit, and the axes."""


def plotted(rows: DataFrame) -> DataFrame:
    """The rows that plots show, small outputs first: full size, 64 x 64, one grid."""
    found = rows.query("suite == 'query' and model == 'full' and lr == '64 x 64' and batch == 1 and error == ''")
    found = found[(found["excerpt"] == 0) & ~found["scattered"].astype(bool)]
    found = found.sort_values(["contestant", "dtype", "pixels"], kind="stable")
    return found.assign(floor=2 * found["macs"] / found["ceiling_flops"])  # the least time that the ceiling allows


def draw(rows: DataFrame, name: str, folder: Path) -> list[Path]:
    """Write `name`-KIND.svg for each kind of plot; the same rows give the same bytes. None without rows to plot.

    Raises ModuleNotFoundError without matplotlib, which the extra `dev` has.
    """
    found = plotted(rows)
    if found.empty:
        return []
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}-{kind}.svg" for kind in KINDS]
    with matplotlib.rc_context({"svg.hashsalt": "arasfsr", "svg.fonttype": "none", "font.size": 9}):
        for path, (column, factor, look) in zip(paths, KINDS.values(), strict=True):
            figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
            for (contestant, dtype), mine in found.dropna(subset=column).groupby(["contestant", "dtype"]):
                look_of: Any = {"color": COLOURS.get(contestant, "#000000"), "linestyle": STYLES[dtype]}
                label = f"{NAMES.get(contestant, contestant)}, {dtype}"
                axes.plot(mine["pixels"], factor * mine[column], label=label, marker="o", markersize=3, **look_of)
            for dtype, mine in found.groupby("ceiling_dtype", sort=False) if column == "median" else ():
                floor, style = mine.groupby("pixels")["floor"].last(), STYLES[dtype]
                axes.plot(floor, color="black", linewidth=1, linestyle=style, marker="_", label=f"floor ({dtype})")
            axes.set(xlabel="output pixels", **look)
            axes.legend(fontsize=7)
            axes.grid(alpha=0.3)
            with replacing(path) as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
            plt.close(figure)
    return paths
