#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what a ctest run came to: test_summary.py JUNIT.XML

ctest's own summary hides why a test was skipped, and calls a test skipped that printed the words
and failed afterwards. This one prints every reason, and its last line is exactly "N passed, N
failed, N skipped". Exit status 1 when a test failed, when none ran, or when there is no report.
Tested by tests/repository/test_summary_test.py.
"""
import re
import sys
import xml.etree.ElementTree as ElementTree

# What a failed gtest case or a sanitizer leaves in the output, whatever the exit status was.
FAILURE_MARKS = re.compile(
    r"^\[  FAILED  \]|^==\d+==ERROR: |runtime error: |WARNING: ThreadSanitizer", re.MULTILINE
)
REASON = re.compile(r"(?:: Skipped|^skipped:)[ \n]*(.+)", re.MULTILINE)
SLOWEST_SHOWN = 5


def skip_reason(output):
    found = REASON.search(output)
    return found.group(1).strip() if found else "no reason given"


def name_of(case):
    """Without what gtest adds about a parameter."""
    return case.get("name").split("  # GetParam")[0]


def judge(case):
    """Returns (state, reason) of one <testcase>."""
    output = case.findtext("system-out") or ""
    if (
        case.find("failure") is not None
        or case.get("status") == "fail"
        or FAILURE_MARKS.search(output)
    ):
        return "failed", ""
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        message = (
            case.find("skipped").get("message", "") if case.find("skipped") is not None else ""
        )
        # A test whose program is missing or that is disabled did not skip itself: it is lost, and
        # that is a failure.
        if "SKIP_" not in message:
            return "failed", message or "not run"
        return "skipped", skip_reason(output)
    return "passed", ""


def summarize(root, out):
    """Writes the summary of a parsed report to `out`; returns the exit status."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failed, skipped, times = [], {}, []
    for case in root.iter("testcase"):
        state, reason = judge(case)
        counts[state] += 1
        times.append((float(case.get("time") or 0), name_of(case)))
        if state == "failed":
            failed.append(name_of(case) + (f": {reason}" if reason else ""))
        if state == "skipped":
            skipped.setdefault(reason, []).append(name_of(case))
    print(file=out)
    slowest = ", ".join(
        f"{name} {seconds:.1f} s" for seconds, name in sorted(times, reverse=True)[:SLOWEST_SHOWN]
    )
    print(f"slowest: {slowest or 'none ran'}", file=out)
    for reason, names in sorted(skipped.items()):
        print(f"skipped, {reason}: {', '.join(sorted(names))}", file=out)
    for name in failed:
        print(f"failed: {name}", file=out)
    print(
        f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped",
        file=out,
    )
    return 0 if counts["failed"] == 0 and counts["passed"] > 0 else 1


def main(arguments):
    if len(arguments) != 2:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    try:
        root = ElementTree.parse(arguments[1]).getroot()
    except (OSError, ElementTree.ParseError) as error:
        print(f"lmn: ctest left no usable report: {error}")
        print("0 passed, 1 failed, 0 skipped")
        return 1
    return summarize(root, sys.stdout)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
