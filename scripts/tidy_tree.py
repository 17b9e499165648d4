# SPDX-License-Identifier: Apache-2.0
"""The rules of tidy.py that need the whole tree: nothing dead, every path that is written down
exists, every rule is tested.

A table row is alive when its first column is named outside the table; a source when a
CMakeLists.txt lists it; a header when something includes it; a script or a page when something
mentions it.
"""
import fnmatch
import re
from pathlib import Path

from repo import Finding, read_text

TOP_FOLDERS = (
    "src",
    "docs",
    "scripts",
    "tests",
    "tools",
    "fuzz",
    "bench",
    "examples",
    "cmake",
    "include",
    "third_party",
    ".ci",
)
DOC_PATH = re.compile(r"`((?:" + "|".join(re.escape(t) for t in TOP_FOLDERS) + r")/[^`\s]*)`")
PLAIN_PAGE = re.compile(r"(?<![\w/])docs/[\w./-]+\.md\b")
TEST_FILE = re.compile(r"(?<![\w*])[\w/]+_test\.(?:cc|py)\b")
ROW = re.compile(r"^(LMN_\w+)\(\s*\"?([\w./-]+)\"?", re.MULTILINE)

LIVE_ROWS = (
    "src/base/error_codes.def",
    "src/telemetry/counters.def",
    "src/telemetry/tracepoints.def",
    "src/verifier/rules.def",
)


class Tree:
    """The text of every file, read once."""

    def __init__(self, root, files):
        self.root = root
        self.files = files
        self.names = set(files)
        self.text = {
            path: read_text(root, path)
            for path in files
            if not path.endswith((".bin", ".pcap", ".pcapng", ".o"))
        }
        self.folders = {
            path.rsplit("/", i)[0] for path in files for i in range(1, path.count("/") + 1)
        }

    def having(self, *suffixes):
        return [path for path in self.text if path.endswith(suffixes)]

    def exists(self, pattern):
        """True for a file, a folder or a pattern ("src/*/x", "docs/**", "a.{h,cc}") that matches
        something.
        """
        pattern = pattern.rstrip("/")
        braces = re.match(r"(.*)\{([^}]*)\}(.*)", pattern)
        if braces:
            return all(
                self.exists(braces.group(1) + part + braces.group(3))
                for part in braces.group(2).split(",")
            )
        if pattern in self.names or pattern in self.folders:
            return True
        if pattern.startswith("third_party/") and (Path(self.root) / pattern).exists():
            return True
        return "*" in pattern and any(
            fnmatch.fnmatch(path, pattern) for path in self.names | self.folders
        )


def check_rows(tree):
    """Tables that nothing includes or that are empty, and rows that the product never names.

    Where a row needs a body (a helper, a map type, a command), a missing one does not link; the
    tables of LIVE_ROWS are lists of names, where only this check sees that one is left over.
    """
    findings = []
    product = "\n".join(
        text
        for path, text in tree.text.items()
        if path.endswith((".cc", ".h"))
        and path.startswith(("src/", "tools/"))
        and not path.endswith("_test.cc")
    )
    words = set(re.findall(r"\w+", product))
    for table in tree.having(".def"):
        name = table.rsplit("/", 1)[1]
        if not any(
            name in text
            for path, text in tree.text.items()
            if path != table and not path.endswith(".md")
        ):
            findings.append(Finding(table, 1, "[dead-table] nothing includes this table"))
        rows = list(ROW.finditer(tree.text[table]))
        if not rows:
            findings.append(Finding(table, 1, "[dead-table] it has no row"))
        for match in rows if table in LIVE_ROWS else []:
            line = tree.text[table].count("\n", 0, match.start()) + 1
            if match.group(2) not in words:
                findings.append(
                    Finding(table, line, f"[dead-row] no source uses '{match.group(2)}'")
                )
    return findings


def check_dead_sources(tree):
    findings = []
    lists = {
        path: text
        for path, text in tree.text.items()
        if path.endswith("CMakeLists.txt") or path.endswith(".cmake")
    }
    included = set()
    for path in tree.having(".cc", ".h", ".c", ".def"):
        included |= {
            name.rsplit("/", 1)[-1]
            for name in re.findall(r'#\s*include\s*(?:"|<(?=lmn/))([^">]+)', tree.text[path])
        }
    globbed = [
        path.rsplit("/", 1)[0] + "/"
        for path, text in lists.items()
        if re.search(r"lmn_module\([^)]*SOURCES \*", text)
    ]
    rows = set(ROW.findall(tree.text.get("fuzz/fuzzers.def", "")))
    named = {f"fuzz/{row}_fuzz.cc" for _, row in rows}
    benches = re.findall(r"(?m)^lmn_bench\((\w+)", lists.get("bench/CMakeLists.txt", ""))
    named |= {f"bench/{name}_bench.cc" for name in benches}
    for path in tree.having(".cc", ".c"):
        name = path.rsplit("/", 1)[-1]
        stem = name.split(".")[0]
        listed = any(
            re.search(r"(?<![\w.])" + re.escape(name) + r"(?!\w)", text)
            or (path.endswith(".c") and re.search(r"\b" + re.escape(stem) + r"\b", text))
            for text in lists.values()
        )
        if path.startswith(tuple(globbed)) and not re.search(r"(_test|_for_tests)\.cc$", path):
            continue
        if not listed and path not in named and name not in included:
            findings.append(Finding(path, 1, "[dead-file] no CMakeLists.txt lists it"))
    for path in tree.having(".h"):
        if path.rsplit("/", 1)[-1] not in included:
            findings.append(Finding(path, 1, "[dead-file] nothing includes it"))
    return findings


def check_dead_scripts_and_pages(tree):
    findings = []
    mentions = [
        path
        for path in tree.text
        if path.endswith((".md", ".txt", ".sh", ".py", ".cmake")) or path in ("dev", ".ci/run")
    ]
    for path in tree.files:
        is_script = path.startswith("scripts/") and path.endswith((".py", ".sh"))
        is_page = path.startswith("docs/") and path.endswith(".md")
        if not is_script and not is_page:
            continue
        name = path.rsplit("/", 1)[-1]
        stem = name.rsplit(".", 1)[0]
        wanted = (
            [name, f"import {stem}", f"from {stem} "] if is_script else [name, f"howto/{stem}"]
        )
        # The driver runs every script of these two folders by name (./dev conformance NAME).
        if path.startswith("scripts/conformance/"):
            continue
        if not any(
            word in tree.text[other] for other in mentions if other != path for word in wanted
        ):
            findings.append(Finding(path, 1, "[dead-file] nothing mentions it"))
    return findings


def check_paths(tree):
    """Paths in backquotes and links of pages, pages named in sources, and test files named
    anywhere, must exist.
    """
    findings = []
    tests = {path.rsplit("/", 1)[-1] for path in tree.files}
    for path, text in tree.text.items():
        for number, line in enumerate(text.splitlines(), 1):
            wanted = [] if path.startswith("tests/repository/") else PLAIN_PAGE.findall(line)
            if path.endswith(".md"):
                wanted += DOC_PATH.findall(line)
                for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", line):
                    if "://" not in link:
                        wanted.append(join(path, link))
            for name in wanted:
                if not re.search(r"[<>]|NNNN|\.\.\.", name) and not tree.exists(
                    name.rstrip(".,:")
                ):
                    findings.append(Finding(path, number, f"[path] '{name}' does not exist"))
            if path.endswith((".h", ".cc")):
                for name in TEST_FILE.findall(line):
                    if name.rsplit("/", 1)[-1] not in tests:
                        findings.append(
                            Finding(path, number, f"[path] test file '{name}' does not exist")
                        )
    return findings


def join(page, link):
    """A link relative to its page, as a path from the root."""
    parts = page.split("/")[:-1]
    for part in link.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def check_verifier_rules(tree):
    """Each rule of rules.def has an accepting and a refusing case, in the table of cases
    (docs/howto/verifier-rule.md).
    """
    table = "src/verifier/rules.def"
    if table not in tree.text:
        return []
    findings = []
    tests = "\n".join(
        text
        for path, text in tree.text.items()
        if re.match(r"src/verifier/.*_test\.cc|tests/filetests/verifier/", path)
    )
    for match in ROW.finditer(tree.text[table]):
        rule = match.group(2)
        line = tree.text[table].count("\n", 0, match.start()) + 1
        for word in ("accept", "reject"):
            if not re.search(
                word
                + r"\b[^\n]{0,40}\b"
                + re.escape(rule)
                + r"\b|\b"
                + re.escape(rule)
                + r"\b[^\n]{0,40}\b"
                + word,
                tests,
                re.IGNORECASE,
            ):
                findings.append(
                    Finding(table, line, f"[rule-cases] rule '{rule}' has no {word} case")
                )
    return findings


NAMESPACE = re.compile(r"(?:inline )?namespace\s*([\w:]*)\s*\{")
TYPE = re.compile(
    r"(?:struct|class|union|enum class|enum)\s+(?:alignas\([^)]*\)\s*)?"
    r"(?!class\b)(\w+)\b(?!::)[^;(]*\{"
)


def types_of(text):
    """(line, qualified name) of each type at the start of a line that is not of one file alone."""
    spaces = []
    for number, line in enumerate(text.split("\n"), 1):
        if opened := NAMESPACE.match(line):
            spaces.append(opened.group(1))
        elif line.startswith("}  // namespace") and spaces:
            spaces.pop()
        elif "" not in spaces and (found := TYPE.match(line)):
            yield number, "::".join([*spaces, found.group(1)])


def check_types(tree):
    """To the linker two types of one name are one: what is made of them by a template (a vector,
    say) is taken from either. So a name in a namespace is one type of src/.
    """
    findings, seen = [], {}
    for path in sorted(tree.having(".h", ".cc")):
        if not path.startswith("src/") or path.endswith(("_test.cc", "_for_tests.h")):
            continue
        for line, name in types_of(tree.text[path]):
            first = seen.setdefault(name, path)
            if first != path:
                findings.append(Finding(path, line, f"[one-type] {name} is a type of {first} too"))
    return findings


def check_tree(root, files):
    tree = Tree(root, files)
    return (
        check_rows(tree)
        + check_dead_sources(tree)
        + check_dead_scripts_and_pages(tree)
        + check_paths(tree)
        + check_verifier_rules(tree)
        + check_types(tree)
    )
