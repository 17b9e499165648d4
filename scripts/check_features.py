#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks docs/FEATURES.md: check_features.py [ROOT]. Every id once, statuses valid, tests exist.

The ids are data (tests/repository/feature_ids.txt), so that a row cannot get lost. A test exists
when a source defines it (TEST, TEST_F, TEST_P) or a CMakeLists.txt names it; that it passes is what
running it says. Tested by tests/repository/features_test.py.
"""
import re
import sys
from collections import Counter

from repo import Finding, cmake_calls, list_files, read_text, report, root_from_arguments

PAGE = "docs/FEATURES.md"
IDS = "tests/repository/feature_ids.txt"
STATUSES = ("works", "partly", "not yet", "not measurable here")
ROW = re.compile(r"^\| ([A-Z]{3}-\d{2}) \| (.*?) \| ([a-z ]+?) \| ?(.*?) ?\|$")
TEST_MACRO = re.compile(r"^\s*(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)


def existing_tests(root):
    """Names of all tests: Suite.Case of gtest, and the names ctest has from CMake."""
    names = set()
    for path in list_files(root):
        if path.endswith(".cc"):
            names |= {
                f"{suite}.{case}" for suite, case in TEST_MACRO.findall(read_text(root, path))
            }
        if path.endswith("CMakeLists.txt"):
            for function, arguments, _ in cmake_calls(read_text(root, path)):
                if function == "add_test" and arguments[:1] == ["NAME"]:
                    names.add(arguments[1])
                # lmn_system_test(wire_ping ...) makes the ctest system.wire_ping.
                kind = re.fullmatch(r"lmn_([a-z]+)_test", function)
                if function == "lmn_bench":
                    names.add(f"bench.{arguments[0]}")
                if kind and arguments:
                    names.add(f"{kind.group(1)}.{arguments[0]}")
        if path == "fuzz/fuzzers.def":
            rows = re.findall(r"^LMN_FUZZER\((\w+)", read_text(root, path), re.MULTILINE)
            names |= {f"{name}_smoke" for name in rows}
    return {name for name in names if "$" not in name}


def is_known(test, names):
    if test.endswith(".*"):
        return any(name.startswith(test[:-1]) for name in names)
    return test in names


def check_row(line, status, proof, names):
    """One row's findings; `proof` is its last column."""
    tests = re.findall(r"`([^`]+)`", proof.split("missing:")[0])
    findings = [
        Finding(PAGE, line, f"no test is called '{test}'")
        for test in tests
        if not is_known(test, names)
    ]
    if status not in STATUSES:
        findings.append(Finding(PAGE, line, f"status '{status}' is none of {', '.join(STATUSES)}"))
    if status == "works" and not tests:
        findings.append(Finding(PAGE, line, "'works' must name the test that proves it"))
    if status == "works" and "missing:" in proof:
        findings.append(Finding(PAGE, line, "something is missing, so the status is 'partly'"))
    if status == "partly" and not re.search(r"missing: \S", proof):
        findings.append(Finding(PAGE, line, "'partly' must say what is missing ('missing: ...')"))
    if status == "not measurable here" and not proof:
        findings.append(Finding(PAGE, line, "'not measurable here' must say what it would need"))
    return findings


def read_rows(root):
    """Yields (line, id, status, proof) of the page's rows."""
    for number, text in enumerate(read_text(root, PAGE).splitlines(), 1):
        match = ROW.match(text)
        if match:
            yield number, match.group(1), match.group(3), match.group(4)


def check(root):
    names = existing_tests(root)
    wanted = read_text(root, IDS).split()
    seen = Counter()
    findings = []
    for line, name, status, proof in read_rows(root):
        seen[name] += 1
        if name not in wanted:
            findings.append(Finding(PAGE, line, f"'{name}' is not in {IDS}"))
        if seen[name] > 1:
            findings.append(Finding(PAGE, line, f"'{name}' is there twice"))
        findings += check_row(line, status, proof, names)
    # A row that does not parse is a row that is missing.
    findings += [Finding(PAGE, 1, f"no row for '{name}'") for name in wanted if seen[name] == 0]
    return findings


def main(arguments):
    root = root_from_arguments(arguments)
    counts = Counter(status for _, _, status, _ in read_rows(root))
    print(", ".join(f"{counts[status]} {status}" for status in STATUSES))
    return report(check(root), "features")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
