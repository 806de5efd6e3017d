/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reassembly of fragmented datagrams (RFC 791, RFC 8200 4.5). Strict, because leniency here is how
 * filters are fooled: overlaps throw the whole set away (RFC 5722, done for IPv4 as well), every
 * fragment but the last is a multiple of 8 bytes long, and a set lives FRAG_LIFE_NS at most.
 *
 * Sets are few and their buffers are made when first needed and kept. When all are taken, the
 * oldest gives way.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/iov.h"
#include "lib/num.h"
#include "net/net_internal.h"

#define FRAG_SETS    16
#define FRAG_PIECES  128
#define FRAG_LIFE_NS (10 * NS_PER_S)
#define HDR_ROOM     (ETH_HDR_LEN + IP6_HDR_LEN)

struct piece {
	uint32_t off, end;
};

struct frag_set {
	bool used;
	struct ip_addr src, dst;
	uint32_t id;
	uint8_t proto;
	uint64_t born_ns;
	uint32_t total; /* 0: the last fragment has not come */
	uint32_t have;	/* bytes received */
	unsigned n_pieces;
	struct piece pieces[FRAG_PIECES];
	uint8_t *data; /* HDR_ROOM for the parsers, then the datagram */
	struct iovec iov;
};

int frag_init(struct net *net)
{
	net->frags = calloc(FRAG_SETS, sizeof(*net->frags));
	return net->frags ? 0 : -ENOMEM;
}

void frag_release(struct net *net)
{
	for (unsigned i = 0; net->frags && i < FRAG_SETS; i++)
		free(net->frags[i].data);
	free(net->frags);
	net->frags = NULL;
}

void frag_sweep(struct net *net, uint64_t now_ns)
{
	for (unsigned i = 0; i < FRAG_SETS; i++) {
		struct frag_set *s = &net->frags[i];

		if (s->used && now_ns - s->born_ns >= FRAG_LIFE_NS)
			s->used = false;
		else if (s->used)
			net_want_sweep(net);
	}
}

static bool same(const struct frag_set *s, const struct ip_hdr *ip)
{
	return s->used && s->id == ip->frag_id && s->proto == ip->proto &&
	       ip_equal(&s->src, &ip->src) && ip_equal(&s->dst, &ip->dst);
}

static struct frag_set *set_get(struct net *net, const struct ip_hdr *ip)
{
	struct frag_set *s = &net->frags[0];
	uint8_t *data;

	for (unsigned i = 0; i < FRAG_SETS; i++) {
		if (same(&net->frags[i], ip))
			return &net->frags[i];
		if (s->used && (!net->frags[i].used || net->frags[i].born_ns < s->born_ns))
			s = &net->frags[i];
	}
	data = s->data ? s->data : malloc(HDR_ROOM + IP_MAX_LEN + 1);
	if (!data)
		return NULL;
	*s = (struct frag_set){ .used = true,
		.src = ip->src,
		.dst = ip->dst,
		.id = ip->frag_id,
		.proto = ip->proto,
		.born_ns = clock_mono_ns(),
		.data = data };
	net_want_sweep(net);
	return s;
}

static bool overlaps(const struct frag_set *s, uint32_t off, uint32_t end)
{
	for (unsigned i = 0; i < s->n_pieces; i++) {
		if (off < s->pieces[i].end && s->pieces[i].off < end)
			return true;
	}
	return false;
}

/* Notes [off, end); false when the set has become unusable. */
static bool set_note(struct frag_set *s, const struct ip_hdr *ip, uint32_t off, uint32_t end)
{
	if (s->n_pieces == FRAG_PIECES || overlaps(s, off, end) || end == off)
		return false;
	if (ip->more_frags ? (end - off) % 8 != 0 || (s->total && end > s->total) : s->total != 0)
		return false;
	if (!ip->more_frags) {
		for (unsigned i = 0; i < s->n_pieces; i++) {
			if (s->pieces[i].end > end)
				return false;
		}
		s->total = end;
	}
	s->pieces[s->n_pieces++] = (struct piece){ off, end };
	s->have += end - off;
	return true;
}

/* Makes @p the whole datagram: a frame with a plain IP header, in the set's own memory. */
static void set_deliver(struct net *net, struct frag_set *s, struct pkt *p)
{
	struct ip_out ip = { .src = &s->src,
		.dst = &s->dst,
		.proto = s->proto,
		.ttl = p->ip.ttl,
		.l4_len = s->total };
	size_t hlen = ETH_HDR_LEN + ip_hdr_len(&s->src, false);
	uint8_t *frame = s->data + HDR_ROOM - hlen;

	(void)ip_put(eth_put(frame, &p->eth.dst, &p->eth.src, p->eth.type), &ip);
	s->used = false;
	s->iov = (struct iovec){ frame, hlen + s->total };
	p->hdr = frame;
	p->frame_len = hlen + s->total;
	p->hdr_len = MIN_OF(p->frame_len, (size_t)PKT_HDR_MAX);
	p->iov = &s->iov;
	p->iov_n = 1;
	p->off = (struct net_offload){ 0 };
	p->ip.frag = p->ip.more_frags = false;
	p->ip.frag_off = 0;
	p->ip.l4_off = hlen;
	p->ip.l4_len = s->total;
}

bool frag_input(struct net *net, struct pkt *p)
{
	uint32_t off = p->ip.frag_off, end = off + (uint32_t)p->ip.l4_len;
	size_t most = IP_MAX_LEN - (p->ip.v4 ? IP4_HDR_LEN : 0);
	struct frag_set *s;

	/* RFC 1858: a first fragment too short for the ports is nobody's honest work */
	if (end > most || (!off && p->ip.l4_len < UDP_HDR_LEN)) {
		net->stats.malformed++;
		return false;
	}
	s = set_get(net, &p->ip);
	if (!s || !set_note(s, &p->ip, off, end)) {
		net->stats.dropped++;
		if (s)
			s->used = false;
		return false;
	}
	(void)iov_read(p->iov, p->iov_n, p->ip.l4_off, s->data + HDR_ROOM + off, end - off);
	if (!s->total || s->have < s->total)
		return false;
	set_deliver(net, s, p);
	return true;
}
