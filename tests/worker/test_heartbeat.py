"""The signs of life of a worker's clients."""

from __future__ import annotations

import subprocess
import sys

LEAVING_IN_THE_MIDDLE_OF_LEAVING = """
import signal

from redis import Redis

from tasks.announcement import Announcement, Hardware
from worker.heartbeat import Heartbeat

hardware = Hardware(num_cpus=1, memory_bytes=0)
heartbeat = Heartbeat(
    Redis(), [Announcement(client_id="c", incarnation="i", workload="", num_examples=1, hardware=hardware)]
)
num_interrupted = 0

def leave(*_):
    global num_interrupted
    num_interrupted += 1
    heartbeat.leave()

signal.signal(signal.SIGALRM, leave)
signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
while num_interrupted < 3_000:
    heartbeat.leave()
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_a_worker_may_be_told_to_end_while_it_hears_that_it_is_to_end() -> None:
    # Signals that interrupt each other's handlers, which all let the clients leave
    subprocess.run([sys.executable, "-c", LEAVING_IN_THE_MIDDLE_OF_LEAVING], check=True, timeout=120)
