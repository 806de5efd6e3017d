#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stack against the kernel's own TCP/IP, over a TAP device between two network namespaces.

The guest is a namespace with tap0; the host side is another with a few addresses on its loopback.
Sockets are made in either by entering it for a moment, so one process plays both ends.

Usage: tap_test.py NET-TAP [unittest arguments]. Exit status 77: cannot run here (says why).
"""
import contextlib
import ctypes
import errno
import hashlib
import json
import os
import random
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import unittest

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
TIMEOUT = 30
G4, GW4, OUT4 = "172.16.0.2", "172.16.0.1", "198.51.100.1"
G6, GW6, OUT6 = "fd42:6d73:62::2", "fd42:6d73:62::1", "2001:db8::1"
ALLOW_ALL = {"default_egress": "allow", "default_ingress": "allow"}
NET_TAP = None


def sh(*args, check=True):
    return subprocess.run(args, check=check, capture_output=True, text=True)


def why_not():
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    name = f"msbtest{os.getpid()}"
    if sh("ip", "netns", "add", name, check=False).returncode:
        return "cannot create network namespaces"
    ok = sh("ip", "-n", name, "tuntap", "add", "dev", "x", "mode", "tap", check=False).returncode == 0
    sh("ip", "netns", "del", name)
    return None if ok else "cannot create TAP devices"


def rule(action, destination, direction="egress", protocols=(), ports=()):
    return {"direction": direction, "destination": destination, "action": action,
            "protocols": list(protocols), "ports": [{"start": p, "end": p} for p in ports]}


class World:
    """Two namespaces and a running stack."""

    count = 0

    def __init__(self, policy=ALLOW_ALL, mtu=1500, args=(), **config):
        World.count += 1
        self.g, self.h = (f"msb{x}{os.getpid()}n{World.count}" for x in "gh")
        self.config = {"policy": policy, "interface": {"mtu": mtu}, **config}
        self.denials, self.ready = [], False
        try:
            self.start(mtu, args)
        except BaseException:
            self.close()
            raise

    def start(self, mtu, args):
        for ns in (self.g, self.h):
            sh("ip", "netns", "add", ns)
            sh("ip", "-n", ns, "link", "set", "lo", "up")
        sh("ip", "-n", self.h, "addr", "add", OUT4 + "/32", "dev", "lo")
        sh("ip", "-n", self.h, "addr", "add", OUT6 + "/128", "dev", "lo", "nodad")
        sh("ip", "netns", "exec", self.h, "sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
        self.proc = subprocess.Popen(
            ["ip", "netns", "exec", self.h, NET_TAP, "--guest-ns", f"/run/netns/{self.g}",
             "--config", json.dumps(self.config), *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.proc.stdout.readline()
        if line != "ready\n":
            raise RuntimeError("net-tap: " + self.proc.stderr.read())
        self.ready = True
        self.ports = [int(self.proc.stdout.readline().split()[1])
                      for _ in self.config.get("ports", [])]
        threading.Thread(target=self.read_denials, daemon=True).start()
        # told everything here; a router advertisement would race with it
        sh("ip", "netns", "exec", self.g, "sysctl", "-qw", "net.ipv6.conf.tap0.accept_ra=0")
        for cmd in (f"link set tap0 address 02:6d:73:00:00:02 mtu {mtu} up",
                    f"addr add {G4}/30 dev tap0", f"route add default via {GW4}"):
            sh("ip", "-n", self.g, *cmd.split())
        if mtu >= 1280:
            sh("ip", "-n", self.g, "addr", "add", G6 + "/64", "dev", "tap0", "nodad")
            sh("ip", "-n", self.g, "route", "add", "default", "via", GW6)

    def read_denials(self):
        for line in self.proc.stderr:
            self.denials.append(line.strip())

    def close(self):
        self.stats = None
        if getattr(self, "proc", None):
            self.proc.send_signal(signal.SIGTERM)
            out, _ = self.proc.communicate(timeout=TIMEOUT)
            with contextlib.suppress(ValueError, IndexError):
                self.stats = json.loads(out.strip().splitlines()[-1])
        for ns in (self.g, self.h):
            sh("ip", "netns", "del", ns, check=False)
        if self.ready and self.proc.returncode != 0:
            raise RuntimeError("net-tap failed: " + "\n".join(self.denials[-60:]))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def socket(self, ns, family=socket.AF_INET, kind=socket.SOCK_STREAM, proto=0):
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        fd = os.open(f"/run/netns/{ns}", os.O_RDONLY)
        try:
            if LIBC.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            s = socket.socket(family, kind, proto)
        finally:
            LIBC.setns(own, CLONE_NEWNET)
            os.close(fd)
            os.close(own)
        s.settimeout(TIMEOUT)
        return s

    def listen(self, addr=OUT4, port=0, ns=None, backlog=4096):
        s = self.socket(ns or self.h, socket.AF_INET6 if ":" in addr else socket.AF_INET)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((addr, port))
        s.listen(backlog)
        return s, s.getsockname()[1]

    def connect(self, addr, port, ns=None, timeout=TIMEOUT):
        s = self.socket(ns or self.g, socket.AF_INET6 if ":" in addr else socket.AF_INET)
        s.settimeout(timeout)
        try:
            s.connect((addr, port))
        except BaseException:
            s.close()
            raise
        s.settimeout(TIMEOUT)
        return s

    def pair(self, addr=OUT4):
        """A guest socket connected to a host socket."""
        l, port = self.listen(addr)
        with l:
            c = self.connect(addr, port)
            s, _ = l.accept()
            s.settimeout(TIMEOUT)
            return c, s

    def udp(self, ns, addr, port=0):
        s = self.socket(ns, socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((addr, port))
        return s


def read_all(s):
    h, n = hashlib.sha256(), 0
    while True:
        b = s.recv(1 << 16)
        if not b:
            return n, h.hexdigest()
        h.update(b)
        n += len(b)


def blob(n, seed=1):
    return random.Random(seed).randbytes(n)


def send_all(s, data, piece=1 << 16):
    for i in range(0, len(data), piece):
        s.sendall(data[i:i + piece])
    s.shutdown(socket.SHUT_WR)


def bulk(test, a, b, size):
    """Both directions at once, to the end of both streams."""
    one, two = blob(size, 1), blob(size, 2)
    result = {}
    threads = [threading.Thread(target=send_all, args=(a, one)),
               threading.Thread(target=send_all, args=(b, two)),
               threading.Thread(target=lambda: result.update(a=read_all(a))),
               threading.Thread(target=lambda: result.update(b=read_all(b)))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(TIMEOUT)
    test.assertEqual(result.get("b"), (size, hashlib.sha256(one).hexdigest()))
    test.assertEqual(result.get("a"), (size, hashlib.sha256(two).hexdigest()))
    a.close()
    b.close()


class Tcp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = World()

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def test_bulk_both_ways(self):
        for addr in (OUT4, OUT6):
            with self.subTest(addr=addr):
                bulk(self, *self.w.pair(addr), 16 << 20)

    def test_refused(self):
        for addr in (OUT4, OUT6, GW4, GW6):
            with self.subTest(addr=addr), self.assertRaises(ConnectionRefusedError):
                self.w.connect(addr, 1)

    def test_unreachable(self):
        for addr, codes in (("203.0.113.9", (errno.ENETUNREACH, errno.EHOSTUNREACH)),
                            ("2001:db8:9::9", (errno.ENETUNREACH, errno.EHOSTUNREACH))):
            with self.subTest(addr=addr), self.assertRaises(OSError) as e:
                self.w.connect(addr, 80)
            self.assertIn(e.exception.errno, codes)

    def test_silent_host_stays_silent(self):
        sh("ip", "-n", self.w.h, "link", "add", "hole", "type", "ifb")
        sh("ip", "-n", self.w.h, "link", "set", "hole", "up", "arp", "off")
        sh("ip", "-n", self.w.h, "route", "add", "192.0.2.0/24", "dev", "hole", "src", OUT4)
        with self.assertRaises(TimeoutError):
            self.w.connect("192.0.2.7", 80, timeout=1.5)

    def test_half_close(self):
        for first, second in ((0, 1), (1, 0)):
            p = self.w.pair()
            p[first].sendall(b"question")
            p[first].shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(p[second])[0], 8)
            p[second].sendall(blob(1 << 20))
            p[second].shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(p[first])[0], 1 << 20)
            p[0].close(), p[1].close()

    def test_reset_both_ways(self):
        for who, other in ((0, 1), (1, 0)):
            p = self.w.pair()
            p[0].sendall(b"x")
            self.assertEqual(p[1].recv(1), b"x")
            p[who].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            p[who].close()
            with self.assertRaises(ConnectionResetError):
                p[other].recv(1)
            p[other].close()

    def test_reader_that_waits(self):
        """The other side writes until it blocks, i.e. windows are closed; then all is read."""
        for reader, writer in ((0, 1), (1, 0)):
            p = self.w.pair()
            data, sent = blob(1 << 20), 0
            h = hashlib.sha256()
            p[writer].setblocking(False)
            quiet = 0
            while quiet < 3:
                try:
                    n = p[writer].send(data)
                    h.update(data[:n])
                    sent += n
                    quiet = 0
                except BlockingIOError:
                    quiet += not select.select([], [p[writer]], [], 0.3)[1]
            p[writer].shutdown(socket.SHUT_WR)
            self.assertGreater(sent, 1 << 16)
            self.assertEqual(read_all(p[reader]), (sent, h.hexdigest()))
            p[0].close(), p[1].close()

    def test_single_bytes(self):
        for a, b in ((0, 1), (1, 0)):
            p = self.w.pair()
            p[a].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = blob(3000)
            t = threading.Thread(target=send_all, args=(p[a], data, 1))
            t.start()
            self.assertEqual(read_all(p[b]), (3000, hashlib.sha256(data).hexdigest()))
            t.join()
            p[0].close(), p[1].close()

    def test_urgent_data_is_in_line(self):
        c, s = self.w.pair()
        c.send(b"ab")
        c.send(b"!", socket.MSG_OOB)
        c.send(b"cd")
        c.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(s), (5, hashlib.sha256(b"ab!cd").hexdigest()))
        c.close(), s.close()

    def test_many_connections(self):
        want = int(os.environ.get("NET_TAP_CONNECTIONS", "1500"))
        l, port = self.w.listen()
        guests, hosts = [], []
        with l:
            for i in range(want):
                guests.append(self.w.connect(OUT4, port))
                hosts.append(l.accept()[0])
            for i, s in enumerate(guests):
                s.sendall(struct.pack("!I", i))
            for i, s in enumerate(hosts):
                s.settimeout(TIMEOUT)
                self.assertEqual(struct.unpack("!I", s.recv(4))[0], i)
                s.sendall(struct.pack("!I", i + 1))
            for i, s in enumerate(guests):
                self.assertEqual(struct.unpack("!I", s.recv(4))[0], i + 1)
            for s in guests + hosts:
                s.close()

    def test_port_reuse(self):
        l, port = self.w.listen()
        with l:
            for _ in range(50):
                c = self.w.socket(self.w.g)
                c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.bind((G4, 40000))
                c.connect((OUT4, port))
                s, _ = l.accept()
                c.sendall(b"x")
                self.assertEqual(s.recv(1), b"x")
                c.close(), s.close()

    def test_host_alias_reaches_either_loopback(self):
        for addr in ("127.0.0.1", "::1"):
            l, port = self.w.listen(addr)
            with l:
                for gw in (GW4, GW6):
                    with self.w.connect(gw, port) as c, l.accept()[0] as s:
                        c.sendall(b"hi")
                        self.assertEqual(s.recv(2), b"hi")

    def test_loopback_is_not_for_sale(self):
        """A guest that routes 127/8 to the gateway gets nowhere, even if policy allows all."""
        l, port = self.w.listen("127.0.0.1")
        sh("ip", "netns", "exec", self.w.g, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        sh("ip", "-n", self.w.g, "addr", "del", "127.0.0.1/8", "dev", "lo", check=False)
        sh("ip", "-n", self.w.g, "route", "del", "local", "127.0.0.0/8", "table", "local",
           check=False)
        sh("ip", "-n", self.w.g, "route", "add", "127.0.0.0/8", "via", GW4, "src", G4, check=False)
        with l, self.assertRaises(OSError):
            self.w.connect("127.0.0.1", port, timeout=1)


class TcpVariants(unittest.TestCase):
    def test_mtu(self):
        for mtu in (576, 1280, 1500, 9000, 65520):
            with self.subTest(mtu=mtu), World(mtu=mtu) as w:
                bulk(self, *w.pair(OUT4), 4 << 20)
                if mtu >= 1280:
                    bulk(self, *w.pair(OUT6), 4 << 20)

    def test_without_offloads(self):
        with World(args=["--no-offload"]) as w:
            sh("ip", "netns", "exec", w.g, "ethtool", "-K", "tap0", "tx", "off", check=False)
            for addr in (OUT4, OUT6):
                bulk(self, *w.pair(addr), 4 << 20)

    def test_bad_cable(self):
        for faults in ("3,0,0,0", "0,10,0,0", "0,0,20,2", "2,2,5,10"):
            with self.subTest(faults=faults), World(args=["--faults", faults]) as w:
                bulk(self, *w.pair(OUT4), 1 << 20)

    def test_connection_limit(self):
        with World(max_connections=5) as w:
            l, port = w.listen()
            with l, contextlib.ExitStack() as stack:
                for _ in range(5):
                    stack.enter_context(w.connect(OUT4, port))
                with self.assertRaises(ConnectionRefusedError):
                    w.connect(OUT4, port)

    def test_rate_limit_delivers_everything(self):
        limit = {"bandwidth": {"size": 1 << 20, "refill_time_ms": 200}}
        with World(rate_limiter={"egress": limit, "ingress": limit}) as w:
            bulk(self, *w.pair(OUT4), 3 << 20)


class Udp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = World()

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def test_sizes_both_ways(self):
        for out, own, most in ((OUT4, G4, 65507), (OUT6, G6, 65527 - 40)):
            server, client = self.w.udp(self.w.h, out), self.w.udp(self.w.g, own)
            with server, client:
                for size in (0, 1, 1000, 1472, 1473, 2000, 9000, 30000, most):
                    data = blob(size, size)
                    client.sendto(data, server.getsockname()[:2])
                    got, peer = server.recvfrom(1 << 16)
                    self.assertEqual(got, data)
                    server.sendto(data[::-1], peer)
                    got, peer = client.recvfrom(1 << 16)
                    self.assertEqual(got, data[::-1])
                    self.assertEqual(peer[:2], server.getsockname()[:2])

    def test_refused(self):
        for addr in (OUT4, OUT6):
            c = self.w.socket(self.w.g, socket.AF_INET6 if ":" in addr else socket.AF_INET,
                              socket.SOCK_DGRAM)
            with c:
                c.connect((addr, 9))
                c.send(b"x")
                with self.assertRaises(ConnectionRefusedError):
                    c.recv(1)

    def test_ttl_expires_at_the_gateway(self):
        with self.w.udp(self.w.g, G4) as c:
            c.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
            c.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            c.connect((OUT4, 33434))
            c.send(b"x")
            with self.assertRaises(OSError) as e:
                c.recv(1)
            self.assertEqual(e.exception.errno, errno.EHOSTUNREACH)
            _, anc, _, _ = c.recvmsg(100, 512, socket.MSG_ERRQUEUE)
            data = anc[0][2]
            self.assertEqual((data[4], data[5]), (2, 11))  # ICMP origin, time exceeded
            self.assertEqual(socket.inet_ntoa(data[16 + 4:16 + 8]), GW4)

    def test_alternative_resolvers_are_refused(self):
        for port in (853, 5353, 5355, 137):
            with self.w.udp(self.w.g, G4) as c:
                c.connect((OUT4, port))
                c.send(b"x")
                with self.assertRaises(OSError):
                    c.recv(1)

    def test_session_table_is_bounded(self):
        with self.w.udp(self.w.h, OUT4) as server:
            for _ in range(1200):
                with self.w.udp(self.w.g, G4) as c:
                    c.sendto(b"x", server.getsockname())
                    server.recvfrom(10)


class Icmp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = World()

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def ping(self, *args):
        return sh("ip", "netns", "exec", self.w.g, "ping", "-c", "2", "-i", "0.2", "-W", "5", *args,
                  check=False)

    def test_ping(self):
        for addr in (GW4, GW6, OUT4, OUT6):
            for size in ("0", "56", "1400"):
                with self.subTest(addr=addr, size=size):
                    r = self.ping("-s", size, addr)
                    self.assertEqual(r.returncode, 0, r.stdout + r.stderr)

    def test_ping_unreachable(self):
        self.assertNotEqual(self.ping("203.0.113.77").returncode, 0)

    def test_neighbours(self):
        self.assertIn("02:6d:73:00:00:01", sh("ip", "netns", "exec", self.w.g, "sh", "-c",
                                              f"ping -c1 {GW4} >/dev/null; ip neigh").stdout)

    def test_router_advertisement(self):
        """A guest that was told nothing finds its way in IPv6."""
        sh("ip", "-n", self.w.g, "-6", "route", "flush", "default", check=False)
        sh("ip", "netns", "exec", self.w.g, "sysctl", "-qw", "net.ipv6.conf.tap0.accept_ra=2",
           "net.ipv6.conf.tap0.router_solicitation_delay=0")
        sh("ip", "-n", self.w.g, "link", "set", "tap0", "down")
        sh("ip", "-n", self.w.g, "link", "set", "tap0", "up")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if "proto ra" in sh("ip", "-n", self.w.g, "-6", "route").stdout:
                break
            time.sleep(0.05)
        self.assertIn("default via fe80::", sh("ip", "-n", self.w.g, "-6", "route").stdout)
        sh("ip", "-n", self.w.g, "addr", "replace", G6 + "/64", "dev", "tap0", "nodad")
        sh("ip", "-n", self.w.g, "route", "replace", "default", "via", GW4, check=False)


class Policy(unittest.TestCase):
    def wait_denial(self, w, text):
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if any(text in d for d in w.denials):
                return
            time.sleep(0.01)
        self.fail(f"no denial with {text!r} in {w.denials}")

    def test_denied_is_refused_and_reported(self):
        policy = {"default_egress": "deny", "default_ingress": "allow",
                  "rules": [rule("deny", {"cidr": "198.51.100.0/24"}), rule("allow", "any")]}
        with World(policy=policy) as w:
            l, port = w.listen()
            with l, self.assertRaises(ConnectionRefusedError):
                w.connect(OUT4, port)
            self.wait_denial(w, f"egress policy {OUT4}:{port} name=- "
                                "rule=deny:egress@198.51.100.0/24")
            l, port = w.listen(OUT6)
            with l, w.connect(OUT6, port):
                pass
            with w.udp(w.g, G4) as c:
                c.connect((OUT4, 4000))
                c.send(b"x")
                with self.assertRaises(OSError):
                    c.recv(1)
            r = sh("ip", "netns", "exec", w.g, "ping", "-c", "1", "-W", "5", OUT4, check=False)
            self.assertIn("Packet filtered", r.stdout)

    def test_default_profile_hides_the_host(self):
        with World(policy=None) as w:
            for addr, gw in (("127.0.0.1", GW4), ("::1", GW6)):
                l, port = w.listen(addr)
                with l, self.assertRaises(ConnectionRefusedError):
                    w.connect(gw, port)
            with self.assertRaises(OSError):
                w.connect("169.254.169.254", 80)


class Resolver:
    """A DNS server with a table {(name, type): [(owner, type, ttl, data)]} and bad manners."""

    TYPES = {"A": 1, "CNAME": 5, "AAAA": 28, "TXT": 16}

    def __init__(self, w, table, addr="127.0.0.53", manners=""):
        self.table, self.manners, self.seen = table, manners, []
        self.u = w.udp(w.h, addr, 53)
        self.t, _ = w.listen(addr, 53)
        for f in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=f, daemon=True).start()

    @staticmethod
    def name(text):
        return b"".join(bytes([len(x)]) + x.encode() for x in text.split(".") if x) + b"\0"

    @staticmethod
    def read_name(msg, at):
        labels = []
        while msg[at]:
            labels.append(msg[at + 1:at + 1 + msg[at]].decode())
            at += 1 + msg[at]
        return ".".join(labels).lower(), at + 1

    def answer(self, q, tcp):
        name, end = self.read_name(q, 12)
        kind = struct.unpack("!H", q[end:end + 2])[0]
        self.seen.append((name, kind, "tcp" if tcp else "udp"))
        records = self.table.get((name, kind))
        flags = 0x8180 if records is not None else 0x8183
        if self.manners == "truncate" and not tcp:
            return q[:2] + struct.pack("!HHHHH", 0x8380, 1, 0, 0, 0) + q[12:end + 4]
        body = b""
        for owner, rtype, ttl, data in records or []:
            body += self.name(owner) + struct.pack("!HHIH", rtype, 1, ttl, len(data)) + data
        return (q[:2] + struct.pack("!HHHHH", flags, 1, len(records or []), 0, 0) +
                q[12:end + 4] + body)

    def serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                q, peer = self.u.recvfrom(4096)
                a = self.answer(q, False)
                if self.manners == "dead":
                    continue
                if self.manners == "lie":  # wrong identifier, then another question, then garbage
                    self.u.sendto(bytes([a[0] ^ 1]) + a[1:], peer)
                    self.u.sendto(a[:13] + b"z" + a[14:], peer)
                    self.u.sendto(b"\0", peer)
                self.u.sendto(a, peer)

    def serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                s, _ = self.t.accept()
                with s:
                    n = struct.unpack("!H", s.recv(2, socket.MSG_WAITALL))[0]
                    a = self.answer(s.recv(n, socket.MSG_WAITALL), True)
                    s.sendall(struct.pack("!H", len(a)) + a)

    def close(self):
        self.u.close()
        self.t.close()


def a_record(name, *addrs, ttl=300):
    recs = [(name, 28 if ":" in a else 1, ttl,
             socket.inet_pton(socket.AF_INET6 if ":" in a else socket.AF_INET, a)) for a in addrs]
    return {(name, recs[0][1]): recs}


def query(w, name, kind=1, server=GW4, tcp=False, timeout=TIMEOUT):
    """Return (rcode, flags, [addresses])."""
    msg = (struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + Resolver.name(name) +
           struct.pack("!HH", kind, 1))
    if tcp:
        with w.connect(server, 53) as s:
            s.sendall(struct.pack("!H", len(msg)) + msg)
            n = struct.unpack("!H", s.recv(2, socket.MSG_WAITALL))[0]
            a = s.recv(n, socket.MSG_WAITALL)
    else:
        with w.udp(w.g, G6 if ":" in server else G4) as s:
            s.settimeout(timeout)
            s.sendto(msg, (server, 53))
            a, peer = s.recvfrom(4096)
            assert peer[:2] == (server, 53)
    ident, flags, _, count, authority, _ = struct.unpack("!HHHHHH", a[:12])
    assert ident == 0x1234 and authority == 0
    found, at = [], 12 + len(msg) - 12
    for _ in range(count):
        if a[at] & 0xc0:
            at += 2
        else:
            _, at = Resolver.read_name(a, at)
        rtype, _, _, size = struct.unpack("!HHIH", a[at:at + 10])
        if rtype in (1, 28):
            found.append(socket.inet_ntop(socket.AF_INET if rtype == 1 else socket.AF_INET6,
                                          a[at + 10:at + 10 + size]))
        at += 10 + size
    return flags & 15, flags, found


DNS_RULE = rule("allow", {"group": "host"}, protocols=("tcp", "udp"), ports=(53,))
NO_REBIND = {"nameservers": ["127.0.0.53"], "rebind_protection": False}


class Dns(unittest.TestCase):
    @contextlib.contextmanager
    def world(self, table, manners="", policy=ALLOW_ALL, dns=NO_REBIND):
        with World(policy=policy, dns=dns) as w:
            for i in (53, 54):
                sh("ip", "-n", w.h, "addr", "add", f"127.0.0.{i}/8", "dev", "lo", check=False)
            r = Resolver(w, table, manners=manners)
            try:
                yield w, r
            finally:
                r.close()

    def test_udp_and_tcp(self):
        table = {**a_record("x.example", "93.184.216.34"), **a_record("x.example", "2606::1")}
        with self.world(table) as (w, r):
            for tcp in (False, True):
                self.assertEqual(query(w, "X.Example", 1, tcp=tcp)[2], ["93.184.216.34"])
                self.assertEqual(query(w, "x.example", 28, tcp=tcp)[2], ["2606::1"])
                self.assertEqual(query(w, "no.example", 1, tcp=tcp)[0], 3)
            self.assertEqual(query(w, "x.example", 1, server=GW6)[2], ["93.184.216.34"])
            self.assertIn(("x.example", 1, "tcp"), r.seen)

    def test_truncated_then_tcp(self):
        with self.world(a_record("x.example", "93.184.216.34"), "truncate") as (w, r):
            self.assertTrue(query(w, "x.example")[1] & 0x0200)
            self.assertEqual(query(w, "x.example", tcp=True)[2], ["93.184.216.34"])

    def test_large_answer_is_cut_for_udp(self):
        addrs = [f"93.184.{i}.1" for i in range(60)]
        with self.world(a_record("x.example", *addrs)) as (w, r):
            self.assertTrue(query(w, "x.example")[1] & 0x0200)
            self.assertEqual(len(query(w, "x.example", tcp=True)[2]), 60)

    def test_lying_server(self):
        with self.world(a_record("x.example", "93.184.216.34"), "lie") as (w, r):
            self.assertEqual(query(w, "x.example")[2], ["93.184.216.34"])

    def test_dead_and_refusing_servers_are_passed_over(self):
        dns = {"nameservers": ["127.0.0.54", "127.0.0.55", "127.0.0.53"], "query_timeout_ms": 200}
        with self.world(a_record("x.example", "93.184.216.34"), dns=dns) as (w, r):
            silent = w.udp(w.h, "127.0.0.54", 53)
            with silent:
                self.assertEqual(query(w, "x.example")[2], ["93.184.216.34"])

    def test_all_dead_is_servfail(self):
        dns = {"nameservers": ["127.0.0.53"], "query_timeout_ms": 100}
        with self.world({}, "dead", dns=dns) as (w, r):
            self.assertEqual(query(w, "x.example")[0], 2)

    def test_host_alias(self):
        with self.world({}) as (w, r):
            self.assertEqual(query(w, "host.microsandbox.internal")[2], [GW4])
            self.assertEqual(query(w, "Host.Microsandbox.Internal.", 28)[2], [GW6])
            self.assertEqual(r.seen, [])

    def test_rebinding(self):
        table = {**a_record("a.example", "10.0.0.1"), **a_record("b.example", "93.184.216.34",
                                                                  "127.0.0.1"),
                 **a_record("c.example", "::ffff:10.1.1.1"), **a_record("d.example", "192.168.7.1"),
                 **a_record("e.example", "93.184.216.34")}
        policy = {"default_egress": "allow", "rules": [rule("allow", {"cidr": "192.168.7.0/24"})]}
        with self.world(table, policy=policy, dns={"nameservers": ["127.0.0.53"]}) as (w, r):
            self.assertEqual([query(w, f"{x}.example", 28 if x == "c" else 1)[0] for x in "abcde"],
                             [3, 3, 3, 0, 0])
            self.assertTrue(any("rebind" in d for d in w.denials))

    def test_names_are_judged_before_they_leave(self):
        policy = {"rules": [rule("deny", {"domain_suffix": "bad.example"}), DNS_RULE]}
        with self.world(a_record("good.example", "93.184.216.34"), policy=policy) as (w, r):
            for tcp in (False, True):
                self.assertEqual(query(w, "www.bad.example", tcp=tcp)[0], 3)
                self.assertEqual(query(w, "good.example", tcp=tcp)[0], 0)
            self.assertEqual({n for n, _, _ in r.seen}, {"good.example"})
            self.assertEqual(query(w, "good.example", server=OUT4)[0], 3)  # another resolver

    def test_direct_resolver(self):
        with self.world({}) as (w, r):
            other = Resolver(w, a_record("x.example", "93.184.216.99"), addr=OUT4)
            for tcp in (False, True):
                self.assertEqual(query(w, "x.example", server=OUT4, tcp=tcp)[2], ["93.184.216.99"])
            other.close()

    def test_garbage(self):
        with self.world(a_record("x.example", "93.184.216.34")) as (w, r):
            with w.udp(w.g, G4) as s:
                for n in range(40):
                    s.sendto(blob(n, n), (GW4, 53))
                two = struct.pack("!HHHHHH", 1, 0x0100, 2, 0, 0, 0) + (b"\1x\0" + b"\0\1\0\1") * 2
                s.sendto(two, (GW4, 53))
                while True:
                    a = s.recv(600)
                    if a[:2] == b"\0\1":
                        self.assertEqual(a[3] & 15, 1)  # FORMERR
                        break
            self.assertEqual(query(w, "x.example")[0], 0)


def client_hello(name):
    out = ssl.MemoryBIO()
    ctx = ssl.create_default_context()
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    tls = ctx.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


class Names(unittest.TestCase):
    """Domain rules on connections: pins, SNI, Host."""

    TABLE = {**a_record("good.example", OUT4), **a_record("other.example", OUT4)}

    def try_bytes(self, w, l, port, data, split=0):
        """What the host side receives of @data, or None if the connection was cut before."""
        try:
            with w.connect(OUT4, port) as c:
                s, _ = l.accept()
                with s:
                    s.settimeout(TIMEOUT)
                    for part in ((data[:split], data[split:]) if split else (data,)):
                        c.sendall(part)
                    got = b""
                    while len(got) < len(data):
                        b = s.recv(1 << 16)
                        if not b:
                            return None
                        got += b
                    return got
        except (ConnectionResetError, BrokenPipeError):
            return None

    @contextlib.contextmanager
    def world(self, rules, default="deny", **config):
        policy = {"default_egress": default, "rules": rules}
        with World(policy=policy, dns=NO_REBIND, **config) as w:
            r = Resolver(w, self.TABLE)
            l, port = w.listen()
            with l:
                yield w, l, port
            r.close()

    def test_allow_needs_pin_and_name(self):
        with self.world([DNS_RULE, rule("allow", {"domain": "good.example"})]) as (w, l, port):
            with self.assertRaises(ConnectionRefusedError):  # never resolved
                w.connect(OUT4, port)
            self.assertEqual(query(w, "good.example")[2], [OUT4])
            hello = client_hello("good.example")
            self.assertEqual(self.try_bytes(w, l, port, hello), hello)
            self.assertEqual(self.try_bytes(w, l, port, hello, split=7), hello)
            self.assertIsNone(self.try_bytes(w, l, port, client_hello("other.example")))
            http = b"GET / HTTP/1.1\r\nHost: good.example:80\r\n\r\n"
            self.assertEqual(self.try_bytes(w, l, port, http, split=20), http)
            self.assertIsNone(self.try_bytes(w, l, port, http.replace(b"good", b"evil")))
            self.assertEqual(self.try_bytes(w, l, port, b"\0binary"), b"\0binary")  # by the pin

    def test_deny_by_name_alone(self):
        with self.world([rule("deny", {"domain_suffix": "bad.example"})], "allow") as (w, l, port):
            self.assertIsNone(self.try_bytes(w, l, port, client_hello("www.bad.example")))
            ok = client_hello("fine.example")
            self.assertEqual(self.try_bytes(w, l, port, ok), ok)

    def test_server_speaks_first(self):
        with self.world([rule("deny", {"domain": "bad.example"})], "allow") as (w, l, port):
            with w.connect(OUT4, port) as c, l.accept()[0] as s:
                s.sendall(b"220 hello\r\n")
                self.assertEqual(c.recv(100), b"220 hello\r\n")  # without a word from the client
                c.sendall(b"\x80data")
                self.assertEqual(s.recv(100), b"\x80data")

    def test_strict(self):
        rules = [DNS_RULE, rule("allow", {"domain": "good.example"})]
        with self.world(rules, strict=True) as (w, l, port):
            query(w, "good.example")
            http = b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n"
            self.assertEqual(self.try_bytes(w, l, port, http), http)
            self.assertIsNone(self.try_bytes(w, l, port, client_hello("good.example")))


class Published(unittest.TestCase):
    def test_tcp_and_udp(self):
        ports = [{"host_port": 0, "guest_port": 80}, {"host_port": 0, "guest_port": 5353,
                                                      "protocol": "udp"},
                 {"host_port": 0, "guest_port": 80, "host_bind": "::1"}]
        with World(policy=None, ports=ports) as w:
            l, _ = w.listen("0.0.0.0", 80, ns=w.g)
            with l:
                for addr, i in (("127.0.0.1", 0), ("::1", 2)):
                    c = w.connect(addr, w.ports[i], ns=w.h)
                    s, peer = l.accept()
                    s.settimeout(TIMEOUT)
                    self.assertEqual(peer[0], GW4)
                    bulk(self, c, s, 2 << 20)
            with self.assertRaises(ConnectionResetError):  # nobody listens any more
                w.connect("127.0.0.1", w.ports[0], ns=w.h).recv(1)
            server, client = w.udp(w.g, G4, 5353), w.udp(w.h, "127.0.0.1")
            with server, client:
                for size in (1, 2000, 60000):
                    client.sendto(blob(size), ("127.0.0.1", w.ports[1]))
                    data, peer = server.recvfrom(1 << 16)
                    server.sendto(data[::-1], peer)
                    self.assertEqual(client.recv(1 << 16), blob(size)[::-1])

    def test_ingress_policy(self):
        policy = {"default_egress": "allow", "default_ingress": "allow",
                  "rules": [rule("deny", {"cidr": "127.0.0.0/8"}, "ingress", ports=(80,))]}
        ports = [{"host_port": 0, "guest_port": 80}, {"host_port": 0, "guest_port": 81}]
        with World(policy=policy, ports=ports) as w:
            a, _ = w.listen("0.0.0.0", 80, ns=w.g)
            b, _ = w.listen("0.0.0.0", 81, ns=w.g)
            with a, b:
                with self.assertRaises(OSError):
                    c = w.connect("127.0.0.1", w.ports[0], ns=w.h)
                    c.recv(1)
                with w.connect("127.0.0.1", w.ports[1], ns=w.h), b.accept()[0]:
                    pass

    def test_port_in_use(self):
        with self.assertRaisesRegex(RuntimeError, "publish 127.0.0.1:4444"):
            World(ports=[{"host_port": 4444, "guest_port": 1}] * 2)


class Services(unittest.TestCase):
    def test_dhcp(self):
        with World() as w:
            with w.socket(w.g, socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tap0")
                s.bind(("0.0.0.0", 68))

                def ask(kind, extra=b""):
                    mac = bytes.fromhex("026d73000002")
                    m = (b"\1\1\6\0" + b"abcd" + bytes(20) + mac + bytes(10 + 192) +
                         b"\x63\x82\x53\x63" + bytes([53, 1, kind]) + extra + b"\xff")
                    s.sendto(m, ("255.255.255.255", 67))
                    a = s.recv(1500)
                    self.assertEqual(a[4:8], b"abcd")
                    return socket.inet_ntoa(a[16:20]), a[242]

                self.assertEqual(ask(1), (G4, 2))
                want = b"\x32\4" + socket.inet_aton(G4)
                self.assertEqual(ask(3, want), (G4, 5))
                self.assertEqual(ask(3, b"\x32\4" + socket.inet_aton("10.0.0.9")), ("0.0.0.0", 6))

    def socks_server(self, w, l, log, user=None):
        def recv(s, n):
            return s.recv(n, socket.MSG_WAITALL)

        with contextlib.suppress(OSError):
            while True:
                s, _ = l.accept()
                s.settimeout(TIMEOUT)
                if recv(s, 1) == b"\4":
                    _, port = struct.unpack("!BH", recv(s, 3))
                    addr = socket.inet_ntoa(recv(s, 4))
                    while recv(s, 1) != b"\0":
                        pass
                    ok, bad, refused = b"\0\x5a" + bytes(6), b"\0\x5b" + bytes(6), None
                else:
                    method = recv(s, recv(s, 1)[0])
                    s.sendall(b"\5" + method[:1])
                    if method == b"\2":
                        recv(s, 1)
                        log.append((recv(s, recv(s, 1)[0]), recv(s, recv(s, 1)[0])))
                        s.sendall(b"\1\0")
                    kind = recv(s, 4)[3]
                    addr = (socket.inet_ntoa(recv(s, 4)) if kind == 1 else
                            socket.inet_ntop(socket.AF_INET6, recv(s, 16)))
                    port = struct.unpack("!H", recv(s, 2))[0]
                    ok, bad = b"\5\0\0\1" + bytes(6), b"\5\5\0\1" + bytes(6)
                log.append((addr, port))
                if port == 1:
                    s.sendall(bad)
                    s.close()
                    continue
                s.sendall(ok + b"hello through the proxy")
                s.shutdown(socket.SHUT_WR)

    def test_socks(self):
        for kind in ("socks4", "socks5", "socks5-user"):
            proxy = {"protocol": kind[:6], "address": "127.0.0.1:1080"}
            if kind == "socks5-user":
                proxy["credentials"] = {"username": "u", "password": "secret"}
            with self.subTest(kind=kind), World(outbound_proxy=proxy) as w:
                log = []
                l, _ = w.listen("127.0.0.1", 1080)
                threading.Thread(target=self.socks_server, args=(w, l, log), daemon=True).start()
                targets = ("203.0.113.5",) if kind == "socks4" else ("203.0.113.5", "2001:db8:5::5")
                for t in targets:
                    with w.connect(t, 8080) as c:
                        self.assertEqual(c.recv(100), b"hello through the proxy")
                    self.assertIn((t, 8080), log)
                with self.assertRaises(ConnectionRefusedError):
                    w.connect("203.0.113.5", 1)
                if kind == "socks4":
                    with self.assertRaises(OSError):
                        w.connect("2001:db8:5::5", 8080)
                self.assertEqual((b"u", b"secret") in log, kind == "socks5-user")
                l.close()


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print("SKIP:", reason)
        sys.exit(77)
    NET_TAP = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
