"""How many tokens of the language model a picture or a video takes: the one count of model and processor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MediaTokenCounts:
    """
    Counts the tokens that the projector makes (paper, section 5.1; SlowFast-LLaVA-1.5).

    Attributes:
        image_pool_stride: patches along each side that are averaged to one token of an image.
        slow_frames: frames, at most, of a video's slow path.
        slow_stride: patches along each side that are averaged to one token of the slow path.
        fast_grid: rows and columns of each frame's fast tokens.
        frames_per_token: 1 where each frame is an image of its own; else frames of the encoder's patch.
    """

    image_pool_stride: int = 1
    slow_frames: int = 32
    slow_stride: int = 2
    fast_grid: tuple[int, int] = (4, 4)
    frames_per_token: int = 1

    def image(self, rows: int, columns: int) -> int:
        """
        Counts the tokens of an image of `rows` x `columns` patches, with one newline after each row.

        Raises:
            ValueError: if a side is no multiple of `image_pool_stride`.
        """
        rows, columns = pooled_sides(rows, columns, self.image_pool_stride, "image_pool_stride")
        return rows * (columns + 1)

    def video(self, frames: int, rows: int, columns: int) -> int:
        """
        Counts the tokens of a video of `frames` frames of `rows` x `columns` patches, with the separator.

        Raises:
            ValueError: if there is no frame, or a side is no multiple of `slow_stride`.
        """
        if frames < 1:
            raise ValueError(f"frames must be at least 1, got {frames}")
        times = -(-frames // self.frames_per_token)
        rows, columns = pooled_sides(rows, columns, self.slow_stride, "slow_stride")
        return min(self.slow_frames, times) * rows * columns + 1 + times * self.fast_grid[0] * self.fast_grid[1]


def pooled_sides(rows: int, columns: int, stride: int, name: str) -> tuple[int, int]:
    """
    Gives rows and columns after averaging `stride` x `stride` patches.

    Raises:
        ValueError: naming `name`, if a side is empty or not a multiple of the stride.
    """
    if rows < 1 or columns < 1 or rows % stride or columns % stride:
        raise ValueError(
            f"{name} must divide both sides of the patch grid, got {stride} for {rows} x {columns} patches. Resize the "
            "media so that their sides are multiples of the patch times the stride."
        )
    return rows // stride, columns // stride


__all__ = ["MediaTokenCounts", "pooled_sides"]
