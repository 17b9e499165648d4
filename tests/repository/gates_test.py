# SPDX-License-Identifier: Apache-2.0
"""Goal: a test label or a check step without a row, or too many minutes, is noticed. Method: small
pages.
"""
import unittest

import check_gates
from tree import TreeTest

ROWS = [
    "| unit | label | text | test | 5 |",
    "| fuzz | label | text | test | 1 |",
    "| gcc | step | text | check | 9 |",
]


def tree(
    rows, cmake="lmn_add_test_executable(a SOURCES a.cc LABEL unit)\nLABELS fuzz\n", seconds=10
):
    return {
        "docs/GATES.md": "\n".join(rows) + "\n",
        "scripts/check.sh": "#!/bin/sh\n# Steps.\nstep gcc build\n",
        "tests/CMakeLists.txt": cmake,
        "fuzz/fuzzers.def": f'LMN_FUZZER(elf, "base", {seconds}, "", "x")\n',
    }


class Gates(TreeTest):
    check = check_gates.check

    def test_good_page(self):
        self.assert_clean(tree(ROWS))

    def test_label_and_step_without_a_row(self):
        self.assert_finding(
            tree(ROWS, "set_tests_properties(x PROPERTIES LABELS system)\n"), "label 'system'"
        )
        self.assert_finding(tree(ROWS[:2]), "step 'gcc'")
        unused = ROWS + ["| file | label | text | test | 1 |"]
        self.assert_finding(tree(unused), "no test has the label 'file'")
        self.assert_finding(
            tree(ROWS + ["| lint | step | text | check | 1 |"]), "has no step 'lint'"
        )

    def test_minutes_are_limited(self):
        self.assert_finding(tree(ROWS + ["| slow | label | text | test | 25 |"]), "31 minutes")
        self.assert_finding(tree(ROWS + ["| big | build | text | check | 82 |"]), "91 minutes")
        self.assert_finding(tree(ROWS, seconds=200), "slices take 100 s")

    def test_doubles_and_unknown_runners(self):
        self.assert_finding(tree(ROWS + ROWS[:1]), "twice")
        self.assert_finding(tree(ROWS + ["| x | build | text | nightly | 1 |"]), "test or check")


if __name__ == "__main__":
    unittest.main()
