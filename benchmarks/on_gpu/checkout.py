"""The packages of this checkout, importable on a machine where nothing of it is installed."""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# As in setup.py: the model's folder is the package itself, and the other folders lie in it.
MODEL, APART = "modeling_atoken", {"headers": "atoken_headers", "app": "atoken_app"}


def make_importable() -> None:
    """Links the folders of the checkout into a temporary folder under their import names, unless atoken is there."""
    if importlib.util.find_spec("atoken") is not None:
        return
    farm = Path(tempfile.mkdtemp(prefix="atoken-checkout-"))
    package = farm / "atoken"
    package.mkdir()
    for path in (ROOT / MODEL).iterdir():
        (package / path.name).symlink_to(path)
    for path in ROOT.glob("*/__init__.py"):
        room = path.parent.name
        if room in APART:
            (farm / APART[room]).symlink_to(path.parent)
        elif room not in (MODEL, "tests"):
            (package / room).symlink_to(path.parent)
    sys.path.insert(0, str(farm))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(farm), os.environ.get("PYTHONPATH"))))
