#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a page of tables from the .def files: gen_docs.py OUTPUT.md [ROOT]

The page is made, not committed: a new helper or port then stays one file and one row. Pages that
are committed point at the .def file instead of typing its rows again. Tested by
tests/repository/gen_docs_test.py.
"""
import re
import sys
from collections import namedtuple
from pathlib import Path

from repo import read_text, root_from_arguments

# path, heading, words, column titles, the columns of a row that are shown, {macro: word} or None.
# With such words the table gets a last column that says which macro made the row.
Table = namedtuple("Table", "path heading words titles columns macros")
TABLES = [
    Table(
        "tools/lmn/commands.def",
        "Commands of lmn",
        "`lmn COMMAND --help` lists the options.",
        ("command", "does"),
        (0, 1),
        None,
    ),
    Table(
        "src/ports/port_drivers.def",
        "Port drivers",
        "The syntax is what `lmn run --port` takes.",
        ("driver", "syntax", "what it is"),
        (0, 2, 3),
        None,
    ),
    Table(
        "src/telemetry/counters.def",
        "Counters",
        "Per port and queue, the same names for every driver.",
        ("counter", "counts"),
        (1, 2),
        None,
    ),
    Table(
        "src/exec/interp/trap_reasons.def",
        "Traps",
        "Why the checked interpreter stops a program; the packet is then aborted.",
        ("trap",),
        (1,),
        None,
    ),
    Table(
        "src/base/error_codes.def",
        "Errors",
        "The kind of every error that a tool prints or the library returns.",
        ("error", "what to do"),
        (1, 2),
        None,
    ),
    Table(
        "src/verifier/rules.def",
        "Rules of the verifier",
        "What a program must keep to be accepted; messages end with the rule's id. Each has an "
        "accepted and a refused program among the cases of structure_test.cc and paths_test.cc.",
        ("no.", "rule", "stage", "errno", "demand", "remedy"),
        (1, 2, 3, 5, 6, 7),
        None,
    ),
    Table(
        "src/maps/map_types.def",
        "Map types",
        "Number and word are those of the kernel and of bpftool.",
        ("number", "type", "word"),
        (0, 1, 2),
        None,
    ),
    Table(
        "src/helpers/helpers.def",
        "Helpers",
        "Every helper that Linux lets an XDP program call; `since` is the kernel that brought it.",
        ("id", "helper", "since"),
        (0, 1, 2),
        {
            "LMN_HELPER": "yes",
            "LMN_HELPER_BY_ENGINE": "yes",
            "LMN_HELPER_MISSING": "not yet: refused by name at load",
            "LMN_HELPER_REFUSED": "no: it needs a kernel object",
            "LMN_HELPER_SLEEPS": "no: it sleeps, as on Linux",
        },
    ),
    Table(
        "fuzz/fuzzers.def",
        "Fuzz targets",
        "Seconds are those of the slice in `./dev test`.",
        ("target", "seconds", "feeds"),
        (0, 2, 4),
        None,
    ),
]


def split_arguments(text):
    """The arguments of a macro call; commas inside quotes and brackets do not count."""
    arguments, depth, current = [], 0, ""
    for token in re.findall(r'"(?:\\.|[^"\\])*"|[^"]', text):
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(token, 0)
        if token == "," and depth == 0:
            arguments.append(current.strip())
            current = ""
        else:
            current += token
    return [word.strip('"') for word in [*arguments, current.strip()]]


def read_rows(text):
    """Yields (macro, [arguments]) for each row; a row may span lines."""
    code = re.sub(r"(?m)^\s*//.*$", "", text)
    for match in re.finditer(r"(?m)^(LMN_\w+)\(", code):
        depth, end = 1, match.end()
        quoted = False
        while depth > 0 and end < len(code):
            char = code[end]
            if char == '"' and code[end - 1] != "\\":
                quoted = not quoted
            depth += 0 if quoted else {"(": 1, ")": -1}.get(char, 0)
            end += 1
        yield match.group(1), split_arguments(code[match.end() : end - 1])


def cell(text):
    return " ".join(text.split()).replace("|", "\\|")


def render_table(table, text):
    titles = [*table.titles] + (["here"] if table.macros else [])
    lines = [f"## {table.heading}", "", f"{table.words} From `{table.path}`.", ""]
    lines += ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for macro, arguments in read_rows(text):
        shown = [cell(arguments[i]) for i in table.columns]
        if table.macros:
            shown.append(table.macros[macro])
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def render(root):
    parts = ["# Tables\n\nWhat the `.def` tables hold, in words. Made by `./dev docs`.\n"]
    for table in TABLES:
        if (Path(root) / table.path).exists():
            parts.append(render_table(table, read_text(root, table.path)))
    return "\n".join(parts)


def main(arguments):
    if len(arguments) < 2:
        print("usage: gen_docs.py OUTPUT.md [ROOT]", file=sys.stderr)
        return 2
    page = Path(arguments[1])
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(root_from_arguments(arguments[1:])), encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
