"""Packages of Debian, PyPI and npm as archives of files: downloading them, and reading what is inside.

Nothing is installed, and no code is run but what pip asks source archives for their metadata with. Needs `apt-get` and
`dpkg-deb` (run `apt-get update` first) for Debian's packages, `pip` for PyPI's, and `npm` for npm's.
"""

import gzip
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 2**30  # of one file in a package, unpacked
CHANNELS = ("debian", "pypi", "pypi-sdist", "npm")
_PIP = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]


def folder_name(package: str) -> str:
    """Gives a package's name as the name of a folder: npm writes "@scope/name", which is "scope-name" here."""
    return package.removeprefix("@").replace("/", "-")


def find_archive(package: str, channel: str, version: str, cache: Path) -> Path | None:
    """Finds the newest archive of a package in a folder; any of Debian's versions, as mirrors have only one."""
    # Wheels and source archives spell "scikit-image" as "scikit_image"; Debian's file names escape the epoch.
    pattern = {
        "debian": f"{package}_*.deb",
        "pypi": f"{package.replace('-', '_')}-{version}-*.whl",
        "pypi-sdist": f"{package.replace('-', '_')}-{version}.tar.gz",
        "npm": f"{folder_name(package)}-{version}.tgz",
    }[channel]
    return max(cache.glob(pattern), key=lambda path: path.stat().st_mtime, default=None)


def download(package: str, channel: str, version: str, cache: Path) -> Path:
    """
    Downloads a package into the cache, unless it is there already.

    Args:
        package: its name in the channel.
        channel: one of `CHANNELS`.
        version: the exact version; of Debian, whichever the mirror has.
        cache: folder of archives.

    Returns:
        The archive.

    Raises:
        ValueError: there is no such channel.
        OSError: the download failed, or its tool is not installed.
    """
    if channel not in CHANNELS:
        raise ValueError(f"channel must be one of {', '.join(CHANNELS)}, got {channel!r}")
    cache.mkdir(parents=True, exist_ok=True)
    if archive := find_archive(package, channel, version, cache):
        return archive
    command = {
        "debian": ["apt-get", "-q", "download", package],
        "pypi": [*_PIP, "--only-binary", ":all:", f"{package}=={version}"],
        "pypi-sdist": [*_PIP, "--no-binary", ":all:", f"{package}=={version}"],
        "npm": ["npm", "pack", "--loglevel=error", "--ignore-scripts", f"{package}@{version}"],
    }[channel]
    # Each of these tools checks the archive against its index. In a folder of its own, as one that is stopped halfway
    # must not be taken for an archive.
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise OSError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
        for path in Path(folder).iterdir():
            path.replace(cache / path.name)
    archive = find_archive(package, channel, version, cache)
    if archive is None:
        raise FileNotFoundError(f"{package} {version} was downloaded, but there is no archive of it in {cache}")
    return archive


def archive_version(archive: Path) -> str:
    """Reads the version of a package from the package itself or, but for Debian's, from the name of its file."""
    if archive.suffix == ".deb":
        command = ["dpkg-deb", "-f", str(archive), "Version"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if archive.suffix == ".whl":
        return archive.name.split("-")[1]
    return archive.name.removesuffix(".tgz").removesuffix(".tar.gz").rpartition("-")[2]


def read_archive(archive: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """
    Gives the wanted files of an archive, without unpacking the rest to disk.

    Args:
        archive: a .deb, .whl, .tgz or .tar.gz.
        wanted: paths inside it. The one folder that source and npm archives begin with is left out.

    Returns:
        An iterator over (path, content), in the order of the archive; files that it does not have are not in it.

    Raises:
        OSError: it cannot be read.
    """
    try:
        yield from _members(archive, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise OSError(f"{archive} cannot be read ({error}); delete it to download it again") from error


def _members(archive: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                if name in wanted:
                    yield name, read_member(wheel, name)
    elif archive.suffix == ".deb":
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                yield from _wanted_members(tar, wanted, "./")
            process.stdout.read()  # the padding after the last member: dpkg-deb fails if nobody takes it
        if process.returncode != 0:
            raise OSError(f"dpkg-deb could not read {archive}; delete it to download it again")
    else:
        with tarfile.open(archive, mode="r|gz") as tar:
            yield from _wanted_members(tar, wanted, None)


def _wanted_members(tar: tarfile.TarFile, wanted: set[str], prefix: str | None) -> Iterator[tuple[str, bytes]]:
    """Gives the wanted members, named without `prefix` or, if it is None, without their first folder."""
    for member in tar:
        name = member.name.partition("/")[2] if prefix is None else member.name.removeprefix(prefix)
        # Links are left out: what they lead to has passed already, or comes later.
        if name in wanted and member.isreg() and (content := tar.extractfile(member)) is not None:
            _check_size(name, member.size)
            yield name, content.read()


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """
    Reads a file of a zip archive.

    Raises:
        OSError: it is larger than any file of a package.
    """
    _check_size(name, archive.getinfo(name).file_size)
    return archive.read(name)


def gunzip(content: bytes, name: str) -> bytes:
    """
    Unpacks a .gz file.

    Args:
        content: of the file.
        name: for errors.

    Raises:
        OSError: it is damaged, or unpacks to more than any file of a package.
    """
    with gzip.open(io.BytesIO(content)) as file:
        unpacked = file.read(MOST_BYTES + 1)
    _check_size(name, len(unpacked))
    return unpacked


def _check_size(name: str, size: int) -> None:
    if size > MOST_BYTES:
        raise OSError(f"{name} must unpack to at most {MOST_BYTES:,} bytes, it has more")
