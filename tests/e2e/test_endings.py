# SPDX-License-Identifier: Apache-2.0
"""However it ends, msb says so, soon, and leaves no process behind.

Deadlines of 2 s are multiplied where the machine itself is emulated (conftest.py, patience).
"""
import os
import signal
import subprocess
import time

import pytest

from sandbox import BOOT, descendants

SOON = 2


@pytest.fixture
def busy(msb, busybox):
    """A guest whose command is known to be running, with its processes noted."""
    running = msb.start_run(busybox, "--", "sh", "-c", "echo ready; while :; do sleep 1; done")
    running.wait_for(b"ready\n")
    assert running.processes(), "msb has no child: nothing to test"
    return running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_signal_to_msb_ends_the_command(busy, number):
    busy.popen.send_signal(number)
    result = busy.wait(10)
    assert result.code in (128 + number, -number), result.err
    assert not busy.survivors()


@pytest.mark.engine
def test_sigterm_reaches_a_command_that_handles_it(msb, busybox):
    script = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 1; done"
    running = msb.start_run(busybox, "--", "sh", "-c", script)
    running.wait_for(b"ready\n")
    running.processes()
    running.popen.send_signal(signal.SIGTERM)
    result = running.wait(30)
    assert (result.code, result.out) == (9, b"ready\nbye\n"), result.err


@pytest.mark.lab
@pytest.mark.engine
def test_sigkill_of_msb_leaves_no_process(busy):
    busy.popen.kill()
    busy.popen.wait()
    assert not busy.survivors(SOON)


def test_sigkill_of_msb_during_boot_leaves_no_process(msb, busybox):
    """Killed at whatever point it has reached when it first has children, and a little later each time."""
    for delay in (0, 0.05, 0.3):
        running = msb.start_run(busybox, "--", "true")
        deadline = time.monotonic() + 20 * msb.patience
        while not running.processes() and running.popen.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay)
        running.processes()
        running.popen.kill()
        running.popen.wait()
        assert not running.survivors(SOON)


def ended_by_death_of(busy, what):
    result = busy.wait(SOON)
    assert result.code not in (0, None) and result.code > 0, result.err
    lines = result.err.strip().splitlines()
    assert lines and what in lines[-1].lower(), f"the message does not say that {what} died: {result.err!r}"
    assert not busy.survivors()


@pytest.mark.engine
def test_death_of_the_worker(busy, msb):
    worker = [p for p in busy.processes() if "qemu" not in p.executable()]
    assert worker
    worker[0].kill()
    ended_by_death_of(busy, "worker")


def test_death_of_qemu(busy, msb):
    if msb.engine != "qemu":
        pytest.skip("impossible here: this engine has no QEMU")
    qemu = [p for p in busy.processes() if "qemu" in p.executable()]
    assert len(qemu) == 1
    qemu[0].kill()
    ended_by_death_of(busy, "qemu")


@pytest.mark.lab
@pytest.mark.engine
def test_death_of_init(msb, busybox):
    """The guest's root overwrites the code of process 1, which then dies."""
    script = (
        "echo ready; while read range mode rest; do case $mode in r-x*) "
        "start=$((0x${range%-*})); end=$((0x${range#*-})); "
        "dd if=/dev/zero of=/proc/1/mem bs=4096 seek=$((start / 4096)) count=$(((end - start) / 4096)) conv=notrunc; "
        "esac; done </proc/1/maps; sleep 1000"
    )
    running = msb.start_run(busybox, "--", "sh", "-c", script)
    running.wait_for(b"ready\n")
    running.processes()
    result = running.wait(15)
    assert result.code > 0
    assert "guest ended" in result.err and "last words" in result.err, result.err
    assert not running.survivors()


@pytest.mark.engine
def test_panic_of_the_kernel_is_told(msb, busybox):
    """Out of memory, where that shall be the end; what the kernel says of it is the reason that msb gives."""
    result = msb.sh(busybox, "echo 2 >/proc/sys/vm/panic_on_oom; tail /dev/zero", "-m", "128M")
    assert result.code > 0
    assert "guest ended" in result.err and "Kernel panic - not syncing: Out of memory" in result.err, result.err


@pytest.mark.engine
def test_guest_reboots_by_itself(msb, busybox):
    """The machine ends while the command has not: that is no success."""
    running = msb.start_run(busybox, "--", "sh", "-c", "echo ready; reboot -f; sleep 1000")
    running.wait_for(b"ready\n")
    running.processes()
    result = running.wait(15)
    assert result.code > 0 and result.err.strip(), result
    assert not running.survivors()


def test_processes_left_in_the_guest_do_not_delay_the_end(msb, busybox):
    script = "sleep 1000 & setsid sleep 1000 & echo done"
    running = msb.start_run(busybox, "--", "sh", "-c", script)
    running.wait_for(b"done\n")
    running.processes()
    assert running.wait(30).code == 0
    assert not running.survivors()


def test_slow_reader_of_output_gets_all_of_it(msb, busybox):
    """The machine is long gone when its output is read: nothing is lost, and the exit code is the command's."""
    code = "head -c 200000 /dev/zero; exit 3"
    args = [msb.binary, "run", "--engine", msb.engine, str(busybox), "--", "sh", "-c", code]
    with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        try:
            first = os.read(running.stdout.fileno(), 1)
            deadline = time.monotonic() + BOOT * msb.patience
            while descendants(running.pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(3)  # longer than msb waits for a silent guest: the test is that it does not end meanwhile
            assert running.poll() is None
            out, err = running.communicate(timeout=BOOT)
        finally:
            running.kill()
    assert (running.returncode, len(first + out), err) == (3, 200000, b"")
