# SPDX-License-Identifier: Apache-2.0
"""What the repository checks share: which files there are, and how a CMakeLists.txt or a .def
table is read.

A check is a function from the root folder of a tree to a list of Finding; tests/repository/ runs
each one on this tree and on small broken ones.
"""
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SKIPPED_FOLDERS = {"build", ".git", ".cache", "third_party", "__pycache__"}


@dataclass(frozen=True, order=True)
class Finding:
    path: str
    line: int
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.text}"


def list_files(root):
    """Paths of all our files, relative to root and sorted: what git knows or would add; without
    git, all there are.
    """
    root = Path(root)
    if (root / ".git").exists():
        done = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            names = [
                n for n in done.stdout.splitlines() if not SKIPPED_FOLDERS & set(Path(n).parts)
            ]
            return sorted(n for n in set(names) if (root / n).is_file())
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in SKIPPED_FOLDERS]
        found += [str((Path(folder) / name).relative_to(root)) for name in names]
    return sorted(found)


def read_text(root, path):
    return (Path(root) / path).read_text(encoding="utf-8", errors="replace")


def cmake_calls(text):
    """Yields (function, [arguments], line) for each call in a CMakeLists.txt; quotes and comments
    are removed.
    """
    text = re.sub(r"(?m)(^|[^\"\\])#[^\n\"]*$", r"\1", text)
    for match in re.finditer(
        r"(?m)^[ \t]*([A-Za-z_]\w*)[ \t]*\(((?:[^()\"]|\"[^\"]*\"|\([^()]*\))*)\)", text
    ):
        words = re.findall(r"\"[^\"]*\"|[^\s\"]+", match.group(2))
        yield match.group(1), [w.strip('"') for w in words], text.count(
            "\n", 0, match.start(1)
        ) + 1


def keyword_arguments(arguments, keywords):
    """Splits ["x", "DEPS", "a", "b"] into {"": ["x"], "DEPS": ["a", "b"]}."""
    out = {"": []}
    current = ""
    for word in arguments:
        if word in keywords:
            current = word
            out.setdefault(current, [])
        else:
            out[current].append(word)
    return out


def report(findings, what):
    """Prints findings and a last line; returns the exit status."""
    for finding in sorted(findings):
        print(finding)
    print(f"{what}: {len(findings)} findings" if findings else f"{what}: ok")
    return 1 if findings else 0


def root_from_arguments(arguments):
    """The tree to check: the first argument, or the one this script lies in."""
    return arguments[1] if len(arguments) > 1 else str(Path(__file__).resolve().parent.parent)


def main_of(check, what):
    sys.exit(report(check(root_from_arguments(sys.argv)), what))
