#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks docs/GATES.md: check_gates.py [ROOT]. Every gate has a row, and the minutes fit.

Gates are the ctest labels that any CMakeLists.txt sets and the steps of scripts/check.sh. The sums
may not pass the limits: a gate that nobody has time to run is none. The slices of the fuzz targets
must fit into their row. Tested by tests/repository/gates_test.py.
"""
import re

from repo import Finding, list_files, main_of, read_text

PAGE = "docs/GATES.md"
MINUTES_MAX = {"test": 30, "check": 90}
ROW = re.compile(r"^\| ([\w-]+) \| (build|label|step) \| (.+?) \| (\w+) \| (\d+) \|$")
LABEL = re.compile(r"\bLABELS?\s+\"?([a-z]\w*)")
CORES = 2


def used_labels(root):
    """{label: path of one CMake file that sets it}"""
    labels = {}
    for path in list_files(root):
        if path.endswith(("CMakeLists.txt", ".cmake")):
            for label in LABEL.findall(re.sub(r"#[^\n]*", "", read_text(root, path))):
                labels.setdefault(label, path)
    return labels


def check(root):
    findings, rows, sums = [], {}, {"test": 0, "check": 0}
    for number, line in enumerate(read_text(root, PAGE).splitlines(), 1):
        match = ROW.match(line)
        if not match:
            continue
        name, kind, _, runner, minutes = match.groups()
        if (kind, name) in rows:
            findings.append(Finding(PAGE, number, f"{kind} '{name}' is there twice"))
        rows[(kind, name)] = int(minutes)
        if runner not in sums:
            findings.append(Finding(PAGE, number, f"run by '{runner}': test or check"))
            continue
        sums[runner] += int(minutes)
    labels = used_labels(root)
    for label, path in sorted(labels.items()):
        if ("label", label) not in rows:
            findings.append(Finding(PAGE, 1, f"no row for the label '{label}' of {path}"))
    for kind, name in rows:
        if kind == "label" and name not in labels:
            findings.append(Finding(PAGE, 1, f"no test has the label '{name}'"))
    steps = re.findall(r"(?m)^step ([\w-]+)", read_text(root, "scripts/check.sh"))
    for step in steps:
        if ("step", step) not in rows:
            findings.append(Finding(PAGE, 1, f"no row for the step '{step}' of scripts/check.sh"))
    for kind, name in rows:
        if kind == "step" and name not in steps:
            findings.append(Finding(PAGE, 1, f"scripts/check.sh has no step '{name}'"))
    for runner, total in sums.items():
        if total > MINUTES_MAX[runner]:
            text = f"./dev {runner}: {total} minutes in all, at most {MINUTES_MAX[runner]}"
            findings.append(Finding(PAGE, 1, text))
    return findings + check_fuzz_slices(root, rows)


def check_fuzz_slices(root, rows):
    table = "fuzz/fuzzers.def"
    seconds = re.findall(r"(?m)^LMN_FUZZER\(\w+,\s*\"[^\"]*\",\s*(\d+)", read_text(root, table))
    total = sum(map(int, seconds)) / CORES
    limit = 60 * rows.get(("label", "fuzz"), 0)
    if total > limit:
        text = f"the slices take {total:.0f} s on two cores, the row has {limit}"
        return [Finding(table, 1, text)]
    return []


if __name__ == "__main__":
    main_of(check, "gates")
