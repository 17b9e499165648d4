#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds a benchmark to its bounds: bench_gate.py LIMITS.txt BENCHMARK_PROGRAM

Runs the benchmarks that have a row, several times, and compares the fastest run with the row: on a
shared machine the fastest is what the code can do, the others are what else ran. Exit status 1 when
a bound is broken, when a row's benchmark did not run, or when no row belongs to the program. Tested
by tests/repository/bench_gate_test.py.
"""
import json
import re
import subprocess
import sys
from pathlib import Path

REPETITIONS = 5
SECONDS_EACH = 0.05


def read_limits(path):
    """{benchmark: nanoseconds per item}"""
    rows = [line.split() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {row[0]: float(row[1]) for row in rows if row and not row[0].startswith("#")}


def list_benchmarks(program):
    done = subprocess.run(
        [program, "--benchmark_list_tests"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def measure(program, names):
    """{benchmark: fastest nanoseconds per item}"""
    pattern = "^(" + "|".join(map(re.escape, names)) + ")$"
    command = [
        program,
        f"--benchmark_filter={pattern}",
        f"--benchmark_repetitions={REPETITIONS}",
        f"--benchmark_min_time={SECONDS_EACH}",
        "--benchmark_format=json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fastest = {}
    for run in json.loads(done.stdout)["benchmarks"]:
        if run["run_type"] != "iteration" or "items_per_second" not in run:
            continue
        name = run["run_name"]
        fastest[name] = min(1e9 / run["items_per_second"], fastest.get(name, float("inf")))
    return fastest


def judge(limits, fastest):
    """Prints a line per bound; returns the exit status."""
    status = 0 if limits else 1
    if not limits:
        print("no row of the limits belongs to this program")
    for name, limit in limits.items():
        got = fastest.get(name)
        if got is None:
            print(f"{name}: did not run, or counts no items")
            status = 1
            continue
        print(
            f"{name}: {got:.1f} ns per item, at most {limit:g}{'' if got <= limit else ': BROKEN'}"
        )
        status = status if got <= limit else 1
    return status


def main(arguments):
    if len(arguments) != 3:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    here = set(list_benchmarks(arguments[2]))
    limits = {name: ns for name, ns in read_limits(arguments[1]).items() if name in here}
    return judge(limits, measure(arguments[2], limits) if limits else {})


if __name__ == "__main__":
    sys.exit(main(sys.argv))
