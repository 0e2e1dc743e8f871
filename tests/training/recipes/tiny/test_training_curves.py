"""Curves of a record."""

from atoken.training.recipes.tiny.training_curves import curves_of, plot

RECORD = {
    "minutes": {"3": 12.5},
    "curve": {
        "3": [
            {"step": 10, "image_reconstruction": 2.0},
            {"step": 20, "image_reconstruction": 1.0, "video_reconstruction": 5.0},
        ]
    },
}


def test_a_task_has_points_where_it_was_logged():
    assert curves_of(RECORD) == {
        "3": {"image reconstruction": ([10, 20], [2.0, 1.0]), "video reconstruction": ([20], [5.0])}
    }


def test_a_picture_is_written(tmp_path):
    plot({"atoken-tiny": RECORD, "another": RECORD}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
