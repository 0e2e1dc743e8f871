"""Stamps on photos: which are read out of the package, and that they lie whole in the picture."""

import io
import random
import subprocess

import numpy as np
from PIL import Image

from atoken.training.recipes.tiny.words_stamps import SIDE, lay, read_stamps


def _archive(folder, members: dict[str, bytes]):
    """Writes a Debian package that holds these files."""
    root = folder / "root"
    for name, content in members.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "DEBIAN").mkdir()
    control = "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: b <b@c>\nDescription: d\n"
    (root / "DEBIAN/control").write_text(control)
    command = ["dpkg-deb", "--root-owner-group", "-b", str(root), str(folder / "a.deb")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "a.deb"


def _picture(width: int, height: int, color: tuple[int, ...] = (255, 0, 0, 255)) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (width, height), color).save(out, "PNG")
    return out.getvalue()


def test_photographs_with_captions_are_read(tmp_path):
    stamps = "usr/share/tuxpaint/stamps"
    members = {
        f"{stamps}/animals/birds/gull.png": _picture(120, 80),
        f"{stamps}/animals/birds/gull.txt": "A seagull.\nde.utf8=Eine M\u00f6we.\n".encode(),
        f"{stamps}/animals/cartoon/cat.png": _picture(120, 80),
        f"{stamps}/animals/cartoon/cat.txt": b"A cat.",
        f"{stamps}/food/small.png": _picture(20, 20),
        f"{stamps}/food/small.txt": b"A nut.",
        f"{stamps}/symbols/a.png": _picture(200, 200),
        f"{stamps}/symbols/a.txt": b"A",
        f"{stamps}/plants/nameless.png": _picture(200, 200),
    }
    found = list(read_stamps(_archive(tmp_path, members)))
    assert [(name, picture.size, caption) for name, picture, caption in found] == [
        ("animals-birds-gull", (120, 80), "A seagull.")
    ]


def test_a_stamp_lies_whole_on_a_piece_of_the_photo():
    stamp, photo = Image.new("RGBA", (100, 50), (255, 0, 0, 255)), Image.new("RGB", (300, 200), (0, 0, 255))
    for seed in range(8):
        picture = np.asarray(lay(stamp, photo, random.Random(seed))).astype(int)
        assert picture.shape == (SIDE, SIDE, 3)
        red = (picture[..., 0] > 200) & (picture[..., 2] < 60)
        rows, columns = red.any(1).sum(), red.any(0).sum()
        assert 0.58 * SIDE <= columns <= 0.96 * SIDE and abs(rows - columns / 2) <= 2
        assert red.sum() > 0.97 * rows * columns
