# SPDX-License-Identifier: Apache-2.0
"""Small trees for the tests of the checks: a folder made from {path: text}, and what a check says
of it.
"""
import tempfile
import unittest
from pathlib import Path


class TreeTest(unittest.TestCase):
    """A test case that runs `check`, a function from a root folder to findings."""

    check = None

    def findings(self, files):
        """The findings for a tree of these files, as text."""
        with tempfile.TemporaryDirectory() as folder:
            for path, text in files.items():
                place = Path(folder) / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8")
            return [str(finding) for finding in type(self).check(folder)]

    def assert_finding(self, files, *parts):
        """One finding has all the parts."""
        found = self.findings(files)
        self.assertTrue(any(all(part in text for part in parts) for text in found), found)

    def assert_clean(self, files):
        self.assertEqual(self.findings(files), [])
