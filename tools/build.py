"""Compiles the Cython modules in place when anything they are made from has changed; otherwise returns at once.

On a terminal one line shows how far it is; the output of the compilers goes to build/log.txt.
"""

import re
import shutil
import subprocess
import sys

# setup.py and a checkout run this file by its path; its folder is on sys.path then.
import fingerprints

ROOT = fingerprints.ROOT
LOG = ROOT / "build" / "log.txt"
STEP = re.compile(r"(?:\[ *\d+/\d+\] Cythonizing |compiling )(.*)")


def what_went_wrong(text: str) -> str:
    """The compilers' own words, without the tracebacks around them."""
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if "Error compiling" in line or ": error" in line), None)
    return "\n".join(lines[-40:] if first is None else lines[first : first + 40])


class Progress:
    """`run: building 12 of 114  lambda_dispatch_core/h2/session.pyx`, drawn over in place; a line without one."""

    def __init__(self, modules: int) -> None:
        self._steps = 2 * modules  # to C, then to machine code
        self._done = 0
        self._terminal = sys.stderr.isatty()
        if not self._terminal:
            print(f"run: building {modules} modules", file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        step = STEP.match(text)
        if step is None or not self._terminal:
            return
        self._done += 1
        width = shutil.get_terminal_size().columns - 1
        said = f"run: building {min(self._done, self._steps)} of {self._steps}  {step[1].strip()}"
        print(f"\r\x1b[K{said[:width]}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def main() -> int:
    stale = fingerprints.stale_in_place()
    if not stale:
        return 0
    progress = Progress(len(stale))
    LOG.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-u", "setup.py", "-q", "build_ext", "--inplace"]
    with (
        LOG.open("w") as log,
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as setup,
    ):
        assert setup.stdout is not None
        for line in setup.stdout:
            log.write(line)
            progress.line(line)
    progress.end()
    if setup.returncode:
        print(what_went_wrong(LOG.read_text()), file=sys.stderr)
        print(f"run: the build failed; all of its output is in {LOG}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
