"""What one of two processes does: `python -m torch.distributed.run --nproc_per_node 2 in_two_processes.py WHAT FOLDER`.

FOLDER has a model; what the first process finds out is written there as `WHAT.pt`.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import Trainer, TrainingArguments

from atoken import AtokenModel, AutoencoderAtoken

IDS = torch.tensor([[2, 5, 7, 1], [2, 9, 1, 1]])


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: grad.full_tensor() if isinstance(grad, DTensor) else grad for name, grad in found.items()}


def fsdp2(folder: Path) -> dict:
    """Loss and gradients of a sharded model; both processes have the same batch, so that means change nothing."""
    dist.init_process_group("gloo")
    model = AtokenModel.from_pretrained(folder)
    mesh = init_device_mesh("cpu", (2,))
    for block in [*model.vision_model.blocks, *model.decoder.blocks]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    loss = model(images(2), input_ids=IDS, return_loss=True).loss
    loss.backward()
    return {"loss": loss.detach(), "gradients": gradients(model)}


def _three_steps(model: torch.nn.Module, call, unused: bool) -> dict[str, torch.Tensor]:
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)] if unused else []
    accelerator = Accelerator(cpu=True, kwargs_handlers=handlers)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    wrapped, optimizer = accelerator.prepare(model.train(), torch.optim.AdamW(trained, lr=1e-3))
    for _ in range(3):
        accelerator.backward(call(wrapped, images(1)))
        optimizer.step()
        optimizer.zero_grad()
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def whole_model(model, pixels):
    return model(pixels, return_loss=True).loss


def autoencoder(model, pixels):
    return model(pixels).sample.square().mean()


def ddp_unused(folder: Path) -> dict:
    return {
        "model": _three_steps(AtokenModel.from_pretrained(folder), whole_model, unused=True),
        "autoencoder": _three_steps(AutoencoderAtoken.from_pretrained(folder), autoencoder, unused=True),
    }


def ddp_frozen(folder: Path) -> dict:
    model, vae = AtokenModel.from_pretrained(folder), AutoencoderAtoken.from_pretrained(folder)
    for part in (model.text_model, model.vision_model.head, vae.vision_model.head):
        part.requires_grad_(False)
    model.logit_scale.requires_grad = model.logit_bias.requires_grad = False
    return {
        "model": _three_steps(model, whole_model, unused=False),
        "autoencoder": _three_steps(vae, autoencoder, unused=False),
    }


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        for image in images(8):
            yield {"pixel_values": image}


def collate(samples):
    return {"pixel_values": torch.stack([sample["pixel_values"] for sample in samples]), "return_loss": True}


def stream(folder: Path) -> dict:
    """Trainer on a stream: each process takes its share of it by itself, as `dispatch_batches` is off."""
    arguments = TrainingArguments(
        output_dir=str(folder / "runs"),
        max_steps=2,
        per_device_train_batch_size=2,
        accelerator_config={"dispatch_batches": False},
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        save_strategy="no",
    )
    model = AtokenModel.from_pretrained(folder)
    trainer = Trainer(model, arguments, train_dataset=Stream(), eval_dataset=Stream(), data_collator=collate)
    loss = trainer.train().training_loss
    return {"loss": torch.tensor(loss), "eval_loss": torch.tensor(trainer.evaluate()["eval_loss"])}


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    result = globals()[what](folder)
    if dist.get_rank() == 0:
        torch.save(result, folder / f"{what}.pt")
    dist.barrier()
    dist.destroy_process_group()
