/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/num.h"
#include "net/checksum.h"
#include "net/fake_guest.h"
#include "net/net_internal.h"

static struct fake_guest *start(const char *rules)
{
	struct fake_guest *g = malloc(sizeof(*g));

	assert_non_null(g);
	assert_int_equal(fake_guest_init(g, rules, NULL), 0);
	return g;
}

static void stop(struct fake_guest *g)
{
	fake_guest_release(g);
	free(g);
}

/* A DNS query with its TCP length; the resolver's answer to it is NXDOMAIN (denied). */
static const uint8_t dns_query_tcp[] = "\x00\x1b\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
				       "\x01x\x07"
				       "example\x00\x00\x01\x00\x01";
#define QUERY_LEN (sizeof(dns_query_tcp) - 1)

/* struct conn - the guest's view of a connection to the gateway's resolver */
struct conn {
	struct fake_guest *g;
	struct tcp_hdr h; /* what it will send next */
};

static void conn_send(struct conn *c, uint8_t flags, const void *data, size_t len)
{
	c->h.flags = flags;
	fake_tcp(c->g, &c->g->plan.gateway4, &c->h, data, len);
}

static void conn_open(struct conn *c, struct fake_guest *g, uint16_t port)
{
	struct tcp_hdr r;

	*c = (struct conn){ .g = g,
		.h = { .sport = port,
			.dport = 53,
			.seq = 1000,
			.window = 65535,
			.mss = 1460,
			.wscale = 7 } };
	conn_send(c, TCP_SYN, NULL, 0);
	assert_int_equal(fake_last_tcp(g, 0, &r), 0);
	assert_int_equal(r.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(r.ack, 1001);
	assert_int_equal(r.mss, 1460);
	assert_true(r.wscale > 0);
	c->h.seq = 1001;
	c->h.ack = r.seq + 1;
	c->h.mss = 0;
	c->h.wscale = -1;
	conn_send(c, TCP_ACK, NULL, 0);
}

static void expect_ack(struct conn *c, uint32_t ack)
{
	struct tcp_hdr r;

	assert_true(fake_last_tcp(c->g, 0, &r) >= 0);
	assert_int_equal(r.flags & (TCP_ACK | TCP_RST | TCP_SYN), TCP_ACK);
	assert_int_equal(r.ack, ack);
}

static size_t flows(struct fake_guest *g)
{
	struct net_stats s;

	net_get_stats(g->net, &s);
	return s.tcp_flows;
}

static void test_conversation(void **state)
{
	struct fake_guest *g = start("");
	struct tcp_hdr r;
	struct conn c;

	conn_open(&c, g, 1000);
	conn_send(&c, TCP_ACK | TCP_PSH, dns_query_tcp, QUERY_LEN);
	assert_int_equal(fake_last_tcp(g, 0, &r), QUERY_LEN); /* the status echoes the question */
	assert_int_equal(r.ack, 1001 + QUERY_LEN);
	assert_int_equal(r.seq, c.h.ack);
	c.h.seq += QUERY_LEN;
	c.h.ack += QUERY_LEN;
	conn_send(&c, TCP_ACK | TCP_FIN, NULL, 0);
	assert_int_equal(fake_last_tcp(g, 0, &r), 0);
	assert_int_equal(r.flags, TCP_FIN | TCP_ACK);
	c.h.seq++;
	c.h.ack++;
	conn_send(&c, TCP_ACK, NULL, 0);
	assert_int_equal(flows(g), 0);
	stop(g);
}

static void test_single_bytes_and_overlap(void **state)
{
	struct fake_guest *g = start("");
	struct tcp_hdr r;
	struct conn c;

	conn_open(&c, g, 1000);
	for (size_t i = 0; i + 1 < QUERY_LEN; i++) { /* each byte together with the one before */
		conn_send(&c, TCP_ACK, dns_query_tcp + i, 1);
		expect_ack(&c, 1001 + (uint32_t)i + 1);
		conn_send(&c, TCP_ACK, dns_query_tcp + i, 1); /* and again */
		expect_ack(&c, 1001 + (uint32_t)i + 1);
		c.h.seq++;
	}
	c.h.seq = 1001; /* all of it, of which one byte is new */
	conn_send(&c, TCP_ACK, dns_query_tcp, QUERY_LEN);
	assert_int_equal(fake_last_tcp(g, 0, &r), QUERY_LEN);
	stop(g);
}

static void test_out_of_order(void **state)
{
	struct fake_guest *g = start("");
	struct tcp_hdr r;
	struct conn c;

	conn_open(&c, g, 1000);
	for (size_t i = QUERY_LEN - 1; i > 0; i--) { /* backwards */
		c.h.seq = 1001 + (uint32_t)i;
		conn_send(&c, TCP_ACK, dns_query_tcp + i, 1);
		expect_ack(&c, 1001);
	}
	c.h.seq = 1001;
	conn_send(&c, TCP_ACK, dns_query_tcp, 1);
	assert_int_equal(fake_last_tcp(g, 0, &r), QUERY_LEN);
	assert_int_equal(r.ack, 1001 + QUERY_LEN);
	stop(g);
}

static void test_outside_the_window(void **state)
{
	struct fake_guest *g = start("");
	struct net_stats s;
	struct conn c;

	conn_open(&c, g, 1000);
	c.h.seq = 1001 + (64u << 20); /* far beyond what was promised */
	conn_send(&c, TCP_ACK, "x", 1);
	expect_ack(&c, 1001);
	c.h.seq = 900; /* long gone */
	conn_send(&c, TCP_ACK, "x", 1);
	expect_ack(&c, 1001);
	c.h.seq = 1000; /* a keep-alive probe */
	conn_send(&c, TCP_ACK, NULL, 0);
	expect_ack(&c, 1001);
	c.h.seq = 1001;
	c.h.ack += 5000; /* acknowledges what was never sent */
	conn_send(&c, TCP_ACK, "x", 1);
	expect_ack(&c, 1001);
	net_get_stats(g->net, &s);
	assert_int_equal(s.held_bytes, 0);
	stop(g);
}

static void test_reset_rules(void **state)
{
	struct fake_guest *g = start("");
	struct conn c;

	conn_open(&c, g, 1000);
	c.h.seq = 1001 + 10; /* inside the window, not exact: challenged */
	conn_send(&c, TCP_RST, NULL, 0);
	expect_ack(&c, 1001);
	assert_int_equal(flows(g), 1);
	c.h.seq = 1001 - 10; /* outside: ignored */
	conn_send(&c, TCP_RST, NULL, 0);
	assert_int_equal(flows(g), 1);
	c.h.seq = 1000;
	conn_send(&c, TCP_SYN, NULL, 0); /* its own SYN once more: challenged */
	expect_ack(&c, 1001);
	c.h.seq = 1001;
	conn_send(&c, TCP_RST, NULL, 0);
	assert_int_equal(flows(g), 0);
	stop(g);
}

static void test_port_used_again(void **state)
{
	struct fake_guest *g = start("");
	struct tcp_hdr r;
	struct conn c;

	conn_open(&c, g, 1000);
	c.h.seq = 500000; /* its RST was lost; the same port, another connection */
	conn_send(&c, TCP_SYN, NULL, 0);
	assert_int_equal(fake_last_tcp(g, 0, &r), 0);
	assert_int_equal(r.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(r.ack, 500001);
	assert_int_equal(flows(g), 1);
	c.h.seq = 500001;
	conn_send(&c, TCP_RST, NULL, 0);
	assert_int_equal(flows(g), 0);
	stop(g);
}

static void test_segments_for_nobody(void **state)
{
	struct fake_guest *g = start("");
	struct conn c = { .g = g,
		.h = { .sport = 7, .dport = 53, .seq = 5, .ack = 77, .wscale = -1 } };
	struct tcp_hdr r;
	unsigned before;

	conn_send(&c, TCP_ACK, "abc", 3);
	assert_int_equal(fake_last_tcp(g, 0, &r), 0);
	assert_true(r.flags == TCP_RST && r.seq == 77);
	conn_send(&c, TCP_FIN, NULL, 0);
	assert_int_equal(fake_last_tcp(g, 0, &r), 0);
	assert_true(r.flags == (TCP_RST | TCP_ACK) && r.ack == 6);
	before = g->n_got;
	conn_send(&c, TCP_RST, NULL, 0); /* a reset is never answered */
	conn_send(&c, TCP_RST | TCP_ACK, NULL, 0);
	assert_int_equal(g->n_got, before);
	stop(g);
}

static void test_denied_at_once(void **state)
{
	struct fake_guest *g = start("deny@10.0.0.0/8");
	struct tcp_hdr h = {
		.sport = 9, .dport = 80, .seq = 41, .mss = 1460, .wscale = -1, .flags = TCP_SYN
	};
	struct ip_addr dst = IP_V4(10, 0, 0, 1);
	struct tcp_hdr r;
	struct net_stats s;

	fake_tcp(g, &dst, &h, NULL, 0);
	assert_int_equal(fake_last_tcp(g, 0, &r), 0);
	assert_true(r.flags == (TCP_RST | TCP_ACK) && r.ack == 42);
	assert_int_equal(g->denials, 1);
	assert_int_equal(g->last_denial.rule, 0);
	assert_int_equal(g->last_denial.port, 80);
	for (unsigned i = 0; i < 100; i++)
		fake_tcp(g, &dst, &h, NULL, 0);
	assert_true(g->denials < 100); /* the log is not the guest's to fill */
	net_get_stats(g->net, &s);
	assert_int_equal(s.denied[NET_DENY_POLICY], 101);
	stop(g);
}

static void test_no_room_for_answers(void **state)
{
	struct fake_guest *g = start("");
	struct tcp_hdr r;
	struct conn c;
	unsigned before;

	conn_open(&c, g, 1000);
	before = g->n_got;
	g->no_room = true;
	conn_send(&c, TCP_ACK | TCP_PSH, dns_query_tcp, QUERY_LEN);
	assert_int_equal(g->n_got, before);
	g->no_room = false;
	net_to_guest_ready(g->net);
	assert_int_equal(fake_last_tcp(g, 0, &r), QUERY_LEN);
	stop(g);
}

static void test_zero_window(void **state)
{
	struct fake_guest *g = start("");
	struct tcp_hdr r;
	struct conn c;

	conn_open(&c, g, 1000);
	c.h.window = 0;
	conn_send(&c, TCP_ACK, dns_query_tcp, QUERY_LEN);
	assert_int_equal(fake_last_tcp(g, 0, &r), 0); /* only the ACK */
	c.h.seq += QUERY_LEN;
	c.h.window = 1; /* times 2^7 */
	conn_send(&c, TCP_ACK, NULL, 0);
	assert_int_equal(fake_last_tcp(g, 0, &r), QUERY_LEN);
	stop(g);
}

static void test_guest_goes_away(void **state)
{
	struct fake_guest *g = start("");
	struct conn c;

	for (uint16_t p = 1; p <= 300; p++)
		conn_open(&c, g, p);
	assert_int_equal(flows(g), 300);
	net_detach(g->net);
	assert_int_equal(flows(g), 0);
	stop(g);
}

/* --- neighbours, ICMP, fragments --- */

static void test_arp(void **state)
{
	struct fake_guest *g = start("");
	uint8_t frame[ETH_HDR_LEN + ARP_LEN];
	static const struct mac all = { { 255, 255, 255, 255, 255, 255 } };
	struct arp_msg m = {
		.op = ARP_REQUEST, .sender_mac = g->plan.guest_mac, .sender = g->plan.guest4
	};
	static const struct {
		const char *sender, *target;
		bool answered;
	} rows[] = {
		{ "172.16.0.2", "172.16.0.1", true },
		{ "172.16.0.2", "9.9.9.9", true },     /* all roads lead through the gateway */
		{ "172.16.0.2", "172.16.0.2", false }, /* gratuitous */
		{ "9.9.9.9", "9.9.9.9", false },       /* gratuitous, for another's address */
		{ "0.0.0.0", "172.16.0.2", false },    /* may I have it? yes */
		{ "0.0.0.0", "172.16.0.1", true },     /* no */
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		unsigned before = g->n_got;

		assert_int_equal(ip_parse(rows[i].sender, &m.sender), 0);
		assert_int_equal(ip_parse(rows[i].target, &m.target), 0);
		(void)arp_put(eth_put(frame, &all, &g->plan.guest_mac, ETH_TYPE_ARP), &m);
		(void)fake_send(g, frame, sizeof(frame), true);
		if ((g->n_got > before) != rows[i].answered)
			fail_msg("row %zu", i);
	}
	stop(g);
}

static bool solicit(struct fake_guest *g, const char *src, const char *target)
{
	uint8_t frame[ETH_HDR_LEN + IP6_HDR_LEN + 24] = { 0 }, *l4;
	struct ip_addr s, t, d;
	struct ip_out ip = {
		.src = &s, .dst = &d, .proto = IP_PROTO_ICMP6, .ttl = 255, .l4_len = 24
	};
	static const struct mac group = { { 0x33, 0x33, 0xff, 0, 0, 1 } };
	unsigned before = g->n_got;

	assert_int_equal(
		ip_parse(src, &s) | ip_parse(target, &t) | ip_parse("ff02::1:ff00:1", &d), 0);
	l4 = ip_put(eth_put(frame, &group, &g->plan.guest_mac, ETH_TYPE_IP6), &ip);
	l4[0] = ICMP6_NEIGH_SOL;
	memcpy(l4 + 8, t.b, 16);
	(void)fake_send(g, frame, sizeof(frame), true);
	return g->n_got > before;
}

static void test_ndp(void **state)
{
	struct fake_guest *g = start("");

	assert_true(solicit(g, "fd42:6d73:62::2", "fd42:6d73:62::1"));
	assert_true(solicit(g, "fe80::5", "2001:db8::9"));
	assert_false(solicit(g, "::", "fd42:6d73:62::2")); /* duplicate address detection */
	assert_false(solicit(g, "::", "fe80::5"));
	assert_true(solicit(g, "::", "fd42:6d73:62::1"));
	stop(g);
}

static void test_spoofed_and_martian(void **state)
{
	struct fake_guest *g = start("allow@any");
	static const char *const dsts[] = { "127.0.0.1", "0.0.0.0", "240.0.0.1", "0.1.2.3" };
	struct tcp_hdr h = { .sport = 9, .dport = 80, .flags = TCP_SYN, .wscale = -1 };
	struct ip_addr own = g->plan.guest4, dst;
	struct net_stats s;

	for (size_t i = 0; i < ARRAY_LEN(dsts); i++) {
		assert_int_equal(ip_parse(dsts[i], &dst), 0);
		fake_tcp(g, &dst, &h, NULL, 0);
	}
	dst = IP_V4(198, 51, 100, 1);
	g->plan.guest4 = IP_V4(10, 9, 8, 7); /* somebody else's address as source */
	fake_tcp(g, &dst, &h, NULL, 0);
	g->plan.guest4 = own;
	net_get_stats(g->net, &s);
	assert_int_equal(s.dropped, ARRAY_LEN(dsts) + 1);
	assert_int_equal(s.tcp_flows, 0);
	assert_int_equal(g->n_got, 0);
	stop(g);
}

/* Sends the UDP datagram @gram in IPv4 fragments [off, off + len) as listed. */
static void fragment(struct fake_guest *g, const uint8_t *gram, size_t total, uint16_t off,
	size_t len, uint16_t id)
{
	uint8_t frame[600], *p;
	struct ip_out ip = { .src = &g->plan.guest4,
		.dst = &g->plan.gateway4,
		.proto = IP_PROTO_UDP,
		.ttl = PKT_TTL,
		.l4_len = len,
		.frag = true,
		.frag_off = off,
		.more_frags = off + len < total,
		.frag_id = id };

	p = ip_put(eth_put(frame, &g->plan.gateway_mac, &g->plan.guest_mac, ETH_TYPE_IP4), &ip);
	memcpy(p, gram + off, len);
	(void)fake_send(g, frame, (size_t)(p - frame) + len, true);
}

static void test_fragments(void **state)
{
	struct fake_guest *g = start("");
	uint8_t gram[64] = { 0 };
	size_t total = UDP_HDR_LEN + QUERY_LEN - 2;

	(void)udp_put(gram, 4000, 53, QUERY_LEN - 2, 0);
	memcpy(gram + UDP_HDR_LEN, dns_query_tcp + 2, QUERY_LEN - 2);
	fragment(g, gram, total, 16, total - 16, 1); /* the last one first */
	fragment(g, gram, total, 0, 8, 1);
	assert_int_equal(g->n_got, 0);
	fragment(g, gram, total, 8, 8, 1);
	assert_int_equal(g->n_got, 1); /* answered: it was whole, and judged as a whole */

	fragment(g, gram, total, 0, 16, 2);
	fragment(g, gram, total, 8, 16, 2); /* overlap: all of it is dropped */
	fragment(g, gram, total, 16, total - 16, 2);
	assert_int_equal(g->n_got, 1);
	for (uint16_t id = 10; id < 300; id++) /* never completed: bounded by itself */
		fragment(g, gram, total, 0, 8, id);
	fragment(g, gram, total, 8, total - 8, 299);
	assert_int_equal(g->n_got, 2);
	stop(g);
}

static void test_noise(void **state)
{
	struct fake_guest *g = start("allow@any");
	uint8_t frame[1600];
	uint32_t x = 1;

	for (unsigned i = 0; i < 20000; i++) {
		size_t len = i % sizeof(frame);

		for (size_t k = 0; k < MIN_OF(len, (size_t)80); k++)
			frame[k] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
		if (len >= ETH_HDR_LEN && i % 2)
			(void)eth_put(frame, &g->plan.gateway_mac, &g->plan.guest_mac,
				i % 4 == 1 ? ETH_TYPE_IP4 : ETH_TYPE_IP6);
		(void)fake_send(g, frame, len, i % 16 == 0);
	}
	assert_int_equal(flows(g), 0);
	stop(g);
}

/* --- rate limits --- */

static void test_bucket(void **state)
{
	struct net_bucket conf = { .size = 1000, .refill_ms = 100, .burst = 500 };
	struct bucket b;
	uint64_t t = 1000 * NS_PER_MS, wait;

	bucket_init(&b, &conf, t);
	assert_int_equal(bucket_take(&b, 1500, t), 0); /* full, and the burst */
	wait = bucket_take(&b, 100, t);
	assert_int_equal(wait, 10 * NS_PER_MS);
	assert_int_equal(bucket_take(&b, 100, t + wait), 0);
	assert_true(bucket_take(&b, 1, t + wait) > 0);
	t += 1000 * NS_PER_MS; /* the burst does not come back */
	assert_int_equal(bucket_take(&b, 1000, t), 0);
	assert_true(bucket_take(&b, 1, t) > 0);
	t += 100 * NS_PER_MS;
	assert_int_equal(bucket_take(&b, 3000, t), 0); /* too large: once, then paid off */
	assert_int_equal(bucket_take(&b, 1000, t), 300 * NS_PER_MS);
	assert_int_equal(bucket_take(&b, 1000, t + 300 * NS_PER_MS), 0);
}

static void test_limited_guest_is_told_when(void **state)
{
	struct fake_guest *g = malloc(sizeof(*g));
	uint8_t frame[64] = { 0 };
	unsigned taken = 0;

	assert_int_equal(fake_guest_init(g, "",
				 "{\"rate_limiter\":{\"egress\":{\"ops\":{\"size\":5,"
				 "\"refill_time_ms\":50}}}}"),
		0);
	while (fake_send(g, frame, sizeof(frame), true) == 0 && taken < 100)
		taken++;
	assert_in_range(taken, 5, 99);
	while (!g->resumes)
		assert_int_equal(loop_run_once(g->loop, 10000, NULL), 0);
	assert_int_equal(fake_send(g, frame, sizeof(frame), true), 0);
	stop(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conversation),
		cmocka_unit_test(test_single_bytes_and_overlap),
		cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_outside_the_window),
		cmocka_unit_test(test_reset_rules),
		cmocka_unit_test(test_port_used_again),
		cmocka_unit_test(test_segments_for_nobody),
		cmocka_unit_test(test_denied_at_once),
		cmocka_unit_test(test_no_room_for_answers),
		cmocka_unit_test(test_zero_window),
		cmocka_unit_test(test_guest_goes_away),
		cmocka_unit_test(test_arp),
		cmocka_unit_test(test_ndp),
		cmocka_unit_test(test_spoofed_and_martian),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_limited_guest_is_told_when),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
