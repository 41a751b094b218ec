"""MkDocs hook: pages from outside `docs/`, and links that work on the site as on the repository's host.

Pages of the repository link to each other by relative path, also out of `docs/`. On the site, a link to a page goes to
that page; a link to another file goes to the repository's host, if `repo_url` in `mkdocs.yml` names one, else only its
text remains. A link to a file that does not exist is a warning, which `mkdocs build --strict` turns into an error.
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.links")

REPOSITORY = Path(__file__).resolve().parents[2]

# page of the site: file of the repository
PAGES = {
    "index.md": "README.md",
    "client.md": "clients/python/README.md",
    "examples.md": "examples/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}

# A page that describes a file that is no page itself.
DESCRIBED = {"api.md": "proto/fantasia/v1/generation.proto"}

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"^( *(?:```|~~~).*?^ *(?:```|~~~) *$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and images that lie outside `docs/`."""
    pages = PAGES | {f"models/{card.parent.name}.md": _relative(card) for card in REPOSITORY.glob("models/*/README.md")}
    images = [_relative(image) for image in REPOSITORY.glob("models/**/*.png")]
    samples = [_relative(sample) for suffix in ("mid", "ogg") for sample in REPOSITORY.glob(f"models/**/*.{suffix}")]
    for site_path, source in [*pages.items(), *((path, path) for path in images + samples)]:
        files.append(File.generated(config, site_path, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of one page, those in fenced code blocks apart."""
    if page.file.abs_src_path is None:  # made by a hook: its links are links of the site
        return markdown
    source = _relative(Path(page.file.abs_src_path))
    sources = {file.src_uri: Path(file.abs_src_path) for file in files if file.abs_src_path}
    destinations = {_relative(path): name for name, path in sources.items() if path.is_relative_to(REPOSITORY)}
    destinations |= {described: name for name, described in DESCRIBED.items()}

    def rewritten(link: re.Match[str]) -> str:
        target, _, anchor = link["target"].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (REPOSITORY / path).exists():
            log.warning("%s links to %s, which does not exist", source, path)
            return link[0]
        if path in destinations:
            here = posixpath.dirname(page.file.src_uri) or "."
            url = posixpath.relpath(destinations[path], here) + (f"#{anchor}" if anchor else "")
        elif config.repo_url:
            url = f"{config.repo_url.rstrip('/')}/blob/main/{path}"
        else:
            return link["text"]
        return f"{link['image']}[{link['text']}]({url})"

    parts = FENCE.split(markdown)
    return "".join(part if index % 2 else LINK.sub(rewritten, part) for index, part in enumerate(parts))


def _relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()
