# SPDX-License-Identifier: Apache-2.0
"""Goal: the verifier's Environment is complete: every helper and kernel function that an XDP
program may call has a row with all its columns. Method: the list in xdp_calls.txt against
helpers.def and kfuncs.def, which are read as ./dev docs reads them.

    contracts_test.py ROOT
"""
import re
import sys
import unittest
from pathlib import Path

import gen_docs

ROOT = Path(sys.argv[1])
VERSION = re.compile(r"\d+\.\d+")


def rows_of(path):
    return list(gen_docs.read_rows((ROOT / path).read_text()))


def listed_calls():
    calls = []
    for line in (ROOT / "tests/repository/xdp_calls.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            calls.append(tuple(line.split()))
    return calls


def missing(calls, helpers, kfuncs):
    """The calls without a row."""
    known = {("helper", row[0], "bpf_" + row[1]) for _, row in helpers}
    known |= {("kfunc", row[0]) for _, row in kfuncs}
    return [" ".join(call) for call in calls if call not in known]


class Contracts(unittest.TestCase):
    def setUp(self):
        self.helpers = rows_of("src/helpers/helpers.def")
        self.kfuncs = rows_of("src/kfuncs/kfuncs.def")

    def test_every_call_has_a_row(self):
        calls = listed_calls()
        self.assertGreater(len(calls), 200)
        self.assertEqual(missing(calls, self.helpers, self.kfuncs), [])

    def test_a_missing_row_is_noticed(self):
        calls = [("helper", "44", "bpf_xdp_adjust_head"), ("kfunc", "bpf_nobody")]
        self.assertEqual(missing(calls, self.helpers, self.kfuncs), ["kfunc bpf_nobody"])

    def test_every_row_has_since_flags_and_a_result(self):
        for macro, row in self.helpers:
            self.assertRegex(row[2], VERSION, row)
            self.assertRegex(row[3], r"^k[A-Z]", row)
            self.assertRegex(row[4], r"^k[A-Z]", row)
        for macro, row in self.kfuncs:
            # Empty: announced for a kernel after the last one that is out. LMN: only here.
            self.assertRegex(row[1], r"^(\d+\.\d+|LMN)?$", row)
            self.assertRegex(row[2], r"^k[A-Z]", row)
            self.assertRegex(row[3], r"^(k[A-Z]|[a-z_]+\()", row)

    def test_no_call_has_two_rows(self):
        for rows in (self.helpers, self.kfuncs):
            names = [row[0] for _, row in rows]
            self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
