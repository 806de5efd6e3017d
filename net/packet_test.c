/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "lib/num.h"
#include "net/checksum.h"
#include "net/packet.h"

static const struct mac mac_a = { { 2, 0, 0, 0, 0, 1 } }, mac_b = { { 2, 0, 0, 0, 0, 2 } };

static struct ip_addr ip(const char *s)
{
	struct ip_addr a;

	assert_int_equal(ip_parse(s, &a), 0);
	return a;
}

/* Ethernet and IP headers for @l4_len bytes of @proto. Returns where layer 4 begins. */
static uint8_t *put_headers(
	uint8_t *p, const char *src, const char *dst, uint8_t proto, size_t l4_len)
{
	struct ip_addr s = ip(src), d = ip(dst);
	struct ip_out o = {
		.src = &s, .dst = &d, .proto = proto, .ttl = PKT_TTL, .l4_len = l4_len
	};

	p = eth_put(p, &mac_a, &mac_b, ip_is_v4(&s) ? ETH_TYPE_IP4 : ETH_TYPE_IP6);
	return ip_put(p, &o);
}

static void test_checksum(void **state)
{
	/* the example of RFC 1071, 3 */
	static const uint8_t data[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	uint8_t big[1000];

	assert_int_equal(csum_fold(csum_add(0, data, sizeof(data))), 0xddf2);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + 3);
	/* however it is cut up, odd pieces included */
	for (size_t cut = 0; cut <= sizeof(big); cut += 37) {
		struct iovec iov[3] = { { big, cut / 2 }, { big + cut / 2, cut - cut / 2 },
			{ big + cut, sizeof(big) - cut } };

		assert_int_equal(csum_fold(csum_add_iov(0, iov, 3, 0, sizeof(big))),
			csum_fold(csum_add(0, big, sizeof(big))));
		assert_int_equal(csum_fold(csum_add_iov(0, iov, 3, 11, 333)),
			csum_fold(csum_add(0, big + 11, 333)));
	}
	memset(big, 0xff, sizeof(big));
	assert_int_equal(csum_fold(csum_add(0xffff, big, sizeof(big))), 0xffff);
}

static void test_tcp_roundtrip(void **state)
{
	static const char *const pairs[][2] = { { "10.0.0.1", "10.0.0.2" },
		{ "fd00::1", "fd00::2" } };

	for (size_t i = 0; i < 2; i++) {
		struct tcp_hdr in = { .sport = 1000,
			.dport = 80,
			.seq = 0x12345678,
			.ack = 99,
			.flags = TCP_SYN | TCP_ACK,
			.window = 4096,
			.mss = 1460,
			.wscale = 7 };
		struct tcp_hdr out;
		struct eth_hdr eth;
		struct ip_hdr iph;
		uint8_t buf[256];
		size_t len;

		len = (size_t)(tcp_put(put_headers(buf, pairs[i][0], pairs[i][1], IP_PROTO_TCP,
					       tcp_hdr_size(&in)),
				       &in, 0) -
			       buf);
		assert_int_equal(eth_read(buf, len, &eth), 0);
		assert_int_equal(ip_read(eth.type, buf, len, len, &iph), 0);
		assert_int_equal(iph.proto, IP_PROTO_TCP);
		assert_int_equal(iph.l4_len, 28);
		assert_int_equal(tcp_read(buf, len, &iph, &out), 0);
		assert_int_equal(out.seq, in.seq);
		assert_int_equal(out.mss, 1460);
		assert_int_equal(out.wscale, 7);
		assert_int_equal(out.flags, in.flags);
		/* every shorter copy of it is refused, at some layer */
		for (size_t cut = 0; cut < len; cut++)
			assert_true(eth_read(buf, cut, &eth) < 0 ||
				    ip_read(eth.type, buf, cut, cut, &iph) < 0 ||
				    tcp_read(buf, cut, &iph, &out) < 0);
	}
}

/* TCP options as given, padded to words. Return: what tcp_read() says. */
static int read_options(const uint8_t *opts, size_t n, struct tcp_hdr *ret)
{
	struct tcp_hdr h = { .sport = 1, .dport = 2, .wscale = -1 };
	size_t padded = ALIGN_UP(n, (size_t)4), len;
	uint8_t buf[256] = { 0 };
	struct ip_hdr iph;
	uint8_t *l4 = put_headers(buf, "10.0.0.1", "10.0.0.2", IP_PROTO_TCP, 20 + padded);

	(void)tcp_put(l4, &h, 0);
	l4[12] = (uint8_t)((20 + padded) / 4 << 4);
	memcpy(l4 + 20, opts, n);
	len = (size_t)(l4 - buf) + 20 + padded;
	assert_int_equal(ip_read(ETH_TYPE_IP4, buf, len, len, &iph), 0);
	return tcp_read(buf, len, &iph, ret);
}

static void test_tcp_options(void **state)
{
	static const uint8_t good[] = { 1, 1, 2, 4, 5, 0xb4, 3, 3, 200, 8, 10, 0, 0, 0, 0, 0, 0, 0,
		0, 4, 2, 0 };
	static const uint8_t zero_len[] = { 2, 0, 0, 0 }, one[] = { 3, 1, 0, 0 };
	static const uint8_t beyond[] = { 1, 1, 2, 40 }, cut[] = { 1, 1, 1, 2 };
	static const uint8_t ended[] = { 0, 2, 0, 0 };
	struct tcp_hdr h;

	assert_int_equal(read_options(good, sizeof(good), &h), 0);
	assert_int_equal(h.mss, 1460);
	assert_int_equal(h.wscale, 14); /* larger shifts mean 14 (RFC 7323, 2.3) */
	assert_int_equal(read_options(ended, sizeof(ended), &h), 0);
	assert_int_equal(h.mss, 0);
	assert_int_equal(h.wscale, -1);
	assert_int_equal(read_options(zero_len, 4, &h), -EBADMSG);
	assert_int_equal(read_options(one, 4, &h), -EBADMSG);
	assert_int_equal(read_options(beyond, 4, &h), -EBADMSG);
	assert_int_equal(read_options(cut, 4, &h), -EBADMSG);
}

static int reread4(uint8_t *buf, size_t len, struct ip_hdr *iph)
{
	store_be16(buf + 24, 0);
	store_be16(
		buf + 24, csum_finish(csum_add(0, buf + ETH_HDR_LEN, (buf[ETH_HDR_LEN] & 15) * 4)));
	return ip_read(ETH_TYPE_IP4, buf, len, len, iph);
}

static void test_ip4_hostile(void **state)
{
	uint8_t buf[128] = { 0 };
	size_t len = (size_t)(put_headers(buf, "10.0.0.1", "8.8.8.8", IP_PROTO_UDP, 16) - buf) + 16;
	struct ip_hdr iph;
	uint8_t *h = buf + ETH_HDR_LEN;

	assert_int_equal(reread4(buf, len, &iph), 0);
	h[10] ^= 1; /* checksum */
	assert_int_equal(ip_read(ETH_TYPE_IP4, buf, len, len, &iph), -EBADMSG);
	h[0] = 0x44; /* header shorter than legal */
	assert_int_equal(reread4(buf, len, &iph), -EBADMSG);
	h[0] = 0x4f; /* longer than the packet */
	assert_int_equal(reread4(buf, len, &iph), -EBADMSG);
	h[0] = 0x65;
	assert_int_equal(reread4(buf, len, &iph), -EBADMSG);
	h[0] = 0x45;
	store_be16(h + 2, (uint16_t)(len - ETH_HDR_LEN + 1)); /* claims more than the frame has */
	assert_int_equal(reread4(buf, len, &iph), -EBADMSG);
	store_be16(h + 2, 19);
	assert_int_equal(reread4(buf, len, &iph), -EBADMSG);
	store_be16(h + 2, 28);
	assert_int_equal(reread4(buf, len, &iph), 0); /* padded frame: the header's length counts */
	assert_int_equal(iph.l4_len, 8);
	store_be16(h + 6, 0x8000); /* reserved flag */
	assert_int_equal(reread4(buf, len, &iph), -EBADMSG);
	store_be16(h + 6, 0x1fff); /* fragment that would end beyond 64 KiB */
	assert_int_equal(reread4(buf, len, &iph), -EBADMSG);
	store_be16(h + 6, 0x2001);
	assert_int_equal(reread4(buf, len, &iph), 0);
	assert_true(iph.frag && iph.more_frags);
	assert_int_equal(iph.frag_off, 8);
	store_be16(h + 6, 0);
	h[12] = 224; /* multicast source */
	assert_int_equal(reread4(buf, len, &iph), -EBADMSG);
	h[12] = 255;
	assert_int_equal(reread4(buf, len, &iph), -EBADMSG);
}

/* An IPv6 packet whose extension headers are @ext, then an 8 byte UDP header. */
static int read_ext(uint8_t first, const uint8_t *ext, size_t n, struct ip_hdr *iph)
{
	uint8_t buf[PKT_HDR_MAX] = { 0 };
	uint8_t *p = put_headers(buf, "fd00::1", "fd00::2", first, n + 8);
	size_t len = (size_t)(p - buf) + n + 8;

	memcpy(p, ext, n);
	return ip_read(ETH_TYPE_IP6, buf, len, len, iph);
}

static void test_ip6_extensions(void **state)
{
	static const uint8_t hop_dst[] = { 60, 0, 1, 4, 0, 0, 0, 0, 17, 1, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0 };
	static const uint8_t hop_again[] = { 0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0 };
	static const uint8_t frag_first[] = { 17, 0, 0, 1, 0, 0, 0, 9 };
	static const uint8_t frag_later[] = { 17, 0, 0, 9, 0, 0, 0, 9 };
	static const uint8_t frag_atomic[] = { 17, 0, 0, 0, 0, 0, 0, 9 };
	static const uint8_t frag_reserved[] = { 17, 0, 0, 2, 0, 0, 0, 9 };
	static const uint8_t frag_twice[] = { 44, 0, 0, 1, 0, 0, 0, 9, 17, 0, 0, 1, 0, 0, 0, 9 };
	static const uint8_t route_left[] = { 17, 0, 0, 1, 0, 0, 0, 0 };
	static const uint8_t route_done[] = { 17, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t too_long[] = { 17, 200, 0, 0, 0, 0, 0, 0 };
	uint8_t many[8 * (PKT_EXT_MAX + 2)] = { 0 };
	struct ip_hdr iph;

	assert_int_equal(read_ext(0, hop_dst, sizeof(hop_dst), &iph), 0);
	assert_int_equal(iph.proto, IP_PROTO_UDP);
	assert_int_equal(iph.l4_len, 8);
	assert_int_equal(read_ext(0, hop_again, sizeof(hop_again), &iph), -EBADMSG);
	assert_int_equal(read_ext(44, frag_first, 8, &iph), 0);
	assert_true(iph.frag && iph.more_frags && iph.frag_id == 9);
	assert_int_equal(read_ext(44, frag_later, 8, &iph), 0);
	assert_int_equal(iph.frag_off, 8);
	assert_int_equal(read_ext(44, frag_atomic, 8, &iph), 0);
	assert_false(iph.frag);
	assert_int_equal(read_ext(44, frag_reserved, 8, &iph), -EBADMSG);
	assert_int_equal(read_ext(44, frag_twice, 16, &iph), 0);
	assert_int_equal(iph.proto, 44); /* what a fragment holds is looked at when it is whole */
	assert_int_equal(read_ext(43, route_left, 8, &iph), -EBADMSG);
	assert_int_equal(read_ext(43, route_done, 8, &iph), 0);
	assert_int_equal(read_ext(60, too_long, 8, &iph), -EBADMSG);
	for (size_t i = 0; i < sizeof(many); i += 8)
		many[i] = 60;
	assert_int_equal(read_ext(60, many, sizeof(many), &iph), -EPROTONOSUPPORT);
}

static void test_ip6_hostile(void **state)
{
	uint8_t buf[128] = { 0 };
	size_t len = (size_t)(put_headers(buf, "fd00::1", "fd00::2", IP_PROTO_UDP, 8) - buf) + 8;
	struct ip_addr mapped = ip("1.2.3.4"), multi = ip("ff02::1");
	uint8_t *h = buf + ETH_HDR_LEN;
	struct ip_hdr iph;

	assert_int_equal(ip_read(ETH_TYPE_IP6, buf, len, len, &iph), 0);
	store_be16(h + 4, 0); /* jumbogram */
	assert_int_equal(ip_read(ETH_TYPE_IP6, buf, len, len, &iph), -EBADMSG);
	store_be16(h + 4, 9);
	assert_int_equal(ip_read(ETH_TYPE_IP6, buf, len, len, &iph), -EBADMSG);
	store_be16(h + 4, 8);
	memcpy(h + 24, mapped.b,
		16); /* ::ffff:1.2.3.4 on the wire is an attempt to dodge IPv4 rules */
	assert_int_equal(ip_read(ETH_TYPE_IP6, buf, len, len, &iph), -EBADMSG);
	memset(h + 24, 0xfd, 16);
	memcpy(h + 8, multi.b, 16);
	assert_int_equal(ip_read(ETH_TYPE_IP6, buf, len, len, &iph), -EBADMSG);
}

static void test_udp_arp_eth(void **state)
{
	struct arp_msg in = { .op = ARP_REQUEST,
		.sender_mac = mac_a,
		.target_mac = mac_b,
		.sender = ip("10.0.0.1"),
		.target = ip("10.0.0.2") };
	struct arp_msg out;
	struct ip_hdr iph;
	struct udp_hdr udp;
	struct eth_hdr eth;
	uint8_t buf[128] = { 0 };
	size_t len = (size_t)(udp_put(put_headers(buf, "10.0.0.1", "8.8.8.8", IP_PROTO_UDP, 12), 5,
				      53, 4, 0) -
			      buf) +
		     4;

	assert_int_equal(ip_read(ETH_TYPE_IP4, buf, len, len, &iph), 0);
	assert_int_equal(udp_read(buf, len, &iph, &udp), 0);
	assert_int_equal(udp.len, 12);
	store_be16(buf + 38, 13);
	assert_int_equal(udp_read(buf, len, &iph, &udp), -EBADMSG);
	store_be16(buf + 38, 7);
	assert_int_equal(udp_read(buf, len, &iph, &udp), -EBADMSG);

	len = (size_t)(arp_put(eth_put(buf, &mac_a, &mac_b, ETH_TYPE_ARP), &in) - buf);
	assert_int_equal(arp_read(buf, len, &out), 0);
	assert_true(ip_equal(&out.target, &in.target));
	assert_int_equal(arp_read(buf, len - 1, &out), -EBADMSG);
	buf[21] = 3; /* neither request nor reply */
	assert_int_equal(arp_read(buf, len, &out), -EBADMSG);

	store_be16(buf + 12, 0x100); /* LLC length, not a type */
	assert_int_equal(eth_read(buf, len, &eth), -EBADMSG);
	store_be16(buf + 12, ETH_TYPE_IP4);
	buf[6] = 1; /* group source */
	assert_int_equal(eth_read(buf, len, &eth), -EBADMSG);
	assert_int_equal(eth_read(buf, 13, &eth), -EBADMSG);
}

static void test_ndp(void **state)
{
	uint8_t buf[128] = { 0 };
	uint8_t *p = put_headers(buf, "fe80::1", "ff02::1", IP_PROTO_ICMP6, 24);
	struct ip_addr target = ip("fd00::1");
	size_t len = (size_t)(p - buf) + 24;
	struct ndp_msg m;
	struct ip_hdr iph;

	p[0] = ICMP6_NEIGH_SOL;
	memcpy(p + 8, target.b, 16);
	assert_int_equal(ip_read(ETH_TYPE_IP6, buf, len, len, &iph), 0);
	assert_int_equal(
		ndp_read(buf, len, &iph, &m), -EBADMSG); /* hop limit 64: came over a router */
	iph.ttl = 255;
	assert_int_equal(ndp_read(buf, len, &iph, &m), 0);
	assert_true(ip_equal(&m.target, &target));
	p[8] = 0xff;
	assert_int_equal(ndp_read(buf, len, &iph, &m), -EBADMSG);
	p[0] = ICMP6_NEIGH_ADV;
	assert_int_equal(ndp_read(buf, len, &iph, &m), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_tcp_roundtrip),
		cmocka_unit_test(test_tcp_options),
		cmocka_unit_test(test_ip4_hostile),
		cmocka_unit_test(test_ip6_extensions),
		cmocka_unit_test(test_ip6_hostile),
		cmocka_unit_test(test_udp_arp_eth),
		cmocka_unit_test(test_ndp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
