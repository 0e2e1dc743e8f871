"""The interface of tokenizers, embedders, generators and sets of samples: all that the harness knows of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL.Image import Image

from atoken import Gaussians
from atoken.processing.cameras_atoken import Cameras
from atoken.processing.mesh_reading_atoken import ColoredMesh
from atoken.tokenizing.objects import COMPARED_SIZE

KINDS = ("image", "video", "object")
TASKS = ("reconstruction", "classification", "retrieval", "projection", "generation", "captions", "pictures")


@dataclass(frozen=True)
class Encoded:
    """
    Holds one sample as a tokenizer stores it.

    Attributes:
        payload: what `decode` or `render` of the same tokenizer takes.
        bits: all that has to be stored of it, in bits.
        latent_shape: of one sample, without a batch axis; of a codec the number of its bytes.
        codes: (..., G) integers of a discrete tokenizer, else None.
    """

    payload: Any
    bits: int
    latent_shape: tuple[int, ...]
    codes: torch.Tensor | None = None


class _Described(ABC):
    """
    Says what it takes, what it can do, and what numbers of it depend on.

    Attributes:
        name: how tables call it.
        kinds: which of "image", "video", "object" it takes.
        tasks: which of `TASKS` it can do.
        decodes: False for a tokenizer from which nothing but codes comes.
        codebook_sizes: entries of each of the G codebooks of a discrete tokenizer, else empty.
    """

    name: str
    kinds: frozenset[str]
    tasks: frozenset[str] = frozenset({"reconstruction"})
    decodes: bool = True
    codebook_sizes: tuple[int, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Gives JSON-ready facts that go beside every number: class, revision, dtype, options, library versions."""
        return {"class": type(self).__name__}

    def fingerprints(self) -> dict[str, str]:
        """
        Gives digests of the weights and files that results depend on, by what they are of.

        An evaluation that goes on compares them; no page shows them. Files whose content `describe` tells need none.
        """
        return {}


class MediaTokenizer(_Described):
    """
    Turns images and videos into latents and back. An image is a video of one frame.

    On a set for captions it gives the set's own media back, the most that a generator of its latents can reach.
    """

    tasks = frozenset({"reconstruction", "captions"})

    @abstractmethod
    def encode(self, media: torch.Tensor) -> Encoded:
        """Encodes `media`, (T, 3, H, W) uint8 RGB on the CPU."""

    @abstractmethod
    def decode(self, encoded: Encoded) -> torch.Tensor:
        """Decodes to (T, 3, H, W) uint8 on the CPU, in exactly the size that was encoded."""


class ObjectTokenizer(_Described):
    """Turns 3D objects into latents and back into pictures."""

    @abstractmethod
    def encode(self, mesh: ColoredMesh) -> Encoded:
        """Encodes `mesh`, whose longest side is 1 and whose middle is at 0."""

    @abstractmethod
    def render(self, encoded: Encoded, cameras: Cameras, size: int) -> torch.Tensor:
        """Renders (V, 3, size, size) uint8 on black."""


class Reconstructions(_Described):
    """Gives reconstructions of a set's samples that other code makes or has made: files, matched by name."""

    tasks = frozenset({"reconstruction", "captions"})

    @abstractmethod
    def check(self, samples: "EvaluationSet") -> None:
        """
        Checks before any work that this set can be reconstructed.

        Raises:
            FileNotFoundError, ValueError: it cannot.
        """

    @abstractmethod
    def reconstruct(self, samples: "EvaluationSet", indices: Sequence[int]) -> Iterator[torch.Tensor]:
        """Yields the reconstructions of chosen samples in their order: (T, 3, H, W) uint8, of objects the views."""

    @abstractmethod
    def bits(self, shape: Sequence[int]) -> int | None:
        """Gives what is stored of a sample (T, 3, H, W) in bits, or None where nobody has said it."""


class Embedder(_Described):
    """
    Turns samples and texts into vectors that are compared by their cosine.

    Attributes:
        canonical_prompts: whether the prompts of classes come in small letters without punctuation, as SigLIP and
            AToken were trained; CLIP and its kin were not.
    """

    tasks = frozenset({"classification", "retrieval", "projection"})
    canonical_prompts: bool = True

    @abstractmethod
    def embed(self, samples: Sequence[torch.Tensor | ColoredMesh]) -> torch.Tensor:
        """Embeds `samples`, (T, 3, H, W) uint8 or meshes, of one kind: (B, d) float32, not normalized."""

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeds texts as the protocol words them: (B, d) float32, not normalized."""


class Generator(_Described):
    """
    Gives images that were generated, or generates them: always the same ones, so that any process can take its part.

    Attributes:
        count: how many there are.
    """

    kinds = frozenset({"image"})
    tasks = frozenset({"generation"})
    count: int

    @abstractmethod
    def images(self, indices: range) -> torch.Tensor:
        """Gives images by number, all of one size: (B, 3, H, W) uint8 on the CPU."""


class CaptionGenerator(_Described):
    """
    Makes images and videos of captions, or gives those that something has made: always the same ones, so that any
    process can take its part.
    """

    kinds = frozenset({"image", "video"})
    tasks = frozenset({"captions"})

    def check(self, samples: "EvaluationSet") -> None:
        """
        Checks before any work that media can be had of the captions of this set.

        Raises:
            FileNotFoundError, ValueError: they cannot.
        """

    @abstractmethod
    def make(self, samples: "EvaluationSet", indices: Sequence[int]) -> Iterator[torch.Tensor]:
        """Yields what is made of the first caption of each chosen sample, in their order: (T, 3, H, W) uint8."""


@dataclass(frozen=True)
class PicturedObject:
    """
    Holds what an object is made of again.

    Attributes:
        mesh: the true object, for what is not generated but compared with.
        picture: of it, in mode RGBA with nothing behind it.
        camera: from where it was taken.
    """

    mesh: ColoredMesh
    picture: Image
    camera: Cameras


@dataclass(frozen=True)
class MadeObject:
    """Holds the voxels of an object, (N, 3) int64 [x, y, z] on the CPU, and its Gaussians."""

    coords: torch.Tensor
    gaussians: Gaussians


class ObjectGenerator(_Described):
    """
    Makes 3D objects of pictures: always the same ones, so that any process can take its part.

    Attributes:
        resolution: voxels along a side of the grid.
    """

    kinds = frozenset({"object"})
    tasks = frozenset({"pictures"})
    resolution: int

    @abstractmethod
    def make(self, given: PicturedObject, index: int) -> MadeObject | None:
        """Makes the object of sample `index`; None where no voxel comes out."""


@dataclass(frozen=True)
class Sample:
    """
    Names one sample of a set, and loads it.

    Attributes:
        name: unique within its set.
        load: gives (T, 3, H, W) uint8 RGB, or a `ColoredMesh`. To share the work among processes it must pickle.
        captions: texts that describe it.
        label: index into the set's `class_names`.
        shows: words of the miniature world by the names of its attributes, such as "colour" and "shape".
    """

    name: str
    load: Callable[[], torch.Tensor | ColoredMesh]
    captions: tuple[str, ...] = ()
    label: int | None = None
    shows: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationSet:
    """
    Lists samples together with the protocol by which they are made.

    Attributes:
        name: how tables call it.
        kind: one of `KINDS`.
        samples: in a fixed order; loading is left to each sample.
        protocol: JSON-ready: resize, crop, range, frames, count, ... of these samples.
        checksum: SHA-256 (hex) of the sorted list of file names and sizes, or of the seed and version of drawn samples.
        class_names: of zero-shot classification.
        templates: prompts with one {} for zero-shot classification.
        view_size: pixels of a side of the views in which objects are compared.
        view_angle: degrees that the views of made objects show; less than 40 for objects smaller than the cube.
        moments: of a reference for generated images: reads the Gaussians of features and of spatial features of more
            images than the samples. It must pickle, too.
        has_media: False for captions alone, whose samples cannot be loaded.
        fps: frames per second of videos that are made of captions.
        companions: texts of files that belong beside the media made of captions, by their relative paths.
    """

    name: str
    kind: str
    samples: Sequence[Sample]
    protocol: dict[str, Any]
    checksum: str
    class_names: tuple[str, ...] = ()
    templates: tuple[str, ...] = field(default=("{}",))
    view_size: int = COMPARED_SIZE
    view_angle: float = 40.0
    moments: Callable[[], Any] | None = None
    has_media: bool = True
    fps: float = 8.0
    companions: Mapping[str, str] = field(default_factory=dict)


Model = MediaTokenizer | ObjectTokenizer | Reconstructions | Embedder | Generator | CaptionGenerator | ObjectGenerator
