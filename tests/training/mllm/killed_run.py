"""A run that kills itself: `python -m tests.training.mllm.killed_run FOLDER OUTPUT STEP`.

At STEP, whose checkpoint has weights already and no optimizer yet, the process gets SIGKILL, as by `kill -9`.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import yaml
from PIL import Image
from transformers import Trainer

from atoken.miniature.questions import MiniatureQuestions, as_messages
from atoken.training.mllm.checkpoints import last_whole_checkpoint
from atoken.training.mllm.collator import within_context
from atoken.training.mllm.sources import read_sources
from atoken.training.mllm.stage import Stage, build_trainer
from tests.mllm.parts import parts

STEPS = 6


def write_data(folder: Path) -> None:
    """Three conversations about pictures, and one without."""
    questions = MiniatureQuestions("image", length=3, kinds=("open",), size=64)
    lines = []
    for index in range(3):
        item = questions[index]
        Image.fromarray(item["media"][0].permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
        lines.append({"messages": as_messages(item["question"], [f"{index}.png"])})
    lines.append({"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello you"}]})
    (folder / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "data.yaml").write_text(yaml.safe_dump({"sources": [{"path": "lines.jsonl"}]}))


def weights_of_run(folder: Path, output: Path) -> dict[str, torch.Tensor]:
    """Trains to the end, from the last whole checkpoint if there is one, and gives the weights."""
    model, processor = parts()
    dataset, _ = within_context(read_sources(folder / "data.yaml"), processor, 4096)
    sizes = {"global_batch": 2, "process_batch": 1, "save_steps": 2, "max_steps": STEPS}
    stage = Stage("test", 1e-2, bf16=False, gradient_checkpointing=False, **sizes)
    trainer = build_trainer(stage, model, processor, dataset, output)
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(output))
    return model.state_dict()


def main(folder: Path, output: Path, step: int) -> None:
    save = Trainer._save_optimizer_and_scheduler

    def save_or_die(self, *arguments):
        if self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, *arguments)

    Trainer._save_optimizer_and_scheduler = save_or_die
    weights_of_run(folder, output)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
