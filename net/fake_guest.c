/* SPDX-License-Identifier: Apache-2.0 */
#include "net/fake_guest.h"

#include <errno.h>
#include <string.h>

#include "lib/iov.h"
#include "lib/num.h"
#include "net/checksum.h"

static unsigned reserve(void *ctx, size_t len, struct iovec *iov, unsigned max)
{
	struct fake_guest *g = ctx;

	if (g->no_room || len > sizeof(g->room))
		return 0;
	/* in pieces, as a guest's buffers are */
	iov[0] = (struct iovec){ g->room, MIN_OF(len, (size_t)61) };
	iov[1] = (struct iovec){ g->room + iov[0].iov_len, len - iov[0].iov_len };
	return 2;
}

static void commit(void *ctx, const struct net_offload *off, size_t len)
{
	struct fake_guest *g = ctx;
	unsigned i = g->n_got++ % FAKE_KEEP;

	g->got[i].len = len;
	g->got[i].off = *off;
	memcpy(g->got[i].bytes, g->room, MIN_OF(len, sizeof(g->got[i].bytes)));
}

static void nothing(void *ctx)
{
}

static void resume(void *ctx)
{
	struct fake_guest *g = ctx;

	g->resumes++;
}

static const struct net_link_ops ops = {
	.reserve = reserve, .commit = commit, .cancel = nothing, .flush = nothing, .resume = resume
};

static void denied(void *ctx, const struct net_denial *d)
{
	struct fake_guest *g = ctx;

	g->last_denial = *d;
	g->denials++;
}

int fake_guest_init(struct fake_guest *g, const char *rules, const char *config_json)
{
	struct net_events events = { .denied = denied, .ctx = g };
	const char *json =
		config_json ? config_json : "{\"dns\":{\"nameservers\":[\"127.0.0.1\"]}}";
	cleanup_net_config struct net_config c;
	int rc;

	memset(g, 0, sizeof(*g));
	rc = net_config_from_json(&c, json, strlen(json), NULL);
	if (rc == 0) {
		policy_release(&c.policy);
		rc = policy_parse_rules(&c.policy, rules, NULL);
	}
	if (rc == 0)
		rc = net_plan_make(&c, 0, true, true, &g->plan, NULL);
	if (rc == 0)
		rc = loop_new(&g->loop, NULL);
	if (rc == 0)
		rc = net_new(g->loop, &c, &g->plan, &events, &g->net, NULL);
	if (rc == 0)
		net_attach(g->net, &ops, g, NET_TAKES_CSUM | NET_TAKES_TSO4 | NET_TAKES_TSO6);
	return rc;
}

void fake_guest_release(struct fake_guest *g)
{
	net_free(g->net);
	loop_free(g->loop);
}

int fake_send(struct fake_guest *g, const uint8_t *frame, size_t len, bool done)
{
	static const struct net_offload none;
	size_t cut = MIN_OF(len, (size_t)47);
	struct iovec iov[2] = { { (void *)frame, cut }, { (void *)(frame + cut), len - cut } };
	int rc = net_from_guest(g->net, &none, iov, 2);

	if (done)
		net_from_guest_done(g->net);
	return rc;
}

/* Headers up to layer 4 for @l4_len bytes. */
static uint8_t *put_ip(
	struct fake_guest *g, uint8_t *p, const struct ip_addr *dst, uint8_t proto, size_t l4_len)
{
	bool v4 = ip_is_v4(dst);
	struct ip_out ip = { .src = v4 ? &g->plan.guest4 : &g->plan.guest6,
		.dst = dst,
		.proto = proto,
		.ttl = PKT_TTL,
		.l4_len = l4_len };

	p = eth_put(p, &g->plan.gateway_mac, &g->plan.guest_mac, v4 ? ETH_TYPE_IP4 : ETH_TYPE_IP6);
	return ip_put(p, &ip);
}

void fake_tcp(struct fake_guest *g, const struct ip_addr *dst, const struct tcp_hdr *h,
	const void *payload, size_t len)
{
	uint8_t frame[4096], *p;

	len = MIN_OF(len, (size_t)3900);
	p = tcp_put(put_ip(g, frame, dst, IP_PROTO_TCP, tcp_hdr_size(h) + len), h, 0);
	if (len)
		memcpy(p, payload, len);
	(void)fake_send(g, frame, (size_t)(p - frame) + len, true);
}

void fake_udp(struct fake_guest *g, const struct ip_addr *dst, uint16_t sport, uint16_t dport,
	const void *payload, size_t len)
{
	uint8_t frame[4096], *p;

	len = MIN_OF(len, (size_t)3900);
	p = udp_put(put_ip(g, frame, dst, IP_PROTO_UDP, UDP_HDR_LEN + len), sport, dport, len, 0);
	if (len)
		memcpy(p, payload, len);
	(void)fake_send(g, frame, (size_t)(p - frame) + len, true);
}

const uint8_t *fake_last(const struct fake_guest *g, unsigned back, size_t *ret_len)
{
	unsigned i;

	if (back >= g->n_got || back >= FAKE_KEEP)
		return NULL;
	i = (g->n_got - 1 - back) % FAKE_KEEP;
	*ret_len = g->got[i].len;
	return g->got[i].bytes;
}

int fake_last_tcp(const struct fake_guest *g, unsigned back, struct tcp_hdr *ret)
{
	struct eth_hdr eth;
	struct ip_hdr ip;
	size_t len = 0, have;
	const uint8_t *p = fake_last(g, back, &len);

	have = MIN_OF(len, (size_t)PKT_HDR_MAX);
	if (!p || eth_read(p, have, &eth) < 0 || ip_read(eth.type, p, have, len, &ip) < 0 ||
		ip.proto != IP_PROTO_TCP || tcp_read(p, have, &ip, ret) < 0)
		return -1;
	return (int)(ip.l4_len - ret->hdr_len);
}
