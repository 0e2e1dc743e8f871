"""A Space of the Hub: the page of `atoken serve` with one model, as a repository."""

import shutil
from importlib.metadata import version
from pathlib import Path

import yaml

MODELS, APP = "models", "app.py"


def write_space(folder: Path, source: Path, name: str, title: str, license: str) -> None:
    """
    Writes everything that a Space needs; the Hub installs the package and runs `app.py`.

    Args:
        folder: an existing, empty folder.
        source: folder of the model.
        name: a Hub name, which the Space downloads, or a folder's name, under which the model is copied into it.
        title: shown by the Hub.
        license: of the model, by its Hub name.
    """
    model = name
    if "/" not in name:
        model = f"{MODELS}/{name}"
        shutil.copytree(source, folder / model)  # links, such as a generator's to its tokenizer, become copies
    header = {
        "title": title,
        "sdk": "gradio",
        "sdk_version": version("gradio"),
        "python_version": "3.11",
        "app_file": APP,
        "license": license,
        "models": [name] if "/" in name else [],
    }
    text = yaml.safe_dump({key: value for key, value in header.items() if value}, sort_keys=False)
    (folder / "README.md").write_text(_README.format(header=text, title=title), encoding="utf-8")
    (folder / "requirements.txt").write_text(f"atoken[demo]=={version('atoken')}\n", encoding="utf-8")
    (folder / APP).write_text(_APP.format(model=model), encoding="utf-8")


def is_space(folder: Path) -> bool:
    """Tells whether a folder is a Space that `write_space` has written."""
    try:
        return _RUN in (folder / APP).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


_RUN = "from atoken_app.main import main"
_APP = (
    '''"""Shows a model to visitors. Size and time of their requests are limited: see `atoken serve --help`."""

import sys

'''
    + _RUN
    + """

sys.argv[1:] = ["serve", "--model", "{model}", "--host", "0.0.0.0", "--port", "7860"]
main()
"""
)
_README = """\
---
{header}---

# {title}

The page of `atoken serve` with one model. Reconstruct pictures, videos and meshes, compare them with texts, or
generate, as far as the model can.
"""
