#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The style rules that a program can check: tidy.py [ROOT]; tidy.py --ratchet prints the ratchet
file for the tree as it is.

Old code may be worse than the rules, but not get worse: scripts/tidy_ratchet.txt has a count per
rule and file. More findings than that fail, and so do fewer, until the number is lowered. Rules:
tidy_source.py (one file), tidy_tree.py (the whole tree). Tested by tests/repository/tidy_test.py.
"""
import re
import sys
from collections import Counter

from repo import Finding, list_files, read_text, report, root_from_arguments
from tidy_source import check_source
from tidy_tree import check_tree

RATCHET = "scripts/tidy_ratchet.txt"
TEXT_SUFFIXES = (
    ".cc",
    ".h",
    ".c",
    ".def",
    ".py",
    ".sh",
    ".md",
    ".txt",
    ".cmake",
    ".json",
    ".yml",
    ".inc",
)
# Data that is checked for machine words only by those who made it; the words of the rules stand in
# these tests.
NOT_TEXT = ("tests/repository/",)


def rule_of(finding):
    match = re.match(r"\[([\w-]+)\]", finding.text)
    return match.group(1) if match else "other"


def all_findings(root):
    files = list_files(root)
    findings = []
    for path in files:
        if (path.endswith(TEXT_SUFFIXES) or path in ("dev", ".ci/run")) and not path.startswith(
            NOT_TEXT
        ):
            findings += check_source(path, read_text(root, path))
    return findings + check_tree(root, files)


def read_ratchet(root):
    """{(rule, path): count}"""
    allowed = {}
    try:
        text = read_text(root, RATCHET)
    except FileNotFoundError:
        return allowed
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            rule, path, count = line.split()
            allowed[(rule, path)] = int(count)
    return allowed


def apply_ratchet(findings, allowed):
    """Drops what the ratchet allows; adds a finding for each entry that could be lowered."""
    counts = Counter((rule_of(f), f.path) for f in findings)
    left = [
        f for f in findings if counts[(rule_of(f), f.path)] > allowed.get((rule_of(f), f.path), 0)
    ]
    for (rule, path), count in sorted(allowed.items()):
        if counts[(rule, path)] < count:
            left.append(
                Finding(
                    RATCHET,
                    1,
                    f"[ratchet] {rule} {path}: now {counts[(rule, path)]}, lower the {count}",
                )
            )
    return left


def check(root):
    return apply_ratchet(all_findings(root), read_ratchet(root))


def main(arguments):
    if len(arguments) > 1 and arguments[1] == "--ratchet":
        counts = Counter(
            (rule_of(f), f.path) for f in all_findings(root_from_arguments(arguments[:1]))
        )
        for (rule, path), count in sorted(counts.items()):
            print(rule, path, count)
        return 0
    return report(check(root_from_arguments(arguments)), "tidy")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
