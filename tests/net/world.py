# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces with the stack between them, and what several files of tests use.

The guest is a namespace with tap0, whose other end is net-tap; the host side is another namespace with a few addresses
on its loopback. Sockets are made in either by entering it for a moment, so one process plays both ends.

Environment: NET_TAP, the program (default: that of out/asan); NET_TAP_FAST, one without sanitizers for figures (default:
that of out/release).
"""
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import pathlib
import random
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
NET_TAP = os.environ.get("NET_TAP", str(SOURCE / "out/asan/net/net-tap"))
NET_TAP_FAST = os.environ.get("NET_TAP_FAST", str(SOURCE / "out/release/net/net-tap"))
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
TIMEOUT = 30
G4, GW4, OUT4 = "172.16.0.2", "172.16.0.1", "198.51.100.1"
G6, GW6, OUT6 = "fd42:6d73:62::2", "fd42:6d73:62::1", "2001:db8::1"
ALLOW_ALL = {"default_egress": "allow", "default_ingress": "allow"}


def sh(*args, check=True):
    return subprocess.run(args, check=check, capture_output=True, text=True)


def under(ns, *args):
    return ["ip", "netns", "exec", ns, *args]


def ip_batch(ns, *lines):
    """Several `ip` commands in @ns."""
    subprocess.run(["ip", "-n", ns, "-batch", "-"], input="\n".join(lines) + "\n", check=True, capture_output=True,
                   text=True)


@contextlib.contextmanager
def alone():
    """`ip netns` makes its folder a mount point of its own when first used: not twice at once."""
    os.makedirs("/run/lock", exist_ok=True)
    with open("/run/lock/msb-net-tests", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def why_not():
    """Why these tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    name = f"msbtest{os.getpid()}"
    with alone():
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

    def __init__(self, policy=ALLOW_ALL, mtu=1500, args=(), fast=False, **config):
        World.count += 1
        self.g, self.h = (f"msb{x}{os.getpid()}n{World.count}" for x in "gh")
        self.config = {"policy": policy, "interface": {"mtu": mtu}, **config}
        self.denials, self.ready, self.proc, self.stats = [], False, None, None
        try:
            self.start(NET_TAP_FAST if fast else NET_TAP, mtu, args)
        except BaseException:
            self.close()
            raise

    def start(self, program, mtu, args):
        with alone():
            for ns in (self.g, self.h):
                sh("ip", "netns", "add", ns)
        ip_batch(self.h, "link set lo up", f"addr add {OUT4}/32 dev lo", f"addr add {OUT6}/128 dev lo nodad")
        sh(*under(self.h, "sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"))
        self.proc = subprocess.Popen(
            under(self.h, program, "--guest-ns", f"/run/netns/{self.g}", "--config", json.dumps(self.config), *args),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.proc.stdout.readline()
        if line != "ready\n":
            raise RuntimeError("net-tap: " + self.proc.stderr.read())
        self.ready = True
        self.ports = [int(self.proc.stdout.readline().split()[1])
                      for _ in self.config.get("ports", [])]
        threading.Thread(target=self.read_denials, daemon=True).start()
        # told everything here; a router advertisement would race with it
        sh(*under(self.g, "sysctl", "-qw", "net.ipv6.conf.tap0.accept_ra=0"))
        six = (f"addr add {G6}/64 dev tap0 nodad", f"route add default via {GW6}") if mtu >= 1280 else ()
        ip_batch(self.g, "link set lo up", f"link set tap0 address 02:6d:73:00:00:02 mtu {mtu} up",
                 f"addr add {G4}/30 dev tap0", f"route add default via {GW4}", *six)

    def memory(self, what="VmRSS"):
        """Of the stack, in KiB."""
        with open(f"/proc/{self.proc.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith(what + ":"))

    def denied(self, text):
        """Was, or is soon, a denial reported that says so? Reports come through a pipe of their own."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if any(text in d for d in self.denials):
                return True
            time.sleep(0.01)
        return False

    def read_denials(self):
        for line in self.proc.stderr:
            self.denials.append(line.strip())

    def close(self):
        if self.proc:
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

    @staticmethod
    @contextlib.contextmanager
    def inside(ns):
        """Sockets made meanwhile belong to @ns, for good."""
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        fd = os.open(f"/run/netns/{ns}", os.O_RDONLY)
        try:
            if LIBC.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            LIBC.setns(own, CLONE_NEWNET)
            os.close(fd)
            os.close(own)

    def socket(self, ns, family=socket.AF_INET, kind=socket.SOCK_STREAM, proto=0):
        with self.inside(ns):
            s = socket.socket(family, kind, proto)
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


class WorldCase(unittest.TestCase):
    """Tests that share one world, self.w, with everything allowed."""

    @classmethod
    def setUpClass(cls):
        cls.w = World()

    @classmethod
    def tearDownClass(cls):
        cls.w.close()


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


def client_hello(name):
    out = ssl.MemoryBIO()
    ctx = ssl.create_default_context()
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    tls = ctx.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()
