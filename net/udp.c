/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP sessions: one connected host socket per (guest address and port, destination). Traffic in
 * either direction keeps a session; the least recently used one makes room for a new one.
 *
 * What the host says about a destination (ICMP errors, EMSGSIZE) is read from the socket's error
 * queue and told to the guest as the ICMP error it would have got itself.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/iov.h"
#include "lib/log.h"
#include "lib/num.h"
#include "net/checksum.h"
#include "net/udp_internal.h"

#define UDP_IDLE_NS	 (60 * NS_PER_S)
#define READS_PER_WAKEUP 64
#define STRAIGHT_MAX	 1536 /* room is taken before the size is known */

void udp_free(struct flow *f)
{
	udp_relay_free((struct udp_flow *)f);
	flow_release(f);
	free(f);
}

static void read_errors(struct flow *f)
{
	static const struct ip_addr none;
	struct sock_error e;

	for (unsigned i = 0; i < 16 && sock_next_error(f->fd, &e); i++) {
		bool local = ip_equal(&e.offender, &none) || net_is_gateway(f->net, &f->key.peer);

		if (e.icmp >= 0)
			icmp_error_for_flow(f->net, &f->key, IP_PROTO_UDP, 0,
				(enum icmp_error)e.icmp, local ? &f->key.peer : &e.offender, e.mtu);
	}
}

/*
 * One datagram. A small one, as most are, goes straight into the guest's buffers; what is beyond
 * STRAIGHT_MAX ends in the scratch area, and then all of it does. Return: false when there is
 * nothing or no room.
 */
static bool read_one(struct flow *f)
{
	struct net *net = f->net;
	const struct flow_key *k = &f->key;
	bool v4 = ip_is_v4(&k->peer);
	size_t hlen = ETH_HDR_LEN + ip_hdr_len(&k->peer, false) + UDP_HDR_LEN;
	size_t room = MIN_OF((size_t)net->plan.mtu, (size_t)STRAIGHT_MAX) + ETH_HDR_LEN - hlen;
	struct ip_out ip = {
		.src = &k->peer, .dst = &k->guest, .proto = IP_PROTO_UDP, .ttl = PKT_TTL
	};
	uint8_t hdr[ETH_HDR_LEN + IP6_HDR_LEN + UDP_HDR_LEN], *l4;
	struct net_offload off = { 0 };
	struct iovec body[NET_LINK_IOV + 1];
	struct msghdr msg = { .msg_iov = body };
	struct out o;
	uint32_t sum;
	unsigned k_body;
	ssize_t n;

	if (!out_begin(net, hlen + room, &o)) {
		flow_queue(f);
		return false;
	}
	k_body = iov_slice(o.iov, o.n, hlen, room, body, NET_LINK_IOV);
	body[k_body] = (struct iovec){ net->scratch + room, SCRATCH_LEN - room };
	msg.msg_iovlen = k_body + 1;
	n = recvmsg(f->fd, &msg, MSG_DONTWAIT);
	if (n < 0 || (size_t)n > room) {
		if (n > 0)
			(void)iov_read(body, k_body, 0, net->scratch, room);
		out_cancel(net);
		if (n > 0)
			out_datagram(net, &k->peer, k->peer_port, &k->guest, k->guest_port,
				net->scratch, (size_t)n);
		/* a refusal was consumed: there may be data behind it */
		return n > 0 || errno == ECONNREFUSED;
	}
	ip.l4_len = UDP_HDR_LEN + (size_t)n;
	l4 = ip_put(out_eth(net, hdr, v4), &ip);
	sum = csum_pseudo(&k->peer, &k->guest, IP_PROTO_UDP, (uint32_t)ip.l4_len);
	(void)udp_put(l4, k->peer_port, k->guest_port, (size_t)n, csum_fold(sum));
	if (net->takes & NET_TAKES_CSUM) {
		off = (struct net_offload){ .flags = NET_HDR_NEEDS_CSUM,
			.csum_start = (uint16_t)(l4 - hdr),
			.csum_offset = 6 };
	} else {
		(void)udp_put(l4, k->peer_port, k->guest_port, (size_t)n, 0);
		sum = csum_add(sum, l4, UDP_HDR_LEN);
		sum = csum_finish(csum_add_iov(csum_fold(sum), o.iov, o.n, hlen, (size_t)n));
		store_be16(l4 + 6, sum ? (uint16_t)sum : 0xffff);
	}
	(void)iov_write(o.iov, o.n, 0, hdr, hlen);
	out_commit(net, &o, &off, hlen + (size_t)n);
	return true;
}

static void udp_run(struct flow *f)
{
	struct udp_flow *uf = (struct udp_flow *)f;
	bool got = false;

	for (unsigned i = 0; i < READS_PER_WAKEUP; i++) {
		if (!(uf->relay ? udp_relay_receive(uf) : read_one(f)))
			break;
		got = true;
	}
	if (got) {
		flow_touch(f);
		flow_deadline(f, clock_mono_ns() + UDP_IDLE_NS);
	}
	/* without room, level-triggered readiness would spin: wait for the guest instead */
	if (f->queued)
		loop_pause(f->watch);
	else
		loop_modify(f->watch, EPOLLIN);
}

static void udp_ready(void *ctx, int fd, uint32_t events)
{
	struct flow *f = ctx;

	if (events & EPOLLERR)
		read_errors(f);
	udp_run(f);
	out_flush(f->net);
}

int udp_listen(struct udp_flow *uf)
{
	return flow_watch(&uf->f, EPOLLIN, udp_ready);
}

static size_t udp_limit(const struct net *net)
{
	int64_t max = net->config.max_udp;

	if (max == NET_UNSET)
		return UDP_FLOWS_DEFAULT;
	return max == 0 || max > UDP_FLOWS_MAX ? UDP_FLOWS_MAX : (size_t)max;
}

static bool takes_proxy(const struct net *net, const struct flow_key *key)
{
	return net->config.proxy.kind != NET_PROXY_NONE && !net_is_gateway(net, &key->peer);
}

/* The host's end of a session. Return: 0, -errno. */
static int udp_dial(struct udp_flow *uf)
{
	struct net *net = uf->f.net;
	struct ip_addr dst = net_host_target(net, &uf->f.key.peer);
	int fd;

	if (takes_proxy(net, &uf->f.key))
		return udp_relay_open(uf);
	fd = sock_datagram(&dst, uf->f.key.peer_port, 0);
	if (fd < 0)
		return fd;
	uf->f.fd = fd;
	return udp_listen(uf);
}

static struct udp_flow *udp_open(struct net *net, const struct flow_key *key, int *ret_error)
{
	struct flow_list *l = &net->flows.kinds[FLOW_UDP];
	struct udp_flow *uf;

	if (l->count >= udp_limit(net))
		udp_free(l->front);
	*ret_error = ENOMEM;
	uf = calloc(1, sizeof(*uf));
	if (!uf)
		return NULL;
	uf->f = (struct flow){ .key = *key, .fd = -1, .run = udp_run };
	uf->ttl = PKT_TTL;
	if (flow_init(net, &uf->f, udp_free) < 0) {
		free(uf);
		return NULL;
	}
	*ret_error = -udp_dial(uf);
	if (*ret_error) {
		udp_free(&uf->f);
		return NULL;
	}
	net->stats.udp_opened++;
	return uf;
}

/* Ports whose only use is resolving names behind the gateway's back, or on a link of two. */
static bool is_dns_bypass(uint16_t port)
{
	return port == 853 || port == 5353 || port == 5355 || port == 137;
}

/* May the datagram leave? Otherwise the guest has been told. */
static bool udp_admit(struct net *net, struct pkt *p, const struct flow_key *k)
{
	if (is_dns_bypass(k->peer_port)) {
		net_denied(net, &(struct net_denial){ .reason = NET_DENY_BYPASS,
					.proto = POLICY_UDP,
					.addr = k->peer,
					.port = k->peer_port,
					.rule = -1 });
	} else if (net->config.proxy.kind == NET_PROXY_SOCKS4 && takes_proxy(net, k)) {
		net_denied(net, &(struct net_denial){ .reason = NET_DENY_POLICY,
					.proto = POLICY_UDP,
					.addr = k->peer,
					.port = k->peer_port,
					.rule = -1,
					.name = "SOCKS4 has no UDP" });
	} else if (net_admit(net, POLICY_EGRESS, POLICY_UDP, &k->peer, true, k->peer_port,
			   POLICY_NAME_CACHE, NULL)
			   .verdict == POLICY_ALLOW) {
		return true;
	}
	icmp_error_for_pkt(net, p, ICMP_PROHIBITED);
	return false;
}

static bool is_uso(const struct pkt *p)
{
	return (p->off.gso_type & ~NET_GSO_ECN) == NET_GSO_UDP_L4 && p->off.gso_size;
}

/* Sends the payload in one system call, in segments if the guest asked for that (USO). */
static ssize_t udp_send(struct udp_flow *uf, struct pkt *p, struct iovec *body, unsigned n)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
	} control;
	struct msghdr msg = { .msg_iov = body, .msg_iovlen = n };
	struct cmsghdr *c;

	if (is_uso(p)) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		memset(&control, 0, sizeof(control));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_UDP;
		c->cmsg_type = UDP_SEGMENT;
		c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
		memcpy(CMSG_DATA(c), &p->off.gso_size, sizeof(uint16_t));
	}
	return sendmsg(uf->f.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void udp_forward(struct net *net, struct pkt *p, const struct flow_key *key, size_t len)
{
	struct udp_flow *uf = (struct udp_flow *)flow_find(net, key);
	uint8_t ttl = net_is_gateway(net, &key->peer) ? PKT_TTL : (uint8_t)(p->ip.ttl - 1);
	struct iovec body[NET_LINK_IOV];
	unsigned n =
		iov_slice(p->iov, p->iov_n, p->ip.l4_off + UDP_HDR_LEN, len, body, NET_LINK_IOV);
	int error = 0;

	if (iov_len(body, n) != len) { /* too many pieces for one call */
		net->stats.dropped++;
		return;
	}
	if (!uf) {
		if (!udp_admit(net, p, key))
			return;
		uf = udp_open(net, key, &error);
	}
	if (!uf) {
		net->stats.dropped++;
		log_once(net->warned_fds, LOG_WARN, "net: no socket: %s", strerror(error));
		if (icmp_error_of_errno(error) >= 0)
			icmp_error_for_pkt(net, p, (enum icmp_error)icmp_error_of_errno(error));
		return;
	}
	flow_touch(&uf->f);
	flow_deadline(&uf->f, clock_mono_ns() + UDP_IDLE_NS);
	if (uf->relay) {
		udp_relay_send(uf, body, n, is_uso(p) ? p->off.gso_size : 0);
		return;
	}
	if (uf->ttl != ttl)
		sock_set_ttl(uf->f.fd, p->ip.v4, ttl);
	uf->ttl = ttl;
	if (udp_send(uf, p, body, n) >= 0)
		return;
	/* an error queued earlier is reported once by the next call: tell, then try again */
	read_errors(&uf->f);
	if (udp_send(uf, p, body, n) < 0)
		read_errors(&uf->f);
}

/* A datagram that the gateway itself wants to see. */
static void udp_local(struct net *net, struct pkt *p, const struct flow_key *key, size_t len)
{
	(void)iov_read(p->iov, p->iov_n, p->ip.l4_off + UDP_HDR_LEN, net->scratch, len);
	if (key->peer_port == 53)
		dns_udp_query(net, key, net->scratch, len);
	else
		dhcp_input(net, net->scratch, len);
}

void udp_input(struct net *net, struct pkt *p)
{
	struct flow_key key = { .guest = p->ip.src, .peer = p->ip.dst, .kind = FLOW_UDP };
	struct iovec body[NET_LINK_IOV];
	struct udp_hdr h;
	size_t len;
	unsigned n;

	if (udp_read(p->hdr, p->hdr_len, &p->ip, &h) < 0) {
		net->stats.malformed++;
		return;
	}
	key.guest_port = h.sport;
	key.peer_port = h.dport;
	len = h.len - (size_t)UDP_HDR_LEN;
	n = iov_slice(p->iov, p->iov_n, p->ip.l4_off + UDP_HDR_LEN, len, body, NET_LINK_IOV);
	if (publish_udp_reply(net, &key, body, n))
		return;
	if (h.dport == 53 || (p->ip.v4 && h.dport == 67 && h.sport == 68))
		udp_local(net, p, &key, len);
	else if (ip_classify(&p->ip.dst) == IP_CLASS_MULTICAST || (p->eth.dst.b[0] & 1))
		net->stats.dropped++; /* nobody else is on this link */
	else
		udp_forward(net, p, &key, len);
}
