"""What each of two processes does: `python -m torch.distributed.run --nproc_per_node 2 in_two_processes.py FOLDER`.

One shows pictures and a clip, the other text alone. The first writes the gradients of the sharded model, `sharded.pt`.
"""

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tests.mllm.parts import mixed_batch, model_inputs, parts


def batch_of(rank: int, processor) -> dict:
    """Of process 0: a picture, and a clip with a picture; of process 1: text alone."""
    conversations = mixed_batch()
    inputs = model_inputs(processor, conversations[:2] if rank == 0 else [conversations[2]] * 2)
    return {**inputs, "labels": inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)}


def training_model():
    """In training, with the encoder frozen."""
    model, processor = parts()
    model.train().model.vision_tower.requires_grad_(False)
    return model, processor


def main(folder: Path) -> None:
    # Were one to wait for the other for ever, this ends it.
    dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    model, processor = training_model()
    mesh = init_device_mesh("cpu", (2,))
    for part in (*model.model.vision_tower.blocks, *model.model.language_model.layers):
        fully_shard(part, mesh=mesh)
    fully_shard(model.model.multi_modal_projector, mesh=mesh)
    fully_shard(model, mesh=mesh)
    loss = model(**batch_of(dist.get_rank(), processor), use_cache=False).loss
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    gradients = {name: grad.full_tensor() if isinstance(grad, DTensor) else grad for name, grad in found.items()}
    if dist.get_rank() == 0:
        torch.save({"loss": loss.detach(), "gradients": gradients}, folder / "sharded.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
