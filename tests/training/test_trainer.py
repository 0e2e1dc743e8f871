"""The trainer with a model that it has never seen: a linear layer, and batches of random numbers."""

import json
import math
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from atoken.training import checkpoints
from atoken.training.contracts import Share
from atoken.training.optimization import OptimizerSettings, parts_of
from atoken.training.trainer import Diverged, Hook, Trainer, TrainerSettings

SETTINGS = {"optimizer": OptimizerSettings(warm_up=2, rate=0.1, final_rate=0.01, average=0.9), "steps": 8}
TRUTH = torch.tensor([[1.0, -2.0, 3.0]])


@dataclass
class Numbers:
    values: torch.Tensor
    task: str

    @property
    def num_samples(self) -> int:
        return 1

    @property
    def num_tokens(self) -> int:
        return len(self.values)

    def to(self, device: torch.device) -> "Numbers":
        return Numbers(self.values.to(device), self.task)


class RandomNumbers:
    """Gives two micro batches a step."""

    def __init__(self):
        self.drawn, self.closed = 0, False

    def __next__(self) -> list[Numbers]:
        generator = torch.Generator().manual_seed(self.drawn)
        self.drawn += 1
        return [Numbers(torch.randn(5 + i, 3, generator=generator), task) for i, task in enumerate(("few", "many"))]

    def counters(self) -> dict[str, float]:
        return {"drawn": self.drawn}

    def state(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def restore(self, state: dict[str, Any]) -> None:
        self.drawn = state["drawn"]

    def close(self) -> None:
        self.closed = True


class Fit(nn.Module):
    """Fits a linear layer to `TRUTH`; the losses of some steps are infinite."""

    def __init__(self, bad_steps: set[int] = frozenset()):
        super().__init__()
        torch.manual_seed(0)
        self.model, self.calls, self.bad_steps = nn.Linear(3, 1), 0, bad_steps

    def forward(self, batch, share=None, common=None) -> Any:
        if share is None:
            return [None] * len(batch)
        error = self.model(batch.values) - batch.values @ TRUTH.T
        factor = torch.inf if self.calls // 2 in self.bad_steps else 1.0
        self.calls += 1
        parts = {"loss": error.square().mean() * factor, "distance": error.abs().mean().detach()}
        return {name: share.tokens * part for name, part in parts.items()}

    def count_flops(self, batch: Numbers) -> None:
        return None

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        save_file({name.removeprefix("model."): value for name, value in state.items()}, folder / "linear.safetensors")


class Watch(Hook):
    """Holds the bias still, writes beside what is exported, and notes what it is told."""

    def __init__(self):
        self.told, self.weights, self.averages = [], [], []

    def on_start(self, trainer: Trainer) -> None:
        self.told.append("start")

    def before_clip(self, model: nn.Module) -> None:
        model.bias.grad.zero_()

    def on_log(self, numbers: dict[str, float]) -> None:
        self.told.append("log")

    def after_step(self, trainer: Trainer) -> None:
        self.told.append(trainer.progress.step)
        self.weights.append(trainer.bare_objective.model.weight.detach().clone())
        self.averages.append(trainer.average.values["model.weight"].clone())

    def on_export(self, folder: Path) -> None:
        (folder / "beside.txt").write_text(",".join(sorted(path.name for path in folder.iterdir())))

    def on_end(self) -> None:
        self.told.append("end")


class Reads(TorchDispatchMode):
    """Notes operations that wait for a device: numbers of tensors, and sizes that depend on them."""

    NAMES = ("_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "unique_consecutive", "masked_select", "equal")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in self.NAMES:
            self.found.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def forget_processes() -> None:
    """Drops what accelerate keeps for a process: also which data loader of another test has come to its end."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def make():
    """Makes trainers, each as in a process of its own."""

    def build(output: Path, bad_steps: set[int] = frozenset(), **changes: Any) -> Trainer:
        forget_processes()
        accelerator = Accelerator(cpu=True)
        settings = TrainerSettings(output, **{**SETTINGS, "save_every": 3, "log_every": 2, **changes})
        return Trainer(accelerator, Fit(bad_steps), RandomNumbers(), settings, [Watch()])

    yield build
    forget_processes()


def lines(output: Path) -> list[dict[str, float]]:
    logged = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    timed = ("tokens per second", "minutes")
    return [{name: value for name, value in line.items() if name not in timed} for line in logged]


def test_any_objective_is_trained_and_exported(make, tmp_path):
    trainer = make(tmp_path, steps=80)
    start = Fit().model.bias.detach().clone()
    trainer.run()
    exported = load_file(tmp_path / "model/linear.safetensors")
    assert (exported["weight"] - TRUTH).abs().max() < 0.3  # what is left is the bias, which a hook holds still
    assert torch.equal(exported["bias"], start)
    assert torch.equal(exported["weight"], trainer.average.values["model.weight"])
    assert (tmp_path / "model/beside.txt").read_text() == "linear.safetensors"
    logged = lines(tmp_path)
    assert [line["step"] for line in logged] == list(range(2, 81, 2))
    assert list(logged[0]) == [
        *("step", "few/loss", "few/distance", "many/loss", "many/distance", "gradient norm"),
        *("learning rate", "skipped steps", "drawn"),
    ]
    assert logged[-1]["many/loss"] < 0.1 * logged[0]["many/loss"]


def test_a_run_is_resumed_where_it_was(make, tmp_path):
    for name in ("whole", "part"):
        make(tmp_path / name).run()
    # As if it had been killed in the seventh step.
    for name in ("checkpoint-00000008/complete.json", "model/linear.safetensors"):
        (tmp_path / "part" / name).unlink()
    newest = checkpoints.newest(tmp_path / "part")
    assert newest.name == "checkpoint-00000006"
    again = make(tmp_path / "part")
    again.resume(newest)
    assert (again.progress.step, again.batches.drawn) == (6, 6)
    again.run()
    assert lines(tmp_path / "part") == lines(tmp_path / "whole")
    expected, found = (load_file(tmp_path / name / "model/linear.safetensors") for name in ("whole", "part"))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("begin", [0, 3])
def test_a_run_that_begins_earlier_keeps_its_own_checkpoints(begin, make, tmp_path):
    make(tmp_path).run()
    earlier = make(tmp_path, steps=begin + 2, save_every=1, keep=2)
    if begin:
        earlier.resume(checkpoints.folder_for(tmp_path, begin))
    earlier.run()
    own = [begin + 1, begin + 2]
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{step:08d}" for step in own]
    newest = checkpoints.newest(tmp_path)
    assert checkpoints.read_part(newest, 0)["progress"]["step"] == begin + 2
    # The others can be gone on from, too.
    again = make(tmp_path)
    again.resume(tmp_path / "abandoned-1/checkpoint-00000008")
    assert again.progress.step == 8


@pytest.mark.parametrize(
    "optimizer, message",
    [
        ({"kind": "muon"}, "kind must be \"adamw\" with DeepSpeed, .*, got 'muon'; use whole copies or FSDP2"),
        ({"clip_percentile": 95.0}, "clip_percentile must be left out with DeepSpeed, .*, got 95.0; use whole copies"),
    ],
)
def test_what_deepspeed_cannot_do_is_refused(optimizer, message, tmp_path):
    settings = TrainerSettings(tmp_path, 1, OptimizerSettings(**optimizer))
    with pytest.raises(ValueError, match=message):
        Trainer(SimpleNamespace(distributed_type=DistributedType.DEEPSPEED), Fit(), RandomNumbers(), settings)


def test_a_run_ends_when_its_time_is_over_and_rates_fall_with_time(make, tmp_path, monkeypatch):
    ticks = count()
    monkeypatch.setattr(
        "atoken.training.trainer.perf_counter", lambda: float(next(ticks))
    )  # a second from one look to the next
    trainer = make(tmp_path, steps=1000, minutes=0.1, log_every=1)
    trainer.run()
    assert trainer.progress.step == 6 and trainer.progress.seconds == 6
    rates = [line["learning rate"] for line in lines(tmp_path)]
    # Two steps of warm-up to 0.1; the cosine to 0.01 starts with the first second.
    cosine = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * second / 6)) for second in range(6)]
    assert rates == pytest.approx([0.1 * value * min(1, (i + 1) / 2) for i, value in enumerate(cosine)])
    logged = [json.loads(line)["minutes"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged == pytest.approx([(i + 1) / 60 for i in range(6)])
    again = make(tmp_path, steps=1000, minutes=0.2)
    again.resume(checkpoints.newest(tmp_path))
    again.run()
    assert (again.progress.step, again.progress.seconds) == (12, 12)
    with pytest.raises(ValueError, match="minutes must be above 0, got 0"):
        make(tmp_path, minutes=0)


def test_hooks_are_told_in_order(make, tmp_path):
    trainer = make(tmp_path, steps=3)
    trainer.run()
    assert trainer.hooks[0].told == ["start", 1, "log", 2, "log", 3, "end"]


def test_losses_of_micro_batches_are_added(make, tmp_path):
    trainer = make(tmp_path, steps=1)
    objective = Fit()
    sum(objective(batch, Share(1.0, 1.0))["loss"] for batch in next(RandomNumbers())).backward()
    trainer.run()
    expected = objective.model.weight.grad.norm()
    assert lines(tmp_path)[0]["gradient norm"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_bad_step_changes_nothing_and_is_counted(make, tmp_path, kind):
    optimizer = OptimizerSettings(kind, warm_up=2, rate=0.1, final_rate=0.01, average=0.9)
    trainer = make(tmp_path, bad_steps={1, 2, 5}, steps=7, max_skipped=2, optimizer=optimizer)
    states = []
    take = trainer.writer.begin
    trainer.writer.begin = lambda step, tensors, facts: (states.append(step), take(step, tensors, facts))
    trainer.run()
    watch, progress = trainer.hooks[0], trainer.progress
    moved = [not torch.equal(old, new) for old, new in zip(watch.weights, watch.weights[1:], strict=False)]
    assert moved == [False, False, True, True, False, True] and states == [3, 6, 7]
    # Averages go on towards weights that stay.
    assert all(torch.isfinite(value).all() for value in (*watch.weights, *watch.averages))
    steps = [float(state["step"]) for part in parts_of(trainer.optimizer) for state in part.state.values()]
    assert steps == [4.0, 4.0]
    assert (progress.step, progress.skipped, progress.skipped_in_a_row) == (7, 3, 0)


def test_too_many_in_a_row_stop_the_run(make, tmp_path):
    trainer = make(tmp_path, bad_steps={2, 3, 4, 5, 6}, max_skipped=2, save_every=100)
    with pytest.raises(Diverged, match="not finite for 4 steps in a row, up to 6.*another seed"):
        trainer.run()
    assert trainer.hooks[0].told[-1] == "end" and not trainer.settings.exported.exists()


def test_a_step_reads_nothing_from_its_device(make, tmp_path):
    trainer = make(tmp_path, steps=3, log_every=3, save_every=3)
    with Reads() as reads:
        for _ in range(3):
            trainer.step(next(trainer.batches))
        assert reads.found == []
        trainer._log(1.0, 1.0, [])
        assert reads.found


def test_data_that_cannot_be_read_end_the_run(make, tmp_path):
    trainer = make(tmp_path, steps=8, save_every=2)

    class Failing(RandomNumbers):
        def __next__(self):
            if self.drawn == 5:
                raise ValueError("too many samples cannot be read")
            return super().__next__()

    trainer.batches = Failing()
    with pytest.raises(ValueError, match="too many samples cannot be read"):
        trainer.run()
    assert trainer.progress.step == 5


@pytest.mark.parametrize("name", ["steps", "save_every", "log_every", "keep"])
def test_wrong_settings_are_named(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        TrainerSettings(tmp_path, **{**SETTINGS, name: 0})
