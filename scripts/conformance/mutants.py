#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts known mistakes back into a copy of the verifier, one at a time, and measures whether the
generic tests (soundness_test, agreement_test) find each.

mutants.py BUILD_DIR [SECONDS] [PATTERN...]

A mutant is a row of tests/soundness/mutants.json: the pattern's number, the file below
src/verifier, the text to replace and what replaces it, and which sources to compile (the file
itself when it is one). The copy and the objects lie in BUILD_DIR/mutants. The changed objects are
linked before the library, so that they replace its members. Exit status 0: at least 80 of 100 were
found.
"""
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = {"soundness": "lmn_soundness_test", "agreement": "lmn_agreement_test"}
WANTED_PERCENT = 80


def compile_commands(build):
    text = subprocess.run(["ninja", "-C", build, "-t", "compdb"], check=True, capture_output=True,
                          text=True).stdout
    return {entry["file"]: entry["command"] for entry in json.loads(text)
            if "/src/verifier/" in entry["file"] and " -c " in entry["command"]}


def link_command(build, target):
    lines = subprocess.run(["ninja", "-C", build, "-t", "commands", "-s",
                            f"tests/soundness/{target}"], check=True, capture_output=True,
                           text=True).stdout.strip().splitlines()
    return lines[-1]


def build_mutant(build, mutant, commands):
    """The two test programs with the mutant in place; None: it does not compile."""
    folder = pathlib.Path(build) / "mutants"
    source = folder / "src" / "verifier"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "src/verifier", source)
    for old, new in mutant["edits"]:
        path = source / mutant["file"]
        text = path.read_text()
        if text.count(old) < 1:
            sys.exit(f"pattern {mutant['pattern']}: {mutant['file']} no longer has: {old}")
        path.write_text(text.replace(old, new, 1))
    objects = []
    for name in mutant.get("compile", [mutant["file"]]):
        command = next(c for f, c in commands.items() if f.endswith(f"/src/verifier/{name}"))
        words = shlex.split(command)
        if "ccache" in words[0]:
            words = words[1:]  # its cache would keep the paths of the original
        compiled = folder / (name.replace("/", "_") + ".mutant.o")
        words[words.index("-o") + 1] = str(compiled)
        words[words.index("-c") + 1] = str(source / name)
        words = [w for w in words if not w.startswith("-M") and not w.endswith(".d")
                 and w != "-Werror"]
        words = [w for i, w in enumerate(words) if i == 0 or words[i - 1] != "-MT"]
        words = [w for w in words if not w.endswith(".cc.o")]
        words.insert(1, f"-I{folder}/src")
        done = subprocess.run(words, cwd=build, capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stderr[:2000])
            return None
        objects.append(str(compiled))
    programs = {}
    for kind, target in TARGETS.items():
        program = folder / target
        command = link_command(build, target).replace(f"-o tests/soundness/{target}",
                                                      f"-o {program}", 1)
        marker = f"{program}"
        command = command.replace(marker, f"{marker} {' '.join(objects)}", 1)
        done = subprocess.run(command, shell=True, cwd=build, capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stderr[:2000])
            return None
        programs[kind] = program
    return programs


def find(programs, seconds):
    """Which test found the mutant, and after how long."""
    for kind, program in programs.items():
        begin = time.monotonic()
        seed = os.environ.get("LMN_SEED", "1")  # the fresh seeds run only when told one
        environment = dict(os.environ, LMN_SECONDS=str(seconds), LMN_SEED=seed)
        done = subprocess.run([program, "--gtest_filter=*FreshSeed"], env=environment,
                              capture_output=True, text=True)
        if done.returncode != 0:
            return kind, time.monotonic() - begin
    return None, 0.0


def main():
    build = str(pathlib.Path(sys.argv[1]).resolve())
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60
    only = set(sys.argv[3:])
    mutants = json.loads((ROOT / "tests/soundness/mutants.json").read_text())
    mutants = [m for m in mutants if not only or str(m["pattern"]) in only]
    commands = compile_commands(build)
    # A test that fails without a mutant proves nothing with one.
    plain = {kind: pathlib.Path(build) / "tests/soundness" / target
             for kind, target in TARGETS.items()}
    for kind in list(plain):
        if find({kind: plain[kind]}, seconds)[0]:
            print(f"{kind} fails without any mutant: not used")
            del plain[kind]
    found = 0
    for mutant in mutants:
        programs = build_mutant(build, mutant, commands)
        if programs is None:
            sys.exit(f"pattern {mutant['pattern']} does not build")
        kind, spent = find({kind: programs[kind] for kind in plain}, seconds)
        found += kind is not None
        words = f"found by {kind} after {spent:.1f} s" if kind else "NOT FOUND"
        print(f"pattern {mutant['pattern']:>3} {mutant['name']}: {words}", flush=True)
    print(f"{found} of {len(mutants)} mutants found")
    return 0 if found * 100 >= WANTED_PERCENT * len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
