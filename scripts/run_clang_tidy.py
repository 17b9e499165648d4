#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over all sources that a build folder compiles.

What was clean and has not changed since is not looked at again: all sources take half an hour on
two cores, those of a usual change a minute. A source has changed when its command, .clang-tidy,
the tool or any file of ours that it includes has; ninja knows the last from the build. What was
clean is a line in build/check/clang-tidy.clean.

run_clang_tidy.py [--jobs N] [--tool PROGRAM] [--ninja PROGRAM] BUILD_FOLDER [SOURCE...]

Exit status 1 when there are findings. Tested by tests/repository/run_clang_tidy_test.py.
"""
import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def dependencies(ninja, build):
    """What each object was made of in the last build: {object: [paths]}."""
    made = {}
    target = None
    for line in output_of(ninja, "-C", str(build), "-t", "deps").splitlines():
        if line.startswith("    "):
            made[target].append(line.strip())
        elif "#deps" in line:
            target = line.split(":")[0]
            made[target] = []
    return made


class Sources:
    """The sources of a build folder, each with a key that changes when what is looked at does."""

    def __init__(self, root, build, arguments):
        self.root = root.resolve()
        self.build = build.resolve()
        self.tool = arguments.tool
        self.made_of = dependencies(arguments.ninja, build)
        config = (root / ".clang-tidy").read_bytes()
        self.common = config + output_of(self.tool, "--version").encode()
        self.hashes = {}
        commands = json.loads((build / "compile_commands.json").read_text())
        wanted = {(root / name).resolve() for name in arguments.sources}
        self.commands = {}
        for command in commands:
            path = (Path(command["directory"]) / command["file"]).resolve()
            if self.is_ours(path) and (not wanted or path in wanted):
                self.commands[path] = command

    def is_ours(self, path):
        if not path.is_relative_to(self.root) or path.is_relative_to(self.build):
            return False
        return path.relative_to(self.root).parts[0] not in ("third_party", "build")

    def hash_of(self, path):
        if path not in self.hashes:
            self.hashes[path] = hashlib.sha256(path.read_bytes()).digest()
        return self.hashes[path]

    def key_of(self, path):
        """None: the build does not know what the source includes."""
        command = self.commands[path]
        made = re.search(r" -o (\S+)", command["command"])
        included = self.made_of.get(made.group(1), []) if made else []
        if not included:
            return None
        key = hashlib.sha256(self.common + json.dumps(command).encode())
        for name in sorted(included):
            file = (self.build / name).resolve()
            if self.is_ours(file) and file.is_file():
                key.update(str(file).encode() + self.hash_of(file))
        return key.hexdigest()

    def findings(self, path):
        """What the tool prints of it; empty: nothing."""
        done = subprocess.run(
            [self.tool, "--quiet", "-p", str(self.build), "--warnings-as-errors=*", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if done.returncode == 0 else done.stdout + done.stderr


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--tool", default="clang-tidy-19")
    parser.add_argument("--ninja", default="ninja")
    parser.add_argument("build", type=Path)
    parser.add_argument("sources", nargs="*")
    arguments = parser.parse_args()
    root = Path.cwd()
    sources = Sources(root, arguments.build, arguments)
    keys = {path: sources.key_of(path) for path in sources.commands}
    memory = root / "build/check/clang-tidy.clean"
    memory.parent.mkdir(parents=True, exist_ok=True)
    clean = set(memory.read_text().split()) if memory.exists() else set()
    to_do = [path for path in sources.commands if keys[path] is None or keys[path] not in clean]
    bad = 0
    with ThreadPoolExecutor(arguments.jobs) as pool, memory.open("a") as remembered:
        for path, text in zip(to_do, pool.map(sources.findings, to_do)):
            if text:
                bad += 1
                print(text, flush=True)
            elif keys[path] is not None:
                print(keys[path], file=remembered, flush=True)
    print(f"clang-tidy: {len(keys)} sources, {len(to_do)} looked at, {bad} with findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
