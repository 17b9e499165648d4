# SPDX-License-Identifier: Apache-2.0
"""Goal: the feature page cannot lose an id, invent a status or name a test that is not there.
Method: small pages.
"""
import unittest

import check_features
from tree import TreeTest


def tree(*rows, ids=("ABC-01",)):
    return {
        "docs/FEATURES.md": "# Features\n" + "".join(row + "\n" for row in rows),
        "tests/repository/feature_ids.txt": "\n".join(ids),
        "src/a/a_test.cc": "TEST(Suite, Case) {}\nTEST_P(Many,\n       All) {}\n",
        "tests/x/CMakeLists.txt": "lmn_repository_test(layers run)\n"
        "add_test(NAME other COMMAND x)\n",
        "fuzz/fuzzers.def": 'LMN_FUZZER(elf, "base", 1, "", "x")\n',
    }


class Features(TreeTest):
    check = check_features.check

    def test_good_rows(self):
        for last in (
            "`Suite.Case`",
            "`Many.All`, `Suite.*`",
            "`repository.layers`",
            "`other`, `elf_smoke`",
        ):
            self.assert_clean(tree(f"| ABC-01 | text | works | {last} |"))
        self.assert_clean(tree("| ABC-01 | text | partly | `Suite.Case`; missing: the rest |"))
        self.assert_clean(tree("| ABC-01 | text | not yet |  |"))
        self.assert_clean(tree("| ABC-01 | text | not measurable here | a NIC |"))

    def test_lost_unknown_and_double_ids(self):
        self.assert_finding(tree(), "no row for 'ABC-01'")
        self.assert_finding(tree("| ABC-02 | text | not yet |  |"), "'ABC-02' is not in")
        row = "| ABC-01 | text | not yet |  |"
        self.assert_finding(tree(row, row), "twice")

    def test_status_must_be_one_of_four(self):
        self.assert_finding(tree("| ABC-01 | text | soon |  |"), "status 'soon'")

    def test_claims_need_evidence(self):
        self.assert_finding(tree("| ABC-01 | text | works |  |"), "must name the test")
        self.assert_finding(
            tree("| ABC-01 | text | works | `Suite.Other` |"), "no test is called 'Suite.Other'"
        )
        self.assert_finding(
            tree("| ABC-01 | text | works | `Suite.Case`; missing: x |"), "'partly'"
        )
        self.assert_finding(tree("| ABC-01 | text | partly | `Suite.Case` |"), "what is missing")
        self.assert_finding(
            tree("| ABC-01 | text | not measurable here |  |"), "what it would need"
        )


if __name__ == "__main__":
    unittest.main()
