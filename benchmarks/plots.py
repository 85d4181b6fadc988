"""Plots of the suites, from their result files alone: time and memory against output size, share of the ceiling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pandas import DataFrame

from arasfsr.atomic import replacing
from benchmarks.tables import NAMES, whole

COLOURS = {
    "public": "#888888",
    "public-compile": "#c98b2b",
    "public-autocast": "#888888",
    "public-autocast-compile": "#c98b2b",
    "tiled": "#1f6fb4",
    "triton": "#2b8a3e",
    "cuda": "#b3261e",
}
STYLES = {"float32": "-", "tf32": ":", "bfloat16": "--", "float16": "-."}
LOGARITHMIC: dict[str, Any] = {"xscale": "log", "yscale": "log"}
KINDS: dict[str, tuple[str, float, dict[str, Any]]] = {
    "time": ("median", 1.0, LOGARITHMIC | {"ylabel": "seconds", "title": "Query path from 64 x 64"}),
    "memory": ("peak_bytes", 1e-6, LOGARITHMIC | {"ylabel": "MB above the model", "title": "Peak memory"}),
    "share": (
        "share",
        100.0,
        {
            "xscale": "log",
            "ylim": (0, 100),
            "ylabel": "% of the matrix product's rate",
            "title": "Share of the ceiling",
        },
    ),
}
"""Of each kind the column, the factor to its unit, and the axes."""


def plotted(rows: DataFrame) -> DataFrame:
    """The rows that plots show, small outputs first: full size, 64 x 64, one grid."""
    found = whole(rows)
    found = found[(found["suite"] == "query") & (found["model"] == "full") & (found["lr"] == "64 x 64")]
    found = found[(found["batch"] == 1) & ~found["scattered"].astype(bool) & (found["error"] == "")]
    found = found.assign(floor=2 * found["macs"] / found["ceiling_flops"])  # the least time that the ceiling allows
    return found.sort_values(["contestant", "dtype", "pixels"], kind="stable")


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
    settings: Any = {"svg.hashsalt": "arasfsr", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(settings):
        for path, (column, factor, look) in zip(paths, KINDS.values(), strict=True):
            figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
            for (contestant, dtype), mine in found.dropna(subset=column).groupby(["contestant", "dtype"]):
                style: Any = {"color": COLOURS.get(contestant, "#000000"), "linestyle": STYLES[dtype]}
                label = f"{NAMES.get(contestant, contestant)}, {dtype}"
                axes.plot(mine["pixels"], factor * mine[column], label=label, marker="o", markersize=3, **style)
            if column == "median":
                for dtype, mine in found.groupby("ceiling_dtype", sort=False):
                    floor, label = mine.groupby("pixels")["floor"].last(), f"floor ({dtype})"
                    axes.plot(floor, color="black", linewidth=1, linestyle=STYLES[dtype], marker="_", label=label)
            axes.set(xlabel="output pixels", **look)
            axes.legend(fontsize=7)
            axes.grid(alpha=0.3)
            with replacing(path) as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
            plt.close(figure)
    return paths
