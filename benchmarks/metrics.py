"""What does measuring cost: 1,000 images of 256x256 through the metrics, the tokenizer left out?

    python benchmarks/metrics.py

The pixels are noise on a gradient, the features are drawn. Memory is watched after the first hundred images: it should
not grow. Networks are not part of it; LPIPS and Inception cost what their forward passes do.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measure import mebibytes, resident, write_json
from rich.console import Console
from rich.table import Table

from atoken.evaluation.metrics.distributions import FeatureStatistics, frechet_distance
from atoken.evaluation.metrics.reconstruction import BitsPerPixel, CodebookUse, Psnr, Ssim
from atoken.evaluation.metrics.understanding import ZeroShotAccuracy

DEVICE = torch.device("cpu")
SIDE, FEATURES, CLASSES, CODEBOOKS = 256, 2048, 1000, (4096,) * 8
WARM, CHUNK = 100, 8
BOUND = 60.0  # seconds for 1,000 images on two cores


def build() -> dict[str, tuple[object, Callable[[object, torch.Generator, int], None]]]:
    """Every metric with what updates it by one sample."""

    def pair(metric: Psnr | Ssim, generator: torch.Generator, index: int) -> None:
        original = torch.randint(0, 200, (1, 1, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
        metric.update(original + 9, original)

    def features(metric: tuple[FeatureStatistics, FeatureStatistics], generator: torch.Generator, index: int) -> None:
        # The harness keeps the features of a chunk of samples together.
        if index % CHUNK == 0:
            for one in metric:
                one.update(torch.randn(CHUNK, FEATURES, generator=generator))

    def codes(metric: CodebookUse, generator: torch.Generator, index: int) -> None:
        metric.update(torch.randint(0, CODEBOOKS[0], (SIDE, len(CODEBOOKS)), generator=generator))

    def scores(metric: ZeroShotAccuracy, generator: torch.Generator, index: int) -> None:
        metric.update(torch.randn(1, CLASSES, generator=generator), torch.zeros(1, dtype=torch.int64))

    def rate(metric: BitsPerPixel, generator: torch.Generator, index: int) -> None:
        metric.update(6144, (1, 3, SIDE, SIDE))

    return {
        "PSNR": (Psnr(), pair),
        "SSIM": (Ssim(), pair),
        "Fréchet statistics": ((FeatureStatistics(FEATURES), FeatureStatistics(FEATURES)), features),
        "codebook use": (CodebookUse(CODEBOOKS), codes),
        "zero-shot accuracy": (ZeroShotAccuracy(), scores),
        "bits per pixel": (BitsPerPixel(), rate),
    }


def run(images: int) -> list[dict]:
    """Seconds of each metric over all images, and by how much the process grew after the first `WARM` of them."""
    generator, results = torch.Generator().manual_seed(0), []
    metrics = build()
    for name, (metric, update) in metrics.items():
        start = time.perf_counter()
        for index in range(images):
            if index == min(WARM, images - 1):
                held = resident("VmRSS")
            update(metric, generator, index)
        seconds = time.perf_counter() - start
        results.append({"metric": name, "seconds": seconds, "growth_bytes": resident("VmRSS") - held})
    start = time.perf_counter()
    frechet_distance(*(one.compute() for one in metrics["Fréchet statistics"][0]))
    results.append({"metric": "Fréchet distance", "seconds": time.perf_counter() - start, "growth_bytes": None})
    total = sum(result["seconds"] for result in results)
    return [{**result, "share": result["seconds"] / total} for result in results]


def main() -> None:
    """Prints a table, and writes JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--device", choices=["cpu"], default="cpu")
    parser.add_argument("--json", type=Path, help="where to write the results")
    options = parser.parse_args()
    results = run(options.images)
    shown = Table(title=f"{options.images} images of {SIDE}x{SIDE}, {torch.get_num_threads()} threads")
    for column in ("metric", "seconds", "share", "growth MiB"):
        shown.add_column(column, justify="right" if column != "metric" else "left", no_wrap=True)
    for result in results:
        row = (f"{result['seconds']:.2f}", f"{result['share']:.0%}", mebibytes(result["growth_bytes"]))
        shown.add_row(result["metric"], *row)
    total = sum(result["seconds"] for result in results)
    shown.add_row("all", f"{total:.2f}", f"bound {BOUND:.0f} s", "")
    Console().print(shown)
    if options.json:
        protocol = {"images": options.images, "side": SIDE, "features": FEATURES, "bound_seconds": BOUND}
        write_json(options.json, "metrics.py", DEVICE, protocol, results)


if __name__ == "__main__":
    main()
