# SPDX-License-Identifier: Apache-2.0
"""TCP between the kernel's own in the guest's namespace and host sockets."""
import contextlib
import errno
import hashlib
import os
import select
import socket
import struct
import threading

from world import G4, GW4, GW6, OUT4, OUT6, TIMEOUT, WorldCase, blob, bulk, read_all, send_all, sh


class Tcp(WorldCase):
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

    def test_port_reuse(self):
        l, port = self.w.listen()
        with l:
            for _ in range(50):
                c = self.w.socket(self.w.g)
                c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.bind((G4, 20000))  # no port that another socket may have been given
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
