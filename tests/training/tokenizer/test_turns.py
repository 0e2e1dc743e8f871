"""Steps of a stage: made ahead in other processes, the same for any number of processes, damage told."""

import gc
import os
import signal

import pytest
import torch
import yaml

from atoken.processing import AtokenProcessor
from atoken.training.data.task_batches import TooManyUnreadable
from atoken.training.data.tasks import open_tasks, read_data
from atoken.training.recipes.tiny.text_tower import LENGTH, build_tokenizer
from atoken.training.tokenizer import turns as turns_file
from atoken.training.tokenizer.curriculum import DISTILLED, Stage
from atoken.training.tokenizer.turns import TurnBatches

from ..stage_samples import STAGE, write_data, write_photos

CHANGES = {
    "batch_sizes": {
        "image_understanding": 6,
        "image_reconstruction": [3, 9],
        "video_understanding": 3,
        "video_reconstruction": [3, 6],
    },
    "step_tokens": 60,
    "max_tokens": 16,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return read_data(write_data(tmp_path_factory.mktemp("data")))


def open_turns(data, rank: int = 0, processes: int = 1, workers: int = 0) -> TurnBatches:
    stage = Stage(**{name: value for name, value in {**STAGE, **CHANGES}.items() if name != "optimizer"})
    tokenizer, tasks = AtokenProcessor(tokenizer=build_tokenizer()).tokenizer, stage.tasks
    options = (stage.batch_sizes, stage.limits, tokenizer, LENGTH, 7, rank, processes, workers, stage.step_tokens)
    return TurnBatches(open_tasks(tasks, data, *options), stage.ratios)


def seen(batches) -> list[tuple[str, int]]:
    return [(batch.task, number) for batch in batches for number in batch.numbers]


def test_steps_made_in_other_processes_are_the_same(data):
    here, elsewhere = open_turns(data), open_turns(data, workers=2)
    for _ in range(5):
        expected, found = next(here), next(elsewhere)
        assert [batch.task for batch in expected] == [batch.task for batch in found]
        assert expected[0].task == DISTILLED and len({batch.task for batch in expected}) == 2
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one.pixel_values, other.pixel_values) and one.numbers == other.numbers
            # Up to what rounding to whole patches adds.
            assert other.pixel_values.dtype == torch.uint8 and other.num_tokens <= 20
    elsewhere.close()


def test_other_processes_collect_nothing_of_this_one(data, tmp_path, monkeypatch):
    """A decoder that is freed in a forked process waits for threads that are not there."""

    class Decoder:
        def __init__(self):
            self.itself = self  # only collecting garbage frees it

        def __del__(self):
            (tmp_path / str(os.getpid())).touch()

    make = turns_file._ToMake.__getitem__
    monkeypatch.setattr(turns_file._ToMake, "__getitem__", lambda self, order: (gc.collect(), make(self, order))[1])
    gc.disable()
    try:
        Decoder()
        turns = open_turns(data, workers=1)
        next(turns)
        turns.close()
    finally:
        gc.enable()
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]
    assert gc.get_freeze_count() == 0


def test_a_state_is_that_of_the_step_taken_last_however_much_is_made_ahead(data):
    turns = open_turns(data, workers=1)
    next(turns), next(turns)
    state = turns.state()
    expected = [seen(next(turns)) for _ in range(4)]
    turns.close()
    again = open_turns(data, workers=1)
    next(again)
    again.restore(state)
    assert [seen(next(again)) for _ in range(4)] == expected
    again.close()


def test_two_then_one_then_three_processes_do_what_one_does(data):
    alone = open_turns(data)
    expected = [sorted(seen(next(alone))) for _ in range(8)]
    state, found = None, []
    for processes, steps in ((2, 3), (1, 2), (3, 3)):
        ranks = [open_turns(data, rank, processes) for rank in range(processes)]
        for turns in ranks:
            if state is not None:
                turns.restore(state)
        for _ in range(steps):
            shares = [next(turns) for turns in ranks]
            assert len({tuple(batch.task for batch in share) for share in shares}) == 1
            found.append(sorted(one for share in shares for one in seen(share)))
        states = [turns.state() for turns in ranks]
        assert all(each == states[0] for each in states)
        state = states[0]
        assert all(isinstance(number, int) for number in state["numbers"].values())
    assert found == expected
    for task in {task for step in expected for task, _ in step}:
        numbers = [number for step in found for name, number in step if name == task]
        assert numbers == list(range(len(numbers)))  # nothing is lost or doubled


def test_too_much_damage_in_another_process_stops_the_run(data, tmp_path):
    folder = write_photos(tmp_path / "photos")
    for path in folder.iterdir():
        path.write_bytes(b"no picture")
    broken = {**data, "image_reconstruction": [{"source": "folder", "path": str(folder)}]}
    turns = open_turns(yaml.safe_load(yaml.safe_dump(broken)), workers=1)
    with pytest.raises(TooManyUnreadable, match="image_reconstruction: none of 200 samples can be used"):
        for _ in range(4):
            next(turns)
    turns.close()


def test_a_state_of_other_tasks_is_refused(data):
    with pytest.raises(ValueError, match="tasks must be a, as in the checkpoint, got image_understanding, image_rec"):
        open_turns(data).restore({"round": {}, "numbers": {"a": 1}})


def test_only_the_trainer_ends_what_works_ahead(data):
    """A launcher that warns every process of a job must not take the batches from a trainer that is saving."""
    turns = open_turns(data, workers=1)
    next(turns)
    (worker,) = turns._made._workers
    for each in (signal.SIGUSR1, signal.SIGUSR2):
        os.kill(worker.pid, each)
    # As if the launcher had sent it: by another process.
    os.system(f"kill -TERM {worker.pid}")
    for _ in range(8):
        next(turns)
    assert worker.is_alive()
    worker.terminate()
    worker.join(60)
    assert worker.exitcode == 0
    turns.close()
