# SPDX-License-Identifier: Apache-2.0
"""Errors from routers beyond the host: a router and a far machine in namespaces of their own, behind the host's.

The guest must see what it would see if it were where the host is: hops of a traceroute, sizes that do not fit, places
that cannot be reached, and silence.
"""
import contextlib
import errno
import hashlib
import os
import socket
import threading

import pytest

from world import G4, G6, GW4, GW6, TIMEOUT, World, alone, blob, ip_batch, read_all, send_all, sh, under

HOST, ROUTER, FAR = ("10.50.0.1", "2001:db8:50::1"), ("10.50.0.2", "2001:db8:50::2"), ("10.51.0.2", "2001:db8:51::2")
FAMILIES = {"IPv4": 0, "IPv6": 1}
IP_RECVERR, IP_MTU, IP_MTU_DISCOVER, PMTUDISC_DO = 11, 14, 10, 2
IPV6_RECVERR, IPV6_MTU, IPV6_MTU_DISCOVER = 25, 24, 23
both = pytest.mark.parametrize("six", FAMILIES.values(), ids=FAMILIES)


@pytest.fixture(scope="module")
def w():
    r, f = (f"msb{x}{os.getpid()}" for x in "rf")
    with World() as world:
        try:
            with alone():
                for ns in (r, f):
                    sh("ip", "netns", "add", ns)
            connect(world, r, f)
            world.r, world.f = r, f
            yield world
        finally:
            for ns in (r, f):
                sh("ip", "netns", "del", ns, check=False)


def connect(world, r, f):
    ip_batch(world.h, f"link add up0 type veth peer name down0 netns {r}", "link set up0 up",
             "addr add 10.50.0.1/24 dev up0", "addr add 2001:db8:50::1/64 dev up0 nodad")
    ip_batch(r, f"link add up0 mtu 1400 type veth peer name down0 mtu 1400 netns {f}", "link set up0 up",
             "link set down0 up", "link set lo up", "addr add 10.50.0.2/24 dev down0",
             "addr add 2001:db8:50::2/64 dev down0 nodad", "addr add 10.51.0.1/24 dev up0",
             "addr add 2001:db8:51::1/64 dev up0 nodad", "route add unreachable 10.60.0.0/24",
             "route add prohibit 10.61.0.0/24", "route add blackhole 10.62.0.0/24",
             "route add unreachable 2001:db8:60::/64", "route add prohibit 2001:db8:61::/64",
             "route add blackhole 2001:db8:62::/64")
    ip_batch(f, "link set down0 up", "link set lo up", "addr add 10.51.0.2/24 dev down0",
             "addr add 2001:db8:51::2/64 dev down0 nodad", "route add default via 10.51.0.1",
             "route add default via 2001:db8:51::1")
    ip_batch(world.h, "route add default via 10.50.0.2", "route add default via 2001:db8:50::2")
    for setting in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.icmp_ratelimit=0",
                    "net.ipv6.icmp.ratelimit=0", "net.ipv4.icmp_msgs_per_sec=100000"):
        sh(*under(r, "sysctl", "-qw", setting), check=False)
        sh(*under(f, "sysctl", "-qw", setting), check=False)


@both
@pytest.mark.parametrize("kind", ((), ("-I",), ("-T", "-p", "7")), ids=("UDP", "ICMP", "TCP"))
def test_traceroute(w, six, kind):
    out = sh(*under(w.g, "traceroute", "-6" if six else "-4", "-n", "-q", "1", "-w", "3", "-m", "5", *kind, FAR[six]),
             check=False).stdout
    hops = [line.split()[1] for line in out.splitlines()[1:]]
    assert hops[0] == (GW4, GW6)[six], out
    if kind[:1] == ("-T",):  # a connection is the host's own from the second hop on
        assert hops == [(GW4, GW6)[six], FAR[six]], out
    else:
        assert hops == [(GW4, GW6)[six], ROUTER[six], FAR[six]], out


@both
def test_packet_too_big(w, six):
    with w.udp(w.g, (G4, G6)[six]) as c, w.udp(w.f, FAR[six], 4000) as s:
        level, recverr, mtu, discover = ((socket.IPPROTO_IPV6, IPV6_RECVERR, IPV6_MTU, IPV6_MTU_DISCOVER) if six else
                                         (socket.IPPROTO_IP, IP_RECVERR, IP_MTU, IP_MTU_DISCOVER))
        c.setsockopt(level, recverr, 1)
        c.setsockopt(level, discover, PMTUDISC_DO)
        c.connect((FAR[six], 4000))
        c.send(blob(1450))
        with pytest.raises(OSError) as e:
            c.recv(10)
        assert e.value.errno == errno.EMSGSIZE
        assert c.getsockopt(level, mtu) == 1400
        c.send(blob(1300))
        assert s.recv(2000) == blob(1300)


@both
def test_large_datagrams_fragment_on_the_way(w, six):
    with w.udp(w.g, (G4, G6)[six]) as c, w.udp(w.f, FAR[six], 4001) as s:
        for size in (1450, 9000, 60000):
            for _ in range(3):  # the first may have told the host of the smaller link
                c.sendto(blob(size), (FAR[six], 4001))
                s.settimeout(1)
                with contextlib.suppress(TimeoutError):
                    got, peer = s.recvfrom(1 << 16)
                    break
            assert got == blob(size)
            s.sendto(got[::-1], peer)
            assert c.recv(1 << 16) == blob(size)[::-1]


@both
def test_tcp_through_a_narrow_link(w, six):
    listener, port = w.listen(FAR[six], ns=w.f)
    with listener, w.connect(FAR[six], port) as c, listener.accept()[0] as s:
        s.settimeout(TIMEOUT)
        for a, b in ((c, s), (s, c)):
            t = threading.Thread(target=send_all, args=(a, blob(2 << 20)))
            t.start()
            assert read_all(b) == (2 << 20, hashlib.sha256(blob(2 << 20)).hexdigest())
            t.join()


@both
def test_refused_from_afar(w, six):
    with pytest.raises(ConnectionRefusedError):
        w.connect(FAR[six], 9)
    with w.udp(w.g, (G4, G6)[six]) as c:
        c.connect((FAR[six], 9))
        c.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            c.recv(1)


def ask(c, tries):
    """Linux sends one error of a route a second to the same peer, after a burst (route.error_cost): ask again."""
    for left in reversed(range(tries)):
        try:
            c.send(b"x")
            c.recv(1)
        except TimeoutError:
            if not left:
                raise


@both
@pytest.mark.parametrize("kind", (socket.SOCK_STREAM, socket.SOCK_DGRAM), ids=("TCP", "UDP"))
@pytest.mark.parametrize("where", (60, 61, 62), ids=("unreachable", "prohibited", "silent"))
def test_nobody_there(w, six, kind, where):
    addr = f"2001:db8:{where}::9" if six else f"10.{where}.0.9"
    with w.socket(w.g, socket.AF_INET6 if six else socket.AF_INET, kind) as c:
        c.settimeout(1.5 if where == 62 or kind == socket.SOCK_DGRAM else TIMEOUT)
        c.setsockopt(*((socket.IPPROTO_IPV6, IPV6_RECVERR) if six else (socket.IPPROTO_IP, IP_RECVERR)), 1)
        with pytest.raises(OSError) as e:
            c.connect((addr, 80))
            if kind == socket.SOCK_DGRAM:
                ask(c, tries=1 if where == 62 else 10)
        if where == 62:
            assert isinstance(e.value, TimeoutError)
        else:
            assert e.value.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES)
