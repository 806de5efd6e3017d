# SPDX-License-Identifier: Apache-2.0
"""-t: the command has a terminal of the caller's size, and Ctrl-C is the command's to deal with."""
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pytest

LOOP = "while :; do sleep 1; done"


class Terminal:
    """msb at the far end of a pseudo terminal that we hold."""

    def __init__(self, msb, *args, rows=33, columns=101):
        self.msb, self.screen = msb, b""
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.popen = subprocess.Popen(
            [msb.binary, "run", "--engine", msb.engine, *map(str, args)],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, preexec_fn=self._own_terminal,
        )

    def _own_terminal(self):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text, seconds=60):
        deadline = time.monotonic() + seconds * self.msb.patience
        while text not in self.screen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} on the screen: {self.screen!r}"
            if select.select([self.master], [], [], min(left, 1))[0]:
                self.screen += os.read(self.master, 1 << 16)
            else:
                assert self.popen.poll() is None, f"ended without {text!r}: {self.screen!r}"

    def write(self, data):
        os.write(self.master, data)

    def wait(self, seconds=60):
        """Its exit code; the screen is read meanwhile, or msb could not write its last words."""
        deadline = time.monotonic() + seconds * self.msb.patience
        while self.popen.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.1)[0]:
                self.screen += os.read(self.master, 1 << 16)
        assert self.popen.poll() is not None, f"still running: {self.screen!r}"
        while select.select([self.master], [], [], 0)[0]:
            self.screen += os.read(self.master, 1 << 16)
        return self.popen.returncode

    def close(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(msb):
    opened = []

    def start(*args, **options):
        opened.append(Terminal(msb, *args, **options))
        return opened[-1]

    yield start
    for t in opened:
        t.close()


@pytest.mark.engine
def test_it_is_a_terminal_of_our_size(terminal, busybox):
    t = terminal("-t", busybox, "--", "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size; exit 4")
    assert t.wait() == 4
    assert t.screen.strip() == b"33 101"


def test_without_t_it_is_not(msb, busybox):
    assert msb.sh(busybox, "test -t 0 || test -t 1").code == 1


@pytest.mark.engine
def test_resize(terminal, busybox):
    t = terminal("-t", busybox, "--", "sh", "-c", f"trap 'stty size; exit' WINCH; echo ready; {LOOP}")
    t.wait_for(b"ready")
    t.resize(50, 132)
    assert t.wait() == 0
    assert b"50 132" in t.screen


@pytest.mark.engine
def test_ctrl_c_goes_to_the_command(terminal, busybox):
    t = terminal("-t", busybox, "--", "sh", "-c", f"trap 'echo caught; exit 5' INT; echo ready; {LOOP}")
    t.wait_for(b"ready")
    t.write(b"\x03")
    assert t.wait() == 5
    assert b"caught" in t.screen


def test_typing(terminal, busybox):
    t = terminal("-t", busybox, "--", "sh", "-c", "read line; echo got $line; read line || echo end")
    t.write(b"words\r")
    t.wait_for(b"got words")
    t.write(b"\x04")
    t.wait_for(b"end")
    assert t.wait() == 0


def test_the_callers_terminal_is_restored(terminal, busybox):
    t = terminal("-t", busybox, "--", "sh", "-c", "echo ready; read line")
    t.wait_for(b"ready")
    assert not termios.tcgetattr(t.slave)[3] & termios.ICANON  # raw meanwhile
    t.write(b"\r")
    t.wait()
    assert termios.tcgetattr(t.slave) == t.before


def test_job_control(terminal, busybox):
    """A shell with a controlling terminal: Ctrl-Z stops the foreground job, not the shell."""
    t = terminal("-t", busybox, "--", "sh", "-i")
    t.wait_for(b"# ")
    t.write(b"sh -c 'echo up; exec sleep 1000'\r")
    t.wait_for(b"up\r\n")
    t.write(b"\x1a")
    t.wait_for(b"Stopped")
    t.write(b"kill -9 %1; echo still $((40 + 2))\r")
    t.wait_for(b"still 42")
    t.write(b"exit 6\rexit 6\r")  # the first one may be answered by "You have stopped jobs."
    assert t.wait() == 6
