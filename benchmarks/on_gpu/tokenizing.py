"""Images a second from decoded pixels on the host to latents on the host, against the encoder by itself."""

from collections.abc import Iterator

import torch

from .arithmetic import forward_flops, share_of_peak
from .models import Case, make_model
from .parts import Row, Setup, attempt, timed

BATCHES = 4  # different ones, which take turns


@torch.inference_mode()
def measure_tokenizing(setup: Setup) -> Iterator[Row]:
    """Measures batches of squares of one size; copies of the next batch run beside the encoder on a GPU."""
    model = make_model(setup)
    sizes = [(2, 32)] if setup.tiny else [(256, 256), (128, 256), (64, 512), (512, 256)]
    for batch, side in sizes:
        case = Case(batch, 1, side, side)
        row = {"case": f"batches of {batch} images of {side}"}

        def measure(case=case) -> Row:
            flops = forward_flops(model.vision_model, [case.grid] * case.batch)
            pixels = case.pixels(setup)[:, 0]
            bare = timed(lambda: model.encode(pixels, pool=False), setup)
            whole = timed(lambda: _through(model, case, setup), setup) / BATCHES
            return {
                "bare_images_per_second": case.batch / bare,
                "images_per_second": case.batch / whole,
                "share_of_bare": bare / whole,
                "mfu": share_of_peak(flops, whole, setup),
            }

        yield attempt(row, measure)


def _through(model: torch.nn.Module, case: Case, setup: Setup) -> list[torch.Tensor]:
    """Brings uint8 batches from pinned memory through the encoder; gives latents in bf16 on the host."""
    on_gpu = setup.device.type == "cuda"
    shape = (case.batch, 3, case.height, case.width)
    host = _pinned(shape, on_gpu)
    side_stream = torch.cuda.Stream() if on_gpu else None

    def upload(index: int) -> tuple[torch.Tensor, object]:
        if side_stream is None:
            return host[index], None
        with torch.cuda.stream(side_stream):
            moved = host[index].to(setup.device, non_blocking=True)
            ready = torch.cuda.Event()
            ready.record(side_stream)
        return moved, ready

    results = []
    waiting = upload(0)
    for index in range(BATCHES):
        pixels, ready = waiting
        if ready is not None:
            torch.cuda.current_stream().wait_event(ready)
            pixels.record_stream(torch.cuda.current_stream())
        if index + 1 < BATCHES:
            waiting = upload(index + 1)
        latents = model.encode(pixels.to(setup.dtype) / 127.5 - 1, pool=False).latents
        results.append(latents.to(torch.bfloat16).to("cpu", non_blocking=True))
    return results


_HOST: dict[tuple[int, ...], list[torch.Tensor]] = {}


def _pinned(shape: tuple[int, ...], pin: bool) -> list[torch.Tensor]:
    """Gives the batches of a shape, drawn once: they stand for what decoding processes hand over."""
    if shape not in _HOST:
        batches = [torch.randint(0, 256, shape, dtype=torch.uint8) for _ in range(BATCHES)]
        _HOST[shape] = [batch.pin_memory() for batch in batches] if pin else batches
    return _HOST[shape]
