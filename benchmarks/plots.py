"""Plots from result files alone: time, memory and share of the ceiling against output size; the headline cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pandas import DataFrame

from arasfsr.files import replacing
from benchmarks.tables import COMPILED, NAMES, PUBLIC, seconds

COLOURS = {"tiled": "#1f6fb4", "triton": "#2b8a3e", "cuda": "#b3261e"}
COLOURS |= {"public": "#888888", "public-autocast": "#888888"}
COLOURS |= {"public-compile": "#c98b2b", "public-autocast-compile": "#c98b2b"}
STYLES = {"float32": "-", "tf32": ":", "bfloat16": "--", "float16": "-."}
LOG: Any = {"xscale": "log", "yscale": "log"}
SHARES: Any = {"xscale": "log", "ylim": (0, 100)}
KINDS: dict[str, tuple[str, float, Any]] = {
    "time": ("median", 1.0, LOG | {"ylabel": "seconds", "title": "Query path"}),
    "memory": ("peak_bytes", 1e-6, LOG | {"ylabel": "MB above the model", "title": "Peak memory"}),
    "share": ("share", 100.0, SHARES | {"ylabel": "% of the matrix product's rate", "title": "Share of the ceiling"}),
}
"""Of each kind the column, the factor to its unit, and the axes."""
THEMES = {"light": ("#1f2328", "#8c959f"), "dark": ("#e6edf3", "#6e7681")}
"""Colours of text and of the authors' bars, on a white and on a dark page."""
OURS = {"light": "#1f6fb4", "dark": "#58a6ff"}
STYLE = {"svg.hashsalt": "arasfsr", "svg.fonttype": "none", "font.size": 9}
"""The same rows give the same bytes."""


def plotted(rows: DataFrame) -> DataFrame:
    """The rows that plots show, small outputs first: full size, one grid, from the LR size that has most of them."""
    found = rows.query("suite == 'query' and model == 'full' and batch == 1 and error == ''")
    found = found[(found["excerpt"] == 0) & ~found["scattered"].astype(bool)]
    found = found[found["lr"].isin(found["lr"].mode()[:1])]
    found = found.sort_values(["contestant", "dtype", "pixels"], kind="stable")
    return found.assign(floor=2 * found["macs"] / found["ceiling_flops"])  # the least time that the ceiling allows


@contextmanager
def _saved(path: Path, size: tuple[float, float], heights: Sequence[int] = (1,), **style: Any) -> Iterator[Any]:
    """The axes of a figure, one below the other with these relative heights; written when the block ends.

    Raises ModuleNotFoundError without matplotlib, which the extra `dev` has.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    settings: Any = {**STYLE, **style}
    with matplotlib.rc_context(settings):
        figure, axes = plt.subplots(
            len(heights), figsize=size, layout="constrained", squeeze=False, height_ratios=heights
        )
        yield axes[:, 0]
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def draw(rows: DataFrame, folder: Path) -> list[Path]:
    """Write KIND.svg for each kind of plot; none without rows to plot."""
    found = plotted(rows)
    if found.empty:
        return []
    paths = [folder / f"{kind}.svg" for kind in KINDS]
    for path, (column, factor, look) in zip(paths, KINDS.values(), strict=True):
        with _saved(path, (6.4, 4.8)) as (axes,):
            for (contestant, dtype), mine in found.dropna(subset=column).groupby(["contestant", "dtype"]):
                look_of: Any = {"color": COLOURS.get(contestant, "#000000"), "linestyle": STYLES[dtype]}
                label = f"{NAMES.get(contestant, contestant)}, {dtype}"
                axes.plot(mine["pixels"], factor * mine[column], label=label, marker="o", markersize=3, **look_of)
            for dtype, mine in found.groupby("ceiling_dtype", sort=False) if column == "median" else ():
                floor, style = mine.groupby("pixels")["floor"].last(), STYLES[dtype]
                axes.plot(floor, color="black", linewidth=1, linestyle=style, marker="_", label=f"floor ({dtype})")
            axes.set(xlabel=f"output pixels (from {found['lr'].iloc[0]})", **look)
            axes.figure.legend(loc="outside lower center", ncols=2, fontsize=7)
            axes.grid(alpha=0.3)
    return paths


def draw_headlines(cases: Mapping[str, DataFrame], folder: Path) -> list[Path]:
    """Write speed-THEME.svg: a panel for each case, by its title, with a bar for each contestant."""
    if not cases:
        return []
    paths = [folder / f"speed-{theme}.svg" for theme in THEMES]
    for path, (theme, (text, grey)) in zip(paths, THEMES.items(), strict=True):
        colours: dict[str, Any] = dict.fromkeys(("text.color", "ytick.color"), text)
        style = colours | {"font.size": 10, "axes.titlesize": 11, "ytick.labelsize": 9, "savefig.transparent": True}
        counts = [len(rows) for rows in cases.values()]
        with _saved(path, (7.6, 0.4 * len(cases) + 0.34 * sum(counts)), counts, **style) as panels:
            for axes, (title, rows) in zip(panels, cases.items(), strict=True):
                _bars(axes, rows.sort_values("median"), OURS[theme], grey)
                axes.set_title(title, loc="left")
    return paths


def _bars(axes: Any, rows: DataFrame, ours: str, grey: str) -> None:
    """Horizontal bars with their times, and our speedup over the authors' implementation."""
    peer = rows[rows["contestant"].isin(PUBLIC)]["median"]
    labels, colours = [], []
    for row in rows.to_dict("records"):
        theirs = row["contestant"] in (*PUBLIC, *COMPILED)
        colours.append(grey if theirs else ours)
        speedup = "" if theirs or not len(peer) else f" ({peer.iloc[0] / row['median']:.1f} x)"
        labels.append(f"{seconds(row['median'])}{speedup}")
    names = [NAMES.get(name, name).replace(", ", ",\n", 1) for name in rows["contestant"]]
    bars = axes.barh(names, rows["median"], color=colours, height=0.7)
    axes.bar_label(bars, labels, padding=4)
    axes.set(xlim=(0, 1.2 * rows["median"].max()), xticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
