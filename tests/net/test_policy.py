# SPDX-License-Identifier: Apache-2.0
"""Denials, and domain rules on connections: pins, SNI, Host."""
import contextlib
import socket
import unittest

from world import (DNS_RULE, G4, GW4, GW6, NO_REBIND, OUT4, OUT6, TIMEOUT, Resolver, World, a_record, blob, client_hello,
                   query, rule, sh)


class Policy(unittest.TestCase):
    def wait_denial(self, w, text):
        self.assertTrue(w.denied(text), f"no denial with {text!r} in {w.denials}")

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

    def test_platform_must_allow_too(self):
        platform = {"default_egress": "deny", "rules": [rule("allow", {"cidr": f"{OUT4}/32"})]}
        policy = {"default_egress": "allow", "rules": [rule("deny", "any", protocols=["udp"])], "platform": platform}
        with World(policy=policy) as w:
            l, port = w.listen(OUT6)
            with l, self.assertRaises(ConnectionRefusedError):
                w.connect(OUT6, port)
            self.wait_denial(w, "rule=of the platform")
            l, port = w.listen()
            with l, w.connect(OUT4, port):
                pass
            with w.udp(w.g, G4) as c:
                c.connect((OUT4, 4000))
                c.send(b"x")
                with self.assertRaises(OSError):
                    c.recv(1)
            self.wait_denial(w, f"{OUT4}:4000 name=- rule=deny:egress@any:udp")


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

    def test_every_request_of_a_connection(self):
        def get(host, more="", body=b""):
            return f"POST / HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode() + body

        rules = [DNS_RULE, rule("allow", {"domain": "good.example"}), rule("allow", {"domain": "fine.example"})]
        good, bad = get("good.example"), get("other.example")
        chunked = get("good.example", "Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n")
        long = get("good.example", "Content-Length: 3000000\r\n", blob(3000000))
        hidden = get("good.example", f"Content-Length: {len(bad)}\r\n", bad)  # a body, not a request
        with self.world(rules) as (w, l, port):
            query(w, "good.example")
            for parts in ((good, good), (chunked, good), (long, good), (hidden, good)):
                data = b"".join(parts)
                self.assertEqual(self.try_bytes(w, l, port, data), data)
                self.assertEqual(self.try_bytes(w, l, port, data, split=len(data) - 30), data)
                self.assertIsNone(self.try_bytes(w, l, port, data + bad))
            self.assertIsNone(self.try_bytes(w, l, port, good + get("fine.example")))  # not pinned
            for evil in (b"GET / HTTP/1.1\nHost: other.example\n\n", b"\r\n" + bad, b"\x16\x03\x01junk",
                         b"GET http://other.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
                         b"GET / HTTP/1.1\r\nHost: good.example\r\nHost: other.example\r\n\r\n",
                         b"GET / HTTP/1.1\r\nHost : other.example\r\n\r\n"):
                self.assertIsNone(self.try_bytes(w, l, port, good + evil), evil)
                if b"HTTP" in evil:
                    self.assertIsNone(self.try_bytes(w, l, port, evil), evil)

    def test_tunnel_needs_the_servers_word(self):
        ask = b"GET / HTTP/1.1\r\nHost: good.example\r\nUpgrade: chat\r\nConnection: upgrade\r\n\r\n"
        with self.world([DNS_RULE, rule("allow", {"domain": "good.example"})]) as (w, l, port):
            query(w, "good.example")
            for answer, granted in ((b"HTTP/1.1 101 Switching Protocols\r\n\r\n", True),
                                    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False)):
                with w.connect(OUT4, port) as c:
                    s, _ = l.accept()
                    with s:
                        s.settimeout(TIMEOUT)
                        # one that does not wait for the answer is held, and cut off if that is no
                        c.sendall(ask + b"\x81\x00frame" if granted else ask)
                        got = s.recv(1000)
                        self.assertEqual(got, ask)
                        s.sendall(answer)
                        self.assertEqual(c.recv(1000), answer)
                        if granted:
                            self.assertEqual(s.recv(100), b"\x81\x00frame")
                            c.sendall(b"more")
                            self.assertEqual(s.recv(100), b"more")
                        else:
                            c.sendall(b"\x81\x00frame")
                            self.assertRaises(ConnectionResetError, s.recv, 1)

    def test_half_a_request_gets_nowhere(self):
        with self.world([DNS_RULE, rule("allow", {"domain": "good.example"})]) as (w, l, port):
            query(w, "good.example")
            with w.connect(OUT4, port) as c:
                s, _ = l.accept()
                with s:
                    c.sendall(b"GET / HT")  # and then nothing until patience ends
                    s.settimeout(TIMEOUT)
                    self.assertRaises(ConnectionResetError, s.recv, 1)
            with w.connect(OUT4, port) as c:
                s, _ = l.accept()
                with s:
                    c.sendall(b"hello")
                    c.shutdown(socket.SHUT_WR)  # no request can follow
                    s.settimeout(TIMEOUT)
                    self.assertEqual(s.recv(10), b"hello")

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
