import logging
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.site.links import REPOSITORY, on_page_markdown


def make_config(site: Path, **changes: str) -> MkDocsConfig:
    return load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(site), strict=True, **changes)


def rewritten(markdown: str, source: str, site: Path, **changes: str) -> str:
    """A page whose source is a file of the repository, after the hook."""
    config = make_config(site, **changes)
    docs = [File(path, str(REPOSITORY / "docs"), str(site), False) for path in ("architecture.md", "images/lstm.png")]
    files = config.plugins.on_files(Files(docs), config=config)
    file = next(file for file in files if file.abs_src_path == str(REPOSITORY / source))
    return on_page_markdown(markdown, Page(None, file, config), config, files)


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("README.md", "[a](docs/architecture.md#a-step)", "[a](architecture.md#a-step)"),
        ("README.md", "![a](docs/images/lstm.png)", "![a](images/lstm.png)"),
        ("README.md", "[a](models/chorales/README.md)", "[a](models/chorales.md)"),
        ("README.md", "[a](proto/fantasia/v1/generation.proto)", "[a](api.md)"),
        ("models/chorales/README.md", "[a](../../docs/architecture.md)", "[a](../architecture.md)"),
        ("docs/architecture.md", "[a](../README.md)", "[a](index.md)"),
        ("docs/architecture.md", "[a](#below) [b](https://example.org/x)", "[a](#below) [b](https://example.org/x)"),
        ("docs/architecture.md", "the [Makefile](../Makefile) says", "the Makefile says"),
        ("docs/architecture.md", "```\n[a](../README.md)\n```", "```\n[a](../README.md)\n```"),
    ],
)
def test_links_lead_to_pages_of_the_site(source: str, link: str, expected: str, tmp_path: Path) -> None:
    assert rewritten(link, source, tmp_path) == expected


def test_links_to_other_files_lead_to_the_host(tmp_path: Path) -> None:
    link = rewritten("[a](../Makefile)", "docs/architecture.md", tmp_path, repo_url="https://example.org/fantasia/")
    assert link == "[a](https://example.org/fantasia/blob/main/Makefile)"


def test_a_link_to_a_missing_file_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mkdocs"):
        rewritten("[a](../nothing.md)", "docs/architecture.md", tmp_path)
    assert caplog.messages == ["docs/architecture.md links to nothing.md, which does not exist"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    pages = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    assert {"index.html", "architecture.html", "models/chorales.html", "api.html"} <= pages
    assert "Client.generate" in (tmp_path / "reference/client.html").read_text(encoding="utf-8")
