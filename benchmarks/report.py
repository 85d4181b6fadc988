"""The README's tables, made of committed result files; no figure in it is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from arasfsr.files import replacing
from benchmarks.excerpt_tables import compared, excerpt_page, summary
from benchmarks.gpu import history
from benchmarks.methods import METHODS_FILE
from benchmarks.plots import KINDS, draw, plotted
from benchmarks.results import RESULTS, ROOT, SUITES_FILE, read_rows
from benchmarks.suite_tables import Row, machine_line, tables
from benchmarks.suite_tables import table_row as _row
from benchmarks.versions import VERSIONS_FILE
from benchmarks.versions import page as versions_page

README = ROOT / "README.md"
DOCS = ROOT / "docs"

BARS_TITLES = {
    "render-float32": ("query path, 64 x 64 to 256 x 256, float32", "faster than the literal method"),
    "render-bfloat16": ("query path, 64 x 64 to 256 x 256, bfloat16", "faster than the literal method"),
    "train-float32": ("forward + backward, 16 images x 1,024 queries, float32", "faster than the literal method"),
    "train-bfloat16": ("forward + backward, 16 images x 1,024 queries, bfloat16", "faster than the literal method"),
    "train-memory": ("forward + backward of 512 x 512 queries", "memory above the model's"),
    "tiny-render": ("`tiny`, 64 x 64 to 256 x 256", "time"),
    "upscale-cold": ("`arasfsr upscale`, 64 x 64 to 256 x 256, cold start", "time"),
    "upscale-memory": ("`arasfsr upscale`, 64 x 64 to 8192 x 8192", "memory above the interpreter's"),
}

BARS_IN_FLOAT32 = {"render-bfloat16": "render-float32", "train-bfloat16": "train-float32"}
"""Cases in bfloat16 whose bars also stand against the literal method in float32, with the case that timed it."""


def _figure(result: dict[str, Any]) -> tuple[str, str]:
    """What was measured and its bar, with units; a bar that is missed says so."""
    if "ratio" in result:
        medians = result["median_s"]
        measured = f"**{result['ratio']:.1f} x** ({medians['reference']:.2f} s to {medians['tiled']:.2f} s)"
        bar, missed = f"at least {result['bar']:g} x", result["ratio"] < result["bar"]
    elif "bytes" in result:
        measured = f"**{result['bytes'] / 1e6:.0f} MB**"
        bar, missed = f"at most {result['bar'] / 1e6:.0f} MB", result["bytes"] > result["bar"]
    else:
        measured = f"**{result['seconds']:.2f} s**"
        bar, missed = f"at most {result['bar']:g} s", result["seconds"] > result["bar"]
    return measured, f"{bar}: missed" if missed else bar


def _bars(path: Path) -> str:
    """A machine's table."""
    content, machine = json.loads(path.read_text()), _machine(path)
    units = "with" if machine["bfloat16_units"] else "without"
    lines = [
        f"On {machine['processor']}, {machine['threads']} threads, {units} bfloat16 units, torch "
        f"{machine['torch']}, {machine['date'][:10]}:",
        "",
        _row(["what", "", "measured", "bar"]),
        _row(["---"] * 4),
    ]
    for name, (title, meaning) in BARS_TITLES.items():
        if name in content:
            lines.append(_row([title, meaning, *_figure(content[name])]))
        wide = BARS_IN_FLOAT32.get(name)
        if name in content and wide in content:
            figure = _figure(_beside(content[name], content[wide]))
            lines.append(_row([title, "faster than it in float32", *figure]))
    return "\n".join(lines)


def bars_tables() -> str:
    """The table of the machine that was measured last, and where the others' are."""
    *others, newest = _by_age("bars.json")
    pages = ", ".join(f"[{_machine(path)['processor']}](docs/{_page(path).name})" for path in others)
    return f"{_bars(newest)}\n\nOther machines: {pages}." if others else _bars(newest)


def _machine(path: Path) -> Any:
    """The machine of a file's first row."""
    return next(iter(json.loads(path.read_text()).values()))["machine"]


def _by_age(name: str) -> list[Path]:
    """Every machine's file of that name, the one that was written to last at the end."""

    def date(path: Path) -> str:
        rows = json.loads(path.read_text()).values()
        return max(str(row.get("machine", {}).get("date", "")) for row in rows)

    return sorted(RESULTS.glob(f"*/{name}"), key=lambda path: (date(path), path))


def _page(path: Path) -> Path:
    """The page of the machine that a result file is of."""
    return DOCS / f"{path.parent.name}.md"


def write_machines() -> list[Path]:
    """Write a page for every machine: its bars, and its suites."""
    parts: dict[Path, list[str]] = {}
    for name, make in (("bars.json", _bars), (SUITES_FILE, _suites)):
        for path in sorted(RESULTS.glob(f"*/{name}")):
            parts.setdefault(_page(path), [f"# {path.parent.name}"]).append(make(path).replace("](docs/", "]("))
    for folder in sorted({path.parents[1] for path in RESULTS.glob(f"*/*/{SUITES_FILE}")}):
        parts.setdefault(DOCS / f"{folder.name}.md", [f"# {folder.name}"]).append(history.page(folder))
    for page, texts in parts.items():
        with replacing(page) as temporary:
            temporary.write_text("\n\n".join(texts) + "\n")
    return list(parts)


def _beside(result: dict[str, Any], wide: dict[str, Any]) -> dict[str, Any]:
    """A comparison with the literal method in float32, as another case of the same run timed it."""
    medians = {"reference": wide["median_s"]["reference"], "tiled": result["median_s"]["tiled"]}
    return {"ratio": medians["reference"] / medians["tiled"], "bar": result["bar"], "median_s": medians}


DATA_TITLES = {
    "samples": "samples of 1,024 queries, whole faces",
    "samples-patches": "the same, 30% of them patches",
    "samples-whole-pictures": "samples that are whole pictures (`queries: null`)",
    "decode-png": "PNG files decoded",
    "decode-jpg": "JPEG files decoded",
}


def data_tables() -> str:
    """One table a machine: what one worker makes of images of 128 x 128 pixels."""
    parts = []
    for path in sorted(RESULTS.glob("*/data.json")):
        content, machine = json.loads(path.read_text()), _machine(path)
        parts += [
            f"On {machine['processor']}, torch {machine['torch']}, {machine['date'][:10]}:",
            "",
            _row(["images of 128 x 128 pixels", "a second and worker", "bar"]),
            _row(["---", "---:", "---:"]),
        ]
        for name, title in DATA_TITLES.items():
            if name in content:
                result = content[name]
                bar = f"at least {result['bar']:.0f}" if "bar" in result else ""
                parts.append(_row([title, f"**{result['per_second']:.0f}**", bar]))
        parts.append("")
    return "\n".join(parts).strip() or "No machine's results are committed yet."


def quality_tables() -> str:
    """One table a protocol: the bundled models beside bicubic."""
    parts = []
    for path in sorted((RESULTS / "quality").glob("bundled-*.json")):
        content = json.loads(path.read_text())
        models = [method for method in content["methods"] if method != "bicubic"]
        head = ["input to output", "images", "bicubic", *(part for model in models for part in (f"`{model}`", "gain"))]
        parts += [
            f"Protocol `{content['protocol']}`, degradation `{content['degradation']}`, PSNR in dB / SSIM:",
            "",
            _row(head),
            _row(["---", *["---:"] * (len(head) - 1)]),
        ]
        for pair in content["pairs"]:
            bicubic = pair["mean"]["bicubic"]
            cells = [f"{pair['lr']} to {pair['hr']}", str(pair["images"]), _scores(bicubic)]
            for model in models:
                ours = pair["mean"][model]
                cells += [_scores(ours), f"**{ours['psnr'] - bicubic['psnr']:+.2f} dB**"]
            parts.append(_row(cells))
        parts += ["", *map(_model_line, models), ""]
    parts.append(_suites_line())
    return "\n".join(parts).strip()


def _suites_line() -> str:
    """How far the larger bundled model is beyond the smaller one in the suites that both were scored on."""
    found, names = [], []
    for path in sorted((RESULTS / "quality").glob("suite-*.json")):
        names.append(f"`{path.stem.removeprefix('suite-')}`")
        for pair in json.loads(path.read_text())["pairs"]:
            found.append(pair["mean"]["edsr"]["psnr"] - pair["mean"]["tiny"]["psnr"])
    where = f"In the {len(found)} pairs of the suites {', '.join(names)} (protocol `y-float`)"
    return f"{where} `edsr` is {min(found):+.2f} to {max(found):+.2f} dB above `tiny`."


def _model_line(model: str) -> str:
    """What a bundled model is, and, where its training's log is committed, what that took."""
    path = ROOT / "arasfsr" / "weights" / f"{model}.safetensors"
    parameters = sum(tensor.numel() for tensor in load_file(path).values())
    line = f"- `{model}`: {parameters:,} parameters, {path.stat().st_size / 1e6:.1f} MB"
    log = RESULTS / "quality" / f"{model}-training.jsonl"
    if log.is_file():
        summary = json.loads(log.read_text().splitlines()[-1])
        steps, images = f"{summary['step']:,} steps", f"{summary['images']:,} images"
        line += f", {steps} on {images} in {summary['seconds'] / 60:.0f} minutes of two CPU cores"
    return line


def _scores(score: dict[str, float]) -> str:
    return f"{score['psnr']:.2f} / {score['ssim']:.4f}"


def methods_table() -> str:
    """The paper's methods, trained with equal means: a line each, a column a pair; the best of a column stands out."""
    if not METHODS_FILE.is_file():
        return "No comparison is committed yet."
    content = json.loads(METHODS_FILE.read_text())
    pairs, used = content["pairs"], content["training"]
    best = [max(score["psnr"] for score in pair["mean"].values()) for pair in pairs]
    lines = [
        f"{used['steps']:,} steps of {used['batch']} samples each, on {used['images']:,} images; scored on "
        f"{pairs[0]['images']} others, protocol `{content['protocol']}`, degradation `{content['degradation']}`, PSNR "
        "in dB / SSIM:",
        "",
        _row(["method", *(f"{pair['lr']} to {pair['hr']}" for pair in pairs)]),
        _row(["---", *["---:"] * len(pairs)]),
    ]
    for method in content["methods"]:
        cells = []
        for pair, most in zip(pairs, best, strict=True):
            score = pair["mean"][method]
            psnr = f"**{score['psnr']:.2f}**" if score["psnr"] == most else f"{score['psnr']:.2f}"
            cells.append(f"{psnr} / {score['ssim']:.4f}")
        lines.append(_row([method, *cells]))
    return "\n".join(lines)


def _suites(path: Path) -> str:
    """A machine's tables and plots."""
    ceilings = json.loads(path.read_text())["ceilings"]
    rows = list(read_rows(path).values())
    parts = [machine_line(ceilings["machine"], ceilings), *_older(rows, ceilings), "", tables(rows), ""]
    found = compared(rows)
    if found:
        parts += [summary(found, f"[each of them](docs/{_excerpts(path).name})"), ""]
    if plotted(rows):
        parts += [f"![{kind} against output size](docs/{path.parent.name}-{kind}.svg)" for kind in KINDS]
    return "\n".join(parts).strip()


def _older(rows: Sequence[Row], ceilings: Mapping[str, Any]) -> list[str]:
    """Which cases of a GPU are of another run than its ceilings, and what an empty cell means."""
    if "gpu" not in ceilings["machine"]:
        return []
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["machine"]["commit"] != ceilings["machine"]["commit"]:
            found.setdefault(row["machine"]["commit"], []).append(f"{row['case']} {row['contestant']}")
    told = [f"Of commit {commit}: {', '.join(names)}." for commit, names in found.items()]
    return ["", *told, "Beside an empty cell the public way was not run, or did not end in time."]


def _is_gpu(path: Path) -> bool:
    """Whether a file of suites is of a GPU."""
    return "gpu" in json.loads(path.read_text())["ceilings"]["machine"]


def suites_tables() -> str:
    """Tables and plots of the CPU that ran them last; a sentence where none has."""
    found = [path for path in _by_age(SUITES_FILE) if not _is_gpu(path)]
    return _suites(found[-1]) if found else "No machine's results are committed yet."


def gpu_tables() -> str:
    """Of the GPU that ran them last: the largest picture and the largest training step, and where the rest is."""
    found = [path for path in _by_age(SUITES_FILE) if _is_gpu(path)]
    if not found:
        return "No GPU's results are committed yet."
    path = found[-1]
    ceilings, rows = json.loads(path.read_text())["ceilings"], read_rows(path).values()
    shown = [row for row in rows if row["output"] == [1024, 1024] and (row["batch"], row["dtype"]) == (1, "bfloat16")]
    rest = f"Other sizes and dtypes are in [{_page(path).name}](docs/{_page(path).name})."
    told = "\n".join([machine_line(ceilings["machine"], ceilings), *_older(shown, ceilings)])
    return "\n\n".join([told, tables(shown), rest])


def _excerpts(path: Path) -> Path:
    """The page of a machine's excerpts."""
    return DOCS / f"{path.parent.name}-excerpts.md"


def write_excerpts() -> list[Path]:
    """Write a page for every machine that has timed excerpts of the cases."""
    pages = []
    for path in sorted(RESULTS.glob(f"*/{SUITES_FILE}")):
        found = compared(read_rows(path).values())
        if found:
            with replacing(_excerpts(path)) as temporary:
                temporary.write_text(excerpt_page(found))
            pages.append(_excerpts(path))
    return pages


def write_versions() -> Path:
    """Write the page of the versions that were tried."""
    path = DOCS / "versions.md"
    with replacing(path) as temporary:
        temporary.write_text(versions_page(json.loads(VERSIONS_FILE.read_text())))
    return path


def draw_plots(folder: Path = DOCS) -> list[Path]:
    """Write the plots of every machine."""
    found = sorted(RESULTS.glob(f"*/{SUITES_FILE}"))
    return [plot for path in found for plot in draw(list(read_rows(path).values()), path.parent.name, folder)]


SECTIONS: dict[str, Callable[[], str]] = {
    "bars": bars_tables,
    "data": data_tables,
    "gpu": gpu_tables,
    "methods": methods_table,
    "quality": quality_tables,
    "suites": suites_tables,
}
"""What stands between `<!-- begin NAME -->` and `<!-- end NAME -->` in the README."""


def refreshed(text: str) -> str:
    """The README's text with every section made anew."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"README.md has no section {begin} ... {end}")
        text = f"{head}{begin}\n{make()}\n{end}{tail}"
    return text


def refresh_readme(path: Path = README) -> None:
    """Write the README anew."""
    text = refreshed(path.read_text())
    with replacing(path) as temporary:
        temporary.write_text(text)
