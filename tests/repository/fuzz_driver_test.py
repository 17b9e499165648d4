# SPDX-License-Identifier: Apache-2.0
"""Goal: a crash in a smoke run fails it and can be repeated. Method: run the planted one
(fuzz/canary_fuzz.cc).

fuzz_driver_test.py CANARY_SMOKE GOOD_SMOKE
"""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CANARY, GOOD = sys.argv[1:3]


def run(folder, *command):
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )


class Driver(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def test_planted_crash_is_found_kept_and_repeated(self):
        found = run(self.folder.name, CANARY, "--seconds", "20")
        self.assertNotEqual(found.returncode, 0)
        kept = Path(self.folder.name) / "canary_smoke-crash.bin"
        self.assertTrue(kept.exists(), found.stderr)
        self.assertNotEqual(run(self.folder.name, CANARY, kept.name).returncode, 0)

    def test_same_seed_same_crash(self):
        kept = Path(self.folder.name) / "canary_smoke-crash.bin"
        inputs = []
        for _ in range(2):
            run(self.folder.name, CANARY, "--runs", "3000000", "--seed", "5")
            inputs.append(kept.read_bytes())
        self.assertEqual(inputs[0], inputs[1])

    def test_good_target_passes_and_says_what_it_did(self):
        done = run(self.folder.name, GOOD, "--runs", "1000")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(
            done.stdout, r"random seed 1\n.*random seed \d+\n.*: 100[01] inputs from 0 seed files"
        )

    def test_wrong_use_is_refused(self):
        self.assertEqual(run(self.folder.name, GOOD, "--nonsense", "1").returncode, 2)
        self.assertEqual(run(self.folder.name, GOOD, "--runs", "many").returncode, 2)
        self.assertEqual(run(self.folder.name, GOOD, "no-such-file").returncode, 2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
