# SPDX-License-Identifier: Apache-2.0
"""Much at once: throughput over many streams, ten thousand connections, guests that open or write without end.

Figures are printed and kept in the results (record_property); what is asserted is that all of it arrives and that memory
stays in bounds. Programs without sanitizers are measured.
"""
import contextlib
import json
import os
import select
import selectors
import signal
import socket
import statistics
import struct
import subprocess
import time

import pytest

from world import OUT4, OUT6, TIMEOUT, World, sh, under

MIB = 1024  # KiB


@pytest.fixture
def note(record_property):
    def say(name, value):
        record_property(name, value)
        print(f"{name}: {value}")
    return say


@contextlib.contextmanager
def child(work, *args):
    """@work in a process of its own, which has files of its own."""
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            work(*args)
        os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def echo(listener):
    """Answers every four bytes with four bytes, for as many connections as come."""
    with selectors.DefaultSelector() as sel:
        sel.register(listener, selectors.EVENT_READ)
        listener.setblocking(False)
        while True:
            for key, _ in sel.select():
                with contextlib.suppress(OSError):
                    if key.fileobj is listener:
                        while True:
                            sel.register(listener.accept()[0], selectors.EVENT_READ)
                    data = key.fileobj.recv(4096)
                    if data:
                        key.fileobj.sendall(data)
                    else:
                        sel.unregister(key.fileobj)
                        key.fileobj.close()


def iperf3(w, *args):
    """What `iperf3 ARGS` in the guest reports at its end."""
    with subprocess.Popen(under(w.h, "iperf3", "-s", "-1", "--forceflush"), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert "-----" in server.stdout.readline()
            out = subprocess.run(under(w.g, "iperf3", "-J", "-t", "1", *args), capture_output=True, text=True,
                                 timeout=TIMEOUT, check=False)
            assert out.returncode == 0, out.stdout
            return json.loads(out.stdout)["end"]
        finally:
            server.kill()


@pytest.mark.parametrize("addr,streams,way", (
    (OUT4, 1, "up"), (OUT4, 1, "down"), (OUT4, 32, "up"), (OUT4, 32, "down"), (OUT6, 1, "both"), (OUT6, 32, "both")))
def test_iperf3(note, addr, streams, way):
    with World(fast=True, mtu=65520) as w:
        flags = {"up": (), "down": ("-R",), "both": ("--bidir",)}[way]
        end = iperf3(w, "-c", addr, "-P", str(streams), *flags)
        total = end["sum_received"]["bytes"] + end.get("sum_received_bidir_reverse", {"bytes": 0})["bytes"]
        assert len(end["streams"]) == streams * (2 if way == "both" else 1)
        assert total > 1 << 20
        note(f"{way} x{streams} Gbit/s", round(total * 8 / 1e9, 1))
        note("memory KiB", w.memory("VmHWM"))


def test_iperf3_udp(note):
    with World(fast=True) as w:
        end = iperf3(w, "-c", OUT4, "-u", "-b", "200M")["sum"]
        note("UDP lost %", round(end["lost_percent"], 2))
        assert end["packets"] > 1000 and end["lost_percent"] < 100


def open_many(w, port, want, batch=250):
    """Connections begun together, a batch at a time: the first answer on each shows that it was made."""
    with w.inside(w.g):
        guests = [socket.socket() for _ in range(want)]
    for i in range(0, want, batch):
        for s in guests[i:i + batch]:
            s.setblocking(False)
            s.connect_ex((OUT4, port))
        for s in guests[i:i + batch]:
            s.settimeout(TIMEOUT)
            s.sendall(b"open")
        for s in guests[i:i + batch]:
            assert s.recv(4) == b"open"
    return guests


def test_ten_thousand_connections(note):
    want = 10000
    with World(fast=True) as w:
        listener, port = w.listen()
        with child(echo, listener):
            listener.close()
            before, start = w.memory(), time.monotonic()
            guests = open_many(w, port, want)
            note("connections/s", round(want / (time.monotonic() - start)))
            for s in guests:  # all are open; now a word on each
                s.sendall(b"ask!")
            for s in guests:
                assert s.recv(4) == b"ask!"
            note("memory KiB before", before)
            note("memory KiB with 10000 connections", w.memory())
            assert w.memory() - before < 40 * MIB
            for s in guests:
                s.close()
            with w.connect(OUT4, port) as s:  # and all is as before
                s.sendall(b"last")
                assert s.recv(4) == b"last"
        assert w.denials == []
    assert w.stats["tcp_opened"] == want + 1
    assert w.stats["tcp_failed"] == 0


def test_more_connections_than_files():
    """Out of files, the stack says no to what is new and serves what is old; then it recovers."""
    with World(fast=True) as w:
        sh("prlimit", "--pid", str(w.proc.pid), "--nofile=500:500")
        listener, port = w.listen()
        with child(echo, listener):
            listener.close()
            guests, refused = [], 0
            for _ in range(1000):
                try:
                    guests.append(w.connect(OUT4, port))
                except ConnectionRefusedError:
                    refused += 1
            assert 400 < len(guests) < 500 and refused == 1000 - len(guests)
            for s in (guests[0], guests[-1]):
                s.sendall(b"here")
                assert s.recv(4) == b"here"
            for s in guests:
                s.close()
            deadline = time.monotonic() + TIMEOUT
            while True:
                with contextlib.suppress(ConnectionRefusedError), w.connect(OUT4, port) as s:
                    s.sendall(b"back")
                    assert s.recv(4) == b"back"
                    break
                assert time.monotonic() < deadline


def pour(listener):
    """Writes to everybody who comes, without end."""
    data = bytes(1 << 16)
    with selectors.DefaultSelector() as sel:
        sel.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in sel.select():
                with contextlib.suppress(OSError):
                    if key.fileobj is listener:
                        s = listener.accept()[0]
                        s.setblocking(False)
                        sel.register(s, selectors.EVENT_WRITE)
                    else:
                        while key.fileobj.send(data):
                            pass


def test_guest_that_never_reads(note):
    with World(fast=True) as w:
        listener, port = w.listen()
        with child(pour, listener), contextlib.ExitStack() as stack:
            listener.close()
            before = w.memory()
            guests = [stack.enter_context(w.connect(OUT4, port)) for _ in range(300)]
            settle(w)
            note("memory KiB for 300 unread streams", w.memory() - before)
            assert w.memory() - before < 20 * MIB  # what is unread waits in the host's sockets
            assert len(guests[-1].recv(1 << 20)) > 0
    assert w.stats["held_bytes"] == 0


def test_host_that_never_reads(note):
    with World(fast=True) as w:
        listener, port = w.listen()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = w.memory()
        data = bytes(1 << 16)
        with listener, contextlib.ExitStack() as stack:
            guests = [stack.enter_context(w.connect(OUT4, port)) for _ in range(200)]
            for s in guests:
                s.setblocking(False)
            while select.select([], guests, [], 0.5)[1]:  # until nobody can write any more
                for s in guests:
                    with contextlib.suppress(BlockingIOError):
                        s.send(data)
            settle(w)
            note("memory KiB for 200 blocked streams", w.memory() - before)
            assert w.memory() - before < 140 * MIB  # 64 MiB of bytes held, in buffers that double
            with w.socket(w.g) as c:  # others still get through
                other, port2 = w.listen()
                with other:
                    c.connect((OUT4, port2))
                    with other.accept()[0] as s:
                        c.sendall(b"through")
                        assert s.recv(10) == b"through"


def settle(w):
    """Until the stack has nothing to do for a moment."""
    def ticks():
        with open(f"/proc/{w.proc.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    last, quiet, deadline = -1, 0, time.monotonic() + 2
    while quiet < 3 and time.monotonic() < deadline:
        now = ticks()
        quiet = quiet + 1 if now == last else 0
        last = now
        time.sleep(0.1)


def open_without_end(w, port):
    """As fast as it can: half to somebody who answers, half into silence; never closes in order."""
    linger = struct.pack("ii", 1, 0)
    kept = []
    while True:
        with contextlib.suppress(OSError):
            s = w.socket(w.g)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            s.setblocking(False)
            kept.append(s)
            s.connect_ex((OUT4, port) if len(kept) % 2 else ("192.0.2.7", 80))
        if len(kept) > 4000:
            for s in kept:
                s.close()
            kept.clear()


def latencies(w, s, n=300):
    out = []
    for _ in range(n):
        start = time.perf_counter()
        s.sendall(b"ping")
        assert s.recv(4) == b"ping"
        out.append((time.perf_counter() - start) * 1e6)
    return f"p50 {statistics.median(out):.0f} us, p99 {sorted(out)[int(n * 0.99)]:.0f} us"


def test_one_sandbox_does_not_delay_another(note):
    with World(fast=True) as noisy, World(fast=True) as quiet:
        for args in ("link add hole type ifb", "link set hole up arp off",
                     f"route add 192.0.2.0/24 dev hole src {OUT4}"):
            sh("ip", "-n", noisy.h, *args.split())
        listener, port = quiet.listen()
        noisy_listener, noisy_port = noisy.listen()
        with child(echo, listener), child(echo, noisy_listener):
            with quiet.connect(OUT4, port) as s:
                note("alone", latencies(quiet, s))
                with child(open_without_end, noisy, noisy_port):
                    before = noisy.memory()
                    note("beside a guest that opens without end", latencies(quiet, s))
                    for _ in range(200):
                        with quiet.connect(OUT4, port) as c:
                            c.sendall(b"new!")
                            assert c.recv(4) == b"new!"
                    grown = noisy.memory("VmHWM") - before
                    note("memory KiB of the other", grown)
                    assert grown < 64 * MIB
    assert noisy.stats["tcp_opened"] > 100
