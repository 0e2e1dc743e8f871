"""VBench's files: totals against rows of its public leaderboard, and what is refused."""

import json

import pytest

from atoken.evaluation.reports.vbench import DIMENSIONS, PROMPTS, QUALITY, read_vbench

# Rows of the leaderboard, in percent: dimensions, then quality, semantic and total.
LEADERBOARD = {
    "VideoCrafter-2.0": (
        {
            "subject_consistency": 96.85,
            "background_consistency": 98.22,
            "temporal_flickering": 98.41,
            "motion_smoothness": 97.73,
            "dynamic_degree": 42.50,
            "aesthetic_quality": 63.13,
            "imaging_quality": 67.22,
            "object_class": 92.55,
            "multiple_objects": 40.66,
            "human_action": 95.00,
            "color": 92.92,
            "spatial_relationship": 35.86,
            "scene": 55.29,
            "appearance_style": 25.13,
            "temporal_style": 25.84,
            "overall_consistency": 28.23,
        },
        (82.20, 73.42, 80.44),
    ),
    "Gen-3": (
        {
            "subject_consistency": 97.10,
            "background_consistency": 96.62,
            "temporal_flickering": 98.61,
            "motion_smoothness": 99.23,
            "dynamic_degree": 60.14,
            "aesthetic_quality": 63.34,
            "imaging_quality": 66.82,
            "object_class": 87.81,
            "multiple_objects": 53.64,
            "human_action": 96.40,
            "color": 80.90,
            "spatial_relationship": 65.09,
            "scene": 54.57,
            "appearance_style": 24.31,
            "temporal_style": 24.71,
            "overall_consistency": 26.69,
        },
        (84.11, 75.17, 82.32),
    ),
}


def entry(percent: float, name: str, videos: int | None = None) -> list:
    count = 5 * PROMPTS[name] if videos is None else videos
    return [percent / 100, [{"video_path": f"{index}.mp4", "video_results": 0.5} for index in range(count)]]


def write(folder, values: dict[str, float], together: bool) -> str:
    files = {"all": list(values)} if together else {name: [name] for name in values}
    for file, names in files.items():
        written = {name: entry(values[name], name) for name in names}
        (folder / f"{file}_eval_results.json").write_text(json.dumps(written))
    (folder / "all_full_info.json").write_text("[]")  # VBench writes this beside
    return str(folder / "all_eval_results.json") if together else str(folder)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("name", LEADERBOARD)
def test_totals_are_those_of_the_leaderboard(tmp_path, name, together):
    values, totals = LEADERBOARD[name]
    (result,) = read_vbench(write(tmp_path, values, together), "0.1.5")
    found = [100 * result.numbers[f"vbench_{each}"] for each in ("quality", "semantic", "total")]
    assert found == pytest.approx(totals, abs=0.0051)  # the rows are rounded
    assert {each: 100 * result.numbers[f"vbench_{each}"] for each in DIMENSIONS} == pytest.approx(values)
    assert result.protocol["incomplete"] == [] and len(result.protocol["files"]) == (1 if together else 16)
    assert result.numbers["count"] == 500 and result.kind == "video"


def test_a_part_has_only_the_sums_that_are_whole(tmp_path):
    values = {name: value for name, value in LEADERBOARD["Gen-3"][0].items() if name in QUALITY}
    (result,) = read_vbench(write(tmp_path, values, True), "0.1.5")
    assert 100 * result.numbers["vbench_quality"] == pytest.approx(84.11, abs=0.0051)
    assert not {"vbench_semantic", "vbench_total"} & result.numbers.keys()
    assert "scene: missing" in result.protocol["incomplete"] and len(result.protocol["incomplete"]) == 9


def test_fewer_videos_are_said(tmp_path):
    (tmp_path / "a_eval_results.json").write_text(json.dumps({"color": entry(50, "color", 7)}))
    (result,) = read_vbench(str(tmp_path), "0.1.5")
    assert "color: 7 of 425 videos" in result.protocol["incomplete"] and result.numbers["vbench_color"] == 0.5


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"speed": [0.5, []]}, "dimensions of subject_consistency.*'speed'"),
        ({"color": 0.5}, "a score and a list of videos for color"),
        ({"color": [0.5]}, "a score and a list of videos"),
        ({"color": ["much", []]}, "color must be a finite number, got 'much'"),
        ({"imaging_quality": [61.2, []]}, "imaging_quality must be from 0 to 1, got 61.2"),
        ({"color": [float("nan"), []]}, "finite"),
        ({}, "none"),
        ([], "got a list"),
    ],
)
def test_wrong_files_are_refused(tmp_path, values, match):
    (tmp_path / "a_eval_results.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=match):
        read_vbench(str(tmp_path), "0.1.5")


def test_a_dimension_twice_is_refused(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}_eval_results.json").write_text(json.dumps({"color": entry(50, "color")}))
    with pytest.raises(ValueError, match="color in a_eval_results.json and b_eval_results.json"):
        read_vbench(str(tmp_path), "0.1.5")


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="_eval_results.json"):
        read_vbench(str(tmp_path), "0.1.5")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_vbench(str(tmp_path / "nowhere"), "0.1.5")
    with pytest.raises(ValueError, match="version must be a text"):
        read_vbench(str(tmp_path), "")
