"""Files that come with the package, in a clone and in a wheel."""

import re
from pathlib import Path

from atoken_headers import shipped

ROOT = Path(__file__).parents[2]


def test_a_clone_has_them_in_its_folders():
    assert shipped.CHECKPOINTS == ROOT / "checkpoints"
    assert (shipped.EXAMPLE_MEDIA / "cat.jpg").is_file()


def test_a_wheel_has_them_in_packages_beside_the_others(tmp_path, monkeypatch):
    (tmp_path / "atoken_checkpoints/atoken-tiny").mkdir(parents=True)
    (tmp_path / "checkpoints").mkdir()  # another package's
    monkeypatch.setattr(shipped, "_PACKAGES", tmp_path)
    assert shipped.shipped("checkpoints", "atoken_checkpoints") == tmp_path / "atoken_checkpoints"


def test_setup_packs_every_folder_that_is_looked_for():
    source = Path(shipped.__file__).read_text(encoding="utf-8")
    looked_for = dict(re.findall(r'shipped\("([^"]+)", "([^"]+)"\)', source))
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    packed = re.search(r"SHIPPED = \{(.*)\}", setup)[1]
    assert looked_for == {folder: package for package, folder in re.findall(r'"([^"]+)": "([^"]+)"', packed)}
    assert len(looked_for) == 2


def test_the_weights_and_media_of_the_demo_are_packed():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert '"atoken_checkpoints": ["atoken-tiny/*", "atoken-tiny-d/*"]' in setup
    assert '"atoken_media": ["*"]' in setup
    for folder in ("checkpoints/atoken-tiny", "checkpoints/atoken-tiny-d", "examples/media"):
        assert all(path.is_file() for path in (ROOT / folder).iterdir()), "patterns do not reach into folders"
