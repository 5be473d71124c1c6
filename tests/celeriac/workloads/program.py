"""A program without a package of ours: adds 1 to each value, and does what the environment's ``HOW`` says beside."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

FILES = {name: os.environ.get(f"FL_{name}", "") for name in ("PARAMETERS", "UPDATE", "METRICS")}


def write(name: str, content: bytes) -> None:
    new = Path(FILES[name] + ".new")
    new.write_bytes(content)
    new.rename(FILES[name])


def arrays(values: list[float], dtype: str = "F64") -> bytes:
    data = struct.pack(f"<{len(values)}{'d' if dtype == 'F64' else 'f'}", *values)
    header = json.dumps({"w": {"dtype": dtype, "shape": [len(values)], "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


def given() -> list[float]:
    content = Path(FILES["PARAMETERS"]).read_bytes()
    data = content[8 + struct.unpack("<Q", content[:8])[0] :]
    return list(struct.unpack(f"<{len(data) // 8}d", data))


def step(values: list[float], number: int) -> list[float]:
    values = [value + 1 for value in values]
    write("METRICS", json.dumps({"num_steps": number, "num_epochs": number / 10, "train_loss": 1 / number}).encode())
    write("UPDATE", arrays(values))
    return values


def misbehave(how: str) -> bool:
    """Do what ``how`` says; False if that is nothing that can be done at once."""
    if how == "fails":
        sys.exit("Error: there is no column 'age'")
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "half":
        Path(FILES["UPDATE"]).write_bytes(arrays([1.0, 2.0])[:-8])
    elif how == "float32":
        write("UPDATE", arrays([1.0, 2.0], "F32"))
    elif how == "no json":
        write("METRICS", b"{")
    elif how == "leaves one":
        step(given(), subprocess.Popen(["sleep", "1000"]).pid)
    else:
        return how == "nothing"
    return True


def train(how: str) -> None:
    print("training", flush=True)
    if misbehave(how):
        return
    if how == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    values, is_slow = given(), how in ("slow", "stubborn")
    for number in range(1, 1 + (10**6 if is_slow else 10)):
        values = step(values, number)
        if is_slow:
            (Path.cwd() / f"pid-{os.getpid()}").touch()
            time.sleep(0.05)


def main() -> None:
    task = os.environ["FL_TASK"]
    if task == "initial":
        write("UPDATE", arrays([0.0, 0.0]))
    elif task == "count":
        write("METRICS", b'{"num_examples": 4e+01}')
    elif task in ("evaluate", "holdout"):
        write("METRICS", json.dumps({"loss": 1 / (1 + given()[0]), "auc": 0.5, "num_examples": 7}).encode())
    elif task == "train":
        train(os.environ.get("HOW", ""))


if __name__ == "__main__":
    main()
