# SPDX-License-Identifier: Apache-2.0
"""Goal: scripts/run_clang_tidy.py looks at every source that has changed in any way, and only at
those. Method: a small tree with stand-ins for the two programs: one that says what was included,
one that finds fault with sources that hold the word "bad" and keeps a list of what it was shown.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/run_clang_tidy.py"

TOOL = """#!/bin/sh
if [ "$1" = --version ]; then echo "$TOOL_VERSION"; exit 0; fi
for last; do :; done
basename "$last" >> "$SHOWN"
if grep -q bad "$last"; then echo "$last: bad"; exit 1; fi
"""
NINJA = """#!/bin/sh
printf 'a.o: #deps 2, deps mtime 1 (VALID)\\n    ../src/a.cc\\n    ../src/a.h\\n\\n'
printf 'b.o: #deps 1, deps mtime 1 (VALID)\\n    ../src/b.cc\\n\\n'
"""


class RunClangTidy(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        for name in ("src", "out", "third_party"):
            (self.root / name).mkdir()
        for name in ("src/a.cc", "src/a.h", "src/b.cc", "src/c.cc", ".clang-tidy"):
            self.write(name, "good")
        self.write("third_party/t.cc", "bad")
        for name, text in (("tool", TOOL), ("ninja", NINJA)):
            self.write(name, text)
            (self.root / name).chmod(0o755)
        self.commands = [
            {
                "directory": str(self.root / "out"),
                "file": f"../{name}.cc",
                "command": f"c++ -o {name[-1]}.o -c ../{name}.cc",
            }
            for name in ("src/a", "src/b", "third_party/t")
        ]
        self.version = "19"

    def write(self, name, text):
        (self.root / name).write_text(text)

    def run_script(self, *sources):
        """(exit status, the sources that the tool was shown, what was printed)"""
        self.write("out/compile_commands.json", json.dumps(self.commands))
        self.write("shown", "")
        command = [sys.executable, SCRIPT, "--tool", "./tool", "--ninja", "./ninja", "out"]
        done = subprocess.run(
            [*command, *sources],
            cwd=self.root,
            env={**os.environ, "SHOWN": str(self.root / "shown"), "TOOL_VERSION": self.version},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        shown = sorted((self.root / "shown").read_text().split())
        return done.returncode, shown, done.stdout + done.stderr

    def test_what_was_clean_is_not_looked_at_again(self):
        self.assertEqual(self.run_script()[:2], (0, ["a.cc", "b.cc"]))
        self.assertEqual(self.run_script()[:2], (0, []))

    def test_a_header_a_command_the_checks_or_the_tool_change(self):
        self.run_script()
        self.write("src/a.h", "other")
        self.assertEqual(self.run_script()[:2], (0, ["a.cc"]))
        self.commands[1]["command"] += " -DOTHER"
        self.assertEqual(self.run_script()[:2], (0, ["b.cc"]))
        self.write(".clang-tidy", "other")
        self.assertEqual(self.run_script()[:2], (0, ["a.cc", "b.cc"]))
        self.version = "20"
        self.assertEqual(self.run_script()[:2], (0, ["a.cc", "b.cc"]))

    def test_findings_are_printed_and_looked_at_until_they_are_gone(self):
        self.write("src/b.cc", "bad")
        for shown in (["a.cc", "b.cc"], ["b.cc"]):
            status, seen, text = self.run_script()
            self.assertEqual((status, seen), (1, shown))
            self.assertIn("b.cc: bad", text)
        self.write("src/b.cc", "good")
        self.assertEqual(self.run_script()[:2], (0, ["b.cc"]))

    def test_a_source_that_was_not_built_is_always_looked_at(self):
        self.commands.append(
            {**self.commands[0], "file": "../src/c.cc", "command": "c++ -o c.o -c ../src/c.cc"}
        )
        self.run_script()
        self.assertEqual(self.run_script()[:2], (0, ["c.cc"]))

    def test_sources_may_be_chosen(self):
        self.assertEqual(self.run_script("src/b.cc")[:2], (0, ["b.cc"]))


if __name__ == "__main__":
    unittest.main()
