"""What `atoken serve` withstands: visitors at the same time who do random things, some of them wrong, for a while.

    python benchmarks/serve.py --users 8 --minutes 15

Every visitor waits for one answer before the next request. The server must answer all of them, refuse what is wrong
with a message, and not grow: its memory is compared between the second quarter of the time, when all models are loaded,
and the last.
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from measure import write_json
from PIL import Image

from atoken.processing.media_writing_atoken import write_video

TOLERANCE = 0.10  # growth of memory
START_SECONDS = 300


def write_media(folder: Path) -> dict[str, list[Path]]:
    """Writes files of each kind, and some that must be refused."""
    rng = np.random.default_rng(0)
    good, bad = [], []
    for side in (48, 96, 160):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"photo{side}.png")
        good.append(folder / f"photo{side}.png")
    write_video(folder / "clip.mp4", rng.integers(0, 256, (8, 48, 48, 3), np.uint8), 8.0)
    good.append(folder / "clip.mp4")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "cut.mp4").write_bytes((folder / "clip.mp4").read_bytes()[:200])
    (folder / "text.txt").write_text("no medium")
    Image.new("RGB", (4000, 4000)).save(folder / "large.png")
    bad += [folder / name for name in ("broken.png", "cut.mp4", "text.txt", "large.png")]
    return {"good": good, "bad": bad}


def visit(address: str, media: dict[str, list[Path]], until: float, seed: int, counted: Counter, waited: list) -> None:
    """Does random things until the time is over, and counts what came of them."""
    draw, client = random.Random(seed), Client(address, verbose=False)
    while time.monotonic() < until:
        wrong = draw.random() < 0.25
        file = handle_file(str(draw.choice(media["bad" if wrong else "good"])))
        name, arguments = draw.choice(
            [
                ("reconstruct", (file, draw.choice(["atoken-tiny", "atoken-tiny-d"]))),
                ("compare", (file, "a red star\na blue circle", "atoken-tiny")),
                ("generate", ("lightning-dit-tiny", "no such class" if wrong else "red star", 1, draw.randrange(100))),
            ]
        )
        started = time.monotonic()
        try:
            client.predict(*arguments, api_name=f"/{name}")
            outcome = "answered although wrong" if wrong else "answered"
        except AppError as error:
            expected = wrong or "too many" in str(error).lower() or "queue" in str(error).lower()
            outcome = "refused" if expected else f"failed: {str(error)[:200]}"
        except Exception as error:
            outcome = f"lost: {type(error).__name__}: {str(error)[:200]}"
        waited.append(time.monotonic() - started)
        counted[outcome] += 1


def memory_of(process: subprocess.Popen) -> int:
    """Gives the resident bytes of a process."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the server has ended")


def main() -> None:
    """Runs a server and its visitors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        media = write_media(Path(folder))
        command = [sys.executable, "-m", "atoken_app.main", "serve", "--port", str(port), "--device", "cpu"]
        environment = {**os.environ, "GRADIO_TEMP_DIR": str(Path(folder) / "cache"), "HF_HUB_OFFLINE": "1"}
        with open(Path(folder) / "server.log", "w", encoding="utf-8") as log:
            server = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(port, server)
            counted: Counter = Counter()
            waited: list[float] = []
            started = time.monotonic()
            until = started + 60 * options.minutes
            users = [
                threading.Thread(target=visit, args=(address, media, until, seed, counted, waited))
                for seed in range(options.users)
            ]
            for user in users:
                user.start()
            sizes = []
            while any(user.is_alive() for user in users):
                sizes.append((time.monotonic() - started, memory_of(server)))
                users[0].join(timeout=2.0)
                for user in users[1:]:
                    user.join(timeout=0.01)
            alive = server.poll() is None
        finally:
            server.terminate()
            server.wait()
    quarter = 60 * options.minutes / 4
    early = median(size for second, size in sizes if quarter <= second < 2 * quarter)
    late = median(size for second, size in sizes if second >= 3 * quarter)
    result = {
        "users": options.users,
        "minutes": options.minutes,
        "requests": sum(counted.values()),
        "outcomes": dict(counted.most_common()),
        "seconds of an answer (median, largest)": [round(median(waited), 2), round(max(waited), 2)],
        "MiB (second quarter, last quarter)": [round(early / 2**20), round(late / 2**20)],
        "growth": round(late / early - 1, 4),
        "server alive": alive,
    }
    print(json.dumps(result, indent=2))
    if options.json is not None:
        protocol = {"growth": "median resident bytes of the last quarter of the time over those of the second"}
        write_json(options.json, "serve.py", torch.device("cpu"), protocol, result)
    wrong = [outcome for outcome in counted if outcome not in ("answered", "refused")]
    sys.exit(int(bool(wrong) or not alive or late > (1 + TOLERANCE) * early))


def _wait_for(port: int, server: subprocess.Popen) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(1.0)
    raise RuntimeError(f"the server did not answer within {START_SECONDS} s")


if __name__ == "__main__":
    main()
