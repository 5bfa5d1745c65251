# SPDX-License-Identifier: MIT
"""The Test Anything Protocol for the test scripts: tests/run counts its lines."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_results = []


def report(name, problems):
    """One test: passed when the list of problems is empty."""
    _results.append(not problems)
    print(f"{'not ok' if problems else 'ok'} {len(_results)} - {name}")
    for problem in problems:
        for line in str(problem).splitlines():
            print(f"#   {line}")
    sys.stdout.flush()


def skip(name, reason):
    _results.append(True)
    print(f"ok {len(_results)} - {name} # SKIP {reason}", flush=True)


def finish():
    print(f"1..{len(_results)}", flush=True)
    sys.exit(0 if all(_results) else 1)


def run(arguments, **options):
    """Runs a program to its end; gives its output and [] or a list with one problem."""
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                          **options)
    if done.returncode == 0:
        return done.stdout, []
    return done.stdout, [f"{' '.join(arguments)}: status {done.returncode}\n{done.stdout}"]
