"""What the site has beyond docs/: README, changelog and the guide for contributors, each a page of its own.

Not part of the product: `mkdocs build` calls it. The repository's links stay as they are, so that they work where the
files are; here they are turned towards the pages. A file that is no page of the site cannot be linked: the build fails.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# README.md would be the start page's name, hence another one.
PAGES = {"README.md": "tour.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files that lie above docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """The text with its links turned towards the pages of the site."""
    from_above = page.file.src_path in PAGES.values()
    return re.sub(r"\]\(([^)\s#]+)(?=[)#])", lambda link: f"]({_on_site(link[1], from_above=from_above)}", markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """The page with the bars in its tables' code as they are meant: the repository's reader needs them escaped."""
    return re.sub(r"<code>[^<]*</code>", lambda code: code[0].replace("\\|", "|"), html)


def _on_site(target: str, *, from_above: bool) -> str:
    path = target.removeprefix("../") if not from_above else target
    if path == target and not from_above:
        return target
    return PAGES.get(path) or path.removeprefix("docs/")
