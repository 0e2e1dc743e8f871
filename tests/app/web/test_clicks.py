"""A visitor's way through every tab, in headless Chromium."""

import re

import numpy as np
import pytest
from PIL import Image

from atoken.miniature.pictures import draw_image
from atoken.miniature.scenes import Scene
from atoken.processing.media_writing_atoken import write_video
from atoken_app.web.limits import Limits
from atoken_app.web.places import Places
from atoken_app.web.server import build_app, launch
from atoken_app.web.shelf import Shelf

from ...generation.media_helpers import media_pipeline
from ...generation.object_helpers import object_pipeline, picture
from ...mllm.parts import parts

PATIENCE = 180_000  # milliseconds, on a machine that has other work


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server with embedded models, and random ones of the other kinds."""
    random = [tmp_path_factory.mktemp(name) for name in ("answerer", "texts", "objects")]
    for part in parts():
        part.save_pretrained(random[0])
    media_pipeline().save_pretrained(random[1])
    object_pipeline().save_pretrained(random[2])
    places = Places(tmp_path_factory.mktemp("places"))
    limits = Limits(image_pixels=128 * 128, frame_pixels=64 * 64, frames=8)
    app = build_app(Shelf.of(["atoken-tiny", "lightning-dit-tiny", *map(str, random)], "cpu"), limits, places)
    yield launch(app, limits, places, "127.0.0.1", None, block=False)
    app.close()


@pytest.fixture
def page(browser, address):
    """The page, and every address that it asks for."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    page.get_by_role("tab", name="Reconstruct").wait_for()
    yield page
    page.close()


def scene(kind="image"):
    return Scene(kind, "red", "star", "plain", None, "centre", 1)


def upload(page, tab, path):
    page.locator(f"#{tab}-file input[type=file]").set_input_files(str(path))
    page.locator(f"#{tab}-file").get_by_text(path.stem).first.wait_for()
    page.locator(f"#{tab}-button").click()


def test_a_picture_is_reconstructed(page, tmp_path, address):
    path = tmp_path / "star.png"
    Image.fromarray(draw_image(scene(), 64).transpose(1, 2, 0)).save(path)
    upload(page, "reconstruct", path)
    facts = page.locator("#reconstruct-facts")
    facts.get_by_text("PSNR").wait_for()
    text = facts.inner_text()
    assert re.search(r"Tokens\s+16 of 768 bits", text) and float(re.search(r"PSNR\s+([\d.]+) dB", text)[1]) > 20
    assert all(url.startswith((address, "data:", "blob:")) for url in page.asked), "nothing is loaded from elsewhere"


def test_a_clip_is_reconstructed(page, tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, np.stack([np.full((32, 32, 3), 30 * index, np.uint8) for index in range(8)]), 8.0)
    upload(page, "reconstruct", path)
    page.locator("#reconstruct-facts").get_by_text("Bits per pixel").wait_for()
    page.locator("video").nth(1).wait_for()
    assert page.locator("video:visible").count() == 2


def test_a_mesh_becomes_gaussians_that_turn(page, tmp_path):
    path = tmp_path / "corner.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\n")
    upload(page, "reconstruct", path)
    frame = page.frame_locator("#reconstruct-gaussians iframe")
    frame.locator("body[data-state=ready]").wait_for()
    assert "Gaussians" in page.locator("#reconstruct-facts").inner_text()


def test_a_picture_is_compared_with_texts(page, tmp_path):
    path = tmp_path / "star.png"
    Image.fromarray(draw_image(scene(), 64).transpose(1, 2, 0)).save(path)
    page.get_by_role("tab", name="Compare with texts").click()
    page.locator("#compare-texts textarea").fill("a blue circle\na red star")
    upload(page, "compare", path)
    page.locator("#compare-shares").get_by_text("%").first.wait_for()
    assert page.locator("#compare-shares h2, #compare-shares .output-class").first.inner_text().strip() == "a red star"


def test_images_of_a_class_are_generated(page):
    page.get_by_role("tab", name="Generate").click()
    page.get_by_label("number input for Images").fill("2")
    page.locator("#generate-button").click()
    page.locator("#generate-gallery img").nth(1).wait_for()


def test_a_question_is_answered(page, tmp_path):
    path = tmp_path / "star.png"
    Image.fromarray(draw_image(scene(), 64).transpose(1, 2, 0)).save(path)
    page.get_by_role("tab", name="Ask").click()
    upload(page, "ask", path)
    answer = page.locator("#ask-answer textarea")
    page.wait_for_function("box => box.value.length > 0", arg=answer.element_handle())


def test_what_is_wrong_with_a_file_is_said_on_the_page(page, tmp_path):
    path = tmp_path / "large.png"
    Image.new("RGB", (200, 200)).save(path)
    upload(page, "reconstruct", path)
    page.get_by_text("at most 16,384 pixels here, got 200 x 200").wait_for()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    page.reload()
    upload(page, "reconstruct", broken)
    page.get_by_text("'broken.png' is not an image in a format that Pillow reads").wait_for()


def test_a_clip_and_an_image_of_a_text_are_made(page):
    page.get_by_role("tab", name="Make of a text").click()
    page.locator("#describe-button").click()
    page.locator("#describe-clip video").wait_for()
    page.locator("#describe-kind").get_by_label("image").check()
    page.locator("#describe-button").click()
    page.locator("#describe-picture img").wait_for()


def test_an_object_of_a_picture_is_made(page, tmp_path):
    path = tmp_path / "shot.png"
    picture().save(path)
    page.get_by_role("tab", name="Make an object of a picture").click()
    upload(page, "sculpt", path)
    page.frame_locator("#sculpt-gaussians iframe").locator("body[data-state=ready]").wait_for()
