# SPDX-License-Identifier: Apache-2.0
"""Goal: the last line of ./dev test tells the truth. Method: reports as ctest 3.25 writes them."""
import io
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from contextlib import redirect_stdout

import test_summary

PASSED = '<testcase name="A.b" time="1.5" status="run"><system-out>ok</system-out></testcase>'
FAILED = (
    '<testcase name="A.c" status="fail"><failure message="Failed"/>'
    "<system-out>x</system-out></testcase>"
)
SKIPPED = (
    '<testcase name="A.d  # GetParam() = 3" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>'
    "<system-out>src/x.cc:3: Skipped\nno root\n\n[  SKIPPED ] A.d (0 ms)</system-out></testcase>"
)
SCRIPT_SKIPPED = (
    '<testcase name="S" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>'
    "<system-out>skipped: no debootstrap</system-out></testcase>"
)
LOST = (
    '<testcase name="A_NOT_BUILT" status="notrun">'
    '<skipped message="Unable to find executable"/></testcase>'
)
DISABLED = '<testcase name="A.e" status="disabled"><skipped message="Disabled"/></testcase>'
SKIPPED_AND_FAILED = SKIPPED.replace("[  SKIPPED ]", "[  FAILED  ] A.d\n[  SKIPPED ]")
LEAK = PASSED.replace("ok", "==12==ERROR: LeakSanitizer: detected memory leaks")


def summarize(*cases):
    out = io.StringIO()
    root = ElementTree.fromstring("<testsuite>" + "".join(cases) + "</testsuite>")
    status = test_summary.summarize(root, out)
    return status, out.getvalue().splitlines()


class Summary(unittest.TestCase):
    def assert_last_line(self, cases, line, status):
        got_status, lines = summarize(*cases)
        self.assertEqual((lines[-1], got_status), (line, status))

    def test_counts(self):
        self.assert_last_line([PASSED], "1 passed, 0 failed, 0 skipped", 0)
        self.assert_last_line(
            [PASSED, PASSED, FAILED, SKIPPED], "2 passed, 1 failed, 1 skipped", 1
        )

    def test_nothing_ran_is_a_failure(self):
        self.assert_last_line([], "0 passed, 0 failed, 0 skipped", 1)
        self.assert_last_line([SKIPPED], "0 passed, 0 failed, 1 skipped", 1)

    def test_lost_and_disabled_tests_are_failures(self):
        self.assert_last_line([PASSED, LOST], "1 passed, 1 failed, 0 skipped", 1)
        self.assert_last_line([PASSED, DISABLED], "1 passed, 1 failed, 0 skipped", 1)

    def test_a_skip_or_a_pass_does_not_hide_a_failure(self):
        self.assert_last_line([PASSED, SKIPPED_AND_FAILED], "1 passed, 1 failed, 0 skipped", 1)
        self.assert_last_line([PASSED, LEAK], "1 passed, 1 failed, 0 skipped", 1)

    def test_reasons_are_printed(self):
        _, lines = summarize(PASSED, SKIPPED, SCRIPT_SKIPPED, FAILED)
        self.assertIn("skipped, no root: A.d", lines)
        self.assertIn("skipped, no debootstrap: S", lines)
        self.assertIn("failed: A.c", lines)

    def test_no_report_is_a_failure(self):
        out = io.StringIO()
        with redirect_stdout(out), tempfile.NamedTemporaryFile() as empty:
            self.assertEqual(test_summary.main(["x", empty.name]), 1)
        self.assertEqual(out.getvalue().splitlines()[-1], "0 passed, 1 failed, 0 skipped")


if __name__ == "__main__":
    unittest.main()
