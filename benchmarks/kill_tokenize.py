"""Kills the workers of a corpus at random times, again and again, and compares what they end with.

    python benchmarks/kill_tokenize.py --kills 20 --workers 1 2 3 --ray

A corpus is made undisturbed. Then, for each number of workers, it is made again by workers of which one, chosen at
random, or all at once get SIGKILL (kill -9) at random times and are started anew; after the last kill they may finish.
With Ray it is the processes of its tasks that are killed. In the end every file must have the checksum that the
undisturbed one has, and no other file may be left. Works on Linux, with a tiny model of random weights.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from atoken.tokenizing.corpus.commits import sha256_of
from atoken.tokenizing.corpus.finishing import finish
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import Plan, make_plan
from atoken.tokenizing.corpus.ray_tasks import run_ray
from atoken.tokenizing.corpus.work import work
from atoken.tokenizing.loading import LoadedModel

sys.path.insert(0, str(Path(__file__).parent))
from measure import write_json  # noqa: E402
from tokenize_corpus import build  # noqa: E402

SIDE = 48
CONSOLE = Console()


def write_pictures(folder: Path, count: int) -> None:
    """Writes pictures of noise, and a damaged one."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        height, width = rng.integers(SIDE // 2, SIDE, 2).tolist()
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{index:05}.png")
    (folder / "00003.png").write_text("damaged")


def checksums(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of every file of a corpus, hidden ones too."""
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir())}


def start(plan: Plan, loaded: LoadedModel, shard: int, shards: int) -> int:
    """Begins a worker and gives its process id; a fork, so that it need not import anything."""
    child = os.fork()
    if child:
        return child
    try:
        for _ in work(plan, loaded, plan.open_source(), shard, shards):
            pass
    except BaseException as error:
        print(f"worker {shard}: {error!r}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def killed_workers(plan: Plan, loaded: LoadedModel, workers: int, kills: int, rng: random.Random) -> int:
    """Makes the corpus with workers that are killed; gives the number of kills that met a living one."""
    met, running = 0, {}

    def reap() -> None:
        for shard, child in list(running.items()):
            if os.waitpid(child, os.WNOHANG)[0]:
                del running[shard]

    while plan.missing():
        reap()
        for shard in range(workers):
            if shard not in running and plan.missing():
                running[shard] = start(plan, loaded, shard, workers)
        if met >= kills:
            for child in running.values():
                os.waitpid(child, 0)
            running.clear()
            continue
        time.sleep(rng.uniform(0.01, 0.25))
        reap()
        victims = list(running.items())
        for shard, child in victims if rng.random() < 0.3 else rng.sample(victims, min(1, len(victims))):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            del running[shard]
            met += 1
    for child in running.values():
        os.waitpid(child, 0)
    return met


def killed_tasks(plan: Plan, kills: int, rng: random.Random) -> int:
    """Makes the corpus with tasks of Ray whose processes are killed."""
    import psutil

    met, over = 0, threading.Event()

    def kill() -> None:
        nonlocal met
        while met < kills and not over.wait(rng.uniform(0.05, 1.0)):
            mine = psutil.Process().children(recursive=True)
            tasks = [each for each in mine if each.name().startswith("ray::_encode")]
            if tasks:
                try:
                    rng.choice(tasks).kill()
                    met += 1
                except psutil.NoSuchProcess:
                    pass

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        problems = run_ray(plan, "cpu", 2)
    finally:
        over.set()
        thread.join()
    if problems:
        raise RuntimeError(f"units are damaged: {problems}")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--ray", action="store_true", help="kill tasks of Ray, too")
    parser.add_argument("--pictures", type=int, default=1200)
    parser.add_argument("--unit-rows", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng, results = random.Random(arguments.seed), []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_pictures(root / "pictures", arguments.pictures)
        loaded = build(root / "model", "tiny", 1, "cpu")
        options = TokenizeOptions(unit_rows=arguments.unit_rows)

        def plan_of(name: str) -> Plan:
            return make_plan(str(root / "pictures"), root / name, options, loaded)

        plan = plan_of("undisturbed")
        started = time.perf_counter()
        list(work(plan, loaded, plan.open_source()))
        finish(plan)
        expected = checksums(plan.folder)
        CONSOLE.print(f"undisturbed: {len(plan.units)} units in {time.perf_counter() - started:.1f} s")
        modes = [(f"{count} workers", count) for count in arguments.workers]
        for name, count in [*modes, *([("Ray", 0)] if arguments.ray else [])]:
            plan = plan_of(name.replace(" ", "-"))
            met = (
                killed_workers(plan, loaded, count, arguments.kills, rng)
                if count
                else killed_tasks(plan, arguments.kills, rng)
            )
            # Whoever comes last sweeps what the others have left, and sees that all is done.
            list(work(plan, loaded, plan.open_source()))
            finish(plan)
            found = checksums(plan.folder)
            wrong = sorted(each for each in {*expected, *found} if expected.get(each) != found.get(each))
            results.append({"workers": name, "kills": met, "files": len(found), "different": wrong})
            CONSOLE.print(f"{name}: {met} kills, {len(found)} files, {len(wrong)} of them different {wrong[:5]}")
    if arguments.json:
        protocol = {name: getattr(arguments, name) for name in ("kills", "pictures", "unit_rows", "seed")}
        write_json(arguments.json, "kill_tokenize.py", torch.device("cpu"), protocol, results)
    if any(each["different"] or each["kills"] < arguments.kills for each in results):
        sys.exit(f"files differ, or there were too few kills: {json.dumps(results)[:2000]}")


if __name__ == "__main__":
    main()
