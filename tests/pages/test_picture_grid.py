"""Grids of pictures by slices of the result."""

import torch

from atoken.pages.picture_grid import picture_grid


def test_pictures_stand_row_by_row_with_white_gaps():
    pictures = torch.randint(0, 255, (5, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    grid = picture_grid(pictures)  # three columns make five pictures about a square
    assert grid.shape == (2 * 6 + 2, 3 * 8 + 2, 3)
    assert torch.equal(grid[2:6, 10:16], pictures[1].permute(1, 2, 0))
    assert torch.equal(grid[8:12, 2:8], pictures[3].permute(1, 2, 0))
    assert (grid[:2] == 255).all() and (grid[8:12, 18:24] == 255).all()
    assert picture_grid(pictures, columns=5).shape == (8, 5 * 8 + 2, 3)
    assert torch.equal(picture_grid(pictures[:1]), pictures[0].permute(1, 2, 0))
