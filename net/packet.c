/* SPDX-License-Identifier: Apache-2.0 */
#include "net/packet.h"

#include <errno.h>

#include "lib/buf.h"
#include "lib/num.h"
#include "net/checksum.h"

_Static_assert(sizeof(struct mac) == 6, "copied to and from the wire");

int eth_read(const uint8_t *p, size_t len, struct eth_hdr *ret)
{
	if (len < ETH_HDR_LEN)
		return -EBADMSG;
	memcpy(ret->dst.b, p, 6);
	memcpy(ret->src.b, p + 6, 6);
	ret->type = load_be16(p + 12);
	/* below 1536 it is a length (LLC); a group bit in the source is never legal */
	return ret->type < 0x600 || (ret->src.b[0] & 1) ? -EBADMSG : 0;
}

static bool src_ok(const struct ip_addr *a)
{
	static const uint8_t zero[12];
	const uint8_t *v4 = ip_v4_bytes(a);

	if (ip_is_v4(a))
		return v4[0] < 224; /* no multicast, class E, broadcast; 0.0.0.0 asks for DHCP */
	if (a->b[0] == 0xff)
		return false;
	/* :: asks in DAD; other IPv4-compatible addresses and ::1 name nobody on a wire */
	return memcmp(a->b, zero, 12) != 0 || load_le32(a->b + 12) == 0;
}

static int ip4_read(const uint8_t *p, size_t len, size_t frame_len, struct ip_hdr *ret)
{
	size_t hlen, total;
	uint16_t frag;

	if (len < ETH_HDR_LEN + IP4_HDR_LEN)
		return -EBADMSG;
	p += ETH_HDR_LEN;
	hlen = (p[0] & 15) * 4u;
	total = load_be16(p + 2);
	if (p[0] >> 4 != 4 || hlen < IP4_HDR_LEN || total < hlen || hlen > len - ETH_HDR_LEN ||
		total > frame_len - ETH_HDR_LEN)
		return -EBADMSG;
	if (csum_finish(csum_add(0, p, hlen)) != 0)
		return -EBADMSG;
	frag = load_be16(p + 6);
	*ret = (struct ip_hdr){ .src = ip_from_v4(p + 12),
		.dst = ip_from_v4(p + 16),
		.proto = p[9],
		.ttl = p[8],
		.tos = p[1],
		.v4 = true,
		.dont_frag = frag & 0x4000,
		.more_frags = frag & 0x2000,
		.frag_off = (uint16_t)((frag & 0x1fff) * 8),
		.frag_id = load_be16(p + 4),
		.l3_off = ETH_HDR_LEN,
		.l4_off = ETH_HDR_LEN + hlen,
		.l4_len = total - hlen };
	ret->frag = ret->more_frags || ret->frag_off;
	if (frag & 0x8000 || !src_ok(&ret->src))
		return -EBADMSG;
	if (ret->frag && !range_ok(ret->frag_off, ret->l4_len, IP_MAX_LEN - IP4_HDR_LEN))
		return -EBADMSG;
	return 0;
}

/* The fragment header at @c (its next-header byte already read). */
static int ip6_read_frag(struct cursor *c, struct ip_hdr *ret)
{
	uint8_t reserved = cursor_u8(c);
	uint16_t off = cursor_be16(c);

	ret->frag_id = cursor_be32(c);
	ret->frag_off = off & 0xfff8;
	ret->more_frags = off & 1;
	ret->frag = ret->frag_off || ret->more_frags; /* else an atomic fragment, RFC 6946 */
	return c->failed || reserved || (off & 6) ? -EBADMSG : 0;
}

/* Skips the extension header of kind @ret->proto. Return: 1 skipped, 0 it is no extension. */
static int ip6_skip_ext(struct cursor *c, struct ip_hdr *ret, unsigned index)
{
	uint8_t kind = ret->proto, next, units;
	const uint8_t *body;

	if (kind != 0 && kind != 43 && kind != 44 && kind != 60)
		return 0;
	if (kind == 0 && index > 0)
		return -EBADMSG; /* hop-by-hop options only come first */
	next = cursor_u8(c);
	if (kind == 44) {
		int r = ret->frag ? -EBADMSG : ip6_read_frag(c, ret);

		ret->proto = next;
		return r < 0 ? r : 1;
	}
	units = cursor_u8(c);
	body = cursor_bytes(c, 6 + 8u * units);
	if (!body || (kind == 43 && body[1] != 0))
		return -EBADMSG;
	ret->proto = next;
	return 1;
}

static int ip6_walk(struct cursor *c, struct ip_hdr *ret)
{
	for (unsigned i = 0; i <= PKT_EXT_MAX; i++) {
		int r = 0;

		if (ret->frag)
			return 0; /* what follows is a piece of a datagram */
		r = ip6_skip_ext(c, ret, i);
		if (r <= 0)
			return r;
	}
	return -EPROTONOSUPPORT;
}

static int ip6_read(const uint8_t *p, size_t len, size_t frame_len, struct ip_hdr *ret)
{
	struct cursor c = cursor_init(p, len);
	size_t payload, ext;
	int r;

	if (len < ETH_HDR_LEN + IP6_HDR_LEN)
		return -EBADMSG;
	p += ETH_HDR_LEN;
	payload = load_be16(p + 4);
	/* no jumbograms: a length of 0 would need one */
	if (p[0] >> 4 != 6 || !payload || payload > frame_len - ETH_HDR_LEN - IP6_HDR_LEN)
		return -EBADMSG;
	*ret = (struct ip_hdr){ .src = ip_from_v6(p + 8),
		.dst = ip_from_v6(p + 24),
		.proto = p[6],
		.ttl = p[7],
		.tos = (uint8_t)(load_be16(p) >> 4),
		.l3_off = ETH_HDR_LEN };
	if (ip_is_v4(&ret->src) || ip_is_v4(&ret->dst) || !src_ok(&ret->src))
		return -EBADMSG;
	c.pos = ETH_HDR_LEN + IP6_HDR_LEN;
	c.len = MIN_OF(c.len, c.pos + payload);
	r = ip6_walk(&c, ret);
	if (r < 0)
		return r;
	if (c.failed)
		return -EBADMSG;
	ext = c.pos - ETH_HDR_LEN - IP6_HDR_LEN;
	ret->l4_off = c.pos;
	ret->l4_len = payload - ext;
	if (ret->frag && !range_ok(ret->frag_off, ret->l4_len, IP_MAX_LEN))
		return -EBADMSG;
	return 0;
}

int ip_read(uint16_t type, const uint8_t *p, size_t len, size_t frame_len, struct ip_hdr *ret)
{
	if (frame_len < len || frame_len > FRAME_MAX_LEN + IP6_HDR_LEN)
		return -EBADMSG;
	if (type == ETH_TYPE_IP4)
		return ip4_read(p, len, frame_len, ret);
	if (type == ETH_TYPE_IP6)
		return ip6_read(p, len, frame_len, ret);
	return -EBADMSG;
}

int arp_read(const uint8_t *p, size_t len, struct arp_msg *ret)
{
	struct cursor c = cursor_init(p, len);
	uint8_t v4[4];

	(void)cursor_bytes(&c, ETH_HDR_LEN);
	if (cursor_be16(&c) != 1 || cursor_be16(&c) != ETH_TYPE_IP4 || cursor_be16(&c) != 0x0604)
		return -EBADMSG;
	ret->op = cursor_be16(&c);
	if (cursor_left(&c) < 20 || (ret->op != ARP_REQUEST && ret->op != ARP_REPLY))
		return -EBADMSG;
	(void)cursor_copy(&c, ret->sender_mac.b, 6);
	(void)cursor_copy(&c, v4, 4);
	ret->sender = ip_from_v4(v4);
	(void)cursor_copy(&c, ret->target_mac.b, 6);
	(void)cursor_copy(&c, v4, 4);
	ret->target = ip_from_v4(v4);
	return 0;
}

/* The layer 4 header bytes that were copied; never more than the IP header grants. */
static struct cursor l4_cursor(const uint8_t *p, size_t len, const struct ip_hdr *ip)
{
	size_t have = len > ip->l4_off ? len - ip->l4_off : 0;

	return cursor_init(p + (have ? ip->l4_off : 0), MIN_OF(have, ip->l4_len));
}

int udp_read(const uint8_t *p, size_t len, const struct ip_hdr *ip, struct udp_hdr *ret)
{
	struct cursor c = l4_cursor(p, len, ip);

	ret->sport = cursor_be16(&c);
	ret->dport = cursor_be16(&c);
	ret->len = cursor_be16(&c);
	ret->csum = cursor_be16(&c);
	if (c.failed || ret->len < UDP_HDR_LEN || ret->len > ip->l4_len || !ret->dport)
		return -EBADMSG;
	return 0;
}

static int tcp_read_options(struct cursor *c, struct tcp_hdr *ret)
{
	while (cursor_left(c)) {
		uint8_t kind = cursor_u8(c), size;
		const uint8_t *body;

		if (kind == 0)
			return 0;
		if (kind == 1)
			continue;
		size = cursor_u8(c);
		if (c->failed || size < 2)
			return -EBADMSG;
		body = cursor_bytes(c, size - 2u);
		if (!body)
			return -EBADMSG;
		if (kind == 2 && size == 4)
			ret->mss = load_be16(body);
		else if (kind == 3 && size == 3)
			ret->wscale = (int8_t)MIN_OF(body[0], 14);
	}
	return 0;
}

int tcp_read(const uint8_t *p, size_t len, const struct ip_hdr *ip, struct tcp_hdr *ret)
{
	struct cursor c = l4_cursor(p, len, ip);
	struct cursor opts;
	const uint8_t *h = cursor_bytes(&c, TCP_HDR_LEN);

	if (!h)
		return -EBADMSG;
	*ret = (struct tcp_hdr){ .sport = load_be16(h),
		.dport = load_be16(h + 2),
		.seq = load_be32(h + 4),
		.ack = load_be32(h + 8),
		.hdr_len = (uint8_t)((h[12] >> 4) * 4),
		.flags = h[13] & 0x3f,
		.window = load_be16(h + 14),
		.wscale = -1 };
	if (ret->hdr_len < TCP_HDR_LEN || !ret->sport || !ret->dport)
		return -EBADMSG;
	h = cursor_bytes(&c, ret->hdr_len - (size_t)TCP_HDR_LEN);
	if (!h)
		return -EBADMSG;
	opts = cursor_init(h, ret->hdr_len - (size_t)TCP_HDR_LEN);
	return tcp_read_options(&opts, ret);
}

int icmp_read(const uint8_t *p, size_t len, const struct ip_hdr *ip, struct icmp_hdr *ret)
{
	struct cursor c = l4_cursor(p, len, ip);

	ret->type = cursor_u8(&c);
	ret->code = cursor_u8(&c);
	ret->csum = cursor_be16(&c);
	ret->id = cursor_be16(&c);
	ret->seq = cursor_be16(&c);
	return c.failed ? -EBADMSG : 0;
}

int ndp_read(const uint8_t *p, size_t len, const struct ip_hdr *ip, struct ndp_msg *ret)
{
	struct cursor c = l4_cursor(p, len, ip);
	uint8_t target[16];

	ret->type = cursor_u8(&c);
	if (ip->v4 || ip->frag || ip->ttl != 255 || cursor_u8(&c) != 0 || ip->l4_len > len)
		return -EBADMSG;
	(void)cursor_bytes(&c, 6);
	memset(&ret->target, 0, sizeof(ret->target));
	if (ret->type == ICMP6_ROUTER_SOL)
		return c.failed ? -EBADMSG : 0;
	if (ret->type != ICMP6_NEIGH_SOL || cursor_copy(&c, target, 16) < 0)
		return -EBADMSG;
	ret->target = ip_from_v6(target);
	return target[0] == 0xff || ip_is_v4(&ret->target) ? -EBADMSG : 0;
}

/* --- builders --- */

static uint8_t *put_u8(uint8_t *p, uint8_t v)
{
	*p = v;
	return p + 1;
}

static uint8_t *put_be16(uint8_t *p, uint16_t v)
{
	store_be16(p, v);
	return p + 2;
}

static uint8_t *put_be32(uint8_t *p, uint32_t v)
{
	store_be32(p, v);
	return p + 4;
}

static uint8_t *put_bytes(uint8_t *p, const void *src, size_t len)
{
	memcpy(p, src, len);
	return p + len;
}

uint8_t *eth_put(uint8_t *p, const struct mac *dst, const struct mac *src, uint16_t type)
{
	p = put_bytes(p, dst->b, 6);
	p = put_bytes(p, src->b, 6);
	return put_be16(p, type);
}

static uint8_t *ip4_put(uint8_t *p, const struct ip_out *o)
{
	uint8_t *start = p;
	uint16_t frag = 0x4000; /* whole packets: don't fragment */

	if (o->frag)
		frag = (uint16_t)((o->more_frags ? 0x2000 : 0) | o->frag_off / 8);
	p = put_be16(p, 0x4500);
	p = put_be16(p, (uint16_t)(IP4_HDR_LEN + o->l4_len));
	p = put_be16(p, o->frag ? (uint16_t)o->frag_id : 0);
	p = put_be16(p, frag);
	p = put_u8(p, o->ttl);
	p = put_u8(p, o->proto);
	p = put_be16(p, 0);
	p = put_bytes(p, ip_v4_bytes(o->src), 4);
	p = put_bytes(p, ip_v4_bytes(o->dst), 4);
	store_be16(start + 10, csum_finish(csum_add(0, start, IP4_HDR_LEN)));
	return p;
}

static uint8_t *ip6_put(uint8_t *p, const struct ip_out *o)
{
	p = put_be32(p, 0x60000000);
	p = put_be16(p, (uint16_t)(o->l4_len + (o->frag ? IP6_FRAG_LEN : 0)));
	p = put_u8(p, o->frag ? 44 : o->proto);
	p = put_u8(p, o->ttl);
	p = put_bytes(p, o->src->b, 16);
	p = put_bytes(p, o->dst->b, 16);
	if (!o->frag)
		return p;
	p = put_u8(p, o->proto);
	p = put_u8(p, 0);
	p = put_be16(p, (uint16_t)(o->frag_off | (o->more_frags ? 1 : 0)));
	return put_be32(p, o->frag_id);
}

uint8_t *ip_put(uint8_t *p, const struct ip_out *o)
{
	return ip_is_v4(o->src) ? ip4_put(p, o) : ip6_put(p, o);
}

uint8_t *udp_put(uint8_t *p, uint16_t sport, uint16_t dport, size_t payload_len, uint16_t csum)
{
	p = put_be16(p, sport);
	p = put_be16(p, dport);
	p = put_be16(p, (uint16_t)(UDP_HDR_LEN + payload_len));
	return put_be16(p, csum);
}

uint8_t *tcp_put(uint8_t *p, const struct tcp_hdr *h, uint16_t csum)
{
	p = put_be16(p, h->sport);
	p = put_be16(p, h->dport);
	p = put_be32(p, h->seq);
	p = put_be32(p, h->ack);
	p = put_u8(p, (uint8_t)(tcp_hdr_size(h) / 4 << 4));
	p = put_u8(p, h->flags);
	p = put_be16(p, h->window);
	p = put_be16(p, csum);
	p = put_be16(p, 0);
	if (h->mss)
		p = put_be32(p, 0x02040000u | h->mss);
	if (h->wscale >= 0)
		p = put_be32(p, 0x01030300u | (uint8_t)h->wscale);
	return p;
}

uint8_t *icmp_put(uint8_t *p, const struct icmp_hdr *h)
{
	p = put_u8(p, h->type);
	p = put_u8(p, h->code);
	p = put_be16(p, h->csum);
	p = put_be16(p, h->id);
	return put_be16(p, h->seq);
}

uint8_t *arp_put(uint8_t *p, const struct arp_msg *m)
{
	p = put_be16(p, 1);
	p = put_be16(p, ETH_TYPE_IP4);
	p = put_be16(p, 0x0604);
	p = put_be16(p, m->op);
	p = put_bytes(p, m->sender_mac.b, 6);
	p = put_bytes(p, ip_v4_bytes(&m->sender), 4);
	p = put_bytes(p, m->target_mac.b, 6);
	return put_bytes(p, ip_v4_bytes(&m->target), 4);
}
