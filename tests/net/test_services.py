# SPDX-License-Identifier: Apache-2.0
"""Published ports, DHCP, proxies."""
import contextlib
import errno
import socket
import struct
import threading
import unittest

from world import G4, G6, GW4, TIMEOUT, World, blob, bulk, rule


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

    def socks_server(self, w, l, log):
        with contextlib.suppress(OSError):
            while True:
                s, _ = l.accept()
                s.settimeout(TIMEOUT)
                threading.Thread(target=self.socks_client, args=(w, s, log), daemon=True).start()

    def socks_client(self, w, s, log):
        def recv(n):
            got = s.recv(n, socket.MSG_WAITALL)
            if len(got) < n:
                raise EOFError
            return got

        with s, contextlib.suppress(EOFError, OSError):
            command = 1
            if recv(1) == b"\4":
                _, port = struct.unpack("!BH", recv(3))
                addr = socket.inet_ntoa(recv(4))
                while recv(1) != b"\0":
                    pass
                ok, bad = b"\0\x5a" + bytes(6), b"\0\x5b" + bytes(6)
            else:
                method = recv(recv(1)[0])
                s.sendall(b"\5" + method[:1])
                if method == b"\2":
                    recv(1)
                    log.append((recv(recv(1)[0]), recv(recv(1)[0])))
                    s.sendall(b"\1\0")
                _, command, _, kind = recv(4)
                addr = (socket.inet_ntoa(recv(4)) if kind == 1 else socket.inet_ntop(socket.AF_INET6, recv(16)))
                port = struct.unpack("!H", recv(2))[0]
                ok, bad = b"\5\0\0\1" + bytes(6), b"\5\5\0\1" + bytes(6)
            log.append((addr, port))
            if command == 3:
                self.socks_relay(w, s, log)
            elif port == 1:
                s.sendall(bad)
            else:
                s.sendall(ok + b"hello through the proxy")
                s.shutdown(socket.SHUT_WR)
                s.recv(1)

    def socks_relay(self, w, s, log):
        """Answers each datagram with itself, in front of that one as if from somebody else; "end" ends it."""
        with w.udp(w.h, "127.0.0.1") as u:
            port = struct.pack("!H", u.getsockname()[1])
            s.sendall(b"\5\0\0\1" + bytes(4) + port)  # 0.0.0.0: where the proxy is
            data = b""
            while not data.endswith(b"end"):
                data, peer = u.recvfrom(1 << 16)
                log.append(data[:22])
                u.sendto(data[:-1] + b"!" if len(data) < 1000 else b"\0\0\1" + data[3:], peer)
                u.sendto(data[:4] + bytes([data[4] ^ 1]) + data[5:], peer)  # of another address
                u.sendto(data, peer)

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

    def test_socks_udp(self):
        proxy = {"protocol": "socks5", "address": "127.0.0.1:1080"}
        with World(outbound_proxy=proxy) as w:
            log = []
            l, _ = w.listen("127.0.0.1", 1080)
            threading.Thread(target=self.socks_server, args=(w, l, log), daemon=True).start()
            with l:
                for own, addr, head in ((G4, "203.0.113.5", b"\0\0\0\1" + socket.inet_aton("203.0.113.5")),
                                        (G6, "2001:db8:5::5",
                                         b"\0\0\0\4" + socket.inet_pton(socket.AF_INET6, "2001:db8:5::5"))):
                    with w.udp(w.g, own) as c:
                        c.connect((addr, 4000))
                        for i in range(5):  # all sent before the relay is there
                            c.send(f"message {i}.".encode())
                        got = [c.recv(100) for _ in range(10)]
                        self.assertEqual(got, [f"message {i // 2}{'.!'[not i % 2]}".encode() for i in range(10)])
                        self.assertIn((head + struct.pack("!H", 4000) + b"message 0.")[:22], log)
                        for size in (1200, 5000, 60000):
                            c.send(blob(size))
                            self.assertEqual(c.recv(1 << 16), blob(size))
                        c.send(b"the end")
                        self.assertEqual([c.recv(10), c.recv(10)], [b"the en!", b"the end"])
                l.shutdown(socket.SHUT_RDWR)  # wakes the server
            with w.udp(w.g, G4) as c:  # the proxy is gone: told so
                c.connect(("203.0.113.6", 4000))
                c.send(b"x")
                self.assertRaises(ConnectionRefusedError, c.recv, 1)
        with World(outbound_proxy={"protocol": "socks4", "address": "127.0.0.1:1080"}) as w:
            with w.udp(w.g, G4) as c:
                c.connect(("203.0.113.5", 4000))
                c.send(b"x")
                with self.assertRaises(OSError) as e:
                    c.recv(1)
                self.assertEqual(e.exception.errno, errno.EHOSTUNREACH)  # prohibited
