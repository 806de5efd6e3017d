/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arbitrary frames and arbitrary TCP segments against the whole stack. Policy denies everything but
 * pings of the gateway, so nothing leaves; connections to port 53 end in the gateway's own resolver
 * and take the TCP state machine through all its states. Numbers in segments are relative to what
 * the stack sent last, else no input would ever hit the window.
 *
 * Input: records of an opcode, a length byte and that many bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/num.h"
#include "net/fake_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A segment on port 1000 + @port of the guest. */
static void segment(struct fake_guest *g, struct cursor *c)
{
	uint8_t port = cursor_u8(c) & 3, flags = cursor_u8(c), spread = cursor_u8(c);
	struct tcp_hdr last = { 0 };
	struct tcp_hdr h = { .sport = (uint16_t)(1000 + port),
		.dport = 53,
		.flags = flags & 0x3f,
		.window = cursor_be16(c),
		.wscale = -1 };
	const struct ip_addr *gw = flags & 0x80 ? &g->plan.gateway6 : &g->plan.gateway4;

	for (unsigned back = 0; back < 8; back++) {
		if (fake_last_tcp(g, back, &last) >= 0 && last.dport == h.sport)
			break;
	}
	h.seq = last.ack;
	h.ack = last.seq + !!(last.flags & (TCP_SYN | TCP_FIN));
	if (spread & 1)
		h.seq += (uint32_t)(int32_t)(int8_t)cursor_u8(c);
	if (spread & 2)
		h.ack += (uint32_t)(int32_t)(int8_t)cursor_u8(c);
	if (spread & 4)
		h.seq += cursor_be32(c);
	if (flags & TCP_SYN) {
		h.mss = cursor_be16(c);
		h.wscale = (int8_t)(cursor_u8(c) % 15);
	}
	fake_tcp(g, gw, &h, c->data + c->pos, cursor_left(c));
}

/* Payload behind an IP header that is right, whole or a fragment: checksums cannot be guessed. */
static void packet(struct fake_guest *g, struct cursor *c)
{
	uint8_t kind = cursor_u8(c), place = cursor_u8(c), frame[400], *l4;
	static const uint8_t protos[] = { IP_PROTO_ICMP, IP_PROTO_ICMP6, IP_PROTO_UDP,
		IP_PROTO_TCP };
	bool v4 = kind & 4, away = kind & 8;
	struct ip_addr out4 = IP_V4(198, 51, 100, 1), out6 = { { 0x20, 1, 0xd, 0xb8 } };
	const struct ip_addr *gw = v4 ? &g->plan.gateway4 : &g->plan.gateway6;
	struct ip_out ip = { .src = v4 ? &g->plan.guest4 : &g->plan.guest6,
		.dst = !away ? gw
		       : v4  ? &out4
			     : &out6,
		.proto = protos[kind & 3],
		.ttl = kind & 16 ? 1 : 255,
		.l4_len = cursor_left(c),
		.frag = kind & 32,
		.frag_off = (uint16_t)((place & 15) * 8),
		.more_frags = place & 16,
		.frag_id = place >> 5 };

	l4 = ip_put(eth_put(frame, &g->plan.gateway_mac, &g->plan.guest_mac,
			    v4 ? ETH_TYPE_IP4 : ETH_TYPE_IP6),
		&ip);
	if (ip.l4_len)
		memcpy(l4, c->data + c->pos, ip.l4_len);
	(void)fake_send(g, frame, (size_t)(l4 - frame) + ip.l4_len, true);
}

static void run(struct fake_guest *g, uint8_t op, const uint8_t *p, size_t len)
{
	struct cursor c = cursor_init(p, len);
	uint8_t frame[300];

	switch (op & 7) {
	case 0: /* raw */
		(void)fake_send(g, p, len, true);
		break;
	case 1: /* raw behind a good Ethernet header */
		memcpy(eth_put(frame, &g->plan.gateway_mac, &g->plan.guest_mac,
			       op & 0x40   ? ETH_TYPE_IP6
			       : op & 0x80 ? ETH_TYPE_ARP
					   : ETH_TYPE_IP4),
			p, len);
		(void)fake_send(g, frame, ETH_HDR_LEN + len, true);
		break;
	case 2:
		segment(g, &c);
		break;
	case 3:
		fake_udp(g, op & 0x40 ? &g->plan.gateway6 : &g->plan.gateway4,
			op & 0x80 ? 68 : 2000, op & 0x80 ? 67 : 53, p, len);
		break;
	case 4:
		g->no_room = !g->no_room;
		if (!g->no_room)
			net_to_guest_ready(g->net);
		break;
	case 6:
		packet(g, &c);
		break;
	default:
		(void)loop_run_once(g->loop, 0, NULL);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fake_guest *g = malloc(sizeof(*g));
	struct cursor c = cursor_init(data, len);
	struct net_stats s;

	if (!g || fake_guest_init(g, "allow@host:icmpv4,allow@host:icmpv6,deny@any", NULL) < 0)
		abort();
	for (unsigned i = 0; cursor_left(&c) && i < 200; i++) {
		uint8_t op = cursor_u8(&c);
		size_t n = cursor_u8(&c);

		n = MIN_OF(n, cursor_left(&c));
		run(g, op, n ? cursor_bytes(&c, n) : data, n);
	}
	net_get_stats(g->net, &s);
	if (s.held_bytes > MIB(8) || s.tcp_flows > 8)
		abort();
	fake_guest_release(g);
	free(g);
	return 0;
}
