/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP and ICMPv6: errors to the guest, echo by the gateway, and echo to the outside through the
 * kernel's unprivileged ping sockets (which choose their own identifier: the guest's is put back).
 * Where such sockets are not allowed (net.ipv4.ping_group_range), outside echo goes unanswered.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/iov.h"
#include "lib/log.h"
#include "lib/num.h"
#include "net/checksum.h"
#include "net/net_internal.h"

#define PING_IDLE_NS	  (10 * NS_PER_S)
#define ERRORS_PER_SECOND 200
#define QUOTE_MAX	  512

/* --- errors --- */

static bool may_send_error(struct net *net)
{
	uint64_t now = clock_mono_ns();

	if (now - net->icmp_window_ns >= NS_PER_S) {
		net->icmp_window_ns = now;
		net->icmp_in_window = 0;
	}
	return net->icmp_in_window++ < ERRORS_PER_SECOND;
}

static void error_type(enum icmp_error what, bool v4, uint8_t *type, uint8_t *code)
{
	static const struct {
		uint8_t type4, code4, type6, code6;
	} rows[] = {
		[ICMP_NET_UNREACH] = { ICMP4_UNREACH, 0, ICMP6_UNREACH, 0 },
		[ICMP_HOST_UNREACH] = { ICMP4_UNREACH, 1, ICMP6_UNREACH, 3 },
		[ICMP_PORT_UNREACH] = { ICMP4_UNREACH, 3, ICMP6_UNREACH, 4 },
		[ICMP_PROHIBITED] = { ICMP4_UNREACH, 13, ICMP6_UNREACH, 1 },
		[ICMP_TTL_EXCEEDED] = { ICMP4_TIME_EXCEEDED, 0, ICMP6_TIME_EXCEEDED, 0 },
		[ICMP_TOO_BIG] = { ICMP4_UNREACH, 4, ICMP6_TOO_BIG, 0 },
	};

	*type = v4 ? rows[what].type4 : rows[what].type6;
	*code = v4 ? rows[what].code4 : rows[what].code6;
}

/* The checksum of the ICMP message at @l4. */
static void put_checksum(
	uint8_t *l4, size_t len, const struct ip_addr *src, const struct ip_addr *dst)
{
	uint32_t sum = 0;

	store_be16(l4 + 2, 0);
	if (!ip_is_v4(src))
		sum = csum_pseudo(src, dst, IP_PROTO_ICMP6, (uint32_t)len);
	store_be16(l4 + 2, csum_finish(csum_add(sum, l4, len)));
}

void icmp_send_error(struct net *net, enum icmp_error what, const struct ip_addr *from,
	const struct ip_addr *guest, const uint8_t *quoted, size_t len, uint32_t mtu)
{
	uint8_t frame[ETH_HDR_LEN + IP6_HDR_LEN + ICMP_HDR_LEN + QUOTE_MAX];
	bool v4 = ip_is_v4(guest);
	const struct ip_addr *src = from ? from : v4 ? &net->plan.gateway4 : &net->plan.gateway6;
	struct ip_out ip = { .src = src,
		.dst = guest,
		.ttl = PKT_TTL,
		.proto = v4 ? IP_PROTO_ICMP : IP_PROTO_ICMP6 };
	struct icmp_hdr h = { 0 };
	uint8_t *l4, *p;

	if (ip_is_v4(src) != v4 || !may_send_error(net))
		return;
	len = MIN_OF(len, (size_t)QUOTE_MAX);
	ip.l4_len = ICMP_HDR_LEN + len;
	error_type(what, v4, &h.type, &h.code);
	if (what == ICMP_TOO_BIG && v4)
		h.seq = (uint16_t)MIN_OF(mtu, (uint32_t)UINT16_MAX);
	l4 = ip_put(out_eth(net, frame, v4), &ip);
	p = icmp_put(l4, &h);
	if (what == ICMP_TOO_BIG && !v4)
		store_be32(l4 + 4, mtu);
	memcpy(p, quoted, len);
	put_checksum(l4, ip.l4_len, src, guest);
	(void)out_frame(net, frame, (size_t)(p - frame) + len);
}

void icmp_error_for_pkt(struct net *net, struct pkt *p, enum icmp_error what)
{
	size_t len = MIN_OF(p->hdr_len, p->ip.l4_off + p->ip.l4_len) - p->ip.l3_off;

	/* never about multicast, broadcast or later fragments (RFC 1122 3.2.2, RFC 4443 2.4) */
	if ((p->eth.dst.b[0] & 1) || p->ip.frag_off ||
		ip_classify(&p->ip.dst) == IP_CLASS_MULTICAST)
		return;
	icmp_send_error(net, what, NULL, &p->ip.src, p->hdr + p->ip.l3_off, len, 0);
}

void icmp_error_for_flow(struct net *net, const struct flow_key *key, uint8_t proto, uint32_t seq,
	enum icmp_error what, const struct ip_addr *from, uint32_t mtu)
{
	uint8_t quoted[IP6_HDR_LEN + 8] = { 0 };
	struct ip_out ip = {
		.src = &key->guest, .dst = &key->peer, .proto = proto, .ttl = 1, .l4_len = 8
	};
	uint8_t *l4 = ip_put(quoted, &ip);

	if (proto == IP_PROTO_UDP || proto == IP_PROTO_TCP) {
		store_be16(l4, key->guest_port);
		store_be16(l4 + 2, key->peer_port);
		if (proto == IP_PROTO_TCP)
			store_be32(l4 + 4, seq);
		else
			store_be16(l4 + 4, 8);
	} else { /* an echo request */
		l4[0] = ip_is_v4(&key->guest) ? ICMP4_ECHO : ICMP6_ECHO;
		store_be16(l4 + 4, key->guest_port);
		store_be16(l4 + 6, (uint16_t)seq);
	}
	icmp_send_error(net, what, from, &key->guest, quoted, (size_t)(l4 - quoted) + 8, mtu);
}

int icmp_error_of_errno(int code)
{
	switch (code) {
	case ECONNREFUSED:
		return ICMP_PORT_UNREACH;
	case ENETUNREACH:
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		return ICMP_NET_UNREACH;
	case EHOSTUNREACH:
	case EHOSTDOWN:
		return ICMP_HOST_UNREACH;
	case EACCES:
	case EPERM:
		return ICMP_PROHIBITED;
	case EMSGSIZE:
		return ICMP_TOO_BIG;
	default:
		return -1;
	}
}

/* --- echo --- */

/* The gateway's own answer: the request with its ends swapped. */
static void echo_reply(struct net *net, struct pkt *p)
{
	struct ip_out ip = { .src = &p->ip.dst,
		.dst = &p->ip.src,
		.proto = p->ip.proto,
		.ttl = PKT_TTL,
		.l4_len = p->ip.l4_len };
	uint8_t hdr[ETH_HDR_LEN + IP6_HDR_LEN];
	size_t len = p->ip.l4_len, hlen;
	struct out o;

	if (len > SCRATCH_LEN || ip_hdr_len(ip.src, false) + len > net->plan.mtu) {
		net->stats.dropped++;
		return;
	}
	(void)iov_read(p->iov, p->iov_n, p->ip.l4_off, net->scratch, len);
	net->scratch[0] = p->ip.v4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY;
	put_checksum(net->scratch, len, ip.src, ip.dst);
	hlen = (size_t)(ip_put(out_eth(net, hdr, p->ip.v4), &ip) - hdr);
	if (!out_begin(net, hlen + len, &o))
		return;
	(void)iov_write(o.iov, o.n, 0, hdr, hlen);
	(void)iov_write(o.iov, o.n, hlen, net->scratch, len);
	out_commit(net, &o, NULL, hlen + len);
}

struct ping_flow {
	struct flow f;
	uint8_t ttl;
};

void ping_free(struct flow *f)
{
	flow_release(f);
	free(f);
}

static void ping_answer(struct ping_flow *pf, size_t len)
{
	struct net *net = pf->f.net;
	const struct flow_key *k = &pf->f.key;
	bool v4 = ip_is_v4(&k->peer);
	uint8_t *msg = net->scratch;
	uint8_t hdr[ETH_HDR_LEN + IP6_HDR_LEN];
	struct ip_out ip = { .src = &k->peer,
		.dst = &k->guest,
		.ttl = PKT_TTL,
		.l4_len = len,
		.proto = v4 ? IP_PROTO_ICMP : IP_PROTO_ICMP6 };
	struct out o;
	size_t hlen;

	if (len < ICMP_HDR_LEN || msg[0] != (v4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY) ||
		ip_hdr_len(ip.src, false) + len > net->plan.mtu)
		return;
	store_be16(msg + 4, k->guest_port);
	put_checksum(msg, len, &k->peer, &k->guest);
	hlen = (size_t)(ip_put(out_eth(net, hdr, v4), &ip) - hdr);
	if (!out_begin(net, hlen + len, &o))
		return;
	(void)iov_write(o.iov, o.n, 0, hdr, hlen);
	(void)iov_write(o.iov, o.n, hlen, msg, len);
	out_commit(net, &o, NULL, hlen + len);
}

static void ping_run(struct flow *f)
{
	struct ping_flow *pf = (struct ping_flow *)f;
	struct sock_error e;
	ssize_t n;

	for (unsigned i = 0; i < 16 && sock_next_error(f->fd, &e); i++) {
		static const struct ip_addr none;

		if (e.icmp >= 0)
			icmp_error_for_flow(f->net, &f->key,
				ip_is_v4(&f->key.peer) ? IP_PROTO_ICMP : IP_PROTO_ICMP6, e.echo_seq,
				(enum icmp_error)e.icmp,
				ip_equal(&e.offender, &none) ? NULL : &e.offender, e.mtu);
	}
	for (unsigned i = 0; i < 16; i++) {
		n = recv(f->fd, f->net->scratch, SCRATCH_LEN, MSG_DONTWAIT);
		if (n < 0)
			break;
		ping_answer(pf, (size_t)n);
	}
}

static void ping_ready(void *ctx, int fd, uint32_t events)
{
	struct flow *f = ctx;

	ping_run(f);
	out_flush(f->net);
}

static struct ping_flow *ping_open(struct net *net, const struct flow_key *key)
{
	bool v4 = ip_is_v4(&key->peer);
	struct flow_list *l = &net->flows.kinds[FLOW_PING];
	struct ping_flow *pf;
	int fd = sock_datagram(&key->peer, 0, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);

	if (fd < 0) {
		log_once(net->warned_ping, LOG_INFO, "net: no ping sockets: %s", strerror(-fd));
		return NULL;
	}
	if (l->count >= PING_FLOWS_MAX)
		ping_free(l->front);
	pf = calloc(1, sizeof(*pf));
	if (pf) {
		pf->f = (struct flow){ .key = *key, .fd = fd, .run = ping_run };
		pf->ttl = PKT_TTL;
	}
	if (!pf || flow_init(net, &pf->f, ping_free) < 0) {
		(void)close(fd);
		free(pf);
		return NULL;
	}
	if (flow_watch(&pf->f, EPOLLIN, ping_ready) < 0) {
		ping_free(&pf->f);
		return NULL;
	}
	return pf;
}

static void ping_send(struct net *net, struct pkt *p, const struct icmp_hdr *h)
{
	struct flow_key key = {
		.guest = p->ip.src, .peer = p->ip.dst, .guest_port = h->id, .kind = FLOW_PING
	};
	struct ping_flow *pf = (struct ping_flow *)flow_find(net, &key);
	uint8_t ttl = (uint8_t)(p->ip.ttl - 1);

	if (!pf)
		pf = ping_open(net, &key);
	if (!pf || p->ip.l4_len > SCRATCH_LEN) {
		net->stats.dropped++;
		return;
	}
	if (pf->ttl != ttl)
		sock_set_ttl(pf->f.fd, p->ip.v4, ttl);
	pf->ttl = ttl;
	flow_touch(&pf->f);
	flow_deadline(&pf->f, clock_mono_ns() + PING_IDLE_NS);
	(void)iov_read(p->iov, p->iov_n, p->ip.l4_off, net->scratch, p->ip.l4_len);
	if (send(pf->f.fd, net->scratch, p->ip.l4_len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return;
	/* an error of an earlier one, most likely: tell of that, then try again */
	ping_run(&pf->f);
	(void)iov_read(p->iov, p->iov_n, p->ip.l4_off, net->scratch, p->ip.l4_len);
	if (send(pf->f.fd, net->scratch, p->ip.l4_len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		ping_run(&pf->f);
}

void icmp_input(struct net *net, struct pkt *p)
{
	struct icmp_hdr h;

	if (icmp_read(p->hdr, p->hdr_len, &p->ip, &h) < 0) {
		net->stats.malformed++;
		return;
	}
	if (!p->ip.v4 && neigh_ndp(net, p, h.type))
		return;
	if (h.type != (p->ip.v4 ? ICMP4_ECHO : ICMP6_ECHO) || h.code != 0)
		return;
	if (net_admit(net, POLICY_EGRESS, p->ip.v4 ? POLICY_ICMP4 : POLICY_ICMP6, &p->ip.dst, false,
		    0, POLICY_NAME_CACHE, NULL)
			.verdict != POLICY_ALLOW)
		icmp_error_for_pkt(net, p, ICMP_PROHIBITED);
	else if (net_is_gateway(net, &p->ip.dst))
		echo_reply(net, p);
	else
		ping_send(net, p, &h);
}
