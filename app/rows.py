"""The rows of the tables that commands print, and their form in JSON."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

# In JSON a field that does not apply to a row is left out.
_OPTIONAL = {"default": None, "metadata": {"optional": True}}


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    Holds what every row says.

    Attributes:
        file: that was worked on.
        kind: "image", "video" or "object".
        warnings: what could not be taken over from the file; JSON always has the list.
    """

    file: str
    kind: str
    warnings: list[str] = field(default_factory=list)

    def with_warnings(self, warnings: list[str]) -> Self:
        """Gives the same row with what readers warned about."""
        return replace(self, warnings=[*self.warnings, *warnings])

    def as_json(self) -> dict[str, Any]:
        """Gives the row as a JSON object."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        optional = {each.name for each in fields(self) if each.metadata.get("optional")}
        return {name: value for name, value in values.items() if value is not None or name not in optional}


@dataclass(frozen=True, kw_only=True)
class ReconstructedRow(Row):
    """Holds how close a reconstruction came, and what its tokens cost; see `atoken.tokenizing.round_trip.Measured`."""

    media_size: list[int] | None
    fps: float | None
    tokens: int
    bits_per_pixel: float | None
    latent_dtype: str
    psnr: float | None
    ssim: float | None
    seconds: float
    gaussians: int | None = field(**_OPTIONAL)
    output: str | None = field(**_OPTIONAL)
    model: str | None = field(**_OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class StoredRow(Row):
    """Holds what `encode` wrote: `content` is "latents" or "codes", `dtype` as safetensors names it."""

    output: str
    content: str
    dtype: str
    media_size: list[int] | None
    fps: float | None
    tokens: int
    bytes: int
    bits_per_pixel: float | None
    seconds: float
    bits_per_token: float | None = field(**_OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class DecodedRow(Row):
    """Holds what `decode` wrote."""

    output: str
    model: str
    media_size: list[int] | None
    fps: float | None
    tokens: int
    seconds: float
    gaussians: int | None = field(**_OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class EmbeddedRow(Row):
    """Holds the cosines of a file with texts, and the embedding itself where it goes into no file."""

    similarities: dict[str, float] | None = field(**_OPTIONAL)
    embedding: list[float] | None = field(**_OPTIONAL)
