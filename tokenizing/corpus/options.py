"""What a corpus is to hold, and which wishes contradict each other."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from atoken.configuration_atoken import AtokenConfig

KINDS = ("image", "video", "object")
CONTENTS = ("latents", "codes")
FORMATS = ("parquet", "webdataset", "safetensors")
# Rows of a unit where a source is not cut into files by itself: some 100 MB of latents for pictures of 256 pixels.
UNIT_ROWS = {"image": 4096, "video": 128, "object": 256}
# Columns that every part has; kept columns have other names.
OWN_COLUMNS = tuple("row flipped tokens t h w frames height width fps latents logvar codes coords".split())
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class TokenizeOptions:
    """
    Says what becomes of a source.

    Attributes:
        kind: "image", "video" or "object"; a corpus has one.
        content: "latents" (bfloat16) or "codes" (int16, or int32 for codebooks of more than 32,768 entries).
        size: side in pixels of square pictures: the shorter side is resized to it, and the middle is kept. None keeps
            media at their size and proportions.
        max_tokens: patches of a picture, or of a latent frame of a video, at most; larger media are made smaller.
        flip: whether the mirror image of every row follows it as a row of its own.
        frames: frames of a video, from its middle; shorter videos are failures. None takes all.
        moments: whether the log-variances of the posterior are stored beside the latents, which are its means.
        format: "parquet", "webdataset", or "safetensors", which is the layout that Lightning-DiT reads.
        media: column of parquet files and data sets, or ending in tars, that holds the media; None finds it by `kind`.
        keep: name of a kept column -> column of the source. "key" replaces the key that a source gives by itself,
            "label" must be integers, "caption" is text.
        split, subset, revision: of a data set of the Hub.
        unit_rows: rows of a unit; None takes `UNIT_ROWS`. A tar is always one unit.
        batch_tokens: tokens that the encoder runs at a time.
        dtype: number type of the computation, "float32", "bfloat16" or "float16".
    """

    kind: str = "image"
    content: str = "latents"
    size: int | None = None
    max_tokens: int | None = None
    flip: bool = False
    frames: int | None = None
    moments: bool = False
    format: str = "parquet"
    media: str | None = None
    keep: dict[str, str] = field(default_factory=dict)
    split: str = "train"
    subset: str | None = None
    revision: str | None = None
    unit_rows: int | None = None
    batch_tokens: int = 16_384
    dtype: str = "float32"

    def __post_init__(self):
        choices = {"kind": KINDS, "content": CONTENTS, "format": FORMATS, "dtype": ("float32", "bfloat16", "float16")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("size", "max_tokens", "frames", "unit_rows", "batch_tokens"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        for name in self.keep:
            if not _NAME.fullmatch(name) or name in OWN_COLUMNS:
                raise ValueError(
                    f"keep must name columns by letters, digits and _, but not {', '.join(OWN_COLUMNS)}, got {name!r}"
                )
        self._check_together()

    def _check_together(self) -> None:
        if self.kind == "object":
            for name in ("size", "max_tokens", "flip"):
                if getattr(self, name):
                    raise ValueError(f"{name} must be left out for objects, got {getattr(self, name)!r}")
        if self.frames is not None and self.kind != "video":
            raise ValueError(f"frames must be left out unless kind is video, got {self.frames} with kind {self.kind}")
        if self.size is not None and self.max_tokens is not None:
            raise ValueError(f"max_tokens must be left out where size is given, got {self.max_tokens} and {self.size}")
        if self.moments and self.content == "codes":
            raise ValueError("moments must be off for codes, which have no posterior, got True")
        if self.format == "safetensors":
            wanted = {"kind": "image", "content": "latents", "flip": True, "moments": False}
            wrong = [name for name, value in wanted.items() if getattr(self, name) != value]
            if wrong or self.size is None or "label" not in self.keep:
                raise ValueError(
                    "format must be parquet or webdataset unless there are latents of images of one size with flip and "
                    "a kept label, which is what Lightning-DiT reads, got safetensors; give size, flip and keep label"
                )

    def check_model(self, config: AtokenConfig) -> None:
        """
        Checks that a model can give what is asked for.

        Raises:
            ValueError: it has no codes, no posterior, or patches that do not fill `size`.
        """
        discrete = config.quantizer_config is not None
        if self.content == "codes" and not discrete:
            raise ValueError("content must be latents for a continuous model, got codes; choose a discrete model")
        if self.moments and discrete:
            raise ValueError("moments must be off for a discrete model, which has no posterior, got True")
        rows, columns = config.vision_config.patch_size[1:]
        if self.size is not None and (self.size % rows or self.size % columns):
            raise ValueError(f"size must be a multiple of the patch of {rows} x {columns} pixels, got {self.size}")

    @property
    def rows_of_unit(self) -> int:
        """Gives the rows of a unit."""
        return self.unit_rows or UNIT_ROWS[self.kind]

    def as_json(self) -> dict[str, Any]:
        """Gives the options as a plan records them."""
        return asdict(self)
