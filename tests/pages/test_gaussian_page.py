"""The page of Gaussians: what it refuses, and in headless Chromium that it draws what it should and can be turned."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atoken import Gaussians
from atoken.pages.gaussians import write_gaussian_page

ASSETS = Path(__file__).resolve().parents[2] / "pages" / "assets"
BACKGROUND = (22, 24, 28)
ORANGE, BLUE = (200, 120, 40), (40, 80, 220)


def ball(center, color, count, seed):
    """`count` small round Gaussians in a ball of radius 0.15."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    radii = 0.15 * torch.rand(count, 1, generator=generator) ** (1 / 3)
    return gaussians_of(torch.tensor(center) + radii * directions, [1.0, 0.0, 0.0, 0.0], [0.01] * 3, color)


def gaussians_of(means, quat, scale, color):
    rows = (len(means), 1)
    return Gaussians(
        means=means,
        quats=torch.tensor([quat]).repeat(rows),
        scales=torch.tensor([scale]).repeat(rows),
        opacities=torch.ones(len(means)),
        sh0=((torch.tensor([color]) / 255 - 0.5) / 0.28209479177387814).repeat(rows),
    )


@pytest.fixture
def opened(browser):
    """A page of 400 x 300 pixels, with a list of everything in it that went wrong and of every address it asked for."""
    page = browser.new_page(viewport={"width": 400, "height": 300})
    problems, requests = [], []
    page.on("console", lambda message: message.type in ("error", "warning") and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    yield page, problems, requests
    page.close()


def show(page, path):
    """Opens a page and waits until its Gaussians are sorted and drawn; gives the picture without the texts."""
    page.goto(path.as_uri())
    page.wait_for_function("() => document.body.dataset.state")
    assert page.evaluate("document.body.dataset.state") == "ready", page.inner_text("#problem")
    page.add_style_tag(content="header, footer { display: none }")
    return picture(page)


def picture(page):
    """(300, 400, 3) after two more frames."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    with Image.open(io.BytesIO(page.screenshot())) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def picture_when(page, enough, looks=200):
    """The first picture for which `enough` is true; controls are damped, so that a drag takes some frames."""
    for _ in range(looks):
        shown = picture(page)
        if enough(shown):
            return shown
    raise AssertionError(f"nothing of the kind was seen in {looks} looks")


def where(shown, color, tolerance=12):
    """Rows and columns (K, 2) of the pixels with a color."""
    return np.argwhere((np.abs(shown - color) <= tolerance).all(-1))


def test_balls_are_drawn_upright_and_turn_with_the_mouse(opened, tmp_path):
    page, problems, requests = opened
    both = [ball([-0.3, 0.0, -0.2], ORANGE, 2500, 0), ball([0.3, 0.0, 0.2], BLUE, 2500, 1)]
    write_gaussian_page(tmp_path / "page.html", Gaussians.concatenate(both), title="two <balls>")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    first = show(page, tmp_path / "page.html")
    assert page.title() == "two <balls>"
    assert page.text_content("h1") == "two <balls>"
    assert page.text_content("#count") == "5,000 Gaussians"
    assert page.is_hidden("#problem")

    orange, blue = where(first, ORANGE), where(first, BLUE)
    assert len(orange) > 1500 and len(blue) > 1500
    assert len(where(first, BACKGROUND, 0)) > 60_000
    # From the front x points to the right, and z up.
    assert orange[:, 1].max() < blue[:, 1].min()
    assert orange[:, 0].mean() > blue[:, 0].mean() + 40
    # The whole is in the middle.
    np.testing.assert_allclose(np.concatenate([orange.mean(0), blue.mean(0)]).reshape(2, 2).mean(0), [150, 200], atol=5)

    page.mouse.move(200, 150)
    page.mouse.down()
    page.mouse.move(330, 150, steps=5)
    page.mouse.up()
    # Dragging to the right brings the left ball to the front and the right one to the back.
    turned = picture_when(page, lambda shown: len(where(shown, ORANGE)) > 1.3 * len(where(shown, BLUE)))
    apart = where(turned, BLUE)[:, 1].mean() - where(turned, ORANGE)[:, 1].mean()
    assert 0 < apart < 0.95 * (blue[:, 1].mean() - orange[:, 1].mean())

    # Turning on made the blue ball smaller; only zooming makes it larger.
    before = len(where(turned, BLUE))
    page.mouse.wheel(0, -500)
    picture_when(page, lambda shown: len(where(shown, BLUE)) > 1.2 * before)
    assert problems == []
    assert all(url.startswith(("file:", "blob:", "data:")) for url in requests)


def test_a_rotated_gaussian_points_where_its_quaternion_says(opened, tmp_path):
    page, problems, _ = opened
    # Long along x, turned by -45 degrees around y: (1, 0, 0) becomes (1, 0, 1) / sqrt(2), to the right and up.
    half = np.pi / 8
    needle = gaussians_of(torch.zeros(1, 3), [np.cos(half), 0.0, -np.sin(half), 0.0], [0.2, 0.02, 0.02], ORANGE)
    write_gaussian_page(tmp_path / "page.html", needle)
    shown = show(page, tmp_path / "page.html")
    assert page.text_content("#count") == "1 Gaussian"
    rows, columns = np.nonzero(np.abs(shown - BACKGROUND).sum(-1) > 60)
    assert len(rows) > 200
    # The camera looks down by 15 degrees, which shortens the height by cos(15 degrees) = 0.966.
    slope = np.polyfit(columns, -rows, 1)[0]
    assert slope == pytest.approx(0.966, abs=0.08)
    assert problems == []


def test_without_webgl_the_page_says_so(opened, tmp_path):
    page, _, _ = opened
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    write_gaussian_page(tmp_path / "page.html", ball([0.0, 0.0, 0.0], BLUE, 10, 0))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function("() => document.body.dataset.state === 'failed'")
    assert page.is_visible("#problem")
    assert "It needs WebGL 2, which is missing" in page.inner_text("#problem")


def test_the_viewer_is_the_recorded_file():
    viewer, readme = (ASSETS / "playcanvas-gsplat.min.js").read_bytes(), (ASSETS / "README.md").read_text()
    assert f"`{hashlib.sha256(viewer).hexdigest()}`" in readme
    # Neither may end the script that it is put into.
    assert b"</script" not in viewer.lower() and b"<!--" not in viewer
    assert len(viewer) < 1.5e6


def test_a_page_is_replaced_and_carries_the_license(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    write_gaussian_page(path, ball([0.0, 0.0, 0.0], BLUE, 10, 0))
    text = path.read_text(encoding="utf-8")
    assert "Copyright (c) 2011-2026 PlayCanvas Ltd." in text and text.startswith("<!doctype html>")
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_bad_input_is_named(tmp_path):
    some = ball([0.0, 0.0, 0.0], BLUE, 2, 0)
    with pytest.raises(ValueError, match="gaussians must be a Gaussians, got dict"):
        write_gaussian_page(tmp_path / "page.html", {"means": torch.zeros(1, 3)})
    with pytest.raises(ValueError, match="gaussians must hold at least one Gaussian"):
        write_gaussian_page(tmp_path / "page.html", some[:0])
    with pytest.raises(FileNotFoundError, match="path: no folder"):
        write_gaussian_page(tmp_path / "missing" / "page.html", some)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write_gaussian_page(tmp_path, some)
    assert list(tmp_path.iterdir()) == []
