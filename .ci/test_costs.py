"""CPU seconds of tests, each run alone, with all processes that it starts.

    python .ci/test_costs.py tests/test_files.py::test_one tests/test_other.py

What `pytest --collect-only` of a file takes is not counted: imports that a whole suite pays once. Linux only.
"""

import ctypes
import os
import resource
import subprocess
import sys

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: what a test leaves behind, such as a server of copies, is waited for here


def seconds(*words: str) -> float:
    """CPU seconds (user and system) of pytest and of everything that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", "-q", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    try:
        while True:
            os.wait()
    except ChildProcessError:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(tests: list[str]) -> None:
    """Prints what each test costs, and the sum."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    os.environ["HF_HUB_OFFLINE"] = "1"
    starts: dict[str, float] = {}
    total = 0.0
    for test in tests:
        file = test.partition("::")[0]
        if file not in starts:
            starts[file] = seconds(file, "--collect-only")
        cost = seconds(test) - starts[file]
        total += cost
        print(f"{cost:6.1f} {test}", flush=True)
    print(f"{total:6.1f} together", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
