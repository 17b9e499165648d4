#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that every include follows the layer graph: check_layers.py [ROOT]

A module (src/<name>/, declared by lmn_module in its CMakeLists.txt) includes only modules of lower
levels, and only those that its DEPS list; a unit test also those of TEST_DEPS. A listed module
that nothing includes is an error too: DEPS are the graph that people read. Heavy libraries are
confined to the folder that needs them. Tested by tests/repository/check_layers_test.py.
"""
import re
from pathlib import Path

from repo import Finding, cmake_calls, keyword_arguments, list_files, main_of, read_text

# The levels of docs/ARCHITECTURE.md; the check compares that page with this table.
LEVELS = {
    "base": 0,
    "abi": 1,
    "insn": 2,
    "btf": 2,
    "packet": 2,
    "telemetry": 2,
    "spec": 3,
    "object": 4,
    "verifier": 4,
    "maps": 4,
    "exec": 5,
    "helpers": 5,
    "kfuncs": 5,
    "ports": 5,
    "xsk": 5,
    "dataplane": 6,
    "fastpath": 6,
    "engine": 7,
    "uapi": 8,
    "control": 9,
}
# Header prefix, where it may be included (path prefixes), and the reason that the message gives.
CONFINED = [
    ("llvm/", ("src/exec/jit/",), "LLVM only in src/exec/jit"),
    ("llvm-c/", ("src/exec/jit/",), "LLVM only in src/exec/jit"),
    ("rte_", ("src/ports/dpdk/",), "DPDK only in src/ports/dpdk"),
    ("CLI/", ("tools/",), "CLI11 only in tools"),
    ("nlohmann/", ("src/control/json.cc",), "JSON is read only in src/control/json.cc"),
    (
        "bpf/",
        ("src/ports/xdp/", "tests/", "examples/", "include/lmn/bpf/"),
        "libbpf only in the xdp port, in tests and in guest programs",
    ),
    (
        "xdp/",
        ("src/ports/xdp/", "tests/", "examples/"),
        "libxdp only in the xdp port, in tests and in guest programs",
    ),
    ("pcap/", ("tests/",), "libpcap only in tests"),
]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]')
SOURCE_SUFFIXES = (".h", ".cc", ".c", ".def", ".inc")
KEYWORDS = ("SOURCES", "DEPS", "LIBS", "TESTS", "TEST_DEPS", "TEST_LIBS")


def read_modules(root, files, findings):
    """{module: (deps, test_deps, CMakeLists path, line)} from every src/*/CMakeLists.txt."""
    modules = {}
    for path in files:
        if not re.fullmatch(r"src/[^/]+/CMakeLists\.txt", path):
            continue
        folder = path.split("/")[1]
        for function, arguments, line in cmake_calls(read_text(root, path)):
            if function != "lmn_module":
                continue
            parts = keyword_arguments(arguments, KEYWORDS)
            if parts[""] != [folder]:
                findings.append(
                    Finding(
                        path,
                        line,
                        f"lmn_module({' '.join(parts[''])}) in the folder of module '{folder}'",
                    )
                )
            modules[folder] = (parts.get("DEPS", []), parts.get("TEST_DEPS", []), path, line)
            if folder not in LEVELS:
                findings.append(
                    Finding(
                        path, line, f"module '{folder}' has no level in scripts/check_layers.py"
                    )
                )
    return modules


def includes_of(root, path):
    """Yields (line, quote, name) of each include."""
    for number, text in enumerate(read_text(root, path).splitlines(), 1):
        match = INCLUDE.match(text)
        if match:
            yield number, match.group(1), match.group(2)


def is_test(path):
    return re.search(r"_(test|for_tests)\.(cc|h)$", path) is not None


def check_declared_levels(modules):
    findings = []
    for name, (deps, _, path, line) in modules.items():
        for dep in deps:
            if dep not in modules:
                findings.append(Finding(path, line, f"DEPS lists '{dep}', which is no module"))
            elif LEVELS.get(dep, 99) >= LEVELS.get(name, 99):
                findings.append(
                    Finding(
                        path,
                        line,
                        f"'{name}' (level {LEVELS.get(name)}) may not use '{dep}' "
                        f"(level {LEVELS.get(dep)}): only lower levels",
                    )
                )
    return findings


def check_module_file(root, path, modules, used):
    """One file of src/<module>/; adds what it includes to `used`."""
    module = path.split("/")[1]
    if module not in modules:
        return [Finding(path, 1, f"src/{module} has no lmn_module in its CMakeLists.txt")]
    deps, test_deps, _, _ = modules[module]
    allowed = set(deps) | {module} | (set(test_deps) if is_test(path) else set())
    findings = []
    for line, quote, name in includes_of(root, path):
        top = name.split("/")[0]
        if quote != '"' or "/" not in name:
            continue
        if top in modules:
            used.setdefault(module, set()).add(top) if not is_test(path) else None
            if top not in allowed:
                findings.append(
                    Finding(
                        path,
                        line,
                        f"includes '{name}', but '{module}' does not list '{top}' in DEPS",
                    )
                )
        elif not is_test(path):
            findings.append(Finding(path, line, f"includes '{name}', which is in no module"))
    return findings


def check_tool_file(root, path, modules, linked):
    """One file of tools/: the modules it includes must be `linked`, by name or through another."""
    findings = []
    for line, quote, name in includes_of(root, path):
        top = name.split("/")[0]
        if quote == '"' and "/" in name and top in modules and top not in linked:
            findings.append(
                Finding(
                    path,
                    line,
                    f"includes '{name}', but nothing that tools/ links depends on lmn_{top}",
                )
            )
    return findings


def linked_by_tools(root, files, modules):
    """The modules that any CMakeLists.txt of tools/ links, with all that those depend on."""
    linked = set()
    for path in files:
        if re.fullmatch(r"tools/(.*/)?CMakeLists\.txt", path):
            linked |= set(re.findall(r"\blmn_(\w+)", read_text(root, path)))
    waiting = list(linked)
    while waiting:
        deps = modules.get(waiting.pop(), ((),))[0]
        waiting += [dep for dep in deps if dep not in linked]
        linked |= set(deps)
    return linked


def check_confined(root, path):
    findings = []
    for line, quote, name in includes_of(root, path):
        for prefix, places, reason in CONFINED:
            if quote != "<" or not name.startswith(prefix) or path.startswith(places):
                continue
            if "tests/" not in places or not is_test(path):
                findings.append(Finding(path, line, f"includes <{name}>: {reason}"))
        if name.startswith("fmt/") and path.endswith(".h"):
            findings.append(
                Finding(
                    path,
                    line,
                    f"includes <{name}> in a header: fmt costs 0.6 s per file that sees it",
                )
            )
        if (
            re.match(r"gtest/|gmock/", name)
            and path.startswith(("src/", "tools/"))
            and not is_test(path)
        ):
            findings.append(Finding(path, line, f"includes <{name}> outside a test"))
    return findings


def check_architecture_page(root):
    """docs/ARCHITECTURE.md shows the modules as rows "| level | `name` | ..."; they must be this
    table.
    """
    page = "docs/ARCHITECTURE.md"
    if not (Path(root) / page).exists():
        return []
    findings = []
    shown = {}
    for number, text in enumerate(read_text(root, page).splitlines(), 1):
        match = re.match(r"\| *(\d+) *\| *`(\w+)` *\|", text)
        if match:
            shown[match.group(2)] = int(match.group(1))
            if LEVELS.get(match.group(2)) != int(match.group(1)):
                findings.append(
                    Finding(
                        page,
                        number,
                        f"level of '{match.group(2)}' is {LEVELS.get(match.group(2))}",
                    )
                )
    folders = {p.name for p in (Path(root) / "src").iterdir() if p.is_dir()}
    findings += [
        Finding(page, 1, f"module '{name}' is missing") for name in sorted(folders - set(shown))
    ]
    return findings


def check(root):
    findings = []
    files = list_files(root)
    modules = read_modules(root, files, findings)
    findings += check_declared_levels(modules)
    linked = linked_by_tools(root, files, modules)
    used = {}
    for path in files:
        if not path.endswith(SOURCE_SUFFIXES):
            continue
        findings += check_confined(root, path)
        if path.startswith("src/"):
            findings += check_module_file(root, path, modules, used)
        elif path.startswith("tools/"):
            findings += check_tool_file(root, path, modules, linked)
    for name, (deps, _, path, line) in modules.items():
        for dep in sorted(set(deps) - used.get(name, set())):
            findings.append(
                Finding(path, line, f"DEPS lists '{dep}', but nothing in src/{name} includes it")
            )
    return findings + check_architecture_page(root)


if __name__ == "__main__":
    main_of(check, "layers")
