/* SPDX-License-Identifier: Apache-2.0 */
/* The stack's life, and the first look at each frame from the guest. */
#include "net/net.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/iov.h"
#include "lib/num.h"
#include "net/checksum.h"
#include "net/net_internal.h"

#define SWEEP_NS NS_PER_S

/* xorshift128+ over kernel randomness: sequence numbers and identifiers, not keys. */
uint64_t net_random(struct net *net)
{
	uint64_t a = net->rng[0], b = net->rng[1];

	net->rng[0] = b;
	a ^= a << 23;
	net->rng[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
	return (net->rng[1] + b) * 0x9e3779b97f4a7c15ULL;
}

/* --- periodic work --- */

static void on_sweep(void *ctx)
{
	struct net *net = ctx;
	uint64_t now = clock_mono_ns();

	net->sweep_needed_ns = 0;
	name_index_sweep(net->names, now);
	frag_sweep(net, now);
	if (name_index_count(net->names))
		net_want_sweep(net);
}

void net_want_sweep(struct net *net)
{
	if (net->sweep_needed_ns)
		return;
	net->sweep_needed_ns = clock_mono_ns() + SWEEP_NS;
	loop_timer_arm(net->sweep_timer, net->sweep_needed_ns);
}

/* The limiters have credit again. */
static void on_to_credit(void *ctx)
{
	net_to_guest_ready(ctx);
}

static void on_from_credit(void *ctx)
{
	struct net *net = ctx;

	if (net->link && net->link->resume)
		net->link->resume(net->link_ctx);
}

/* --- life --- */

/* Does the kernel know SO_PEEK_OFF for TCP? (Linux 6.9; for IPv6 later) */
static bool probe_peek_off(int family)
{
	cleanup_fd int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int zero = 0;

	if (fd < 0 && errno == EAFNOSUPPORT)
		return true; /* there will be no such socket */
	return fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) == 0;
}

static void init_link_local(struct net *net)
{
	const uint8_t *m = net->plan.gateway_mac.b;

	/* modified EUI-64, RFC 4291 appendix A */
	net->gateway_ll = (struct ip_addr){ { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2],
		0xff, 0xfe, m[3], m[4], m[5] } };
}

/* The parts of the configuration that running needs. */
static int copy_config(struct net_config *dst, const struct net_config *src, struct err *err)
{
	int rc = net_config_init(dst, err);

	if (rc < 0)
		return rc;
	policy_release(&dst->policy);
	rc = policy_copy(&dst->policy, &src->policy, err);
	for (size_t i = 0; i < src->n_ports && rc == 0; i++)
		rc = net_config_add_publish(dst, &src->ports[i], err);
	for (size_t i = 0; i < src->n_nameservers && rc == 0; i++)
		rc = net_config_add_nameserver(dst, src->nameservers[i], err);
	if (rc < 0)
		return rc;
	dst->mtu = src->mtu;
	dst->rebind_protection = src->rebind_protection;
	dst->dns_timeout_ms = src->dns_timeout_ms;
	dst->max_tcp = src->max_tcp;
	dst->max_udp = src->max_udp;
	dst->strict = src->strict;
	dst->to_guest = src->to_guest;
	dst->from_guest = src->from_guest;
	dst->proxy = (struct net_proxy){ .kind = src->proxy.kind, .addr = src->proxy.addr };
	if (src->proxy.user)
		dst->proxy.user = strdup(src->proxy.user);
	if (src->proxy.password)
		dst->proxy.password = strdup(src->proxy.password);
	if ((src->proxy.user && !dst->proxy.user) || (src->proxy.password && !dst->proxy.password))
		return err_set(err, ENOMEM, "copy network configuration");
	return 0;
}

static void init_limits(struct net *net)
{
	uint64_t now = clock_mono_ns();

	bucket_init(&net->limit_from.bytes, &net->config.from_guest.bytes, now);
	bucket_init(&net->limit_from.ops, &net->config.from_guest.ops, now);
	bucket_init(&net->limit_to.bytes, &net->config.to_guest.bytes, now);
	bucket_init(&net->limit_to.ops, &net->config.to_guest.ops, now);
}

static int init_parts(struct net *net, struct err *err)
{
	int rc;

	net->names = name_index_new();
	net->scratch = malloc(SCRATCH_LEN);
	if (!net->names || !net->scratch || flow_table_init(net) < 0 || frag_init(net) < 0)
		return err_set(err, ENOMEM, "create network");
	rc = loop_timer_new(net->loop, on_sweep, net, &net->sweep_timer, err);
	if (rc == 0)
		rc = loop_timer_new(net->loop, on_to_credit, net, &net->to_timer, err);
	if (rc == 0)
		rc = loop_timer_new(net->loop, on_from_credit, net, &net->from_timer, err);
	if (rc == 0)
		rc = dns_init(net, err);
	if (rc == 0)
		rc = publish_init(net, err);
	return rc;
}

int net_new(struct loop *loop, const struct net_config *config, const struct net_plan *plan,
	const struct net_events *events, struct net **ret_net, struct err *err)
{
	struct net *net = calloc(1, sizeof(*net));
	int rc;

	if (!net)
		return err_set(err, ENOMEM, "create network");
	net->loop = loop;
	net->plan = *plan;
	net->guest_mac = plan->guest_mac;
	if (events)
		net->events = *events;
	(void)!getrandom(net->rng, sizeof(net->rng), 0);
	net->rng[0] |= 1;
	net->frag_id = (uint32_t)net_random(net);
	net->peek_off4 = probe_peek_off(AF_INET);
	net->peek_off6 = probe_peek_off(AF_INET6);
	init_link_local(net);
	rc = copy_config(&net->config, config, err);
	if (rc == 0) {
		init_limits(net);
		rc = init_parts(net, err);
	}
	if (rc < 0) {
		net_free(net);
		return rc;
	}
	*ret_net = net;
	return 0;
}

void net_free(struct net *net)
{
	if (!net)
		return;
	if (net->flows.slots)
		net_detach(net);
	publish_release(net);
	dns_release(net);
	loop_timer_remove(&net->sweep_timer);
	loop_timer_remove(&net->to_timer);
	loop_timer_remove(&net->from_timer);
	if (net->frags)
		frag_release(net);
	flow_table_release(net);
	name_index_free(net->names);
	free(net->scratch);
	net_config_release(&net->config);
	free(net);
}

void net_attach(struct net *net, const struct net_link_ops *ops, void *ctx, unsigned takes)
{
	net->link = ops;
	net->link_ctx = ctx;
	/* segmentation without checksum offload makes no sense to anybody (virtio 1.2, 5.1.3.1) */
	net->takes = takes & NET_TAKES_CSUM ? takes : 0;
}

void net_detach(struct net *net)
{
	net->link = NULL;
	flow_drop_all(net);
	net->blocked = net->want_flush = false;
}

/* --- frames from the guest --- */

static bool from_this_guest(const struct net *net, const struct ip_addr *src)
{
	if (ip_is_v4(src))
		return net->plan.v4 && ip_equal(src, &net->plan.guest4);
	/* within its /64 the guest may choose, but not be the gateway */
	return net->plan.v6 && !memcmp(src->b, net->plan.guest6.b, 8) &&
	       !ip_equal(src, &net->plan.gateway6);
}

/* Packets that are legal before or beside having an address. */
static bool is_bootstrap(const struct pkt *p)
{
	static const struct ip_addr zero4 = IP_V4(0, 0, 0, 0), zero6;
	const struct ip_hdr *ip = &p->ip;

	if (ip->v4)
		return ip->proto == IP_PROTO_UDP && ip_equal(&ip->src, &zero4);
	return ip->proto == IP_PROTO_ICMP6 &&
	       (ip_equal(&ip->src, &zero6) || (ip->src.b[0] == 0xfe && ip->src.b[1] == 0x80));
}

void net_ip_input(struct net *net, struct pkt *p)
{
	switch (p->ip.proto) {
	case IP_PROTO_TCP:
		tcp_input(net, p);
		break;
	case IP_PROTO_UDP:
		udp_input(net, p);
		break;
	case IP_PROTO_ICMP:
	case IP_PROTO_ICMP6:
		if ((p->ip.proto == IP_PROTO_ICMP) == p->ip.v4)
			icmp_input(net, p);
		break;
	default:
		net->stats.dropped++;
	}
}

static void ip_input(struct net *net, struct pkt *p)
{
	static const struct ip_addr broadcast = IP_V4(255, 255, 255, 255);

	if (ip_read(p->eth.type, p->hdr, p->hdr_len, p->frame_len, &p->ip) < 0) {
		net->stats.malformed++;
		return;
	}
	if (!from_this_guest(net, &p->ip.src) && !is_bootstrap(p)) {
		net->stats.dropped++;
		return;
	}
	if (ip_is_martian_dst(&p->ip.dst) && !ip_equal(&p->ip.dst, &broadcast)) {
		net->stats.dropped++;
		return;
	}
	if (p->ip.ttl == 0) {
		net->stats.dropped++;
		return;
	}
	if (p->ip.ttl == 1 && !net_is_gateway(net, &p->ip.dst) &&
		ip_classify(&p->ip.dst) != IP_CLASS_MULTICAST &&
		!ip_equal(&p->ip.dst, &broadcast)) {
		icmp_error_for_pkt(net, p, ICMP_TTL_EXCEEDED);
		return;
	}
	if (p->ip.frag && !frag_input(net, p))
		return;
	net_ip_input(net, p);
}

static bool for_gateway(const struct net *net, const struct mac *dst)
{
	return (dst->b[0] & 1) || !memcmp(dst, &net->plan.gateway_mac, sizeof(*dst));
}

static void frame_input(struct net *net, struct pkt *p)
{
	if (eth_read(p->hdr, p->hdr_len, &p->eth) < 0) {
		net->stats.malformed++;
		return;
	}
	if (!for_gateway(net, &p->eth.dst)) {
		net->stats.dropped++;
		return;
	}
	net->guest_mac = p->eth.src;
	if (p->eth.type == ETH_TYPE_ARP)
		neigh_arp(net, p);
	else if (p->eth.type == ETH_TYPE_IP4 || p->eth.type == ETH_TYPE_IP6)
		ip_input(net, p);
	else
		net->stats.dropped++;
}

/* Is there credit for a frame of @len bytes? Otherwise the link will be told when. */
static bool limit_from(struct net *net, size_t len)
{
	uint64_t now, wait;

	if (!limiter_on(&net->limit_from))
		return true;
	now = clock_mono_ns();
	wait = limiter_take(&net->limit_from, len, now);
	if (!wait)
		return true;
	loop_timer_arm(net->from_timer, now + wait);
	return false;
}

int net_from_guest(
	struct net *net, const struct net_offload *off, const struct iovec *iov, unsigned n)
{
	uint8_t hdr[PKT_HDR_MAX];
	struct pkt p = { .hdr = hdr, .iov = iov, .iov_n = n, .off = *off };

	p.frame_len = iov_len(iov, n);
	if (!limit_from(net, p.frame_len))
		return -EAGAIN;
	net->stats.frames_from_guest++;
	net->stats.bytes_from_guest += p.frame_len;
	if (p.frame_len < ETH_HDR_LEN || p.frame_len > FRAME_MAX_LEN + IP6_HDR_LEN) {
		net->stats.malformed++;
		return 0;
	}
	p.hdr_len = iov_read(iov, n, 0, hdr, MIN_OF(p.frame_len, sizeof(hdr)));
	frame_input(net, &p);
	return 0;
}

void net_from_guest_done(struct net *net)
{
	flow_run_all(net);
	out_flush(net);
}

void net_to_guest_ready(struct net *net)
{
	if (!net->blocked)
		return;
	net->blocked = false;
	flow_run_all(net);
	out_flush(net);
}

void net_without_peek_off(struct net *net)
{
	net->peek_off4 = net->peek_off6 = false;
}

void net_get_stats(const struct net *net, struct net_stats *ret)
{
	*ret = net->stats;
	ret->tcp_flows = net->flows.kinds[FLOW_TCP].count;
	ret->udp_flows = net->flows.kinds[FLOW_UDP].count;
	ret->ping_flows = net->flows.kinds[FLOW_PING].count;
	ret->held_bytes = net->held_bytes;
}
