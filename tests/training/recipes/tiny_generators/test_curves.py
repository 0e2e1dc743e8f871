"""The picture of the losses."""

from PIL import Image

from atoken.training.recipes.tiny_generators.curves import plot


def test_every_generator_has_a_plot(tmp_path):
    points = [{"step": step, "minutes": 1.0, "loss": 1 / step, "mse": 0.5 / step} for step in (1, 20, 40)]
    record = {"minutes": 12.3, "curve": points}
    for count in (1, 2):
        plot({f"generator {number}": record for number in range(count)}, tmp_path / f"{count}.png")
    one, two = (Image.open(tmp_path / f"{count}.png").size for count in (1, 2))
    assert two == (2 * one[0], one[1])
