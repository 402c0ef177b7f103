"""What the site has besides docs/*.md: pages of files in the root, tables of parameters, links that leave docs/."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
# page of the site -> file in the root
PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}
PAGE_OF = {file: page for page, file in PAGES.items()} | {"README.md": "index.md"}

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
MARKER = re.compile(r"^<!-- parameters of (\S+) -->$", re.MULTILINE)
PARAMETER = re.compile(r"( *)([A-Za-z_]\w*):(?: +(.*?))? +# \((.+?)\) (.*)")


def on_files(files, config):
    for page, file in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown, page, config, **_):
    here = page.file.src_uri
    folder = "" if here in PAGES else posixpath.dirname(f"docs/{here}")
    markdown = MARKER.sub(lambda found: tables((ROOT / found[1]).read_text(encoding="utf-8")), markdown)
    return LINK.sub(lambda found: moved(found[1], found[2], folder, here, config["repo_url"]), markdown)


def moved(text: str, target: str, folder: str, here: str, repository: str) -> str:
    """Return a link of a page in the repository's `folder` as a link of the site's page `here`."""
    path, hash_, anchor = target.partition("#")
    if "://" in target or target.startswith("mailto:") or not path:
        return f"[{text}]({target})"
    inside = posixpath.normpath(posixpath.join(folder, path))
    page = PAGE_OF.get(inside) or (inside.removeprefix("docs/") if inside.startswith("docs/") else None)
    if page is not None:
        return f"[{text}]({posixpath.relpath(page, posixpath.dirname(here) or '.')}{hash_}{anchor})"
    return f"[{text}]({repository.rstrip('/')}/blob/HEAD/{inside}{hash_}{anchor})" if repository else text


def tables(text: str) -> str:
    """Return the parameters of a property file as Markdown tables; comment lines between them become paragraphs."""
    lines: list[str] = []
    for line in text.splitlines():
        in_table = bool(lines) and lines[-1].startswith("|")
        if found := PARAMETER.fullmatch(line):
            indent, name, value, kind, meaning = (part or "" for part in found.groups())
            if not in_table:
                lines += ["", "| parameter | default | type | meaning |", "|---|---|---|---|"]
            cells = "↳ " * bool(indent) + f"`{name}`", f"`{value}`" * bool(value), escaped(kind), escaped(meaning)
            lines.append(f"| {' | '.join(cells)} |")
        elif line.startswith("# "):
            lines += [""] * in_table + [escaped(line[2:])]
        elif line:
            raise ValueError(f"neither a comment nor a parameter with '# (type) meaning': {line}")
        else:
            lines.append("")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Return a comment as Markdown: no character of it is markup, and pages are links."""
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", re.sub(r"([|*_<])", r"\\\1", text))
