"""MkDocs hook: the site's pages link to the repository's files by the same relative paths as on GitHub.

MkDocs gets the repository as its source in place of docs/: its files are called "docs/cli.md", "README.md" or
"arasfsr/query", so that MkDocs itself resolves, rewrites and checks the links. Of what is outside docs/, the site has
the Markdown files at the top and what its pages link to: Markdown becomes a page, source code a page that shows it, a
folder a page that lists its files, and anything else, such as an image, is copied.
"""

from __future__ import annotations

import ast
import posixpath
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

log = get_plugin_logger("docs_site")

LANGUAGES = {
    "": "text",
    ".cff": "yaml",
    ".cpp": "cpp",
    ".cu": "cuda",
    ".h": "cuda",
    ".in": "text",
    ".py": "python",
    ".sh": "bash",
    ".toml": "toml",
    ".txt": "text",
    ".yaml": "yaml",
    ".yml": "yaml",
}
"""The suffixes of what is shown as code, and their languages."""


class Source(File):
    """A page that shows source code or lists a folder."""

    def is_documentation_page(self) -> bool:
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Call the files of docs/ by their paths in the repository, and add what their links lead to."""
    root = Path(config.config_file_path).parent
    docs = Path(config.docs_dir).relative_to(root).as_posix()
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
        path, destination = f"{docs}/{file.src_uri}", file.dest_uri
        files.append(File(path, str(root), config.site_dir, config.use_directory_urls, dest_uri=destination))

    known = _files_and_folders(root)
    pages = [file.src_uri for file in files.documentation_pages()]
    waiting = {*pages, *(path for path in known if "/" not in path and path.endswith(".md"))}
    while waiting:
        path = waiting.pop()
        if path not in files:
            files.append(_file(path, root, config))
        if path.endswith(".md"):
            waiting |= {target for target in _targets(path, root) if target in known and target not in files}

    for file in files:
        if isinstance(file, Source):
            folder = (root / file.src_uri).is_dir()
            file.content_string = _listing(file.src_uri, root, known, files) if folder else _code(file.src_uri, root)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite and check the links of raw HTML, such as <img src="...">, which MkDocs leaves alone."""
    if isinstance(page.file, Source):
        return markdown

    def rewrite(match: re.Match[str]) -> str:
        if not match["link"] or _is_external(match["link"]):
            return match[0]
        target = files.get_file_from_path(_target(page.file.src_uri, match["link"]))
        if target is None:
            log.warning(f"{page.file.src_uri} links to '{match['link']}' in raw HTML, and there is no such file")
            return match[0]
        return match["attribute"] + target.url_relative_to(page.file)

    code = r"^```.*?^```|`[^`\n]*`"
    return re.sub(rf'(?ms){code}|(?P<attribute>\b(?:src|srcset|href)=")(?P<link>[^"#]+)', rewrite, markdown)


def _files_and_folders(root: Path) -> set[str]:
    """The paths of the repository's files, and of their folders."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines()
    files = {path for path in listed if (root / path).exists()}
    return files | {parent.as_posix() for path in files for parent in Path(path).parents}


def _is_external(link: str) -> bool:
    return "://" in link or link.startswith("mailto:")


def _target(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _targets(page: str, root: Path) -> Iterator[str]:
    """Where the links of a page lead to; those in code blocks too, which adds nothing but files that exist."""
    for link in re.findall(r'(?:\]\(|\b(?:src|srcset|href)=")([^)\s"#]+)', (root / page).read_text()):
        if not _is_external(link):
            yield _target(page, link)


def _file(path: str, root: Path, config: MkDocsConfig) -> File:
    """A file outside docs/, or a folder, as the site has it."""
    stem, suffix = posixpath.splitext(path)
    kind, destination = File, path
    if suffix == ".md":
        destination = f"{stem}.html"
    elif (root / path).is_dir():
        kind, destination = Source, f"{path}/index.html"
    elif suffix in LANGUAGES:
        kind, destination = Source, f"{path}.html"
    return kind(
        path,
        str(root),
        config.site_dir,
        config.use_directory_urls,
        dest_uri="index.html" if path == "README.md" else f"source/{destination}",
        inclusion=InclusionLevel.NOT_IN_NAV,
    )


def _page(path: str, body: str) -> str:
    return f"---\nsearch: {{exclude: true}}\n---\n\n# `{path}`\n\n{body}\n"


def _code(path: str, root: Path) -> str:
    """The page of a source file."""
    text = (root / path).read_text()
    fence = "`" * (1 + max(map(len, re.findall("```+", text)), default=2))
    return _page(path, f"{fence}{LANGUAGES[posixpath.splitext(path)[1]]}\n{text}\n{fence}")


def _listing(path: str, root: Path, known: set[str], files: Files) -> str:
    """The page of a folder: its files and folders, those with a page linked, and what their first sentence says."""
    rows = ["| file | what it is |", "|---|---|"]
    for child in sorted(child for child in known if posixpath.dirname(child) == path):
        name = f"`{posixpath.basename(child)}{'/' if (root / child).is_dir() else ''}`"
        link = posixpath.relpath(child, posixpath.dirname(path) or ".")
        rows.append(f"| {f'[{name}]({link})' if child in files else name} | {_summary(root / child)} |")
    return _page(f"{path}/", "\n".join(rows))


def _summary(path: Path) -> str:
    """The first sentence of a module's or a package's docstring, or of the comment that other code begins with."""
    path = path / "__init__.py" if path.is_dir() else path
    if not path.is_file() or path.suffix not in LANGUAGES:
        return ""
    text = path.read_text()
    if path.suffix == ".py":
        comment = ast.get_docstring(ast.parse(text)) or ""
    else:
        found = re.match(r"(?:#!.*\n)?((?:(?:#|//) .*\n)+)", text)
        comment = re.sub(r"(?m)^(#|//) ", "", found[1]) if found else ""
    sentence = re.split(r"(?<=\.)\s|\n\n", comment)[0]
    return " ".join(sentence.split()).replace("|", r"\|")
