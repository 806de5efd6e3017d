/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has an address? The gateway, for every address but the guest's own: all roads lead through
 * it. Probes for duplicates are only answered for the gateway's own addresses, else the guest could
 * never use any (RFC 5227, RFC 4862 5.4.3).
 */
#include "lib/num.h"
#include "net/checksum.h"
#include "net/net_internal.h"

void neigh_arp(struct net *net, struct pkt *p)
{
	static const struct ip_addr zero4 = IP_V4(0, 0, 0, 0);
	uint8_t frame[ETH_HDR_LEN + ARP_LEN];
	struct arp_msg m, reply;
	bool probe;

	if (arp_read(p->hdr, p->hdr_len, &m) < 0) {
		net->stats.malformed++;
		return;
	}
	probe = ip_equal(&m.sender, &zero4) || ip_equal(&m.sender, &m.target);
	if (m.op != ARP_REQUEST || !net->plan.v4 || ip_equal(&m.target, &net->plan.guest4) ||
		(probe && !ip_equal(&m.target, &net->plan.gateway4)))
		return;
	reply = (struct arp_msg){ .op = ARP_REPLY,
		.sender_mac = net->plan.gateway_mac,
		.sender = m.target,
		.target_mac = m.sender_mac,
		.target = m.sender };
	(void)arp_put(
		eth_put(frame, &net->guest_mac, &net->plan.gateway_mac, ETH_TYPE_ARP), &reply);
	(void)out_frame(net, frame, sizeof(frame));
}

/* Sends the ICMPv6 message at @l4, whose checksum field is zero, from the gateway. */
static void ndp_send(struct net *net, uint8_t *frame, uint8_t *l4, size_t len,
	const struct ip_addr *src, const struct ip_addr *dst)
{
	struct ip_out ip = {
		.src = src, .dst = dst, .proto = IP_PROTO_ICMP6, .ttl = 255, .l4_len = len
	};

	(void)ip_put(out_eth(net, frame, false), &ip);
	store_be16(l4 + 2, csum_finish(csum_add(
				   csum_pseudo(src, dst, IP_PROTO_ICMP6, (uint32_t)len), l4, len)));
	(void)out_frame(net, frame, (size_t)(l4 - frame) + len);
}

/* Source or target link-layer address option. */
static uint8_t *put_mac_option(uint8_t *p, uint8_t kind, const struct mac *mac)
{
	p[0] = kind;
	p[1] = 1;
	memcpy(p + 2, mac->b, 6);
	return p + 8;
}

static bool is_unspecified(const struct ip_addr *a)
{
	static const struct ip_addr zero;

	return ip_equal(a, &zero);
}

/* The address of the guest's that ends in its MAC, or anything link-local but the gateway's. */
static bool is_guest_v6(const struct net *net, const struct ip_addr *a)
{
	if (ip_equal(a, &net->plan.guest6))
		return true;
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80 && !ip_equal(a, &net->gateway_ll);
}

static void answer_solicitation(struct net *net, const struct pkt *p, const struct ndp_msg *m)
{
	static const struct ip_addr all_nodes = { { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		1 } };
	uint8_t frame[ETH_HDR_LEN + IP6_HDR_LEN + 32] = { 0 };
	uint8_t *l4 = frame + ETH_HDR_LEN + IP6_HDR_LEN;
	bool dad = is_unspecified(&p->ip.src);
	bool own =
		ip_equal(&m->target, &net->plan.gateway6) || ip_equal(&m->target, &net->gateway_ll);

	if (is_guest_v6(net, &m->target) || (dad && !own))
		return;
	l4[0] = ICMP6_NEIGH_ADV;
	l4[4] = (uint8_t)(0x80 | 0x20 | (dad ? 0 : 0x40)); /* router, override, solicited */
	memcpy(l4 + 8, m->target.b, 16);
	(void)put_mac_option(l4 + 24, 2, &net->plan.gateway_mac);
	ndp_send(net, frame, l4, 32, &m->target, dad ? &all_nodes : &p->ip.src);
}

/*
 * A router advertisement: default route, MTU, the prefix (on link, addresses may be made from it)
 * and the resolver. Lifetimes are long: the gateway lives as long as the guest.
 */
static void advertise_router(struct net *net, const struct pkt *p)
{
	static const struct ip_addr all_nodes = { { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		1 } };
	enum { LEN = 16 + 8 + 8 + 32 + 24 };
	uint8_t frame[ETH_HDR_LEN + IP6_HDR_LEN + LEN] = { 0 };
	uint8_t *l4 = frame + ETH_HDR_LEN + IP6_HDR_LEN, *o;

	l4[0] = ICMP6_ROUTER_ADV;
	l4[4] = PKT_TTL;
	store_be16(l4 + 6, 9000);
	o = put_mac_option(l4 + 16, 1, &net->plan.gateway_mac);
	o[0] = 5; /* MTU */
	o[1] = 1;
	store_be32(o + 4, net->plan.mtu);
	o += 8;
	o[0] = 3; /* prefix */
	o[1] = 4;
	o[2] = 64;
	o[3] = 0xc0; /* on link, autonomous */
	store_be32(o + 4, UINT32_MAX);
	store_be32(o + 8, UINT32_MAX);
	memcpy(o + 16, net->plan.gateway6.b, 8);
	o += 32;
	o[0] = 25; /* recursive DNS server, RFC 8106 */
	o[1] = 3;
	store_be32(o + 4, UINT32_MAX);
	memcpy(o + 8, net->plan.gateway6.b, 16);
	ndp_send(net, frame, l4, LEN, &net->gateway_ll,
		is_unspecified(&p->ip.src) ? &all_nodes : &p->ip.src);
}

bool neigh_ndp(struct net *net, struct pkt *p, uint8_t type)
{
	struct ndp_msg m;

	if (type < ICMP6_ROUTER_SOL || type > 137)
		return false;
	/* advertisements and redirects are for routers to send: the guest's mean nothing here */
	if (type != ICMP6_ROUTER_SOL && type != ICMP6_NEIGH_SOL)
		return true;
	if (!net->plan.v6 || ndp_read(p->hdr, p->hdr_len, &p->ip, &m) < 0) {
		net->stats.malformed++;
		return true;
	}
	if (type == ICMP6_NEIGH_SOL)
		answer_solicitation(net, p, &m);
	else
		advertise_router(net, p);
	return true;
}
