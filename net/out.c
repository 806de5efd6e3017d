/* SPDX-License-Identifier: Apache-2.0 */
/* Frames to the guest: room from the link, rate limit, counting; datagrams in fragments. */
#include "lib/clock.h"
#include "lib/iov.h"
#include "lib/num.h"
#include "net/checksum.h"
#include "net/net_internal.h"

/* The limiter has no credit (it is paid when the frame is on its way): come back later, as if the
 * guest had no buffers. */
static bool rate_allows(struct net *net, size_t len)
{
	uint64_t now, wait;

	if (!limiter_on(&net->limit_to))
		return true;
	now = clock_mono_ns();
	wait = limiter_wait(&net->limit_to, len, now);
	if (!wait)
		return true;
	loop_timer_arm(net->to_timer, now + wait);
	return false;
}

bool out_begin(struct net *net, size_t len, struct out *o)
{
	if (!net->link)
		return false;
	o->n = net->link->reserve(net->link_ctx, len, o->iov, NET_LINK_IOV);
	if (o->n && rate_allows(net, len)) {
		o->len = len;
		return true;
	}
	if (o->n)
		net->link->cancel(net->link_ctx);
	net->blocked = true;
	return false;
}

void out_cancel(struct net *net)
{
	net->link->cancel(net->link_ctx);
}

void out_commit(struct net *net, struct out *o, const struct net_offload *off, size_t len)
{
	static const struct net_offload none;

	net->link->commit(net->link_ctx, off ? off : &none, len);
	if (limiter_on(&net->limit_to))
		limiter_pay(&net->limit_to, len);
	net->stats.frames_to_guest++;
	net->stats.bytes_to_guest += len;
	net->want_flush = true;
}

void out_flush(struct net *net)
{
	if (net->want_flush && net->link)
		net->link->flush(net->link_ctx);
	net->want_flush = false;
}

bool out_frame(struct net *net, const uint8_t *frame, size_t len)
{
	struct out o;

	if (!out_begin(net, len, &o)) {
		net->stats.dropped++;
		return false;
	}
	(void)iov_write(o.iov, o.n, 0, frame, len);
	out_commit(net, &o, NULL, len);
	return true;
}

uint8_t *out_eth(struct net *net, uint8_t *p, bool v4)
{
	return eth_put(
		p, &net->guest_mac, &net->plan.gateway_mac, v4 ? ETH_TYPE_IP4 : ETH_TYPE_IP6);
}

/* struct gram - a UDP datagram on its way to the guest */
struct gram {
	const struct ip_addr *src, *dst;
	uint8_t udp[UDP_HDR_LEN];
	const uint8_t *payload;
	size_t len; /* of the payload */
};

/* The bytes [off, off + len) of UDP header and payload, into @o at @at. */
static void gram_copy(const struct gram *g, size_t off, size_t len, struct out *o, size_t at)
{
	if (off < UDP_HDR_LEN) {
		size_t n = MIN_OF(len, UDP_HDR_LEN - off);

		(void)iov_write(o->iov, o->n, at, g->udp + off, n);
		at += n;
		off += n;
		len -= n;
	}
	if (len)
		(void)iov_write(o->iov, o->n, at, g->payload + (off - UDP_HDR_LEN), len);
}

/* One packet or fragment. */
static bool gram_send(struct net *net, const struct gram *g, struct ip_out *ip, size_t off,
	const struct net_offload *offload)
{
	uint8_t hdr[ETH_HDR_LEN + IP6_HDR_LEN + IP6_FRAG_LEN];
	size_t hlen = (size_t)(ip_put(out_eth(net, hdr, ip_is_v4(ip->src)), ip) - hdr);
	struct out o;

	if (!out_begin(net, hlen + ip->l4_len, &o)) {
		net->stats.dropped++;
		return false;
	}
	(void)iov_write(o.iov, o.n, 0, hdr, hlen);
	gram_copy(g, off, ip->l4_len, &o, hlen);
	out_commit(net, &o, offload, hlen + ip->l4_len);
	return true;
}

static void gram_fragment(struct net *net, const struct gram *g, struct ip_out *ip)
{
	size_t total = UDP_HDR_LEN + g->len, off = 0;
	size_t room = (net->plan.mtu - ip_hdr_len(g->src, true)) & ~(size_t)7;

	ip->frag = true;
	ip->frag_id = ++net->frag_id;
	while (off < total) {
		ip->l4_len = MIN_OF(total - off, room);
		ip->frag_off = (uint16_t)off;
		ip->more_frags = off + ip->l4_len < total;
		if (!gram_send(net, g, ip, off, NULL))
			return; /* the rest would be of no use */
		off += ip->l4_len;
	}
}

void out_datagram(struct net *net, const struct ip_addr *src, uint16_t sport,
	const struct ip_addr *dst, uint16_t dport, const uint8_t *payload, size_t len)
{
	struct gram g = { .src = src, .dst = dst, .payload = payload, .len = len };
	struct ip_out ip = { .src = src,
		.dst = dst,
		.proto = IP_PROTO_UDP,
		.ttl = PKT_TTL,
		.l4_len = UDP_HDR_LEN + len };
	size_t most = IP_MAX_LEN - UDP_HDR_LEN - (ip_is_v4(src) ? IP4_HDR_LEN : 0);
	uint32_t sum;

	if (len > most) {
		net->stats.dropped++;
		return;
	}
	(void)udp_put(g.udp, sport, dport, len, 0);
	sum = csum_pseudo(src, dst, IP_PROTO_UDP, (uint32_t)(UDP_HDR_LEN + len));
	sum = csum_finish(csum_add(csum_add(sum, g.udp, UDP_HDR_LEN), payload, len));
	store_be16(g.udp + 6, sum ? (uint16_t)sum : 0xffff); /* 0 would mean "none" */
	if (ip_hdr_len(src, false) + ip.l4_len <= net->plan.mtu)
		(void)gram_send(net, &g, &ip, 0, NULL);
	else
		gram_fragment(net, &g, &ip);
}
