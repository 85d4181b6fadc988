"""Plots of the suites, from their result files alone: time and memory against output size, share of the ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arasfsr.files import replacing
from benchmarks.suite_tables import NAMES, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]

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
KINDS = ("time", "memory", "share")


def plotted(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows that plots show, by contestant and dtype, small outputs first: full size, 64 x 64, one grid."""
    chosen = [
        row
        for row in whole(rows)
        if row["suite"] == "query"
        and row["model"] == "full"
        and row["lr"] == [64, 64]
        and row["batch"] == 1
        and not row["scattered"]
        and not row.get("error")
    ]
    series: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(chosen, key=lambda row: (row["contestant"], row["dtype"], _pixels(row))):
        series.setdefault((row["contestant"], row["dtype"]), []).append(row)
    return series


def _pixels(row: Row) -> int:
    return int(row["output"][0] * row["output"][1])


def floor_seconds(row: Row) -> float:
    """The least time that the operation count and the ceiling allow."""
    return float(2 * row["macs"] / row["ceiling_flops"])


def draw(rows: Sequence[Row], name: str, folder: Path) -> list[Path]:
    """Write `name`-KIND.svg for each kind of plot; the same rows give the same bytes. None without rows to plot.

    Raises ModuleNotFoundError without matplotlib, which the extra `dev` has.
    """
    series = plotted(rows)
    if not series:
        return []
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    settings: Any = {"svg.hashsalt": "arasfsr", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(settings):
        for kind in KINDS:
            figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
            {"time": _time, "memory": _memory, "share": _share}[kind](axes, series)
            axes.legend(fontsize=7)
            axes.grid(alpha=0.3)
            path = folder / f"{name}-{kind}.svg"
            with replacing(path) as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
            plt.close(figure)
            paths.append(path)
    return paths


def _label(contestant: str, dtype: str) -> str:
    return f"{NAMES.get(contestant, contestant)}, {dtype}"


def _look(contestant: str, dtype: str) -> dict[str, Any]:
    return {"color": COLOURS.get(contestant, "#000000"), "linestyle": STYLES[dtype], "marker": "o", "markersize": 3}


def _time(axes: Axes, series: Mapping[tuple[str, str], Sequence[Row]]) -> None:
    floors: dict[str, dict[int, float]] = {}
    for (contestant, dtype), rows in series.items():
        times = [row["quartiles_s"][1] for row in rows]
        axes.plot(list(map(_pixels, rows)), times, label=_label(contestant, dtype), **_look(contestant, dtype))
        for row in rows:
            floors.setdefault(row["ceiling_dtype"], {})[_pixels(row)] = floor_seconds(row)
    for dtype, points in floors.items():
        sizes = sorted(points)
        times = [points[each] for each in sizes]
        axes.plot(
            sizes, times, color="black", linewidth=1, linestyle=STYLES[dtype], marker="_", label=f"floor ({dtype})"
        )
    axes.set(xscale="log", yscale="log", xlabel="output pixels", ylabel="seconds", title="Query path from 64 x 64")


def _memory(axes: Axes, series: Mapping[tuple[str, str], Sequence[Row]]) -> None:
    for (contestant, dtype), rows in series.items():
        known = [row for row in rows if row["peak_bytes"]]
        peaks = [row["peak_bytes"] / 1e6 for row in known]
        axes.plot(list(map(_pixels, known)), peaks, label=_label(contestant, dtype), **_look(contestant, dtype))
    axes.set(xscale="log", yscale="log", xlabel="output pixels", ylabel="MB above the model", title="Peak memory")


def _share(axes: Axes, series: Mapping[tuple[str, str], Sequence[Row]]) -> None:
    for (contestant, dtype), rows in series.items():
        shares = [100 * row["share"] for row in rows]
        axes.plot(list(map(_pixels, rows)), shares, label=_label(contestant, dtype), **_look(contestant, dtype))
    axes.set(xscale="log", ylim=(0, 100), xlabel="output pixels", ylabel="% of the matrix product's rate")
    axes.set_title("Share of the ceiling")
