"""Runs the tests of tests/fuzz with examples of their own each time, for some minutes or until one fails."""

from __future__ import annotations

import argparse
import secrets
import subprocess
import sys
import time

TESTS = ("tests/fuzz", "tests/integration/test_fuzz_at_the_broker.py")


def main() -> int:
    """Run them again and again; return what the last run of them ended with."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=30, help="begin no further round, of some minutes, after so many (30)"
    )
    parser.add_argument("-k", default="", metavar="NAME", help="only tests whose names have this in them")
    given = parser.parse_args()
    end, round_number = time.monotonic() + 60 * given.minutes, 0
    while round_number == 0 or time.monotonic() < end:
        round_number += 1
        seed = secrets.randbelow(2**32)
        sys.stdout.write(f"round {round_number}, --hypothesis-seed {seed}\n")
        sys.stdout.flush()
        command = [sys.executable, "-m", "pytest", "-q", "-k", given.k, *TESTS]
        profile = ["--hypothesis-profile", "fuzz", "--hypothesis-seed", str(seed), "--timeout", "0"]
        if code := subprocess.run([*command, *profile], check=False).returncode:
            sys.stdout.write("an @example of what it found, above, makes it a test that stays\n")
            return code
    sys.stdout.write(f"nothing in {round_number} rounds\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
