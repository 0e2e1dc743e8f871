"""3D Gaussians as a value: what the 3D decoder gives, rendering reads and files hold."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral

import torch

# Y_0^0, the constant real spherical harmonic.
SH_C0 = 0.28209479177387814

_WIDTHS = {"means": 3, "quats": 4, "scales": 3, "opacities": None, "sh0": 3}


@dataclass(frozen=True, eq=False)
class Gaussians:
    """
    G anisotropic 3D Gaussians with one color each. Indexing with anything that selects along the first dimension of a
    tensor gives `Gaussians` again.

    Args:
        means: (G, 3) centers x, y, z in world units; decoded objects live in [-0.5, 0.5]^3.
        quats: (G, 4) rotations as quaternions w, x, y, z, of any non-zero length.
        scales: (G, 3) standard deviations along the rotated axes, in world units, at least 0.
        opacities: (G,) in [0, 1].
        sh0: (G, 3) red, green, blue coefficients of the constant spherical harmonic; see `rgb`.

    Raises:
        ValueError: naming the field whose type, shape, device or values do not fit.
    """

    means: torch.Tensor
    quats: torch.Tensor
    scales: torch.Tensor
    opacities: torch.Tensor
    sh0: torch.Tensor

    def __post_init__(self):
        for name, width in _WIDTHS.items():
            value = getattr(self, name)
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                given = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
                raise ValueError(f"{name} must be a floating point tensor, got {given}")
            count = self.means.shape[0] if self.means.ndim else 0
            expected = (count,) if width is None else (count, width)
            if tuple(value.shape) != expected:
                shape = "(G,)" if width is None else f"(G, {width})"
                raise ValueError(f"{name} must have shape {shape} with G = {count}, got {tuple(value.shape)}")
            if value.device != self.means.device:
                raise ValueError(f"{name} must be on the device of means, {self.means.device}, got {value.device}")
        # One synchronization for all checks on values.
        bad = torch.stack(
            [
                *(~getattr(self, name).detach().isfinite().all() for name in _WIDTHS),
                (self.quats.detach() == 0).all(-1).any(),
                (self.scales.detach() < 0).any(),
                ((self.opacities.detach() < 0) | (self.opacities.detach() > 1)).any(),
            ]
        )
        problems = [f"{name} must be finite, got NaN or infinity" for name in _WIDTHS]
        problems.append("quats must not be zero, got a quaternion (0, 0, 0, 0)")
        problems.append("scales must be at least 0, got negative ones")
        problems.append("opacities must be in [0, 1], got values outside")
        for is_bad, problem in zip(bad.tolist(), problems, strict=True):
            if is_bad:
                raise ValueError(problem)

    def __len__(self) -> int:
        return self.means.shape[0]

    def __getitem__(self, index: slice | torch.Tensor | Sequence[int] | int) -> "Gaussians":
        """Selects by `index`; an integer gives one Gaussian (G = 1). Raises IndexError out of range."""
        if isinstance(index, Integral) or isinstance(index, torch.Tensor) and index.ndim == 0:
            index = int(index)
            if not -len(self) <= index < len(self):
                raise IndexError(f"index must be in [{-len(self)}, {len(self)}), got {index}")
            index %= len(self)
            index = slice(index, index + 1)
        return Gaussians(**{name: getattr(self, name)[index] for name in _WIDTHS})

    @property
    def rgb(self) -> torch.Tensor:
        """Gives (G, 3) colors, 0 to 1 for what can be shown, not clamped."""
        return 0.5 + SH_C0 * self.sh0

    @property
    def device(self) -> torch.device:
        return self.means.device

    @property
    def dtype(self) -> torch.dtype:
        return self.means.dtype

    @classmethod
    def unchecked(cls, **values: torch.Tensor) -> "Gaussians":
        """Takes all fields as they are: reading them from a device to check them would wait for it."""
        gaussians = cls.__new__(cls)
        for name in _WIDTHS:
            object.__setattr__(gaussians, name, values[name])
        return gaussians

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Gaussians":
        """Moves all fields to a device and a floating point dtype; None keeps them."""
        return Gaussians(**{f.name: getattr(self, f.name).to(device=device, dtype=dtype) for f in fields(self)})

    def detach(self) -> "Gaussians":
        """Gives the same values, cut off from the graph."""
        return Gaussians(**{name: getattr(self, name).detach() for name in _WIDTHS})

    @staticmethod
    def concatenate(parts: Sequence["Gaussians"]) -> "Gaussians":
        """Several sets as one, in order. Raises ValueError for none, or for something else than `Gaussians`."""
        parts = list(parts)
        if not parts or not all(isinstance(part, Gaussians) for part in parts):
            given = ", ".join(type(part).__name__ for part in parts) or "none"
            raise ValueError(f"parts must be at least one Gaussians, got {given}")
        return Gaussians(**{name: torch.cat([getattr(part, name) for part in parts]) for name in _WIDTHS})

    def rotations(self) -> torch.Tensor:
        """Gives (G, 3, 3) rotation matrices of `quats`; a column is a Gaussian's axis in the world."""
        return rotation_matrices(self.quats)

    def covariances(self) -> torch.Tensor:
        """Gives (G, 3, 3) covariances R diag(scales^2) R^T."""
        axes = self.rotations() * self.scales[:, None, :]
        return axes @ axes.mT

    def transform(
        self,
        rotation: torch.Tensor | None = None,
        translation: torch.Tensor | Sequence[float] | None = None,
        scale: float = 1.0,
    ) -> "Gaussians":
        """
        Moves the object: x -> scale * rotation @ x + translation; covariances turn and grow with it.

        Args:
            rotation: (3, 3) rotation matrix or (4,) quaternion w, x, y, z; None turns nothing.
            translation: three world units; None moves nothing.
            scale: positive factor.

        Raises:
            ValueError: if rotation is no rotation, translation not three numbers or scale not positive.
        """
        options = {"device": self.device, "dtype": self.dtype}
        turn = torch.tensor([1.0, 0.0, 0.0, 0.0], **options) if rotation is None else _as_quaternion(rotation, options)
        move = torch.zeros(3, **options) if translation is None else torch.as_tensor(translation, **options)
        if move.shape != (3,) or not move.isfinite().all():
            raise ValueError(f"translation must be three finite numbers, got {translation}")
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale must be positive and finite, got {scale}")
        return replace(
            self,
            means=scale * self.means @ rotation_matrices(turn).mT + move,
            quats=_quaternion_product(turn, self.quats),
            scales=scale * self.scales,
        )

    def crop(self, low: float | Sequence[float], high: float | Sequence[float]) -> "Gaussians":
        """
        Keeps those whose centers lie in the box [low, high], bounds included.

        Args:
            low, high: world units, one number or one for each of x, y, z.

        Raises:
            ValueError: if a bound is not one or three numbers, or low is above high.
        """
        bounds = []
        for name, value in (("low", low), ("high", high)):
            bound = torch.as_tensor(value, device=self.device, dtype=self.dtype)
            if tuple(bound.shape) not in ((), (3,)) or bound.isnan().any():
                raise ValueError(f"{name} must be one number or three, got {value}")
            bounds.append(bound)
        if (bounds[0] > bounds[1]).any():
            raise ValueError(f"low must be at most high, got {low} and {high}")
        return self[((self.means >= bounds[0]) & (self.means <= bounds[1])).all(-1)]


def rotation_matrices(quats: torch.Tensor) -> torch.Tensor:
    """Quaternions (..., 4) w, x, y, z of any non-zero length to rotation matrices (..., 3, 3)."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _quaternion_product(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Hamilton product (..., 4): the rotation `second`, then `first`."""
    a, u = first[..., :1], first[..., 1:]
    b, v = second[..., :1], second[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    return torch.cat([a * b - (u * v).sum(-1, keepdim=True), a * v + b * u + torch.linalg.cross(u, v)], dim=-1)


def _as_quaternion(rotation: torch.Tensor, options: dict) -> torch.Tensor:
    """A unit quaternion (4,) from one of any length or from a rotation matrix; ValueError for anything else."""
    given = torch.as_tensor(rotation).to("cpu").to(torch.float64)  # not every device has float64
    if tuple(given.shape) == (4,) and given.isfinite().all() and given.norm() > 0:
        return (given / given.norm()).to(**options)
    if tuple(given.shape) != (3, 3):
        raise ValueError(f"rotation must be a (3, 3) matrix or a non-zero quaternion (4,), got {rotation}")
    identity = torch.eye(3, dtype=given.dtype, device=given.device)
    # Matrices often come in fp32 from a product of several; a mirror image has determinant -1.
    if not torch.allclose(given @ given.mT, identity, atol=1e-4) or torch.linalg.det(given) < 0:
        raise ValueError(f"rotation must be orthonormal with determinant 1, got {given.tolist()}")
    # K @ q = 3 q for the quaternion of the matrix, stable for every angle (Bar-Itzhack 2000).
    m = given
    symmetric = m.new_zeros(4, 4)
    symmetric[0, 0] = m.trace()
    symmetric[1:, 1:] = m + m.mT - m.trace() * identity
    twist = torch.stack([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    symmetric[0, 1:] = symmetric[1:, 0] = twist
    return torch.linalg.eigh(symmetric).eigenvectors[:, -1].to(**options)


__all__ = ["SH_C0", "Gaussians", "rotation_matrices"]
