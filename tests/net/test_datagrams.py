# SPDX-License-Identifier: Apache-2.0
"""UDP, ICMP and neighbours."""
import errno
import socket
import time

from world import G4, G6, GW4, GW6, OUT4, OUT6, WorldCase, blob, sh


class Udp(WorldCase):
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


class Icmp(WorldCase):
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
