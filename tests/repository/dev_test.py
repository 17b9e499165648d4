# SPDX-License-Identifier: Apache-2.0
"""Goal: ./dev says what it cannot do and never pretends. Method: run the commands that build
nothing.

dev_test.py ROOT
"""
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(sys.argv[1])


def dev(*arguments):
    environment = {**os.environ, "LMN_NO_INSTALL": "1"}
    return subprocess.run(
        [str(ROOT / "dev"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


class Dev(unittest.TestCase):
    def test_unknown_command_is_a_usage_error(self):
        for arguments in ([], ["nonsense"], ["test", "--nonsense"], ["fuzz"]):
            done = dev(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn("usage: ./dev", done.stderr)

    def test_help_lists_every_command(self):
        usage = dev("--help").stdout
        commands = re.findall(r"^cmd_(\w+)\(\)", (ROOT / "dev").read_text(), re.MULTILINE)
        self.assertGreater(len(commands), 10)
        for command in commands:
            self.assertRegex(usage, rf"(?m)^  {command}\b")

    def test_unknown_names_are_refused_by_name(self):
        done = dev("fuzz", "no_such_target")
        self.assertEqual(done.returncode, 1)
        self.assertIn("there are: byte_reader", done.stderr)
        for command in ("bench", "conformance"):
            done = dev(command, "no_such_name")
            self.assertEqual(done.returncode, 1, command)
            self.assertRegex(done.stderr, "no benchmark|no conformance")

    def test_every_package_has_a_known_set_and_a_reason(self):
        rows = [
            line.split(None, 2)
            for line in (ROOT / "scripts/packages.txt").read_text().splitlines()
            if line and not line.startswith("#")
        ]
        self.assertGreater(len(rows), 10)
        for row in rows:
            self.assertEqual(len(row), 3, row)
            self.assertIn(row[1], ("demo", "test", "check"))
        names = [row[0] for row in rows]
        self.assertEqual(len(names), len(set(names)))

    def test_continuous_integration_runs_the_test_command_of_the_readme(self):
        self.assertIn("exec ./dev test", (ROOT / ".ci/run").read_text())
        self.assertIn("./dev test", (ROOT / "README.md").read_text())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
