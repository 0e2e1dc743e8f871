"""Pages of the documentation site that do not lie in docs/, and links between all of them. mkdocs.yml names this file.

Files such as README.md are pages too, and the reference has a page for each package. Links that lead to code or to
folders of the clone become plain text, since the site does not have these.
"""

import ast
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# File of the repository -> page of the site.
OTHER_PAGES = {
    "README.md": "index.md",
    "model_card.md": "model-card.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
# Package -> its folder.
REFERENCE = {
    "atoken": "modeling_atoken",
    "atoken.processing": "processing",
    "atoken.generation": "generation",
    "atoken.mllm": "mllm",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
HEADER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)  # a model card's


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie elsewhere."""
    for source, page in OTHER_PAGES.items():
        text = HEADER.sub("", (ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    for package, folder in REFERENCE.items():
        page = f"api/{package.rpartition('.')[2]}.md"
        files.append(File.generated(config, page, content=reference_of(package, ROOT / folder)))
    return files


def reference_of(package: str, folder: Path) -> str:
    """Writes the reference of what a package exports, in the order of its list."""
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    doc = ast.get_docstring(tree) or ""
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    if package == "atoken":
        names = [*names, "AutoencoderAtoken"]  # which needs diffusers, so it is not in the list
    return "\n\n".join([f"# {package}", doc, *(f"::: {package}.{name}" for name in names)]) + "\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lets links lead to pages of the site."""
    sources = {target: source for source, target in OTHER_PAGES.items()}
    here = page.file.src_uri
    source = sources.get(here, f"docs/{here}")

    def replaced(match: re.Match) -> str:
        picture, text, target, anchor = match.groups()
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = os.path.normpath(os.path.join(os.path.dirname(source), target))
        goal = OTHER_PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if goal is None:
            return text if (ROOT / path).exists() else match[0]  # a dead link stays, and is complained about
        return f"{picture}[{text}]({os.path.relpath(goal, os.path.dirname(here) or '.')}{anchor or ''})"

    return LINK.sub(replaced, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Shows types and names of docstrings as plain code: they are written in transformers' form, with backticks."""
    if not page.file.src_uri.startswith("api/"):
        return html
    html = re.sub(r"\[(<code>[^<]+</code>)\]", r"\1", html)
    return re.sub(r"<code>[^<]*`[^<]*</code>", lambda code: code[0].replace("`", "").replace("*", ""), html)
