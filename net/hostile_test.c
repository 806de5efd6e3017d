/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that mean harm: floods, forged neighbours, odd openings, games with DNS over TCP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/num.h"
#include "net/checksum.h"
#include "net/dns_msg.h"
#include "net/fake_guest.h"
#include "net/net_internal.h"

static struct fake_guest *start(const char *rules, const char *json)
{
	struct fake_guest *g = malloc(sizeof(*g));

	assert_non_null(g);
	assert_int_equal(fake_guest_init(g, rules, json), 0);
	return g;
}

static void stop(struct fake_guest *g)
{
	fake_guest_release(g);
	free(g);
}

static struct net_stats stats(const struct fake_guest *g)
{
	struct net_stats s;

	net_get_stats(g->net, &s);
	return s;
}

static const struct tcp_hdr syn = {
	.dport = 53, .seq = 1000, .window = 65535, .mss = 1460, .wscale = 7, .flags = TCP_SYN
};

/* --- TCP --- */

static void test_every_port_at_once(void **state)
{
	struct fake_guest *g = start("", NULL);
	struct tcp_hdr h = syn, r;
	struct net_stats s;

	for (uint32_t p = 1; p <= UINT16_MAX; p++) {
		h.sport = (uint16_t)p;
		fake_tcp(g, &g->plan.gateway4, &h, NULL, 0);
	}
	s = stats(g);
	assert_int_equal(s.tcp_flows, TCP_FLOWS_MAX);
	assert_int_equal(s.denied[NET_DENY_LIMIT], UINT16_MAX - TCP_FLOWS_MAX);
	assert_int_equal(fake_last_tcp(g, 0, &r), 0);
	assert_int_equal(r.flags, TCP_RST | TCP_ACK); /* told at once, and reported sparingly */
	assert_true(g->denials < 100);
	h.flags = TCP_RST; /* exact: all of them are gone */
	h.seq = 1001;
	h.mss = 0;
	h.wscale = -1;
	for (uint32_t p = 1; p <= UINT16_MAX; p++) {
		h.sport = (uint16_t)p;
		fake_tcp(g, &g->plan.gateway4, &h, NULL, 0);
	}
	assert_int_equal(stats(g).tcp_flows, 0);
	stop(g);
}

static void test_storm_of_resets(void **state)
{
	struct fake_guest *g = start("", NULL);
	struct tcp_hdr h = syn;
	unsigned before;

	h.sport = 77;
	fake_tcp(g, &g->plan.gateway4, &h, NULL, 0);
	before = g->n_got;
	h.mss = 0;
	h.wscale = -1;
	for (uint32_t i = 0; i < 20000; i++) {
		h.flags = i % 3 ? TCP_RST : TCP_RST | TCP_ACK | TCP_FIN | TCP_SYN;
		h.sport = (uint16_t)(i % 2 ? 77 : 78);
		h.seq = 5000000 + i * 100000; /* never the number that counts */
		fake_tcp(g, &g->plan.gateway4, &h, NULL, 0);
	}
	assert_int_equal(stats(g).tcp_flows, 1);
	/* at most a challenge each, for those inside the window; strangers hear nothing */
	assert_true(g->n_got - before < 10000);
	stop(g);
}

/* A client of the published port; the guest's answer to the SYN is up to the test. */
static int open_published(struct fake_guest *g, struct tcp_hdr *ret_syn)
{
	cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ip_addr lo = IP_V4(127, 0, 0, 1);
	struct sockaddr_storage ss;
	socklen_t len = ip_to_sockaddr(&lo, net_published_port(g->net, 0), &ss);

	(void)connect(fd, (struct sockaddr *)&ss, len);
	for (unsigned i = 0; i < 100 && fake_last_tcp(g, 0, ret_syn) < 0; i++)
		assert_int_equal(loop_run_once(g->loop, 1000, NULL), 0);
	assert_int_equal(ret_syn->flags, TCP_SYN);
	assert_int_equal(ret_syn->dport, 80);
	return take_fd(&fd);
}

static void test_simultaneous_open(void **state)
{
	struct fake_guest *g =
		start("allow:any@any", "{\"ports\":[{\"host_port\":0,\"guest_port\":80}]}");
	struct tcp_hdr theirs, h = syn, r;
	int fd = open_published(g, &theirs);
	char got[8];

	h.sport = 80;
	h.dport = theirs.sport;
	fake_tcp(g, &g->plan.gateway4, &h, NULL,
		0); /* a SYN of its own, that acknowledges nothing */
	assert_int_equal(fake_last_tcp(g, 0, &r), 0);
	assert_int_equal(r.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(r.seq, theirs.seq);
	assert_int_equal(r.ack, 1001);
	h = (struct tcp_hdr){ .sport = 80,
		.dport = theirs.sport,
		.seq = 1001,
		.ack = theirs.seq + 1,
		.window = 1000,
		.wscale = -1,
		.flags = TCP_ACK };
	fake_tcp(g, &g->plan.gateway4, &h, "hello", 5);
	assert_int_equal(recv(fd, got, sizeof(got), 0), 5);
	assert_memory_equal(got, "hello", 5);
	(void)close(fd);
	stop(g);
}

static void test_published_port_refuses_wrong_answers(void **state)
{
	struct fake_guest *g =
		start("allow:any@any", "{\"ports\":[{\"host_port\":0,\"guest_port\":80}]}");
	struct tcp_hdr theirs, r, h = { .sport = 80, .seq = 9, .wscale = -1 };
	int fd = open_published(g, &theirs);

	h.dport = theirs.sport;
	h.flags = TCP_SYN | TCP_ACK;
	h.ack = theirs.seq + 5;
	fake_tcp(g, &g->plan.gateway4, &h, NULL, 0);
	assert_int_equal(fake_last_tcp(g, 0, &r), 0);
	assert_int_equal(r.flags, TCP_RST);
	h.flags = TCP_RST | TCP_ACK; /* about something else */
	fake_tcp(g, &g->plan.gateway4, &h, NULL, 0);
	assert_int_equal(stats(g).tcp_flows, 1);
	h.ack = theirs.seq + 1;
	fake_tcp(g, &g->plan.gateway4, &h, NULL, 0);
	assert_int_equal(stats(g).tcp_flows, 0);
	(void)close(fd);
	stop(g);
}

/* --- what the guest could tell its neighbours --- */

static size_t icmp6(struct fake_guest *g, uint8_t *frame, const char *src, const char *dst,
	uint8_t type, const void *body, size_t len)
{
	struct ip_addr s, d;
	struct ip_out ip = {
		.src = &s, .dst = &d, .proto = IP_PROTO_ICMP6, .ttl = 255, .l4_len = 4 + len
	};
	uint8_t *l4;

	assert_int_equal(ip_parse(src, &s) | ip_parse(dst, &d), 0);
	l4 = ip_put(eth_put(frame, &g->plan.gateway_mac, &g->plan.guest_mac, ETH_TYPE_IP6), &ip);
	memset(l4, 0, 4);
	l4[0] = type;
	memcpy(l4 + 4, body, len);
	store_be16(l4 + 2,
		csum_finish(csum_add(
			csum_pseudo(&s, &d, IP_PROTO_ICMP6, (uint32_t)ip.l4_len), l4, ip.l4_len)));
	return (size_t)(l4 - frame) + ip.l4_len;
}

static void test_forged_neighbours_and_routers(void **state)
{
	struct fake_guest *g = start("", NULL);
	uint8_t frame[200], body[60] = { 0 };
	static const struct {
		const char *src, *dst;
		uint8_t type;
	} rows[] = {
		{ "fe80::5", "ff02::1", ICMP6_ROUTER_ADV },
		{ "fe80::5", "fe80::1", ICMP6_ROUTER_ADV },
		{ "fd42:6d73:62::2", "ff02::1", ICMP6_NEIGH_ADV }, /* "I am the gateway" */
		{ "fe80::5", "fd42:6d73:62::1", ICMP6_NEIGH_ADV },
		{ "fe80::5", "ff02::1", 137 }, /* redirect */
	};
	struct arp_msg m = { .op = ARP_REPLY,
		.sender_mac = g->plan.guest_mac,
		.sender = g->plan.gateway4,
		.target = g->plan.gateway4 };
	static const struct mac all = { { 255, 255, 255, 255, 255, 255 } };
	struct net_plan plan = g->net->plan;

	memcpy(body + 4, g->plan.gateway6.b, 16);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t len =
			icmp6(g, frame, rows[i].src, rows[i].dst, rows[i].type, body, sizeof(body));

		(void)fake_send(g, frame, len, true);
	}
	(void)arp_put(eth_put(frame, &all, &g->plan.guest_mac, ETH_TYPE_ARP), &m);
	(void)fake_send(g, frame, ETH_HDR_LEN + ARP_LEN, true);
	assert_int_equal(g->n_got, 0); /* nobody is impressed */
	assert_memory_equal(&plan, &g->net->plan, sizeof(plan));
	stop(g);
}

static void test_echo_under_deny(void **state)
{
	struct fake_guest *g = start("deny@any", NULL);
	static const uint8_t body[16] = { 0 };
	uint8_t frame[200];
	size_t len = icmp6(
		g, frame, "fd42:6d73:62::2", "fd42:6d73:62::1", ICMP6_ECHO, body, sizeof(body));
	const uint8_t *last;

	(void)fake_send(g, frame, len, true);
	last = fake_last(g, 0, &len);
	assert_non_null(last);
	assert_int_equal(last[ETH_HDR_LEN + IP6_HDR_LEN], ICMP6_UNREACH);
	assert_int_equal(last[ETH_HDR_LEN + IP6_HDR_LEN + 1], 1); /* prohibited */
	len = icmp6(g, frame, "fd42:6d73:62::2", "fd42:6d73:62::1", ICMP6_ECHO, body, sizeof(body));
	for (unsigned i = 0; i < 5000; i++)
		(void)fake_send(g, frame, len, true);
	assert_int_equal(stats(g).denied[NET_DENY_POLICY], 5001);
	assert_true(g->n_got < 1000); /* errors are rationed */
	assert_true(g->denials < 100);
	stop(g);
}

static void test_multicast_goes_nowhere(void **state)
{
	struct fake_guest *g = start("allow@any", NULL);
	static const char *const dsts[] = { "224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1" };
	struct ip_addr dst;

	for (size_t i = 0; i < ARRAY_LEN(dsts); i++) {
		struct tcp_hdr h = syn;

		assert_int_equal(ip_parse(dsts[i], &dst), 0);
		h.sport = 5;
		h.dport = 80;
		fake_tcp(g, &dst, &h, NULL, 0);
		fake_udp(g, &dst, 4000, 1900, "x", 1);
	}
	assert_int_equal(stats(g).tcp_flows + stats(g).udp_flows, 0);
	assert_int_equal(g->n_got, 0);
	stop(g);
}

/* --- floods --- */

static void test_flood_of_dhcp(void **state)
{
	struct fake_guest *g = start("", NULL);
	uint8_t m[300] = { 1, 1, 6 };
	static const uint8_t discover[] = { 0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255 };
	static const struct ip_addr all = IP_V4(255, 255, 255, 255);
	struct ip_addr own = g->plan.guest4;

	memcpy(m + 236, discover, sizeof(discover));
	g->plan.guest4 = IP_V4(0, 0, 0, 0);
	for (unsigned i = 0; i < 5000; i++) { /* each time another client */
		store_be32(m + 4, i);
		store_be32(m + 28, i * 77);
		fake_udp(g, &all, 68, 67, m, sizeof(m));
	}
	assert_int_equal(g->n_got, 5000); /* stateless: an answer each, and nothing kept */
	for (size_t cut = 0; cut < sizeof(m); cut++)
		fake_udp(g, &all, 68, 67, m, cut);
	for (unsigned i = 0; i < 2000; i++) {
		m[240 + i % 60] = (uint8_t)(i * 31);
		fake_udp(g, &all, 68, 67, m, sizeof(m));
	}
	g->plan.guest4 = own;
	assert_int_equal(stats(g).udp_flows, 0);
	stop(g);
}

static void test_flood_of_dials(void **state)
{
	/* 198.51.100.0/24 is documentation: from here it leads nowhere, or to silence */
	struct fake_guest *g = start("allow@any", NULL);
	struct ip_addr dst = IP_V4(198, 51, 100, 9);
	struct tcp_hdr h = syn;

	h.dport = 9;
	for (uint32_t p = 1; p <= 5000; p++) {
		h.sport = (uint16_t)p;
		fake_tcp(g, &dst, &h, NULL, 0);
	}
	assert_true(stats(g).tcp_flows <= TCP_DIALS_MAX);
	assert_true(g->net->dialing <= TCP_DIALS_MAX);
	net_detach(g->net);
	assert_int_equal(g->net->dialing, 0);
	assert_int_equal(stats(g).tcp_flows, 0);
	stop(g);
}

/* --- DNS over TCP --- */

/* struct talk - a connection to the resolver of which only the guest's side is interesting */
struct talk {
	struct fake_guest *g;
	struct tcp_hdr h;
};

static struct talk talk_open(struct fake_guest *g, uint16_t port)
{
	struct talk t = { .g = g, .h = syn };
	struct tcp_hdr r;

	t.h.sport = port;
	fake_tcp(g, &g->plan.gateway4, &t.h, NULL, 0);
	assert_int_equal(fake_last_tcp(g, 0, &r), 0);
	t.h = (struct tcp_hdr){ .sport = port,
		.dport = 53,
		.seq = 1001,
		.ack = r.seq + 1,
		.window = 60000,
		.wscale = -1,
		.flags = TCP_ACK };
	return t;
}

static void say(struct talk *t, const void *data, size_t len)
{
	fake_tcp(t->g, &t->g->plan.gateway4, &t->h, data, len);
	t->h.seq += (uint32_t)len;
}

static void test_games_with_length_prefixes(void **state)
{
	struct fake_guest *g = start("deny@any", NULL);
	static const uint8_t query[] = "\x00\x1b\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
				       "\x01x\x07"
				       "example\x00\x00\x01\x00\x01";
	static uint8_t junk[3000];
	struct talk t = talk_open(g, 1);
	unsigned before;

	memset(junk, 0xff, sizeof(junk));
	say(&t, "\0\0\0\0\0\0", 6); /* three messages without a byte */
	assert_int_equal(stats(g).malformed, 3);
	before = g->n_got;
	for (size_t i = 0; i + 1 < sizeof(query); i++)
		say(&t, query + i, 1);
	assert_true(g->n_got > before);
	assert_int_equal(stats(g).dns_queries, 1);
	say(&t, "\xff\xff", 2); /* the largest one: is waited for, held, and found to be junk */
	for (unsigned i = 0; i < 21; i++)
		say(&t, junk, sizeof(junk));
	assert_int_equal(stats(g).held_bytes, 2 + 21 * sizeof(junk));
	say(&t, junk, 65535 - 21 * sizeof(junk));
	assert_int_equal(stats(g).held_bytes, 0);
	assert_int_equal(stats(g).malformed, 4);
	t = talk_open(g, 2);
	say(&t, "\xff\xff", 2);
	t.h.flags = TCP_ACK | TCP_FIN; /* and then the end */
	say(&t, junk, 10);
	assert_int_equal(stats(g).malformed, 4);
	net_detach(g->net);
	assert_int_equal(stats(g).held_bytes, 0);
	stop(g);
}

static void test_resolver_that_is_never_read(void **state)
{
	struct fake_guest *g = start("deny@any", NULL);
	static const uint8_t query[] = "\x00\x1b\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
				       "\x01x\x07"
				       "example\x00\x00\x01\x00\x01";
	uint8_t many[100 * (sizeof(query) - 1)];
	size_t most = 0;

	for (unsigned i = 0; i < 100; i++)
		memcpy(many + i * (sizeof(query) - 1), query, sizeof(query) - 1);
	for (uint16_t port = 1; port <= 40; port++) {
		struct talk t = talk_open(g, port);

		t.h.window = 0; /* answers pile up here, within bounds; then questions are held */
		for (unsigned i = 0; i < 600; i++)
			say(&t, many, sizeof(many));
		most = MAX_OF(most, stats(g).held_bytes);
	}
	assert_true(most <= 40u * 1024 * 1024 && most > 0);
	net_detach(g->net);
	assert_int_equal(stats(g).held_bytes, 0);
	stop(g);
}

static void expect_rcode(const struct fake_guest *g, uint8_t rcode)
{
	size_t len;
	const uint8_t *last = fake_last(g, 0, &len);

	assert_non_null(last);
	assert_int_equal(last[ETH_HDR_LEN + IP4_HDR_LEN + UDP_HDR_LEN + 3] & 15, rcode);
}

static void test_names_that_carry_data_out(void **state)
{
	/* only names under the rule's own leave, however long the labels in front are */
	struct fake_guest *g = start("allow@*.good.example", NULL);
	uint8_t m[400] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00";
	size_t n = 12;

	for (unsigned i = 0; i < 3; i++) {
		m[n++] = 63;
		memset(m + n, 'a' + (int)i, 63);
		n += 63;
	}
	memcpy(m + n,
		"\x04"
		"evil\x07"
		"example\0\0\x10\0\x01",
		18);
	n += 18;
	fake_udp(g, &g->plan.gateway4, 4000, 53, m, n);
	assert_int_equal(stats(g).denied[NET_DENY_POLICY], 1);
	expect_rcode(g, DNS_NXDOMAIN);
	m[12] = 64; /* a label that cannot be */
	fake_udp(g, &g->plan.gateway4, 4000, 53, m, n);
	expect_rcode(g, DNS_FORMERR);
	m[12] = 0xc0; /* and one that leads back to itself */
	m[13] = 12;
	fake_udp(g, &g->plan.gateway4, 4000, 53, m, n);
	expect_rcode(g, DNS_FORMERR);
	stop(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_port_at_once),
		cmocka_unit_test(test_storm_of_resets),
		cmocka_unit_test(test_simultaneous_open),
		cmocka_unit_test(test_published_port_refuses_wrong_answers),
		cmocka_unit_test(test_forged_neighbours_and_routers),
		cmocka_unit_test(test_echo_under_deny),
		cmocka_unit_test(test_multicast_goes_nowhere),
		cmocka_unit_test(test_flood_of_dhcp),
		cmocka_unit_test(test_flood_of_dials),
		cmocka_unit_test(test_games_with_length_prefixes),
		cmocka_unit_test(test_resolver_that_is_never_read),
		cmocka_unit_test(test_names_that_carry_data_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
