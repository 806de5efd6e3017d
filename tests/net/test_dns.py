# SPDX-License-Identifier: Apache-2.0
"""The gateway's resolver beside servers with bad manners."""
import contextlib
import socket
import struct
import unittest

from world import ALLOW_ALL, DNS_RULE, G4, GW4, GW6, NO_REBIND, OUT4, Resolver, World, a_record, blob, query, rule, sh


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
            self.assertTrue(w.denied("rebind"), w.denials)

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
