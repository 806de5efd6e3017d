# SPDX-License-Identifier: Apache-2.0
"""TCP over cables of all kinds: every MTU, without offloads, without SO_PEEK_OFF, and with faults.

Faults come from net-tap itself, which loses, repeats, reorders and delays frames on both ways, and from the kernel's
netem where there is one.
"""
import contextlib
import socket
import unittest

import pytest

from world import GW6, OUT4, OUT6, World, bulk, sh, under

FAULTS = {"loss": "3,0,0,0", "duplication": "0,10,0,0", "reorder": "0,0,20,2", "delay": "0,0,0,20", "all": "2,2,5,10"}
PEEK = {"peek-off": (), "no-peek-off": ("--no-peek-off",)}


class Check(unittest.TestCase):
    """Only its assertions."""


@pytest.mark.parametrize("mtu", (576, 1280, 1500, 9000, 65520))
def test_mtu(mtu):
    with World(mtu=mtu) as w:
        bulk(Check(), *w.pair(OUT4), 4 << 20)
        if mtu >= 1280:
            bulk(Check(), *w.pair(OUT6), 4 << 20)


@pytest.mark.parametrize("peek", PEEK.values(), ids=PEEK)
def test_without_offloads(peek):
    with World(args=["--no-offload", *peek]) as w:
        sh(*under(w.g, "ethtool", "-K", "tap0", "tx", "off"), check=False)
        for addr in (OUT4, OUT6):
            bulk(Check(), *w.pair(addr), 4 << 20)


@pytest.mark.parametrize("peek", PEEK.values(), ids=PEEK)
def test_answer_in_parts_from_the_other_loopback(peek):
    """The refusal on ::1, tried first, is not the end of what 127.0.0.1 says later."""
    with World(args=list(peek)) as w:
        listener, port = w.listen("127.0.0.1")
        with listener, w.connect(GW6, port) as c:
            s, _ = listener.accept()
            with s:
                for part in (b"header", b"body", b"rest"):
                    s.sendall(part)
                    assert c.recv(64) == part
            assert c.recv(64) == b""


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("peek", PEEK.values(), ids=PEEK)
def test_faults(faults, peek):
    with World(args=["--faults", faults, *peek]) as w:
        bulk(Check(), *w.pair(OUT4), 1 << 20)


def test_faults_without_offloads():
    """Nothing is mended by whole 64 KiB frames getting through."""
    with World(args=["--faults", FAULTS["all"], "--no-offload"]) as w:
        bulk(Check(), *w.pair(OUT6), 1 << 20)


def test_netem():
    with World() as w:
        tc = ("tc", "-n", w.g, "qdisc", "replace", "dev", "tap0", "root", "netem")
        if sh(*tc, "delay", "1ms", check=False).returncode:
            pytest.skip("impossible here: the kernel has no netem")
        for rule in ("delay 20ms 5ms", "loss 3%", "duplicate 10%", "reorder 20% delay 5ms"):
            sh(*tc, *rule.split())
            bulk(Check(), *w.pair(OUT4), 1 << 20)


def test_slow_host_link():
    """A peer behind 20 Mbit/s: what the guest writes faster waits in bounds."""
    with World() as w:
        sh("tc", "-n", w.h, "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "20mbit", "burst", "256k", "latency",
           "50ms")
        bulk(Check(), *w.pair(OUT4), 2 << 20)


@pytest.mark.parametrize("window", (1, 2000))
def test_small_windows_and_segments(window):
    """The guest's kernel offers next to nothing, and cuts what it sends into small pieces."""
    with World() as w:
        listener, port = w.listen()
        with listener, w.socket(w.g) as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 88)
            c.connect((OUT4, port))
            s, _ = listener.accept()
            bulk(Check(), c, s, 200 << 10)


def test_connection_limit():
    with World(max_connections=5) as w:
        listener, port = w.listen()
        with listener, contextlib.ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(w.connect(OUT4, port))
            with pytest.raises(ConnectionRefusedError):
                w.connect(OUT4, port)


def test_rate_limit_delivers_everything():
    limit = {"bandwidth": {"size": 1 << 20, "refill_time_ms": 200}}
    with World(rate_limiter={"egress": limit, "ingress": limit}) as w:
        bulk(Check(), *w.pair(OUT4), 3 << 20)
