"""Archives of packages: which file belongs to which package, and what is inside."""

import io
import struct
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest

from atoken.training.recipes.tiny import package_archives
from atoken.training.recipes.tiny.package_archives import (
    archive_version,
    download,
    find_archive,
    folder_name,
    read_archive,
)
from atoken.training.recipes.tiny.qt_resources import qt_resources


@pytest.mark.parametrize(
    ("package", "channel", "version", "file"),
    [
        ("material-kit", "npm", "2.0.4", "material-kit-2.0.4.tgz"),
        ("@scope/name", "npm", "1.0.0-beta", "scope-name-1.0.0-beta.tgz"),
        ("scikit-image", "pypi", "0.26.0", "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.whl"),
        ("made-of", "pypi-sdist", "7.8.0", "made_of-7.8.0.tar.gz"),
        ("data", "debian", "1", "data_1%3a0.9-1_all.deb"),
    ],
)
def test_every_channel_names_archives_its_own_way(package, channel, version, file, tmp_path):
    for other in (file, "material-kit-2-2.0.4.tgz", "scikit_image-0.25.0-py3.whl", "data-more_1_all.deb"):
        (tmp_path / other).write_bytes(b"")
    assert find_archive(package, channel, version, tmp_path) == tmp_path / file
    assert find_archive("other", channel, version, tmp_path) is None
    # What is there is not downloaded.
    assert download(package, channel, version, tmp_path) == tmp_path / file


def test_versions_are_read_off_names():
    assert archive_version(Path("material-kit-2-2.1.0.tgz")) == "2.1.0"
    assert archive_version(Path("made_of-7.8.0.tar.gz")) == "7.8.0"
    assert archive_version(Path("scikit_image-0.26.0-cp311-x.whl")) == "0.26.0"
    assert folder_name("@scope/name") == "scope-name" and folder_name("plain") == "plain"


def fake_tool(code, file):
    """Stands for apt-get, pip or npm: writes a file into the folder that it runs in, or fails."""

    def run(command, cwd, capture_output, text):
        (Path(cwd) / file).write_bytes(b"part")
        return subprocess.CompletedProcess(command, code, "", "no such package")

    return run


def test_a_download_that_fails_leaves_no_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(package_archives.subprocess, "run", fake_tool(1, "name-1.0.tgz"))
    with pytest.raises(OSError, match=r"npm pack --loglevel=error --ignore-scripts name@1.0 failed:\nno such package"):
        download("name", "npm", "1.0", tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(package_archives.subprocess, "run", fake_tool(0, "name-2.0.tgz"))
    with pytest.raises(FileNotFoundError, match="name 1.0 was downloaded, but there is no archive of it"):
        download("name", "npm", "1.0", tmp_path)
    monkeypatch.setattr(package_archives.subprocess, "run", fake_tool(0, "name-1.0.tgz"))
    assert download("name", "npm", "1.0", tmp_path).read_bytes() == b"part"


def test_links_and_unwanted_files_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "a-1.tgz", "w:gz") as tar:
        for name in ("package/x/a.txt", "package/b.txt"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("package/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "b.txt"
        tar.addfile(link)
    assert list(read_archive(tmp_path / "a-1.tgz", {"x/a.txt", "link.txt", "gone"})) == [("x/a.txt", b"abc")]
    (tmp_path / "a-1.tgz").write_bytes(b"damaged")
    with pytest.raises(OSError, match="a-1.tgz cannot be read .*; delete it to download it again"):
        list(read_archive(tmp_path / "a-1.tgz", {"x"}))


@pytest.mark.parametrize("version", [1, 2])
def test_files_inside_a_qt_resource(version):
    """Packs a root with a folder of two files, of which the second is compressed."""
    names, places = b"", {}
    for name in ("img", "a.jpg", "b.txt"):
        places[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    packed = struct.pack(">I", 5) + zlib.compress(b"hello")
    contents = struct.pack(">I", 3) + b"JPG" + struct.pack(">I", len(packed)) + packed
    stamp = b"\0" * 8 if version >= 2 else b""
    tree = struct.pack(">IHII", 0, 2, 1, 1) + stamp  # the root: one child, node 1
    tree += struct.pack(">IHII", places["img"], 2, 2, 2) + stamp
    tree += struct.pack(">IHHHI", places["a.jpg"], 0, 0, 0, 0) + stamp
    tree += struct.pack(">IHHHI", places["b.txt"], 1, 0, 0, 7) + stamp
    head = 20
    offsets = (head, head + len(tree), head + len(tree) + len(contents))
    data = b"qres" + struct.pack(">4I", version, *offsets) + tree + contents + names
    assert dict(qt_resources(data)) == {"/img/a.jpg": b"JPG", "/img/b.txt": b"hello"}
    with pytest.raises(ValueError, match="data must be a Qt binary resource, which begins with b'qres', got b'nope'"):
        list(qt_resources(b"nope" + data[4:]))
