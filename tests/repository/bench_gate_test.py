# SPDX-License-Identifier: Apache-2.0
"""Goal: a broken bound, a benchmark that is gone and an empty table fail. Method: figures by hand,
and a program that answers as google-benchmark does.
"""
import contextlib
import io
import stat
import tempfile
import unittest
from pathlib import Path

import bench_gate

PROGRAM = """#!/bin/sh
# Two repetitions of one benchmark: 100 and 50 ns per item.
case $1 in
  --benchmark_list_tests) echo Pool/Take; exit ;;
esac
cat << 'END'
{"benchmarks": [
  {"run_name": "Pool/Take", "run_type": "iteration", "items_per_second": 1e7},
  {"run_name": "Pool/Take", "run_type": "iteration", "items_per_second": 2e7},
  {"run_name": "Pool/Take", "run_type": "aggregate", "items_per_second": 9e9}]}
END
"""


class BenchGate(unittest.TestCase):
    def run_gate(self, limits):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "bench"
            program.write_text(PROGRAM)
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            table = Path(folder) / "limits.txt"
            table.write_text(limits)
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                return bench_gate.main(["bench_gate", str(table), str(program)]), out.getvalue()

    def test_the_fastest_run_counts(self):
        self.assertEqual(self.run_gate("# words\nPool/Take 60\nOther/Thing 1\n")[0], 0)
        status, text = self.run_gate("Pool/Take 40\n")
        self.assertEqual(status, 1)
        self.assertIn("50.0 ns per item, at most 40: BROKEN", text)

    def test_nothing_to_hold_is_a_failure(self):
        self.assertEqual(self.run_gate("Other/Thing 1\n")[0], 1)
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(bench_gate.judge({"Pool/Take": 1.0}, {}), 1)


if __name__ == "__main__":
    unittest.main()
