# SPDX-License-Identifier: Apache-2.0
"""Running msb: processes found by parentage (never by name), every wait with a deadline, output kept for the report."""
import dataclasses
import glob
import os
import pathlib
import queue
import signal
import stat
import subprocess
import threading
import time

BOOT = 60  # seconds a boot and a short command may take at most; a deadline, not an expectation


def stat_of(pid):
    """(parent, start time) of a process, or None. The start time tells it from a later one with the same number."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else (int(fields[1]), int(fields[19]))


@dataclasses.dataclass(frozen=True)
class Process:
    pid: int
    start: int

    def alive(self):
        stat = stat_of(self.pid)
        return stat is not None and stat[1] == self.start

    def executable(self):
        try:
            return os.path.basename(os.readlink(f"/proc/{self.pid}/exe"))
        except OSError:
            return ""

    def kill(self, number=signal.SIGKILL):
        if self.alive():
            os.kill(self.pid, number)


def children(pid):
    found = []
    for entry in os.listdir("/proc"):
        stat = stat_of(entry) if entry.isdigit() else None
        if stat and stat[0] == pid:
            found.append(Process(int(entry), stat[1]))
    return found


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child] + descendants(child.pid)
    return found


@dataclasses.dataclass
class Result:
    code: int
    out: bytes
    err: str

    @property
    def text(self):
        return self.out.decode(errors="replace")


class Running:
    """One msb under way. Output is collected by threads, so that it never blocks and is there for a report."""

    def __init__(self, argv, patience, stdin=subprocess.PIPE, **options):
        self.argv, self.patience, self.seen = argv, patience, set()
        self.popen = subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options
        )
        self.chunks = {"out": [], "err": []}
        self.news = queue.Queue()
        self.threads = [
            threading.Thread(target=self._collect, args=(name, stream), daemon=True)
            for name, stream in (("out", self.popen.stdout), ("err", self.popen.stderr))
        ]
        for thread in self.threads:
            thread.start()

    def _collect(self, name, stream):
        while chunk := os.read(stream.fileno(), 1 << 16):
            self.chunks[name].append(chunk)
            self.news.put(name)
        self.news.put(None)

    def output(self, name="out"):
        return b"".join(self.chunks[name])

    def report(self):
        return f"\n$ {' '.join(map(str, self.argv))}\n--- stdout\n{self.output()[-2000:]!r}\n--- stderr\n" + self.output(
            "err"
        )[-4000:].decode(errors="replace")

    def write(self, data):
        self.popen.stdin.write(data)
        self.popen.stdin.flush()

    def wait_for(self, text, seconds=BOOT, name="out"):
        """Until text has appeared in the output, woken by the output itself."""
        self._wait(lambda: text in self.output(name), repr(text), seconds)

    def wait_for_line(self, number, seconds=BOOT):
        """Until standard output has so many lines."""
        self._wait(lambda: self.output().count(b"\n") >= number, f"line {number}", seconds)

    def _wait(self, done, what, seconds):
        deadline = time.monotonic() + seconds * self.patience
        while not done():
            left = deadline - time.monotonic()
            assert left > 0, f"no {what} within the deadline{self.report()}"
            assert self.popen.poll() is None or not self.news.empty(), f"ended without {what}{self.report()}"
            try:
                self.news.get(timeout=min(left, 1))
            except queue.Empty:
                continue

    def processes(self):
        """The tree below msb, remembered for the check that nothing is left."""
        found = descendants(self.popen.pid)
        self.seen.update(found)
        return found

    def nameless_file(self, size):
        """The file without a name that takes what is written: /proc/PID/fd/N of whoever has it. None: no such file."""
        for process in self.processes():
            for fd in glob.glob(f"/proc/{process.pid}/fd/*"):
                try:
                    st = os.stat(fd)
                except OSError:
                    continue
                if stat.S_ISREG(st.st_mode) and st.st_size == size and st.st_nlink == 0:
                    return pathlib.Path(fd)
        return None

    def wait(self, seconds=BOOT):
        try:
            code = self.popen.wait(seconds * self.patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {seconds * self.patience:.0f} s{self.report()}") from None
        for thread in self.threads:
            thread.join(10 * self.patience)
            assert not thread.is_alive(), f"msb ended but its output is still held open{self.report()}"
        return Result(code, self.output(), self.output("err").decode(errors="replace"))

    def kill(self):
        for process in [*self.processes(), *self.seen]:
            process.kill()
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()

    def survivors(self, seconds=5):
        """Which of the remembered processes are still there after at most so long."""
        deadline = time.monotonic() + seconds * self.patience
        while (left := [p for p in self.seen if p.alive()]) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left


class Msb:
    def __init__(self, binary, engine, patience):
        self.binary, self.engine, self.patience = binary, engine, patience
        self.started = []

    def start(self, *args, **options):
        running = Running([self.binary, *map(str, args)], self.patience, **options)
        self.started.append(running)
        return running

    def start_run(self, *args, **options):
        """msb run on the engine under test."""
        return self.start("run", "--engine", self.engine, *args, **options)

    def call(self, *args, stdin=b"", seconds=BOOT, **options):
        """Any msb command to its end; stdin is bytes, or a file."""
        data = stdin if isinstance(stdin, bytes) else None
        running = self.start(*args, stdin=subprocess.PIPE if data is not None else stdin, **options)
        if data is not None:
            threading.Thread(target=self._feed, args=(running, data), daemon=True).start()
        return running.wait(seconds)

    @staticmethod
    def _feed(running, data):
        try:
            running.popen.stdin.write(data)
            running.popen.stdin.close()
        except BrokenPipeError:
            pass  # the command did not read to the end, which is its right

    def run(self, *args, **options):
        return self.call("run", "--engine", self.engine, *args, **options)

    def load(self, archive, name, env):
        """msb load of an archive with one image, under this name, which is returned."""
        result = self.call("load", "-q", "-i", archive, "-t", name, env=env)
        assert result.code == 0, result.err
        return name

    def sh(self, root, script, *options, **keywords):
        """Run a script with the guest's shell."""
        return self.run(*options, root, "--", "sh", "-c", script, **keywords)

    def reap(self):
        """End what is still running; returns processes that had outlived their msb."""
        left = []
        for running in self.started:
            if running.popen.poll() is None:
                running.kill()
            left += running.survivors()
            for process in left:
                process.kill()
            for stream in (running.popen.stdin, running.popen.stdout, running.popen.stderr):
                if stream:
                    stream.close()
        self.started.clear()
        return left


def one_line_error(result):
    """The message of a command that failed, after checking that it is one line (two if it points to the help)."""
    lines = result.err.strip().splitlines()
    if result.code == 2 and "--help" in lines[-1]:
        lines.pop()
    assert len(lines) == 1 and lines[0].startswith("error: "), f"expected one line on stderr, got: {result.err!r}"
    assert result.out == b"", result.out
    return lines[0]
