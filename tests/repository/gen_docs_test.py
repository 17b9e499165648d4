# SPDX-License-Identifier: Apache-2.0
"""Goal: the generated page shows every row of every table. Method: small tables, then the real ones.

    gen_docs_test.py ROOT
"""
import contextlib
import io
import re
import sys
import tempfile
import unittest
from pathlib import Path

import gen_docs

ROOT = Path(sys.argv[1])
COUNTERS = """// A legend.
//   LMN_COUNTER(name, "standard name", "what increments it")
LMN_COUNTER(kA, "a", "one, (two) and | three")
LMN_COUNTER(kB,
            "b", "second \\"row\\"")
"""


class GenDocs(unittest.TestCase):
    def test_rows_in_all_their_forms(self):
        rows = list(gen_docs.read_rows(COUNTERS))
        self.assertEqual(rows[0], ("LMN_COUNTER", ["kA", "a", "one, (two) and | three"]))
        self.assertEqual(rows[1][1][:2], ["kB", "b"])
        self.assertEqual(len(rows), 2)

    def test_page_is_written(self):
        with tempfile.TemporaryDirectory() as root:
            table = Path(root) / "src/telemetry/counters.def"
            table.parent.mkdir(parents=True)
            table.write_text(COUNTERS)
            page = Path(root) / "out/tables.md"
            with contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(gen_docs.main(["gen_docs.py", str(page), root]), 0)
            self.assertIn("| a | one, (two) and \\| three |", page.read_text())

    def test_every_row_of_the_real_tables_is_shown(self):
        for table in gen_docs.TABLES:
            text = (ROOT / table.path).read_text()
            rows = re.findall(r"(?m)^LMN_\w+\(", text)
            shown = gen_docs.render_table(table, text).splitlines()
            body = [line for line in shown if line.startswith("| ")][1:]
            self.assertEqual(len(body), len(rows), table.path)
            self.assertGreater(len(rows), 0, table.path)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
