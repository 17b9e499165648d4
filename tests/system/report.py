#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads what `lmn run --json` printed: report.py REPORT QUESTION [ARGUMENTS]

  balance             every received frame has one outcome; prints the counters of each port
  counter PORT NAME   the value of one counter
  same NAME FILE      the map equals FILE, which `bpftool map dump -j` wrote; order does not count

Exit status 1 when balance or same does not hold. Also a module: load(), balance(), elements().
"""
import json
import sys

OUTCOMES = ("xdp_aborted", "xdp_drop", "xdp_pass", "xdp_tx", "xdp_redirect", "xdp_unknown")
PASS_OUTCOMES = ("pass_delivered", "pass_no_stack", "pass_failed")


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def port_of(report, name):
    for port in report["ports"]:
        if port["name"] == name:
            return port
    raise SystemExit(f"no port '{name}' in the report")


def elements(report, name):
    for found in report["maps"]:
        # Global data maps are named after the object too: ".bss" finds "fw.bss".
        if found["name"] == name or (name.startswith(".") and found["name"].endswith(name)):
            return found["elements"]
    raise SystemExit(f"no map '{name}' in the report")


def balance(report):
    """Prints each port's counters; returns what does not add up, port by port as printed."""
    errors = []
    for port in report["ports"]:
        counters = port["counters"]
        shown = ", ".join(f"{name} {value}" for name, value in counters.items() if value)
        print(f"port {port['name']}: {shown or 'nothing'}")
        outcomes = sum(counters[name] for name in OUTCOMES)
        if "prog_id" in port and counters["rx_packets"] != outcomes:
            errors.append(f"{counters['rx_packets']} received, {outcomes} outcomes")
        passed = sum(counters[name] for name in PASS_OUTCOMES)
        if counters["xdp_pass"] != passed:
            errors.append(f"{counters['xdp_pass']} passed, {passed} accounted for")
    return errors


def canonical(entries):
    """Elements in an order of their own: by their JSON text."""
    return sorted(json.dumps(entry, sort_keys=True) for entry in entries)


def main(arguments):
    report, question = load(arguments[0]), arguments[1]
    if question == "balance":
        errors = balance(report)
        print("\n".join(errors), file=sys.stderr, end="\n" if errors else "")
        return 1 if errors else 0
    if question == "counter":
        print(port_of(report, arguments[2])["counters"][arguments[3]])
        return 0
    if question == "same":
        ours, theirs = canonical(elements(report, arguments[2])), canonical(load(arguments[3]))
        for text in sorted(set(ours) ^ set(theirs))[:10]:
            print(f"only in {'lmn' if text in ours else 'the kernel'}: {text}", file=sys.stderr)
        print(f"map {arguments[2]}: {len(ours)} elements, the kernel has {len(theirs)}")
        return 0 if ours == theirs else 1
    raise SystemExit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
