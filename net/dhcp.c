/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A DHCP server with one lease for ever (RFC 2131), for guests that were not told their address in
 * another way. Stateless: every answer follows from the request and the address plan.
 */
#include "lib/buf.h"
#include "lib/num.h"
#include "net/net_internal.h"

#define BOOTP_LEN     236
#define DHCP_MAGIC    0x63825363
#define DHCP_DISCOVER 1
#define DHCP_OFFER    2
#define DHCP_REQUEST  3
#define DHCP_ACK      5
#define DHCP_NAK      6
#define DHCP_INFORM   8

#define OPT_PAD	      0
#define OPT_MASK      1
#define OPT_ROUTER    3
#define OPT_DNS	      6
#define OPT_MTU	      26
#define OPT_REQUESTED 50
#define OPT_LEASE     51
#define OPT_TYPE      53
#define OPT_SERVER    54
#define OPT_END	      255

/* struct dhcp_req - what matters of a request */
struct dhcp_req {
	uint8_t type;
	uint8_t client[4]; /* ciaddr */
	uint8_t requested[4];
	uint8_t server[4];
	bool has_requested, has_server;
};

static void read_option(struct dhcp_req *r, uint8_t kind, const uint8_t *body, size_t len)
{
	if (kind == OPT_TYPE && len == 1) {
		r->type = body[0];
	} else if (kind == OPT_REQUESTED && len == 4) {
		memcpy(r->requested, body, 4);
		r->has_requested = true;
	} else if (kind == OPT_SERVER && len == 4) {
		memcpy(r->server, body, 4);
		r->has_server = true;
	}
}

static int read_request(const uint8_t *msg, size_t len, struct dhcp_req *ret)
{
	struct cursor c = cursor_init(msg, len);
	const uint8_t *head = cursor_bytes(&c, BOOTP_LEN);

	memset(ret, 0, sizeof(*ret));
	if (cursor_be32(&c) != DHCP_MAGIC || !head || head[0] != 1 || head[1] != 1 || head[2] != 6)
		return -1;
	memcpy(ret->client, head + 12, 4);
	while (cursor_left(&c)) {
		uint8_t kind = cursor_u8(&c), size;
		const uint8_t *body;

		if (kind == OPT_END)
			break;
		if (kind == OPT_PAD)
			continue;
		size = cursor_u8(&c);
		body = cursor_bytes(&c, size);
		if (!body)
			return -1;
		read_option(ret, kind, body, size);
	}
	return 0;
}

static uint8_t *put_option(uint8_t *p, uint8_t kind, const void *body, uint8_t len)
{
	p[0] = kind;
	p[1] = len;
	memcpy(p + 2, body, len);
	return p + 2 + len;
}

static uint8_t *put_config(struct net *net, uint8_t *p, bool lease)
{
	static const uint8_t mask[4] = { 255, 255, 255, 252 }, for_ever[4] = { 255, 255, 255, 255 };
	const uint8_t *gw = ip_v4_bytes(&net->plan.gateway4);
	uint8_t mtu[2];

	store_be16(mtu, net->plan.mtu);
	if (lease)
		p = put_option(p, OPT_LEASE, for_ever, 4);
	p = put_option(p, OPT_MASK, mask, 4);
	p = put_option(p, OPT_ROUTER, gw, 4);
	p = put_option(p, OPT_DNS, gw, 4);
	return put_option(p, OPT_MTU, mtu, 2);
}

/* What to say; 0: nothing. */
static uint8_t answer_type(struct net *net, const struct dhcp_req *r)
{
	const uint8_t *ours = ip_v4_bytes(&net->plan.guest4);

	if (r->has_server && memcmp(r->server, ip_v4_bytes(&net->plan.gateway4), 4) != 0)
		return 0; /* meant for another server */
	if (r->type == DHCP_DISCOVER)
		return DHCP_OFFER;
	if (r->type == DHCP_INFORM)
		return DHCP_ACK;
	if (r->type != DHCP_REQUEST)
		return 0;
	return memcmp(r->has_requested ? r->requested : r->client, ours, 4) ? DHCP_NAK : DHCP_ACK;
}

void dhcp_input(struct net *net, const uint8_t *msg, size_t len)
{
	static const struct ip_addr broadcast = IP_V4(255, 255, 255, 255);
	uint8_t out[BOOTP_LEN + 4 + 64] = { 2, 1, 6 }, *p, type;
	struct dhcp_req r;

	if (!net->plan.v4 || read_request(msg, len, &r) < 0) {
		net->stats.malformed++;
		return;
	}
	type = answer_type(net, &r);
	if (!type)
		return;
	memcpy(out + 4, msg + 4, 4);   /* transaction */
	memcpy(out + 10, msg + 10, 2); /* flags */
	memcpy(out + 12, r.client, 4);
	if (type != DHCP_NAK && r.type != DHCP_INFORM)
		memcpy(out + 16, ip_v4_bytes(&net->plan.guest4), 4);
	memcpy(out + 20, ip_v4_bytes(&net->plan.gateway4), 4);
	memcpy(out + 28, msg + 28, 16); /* client's hardware address */
	store_be32(out + BOOTP_LEN, DHCP_MAGIC);
	p = put_option(out + BOOTP_LEN + 4, OPT_TYPE, &type, 1);
	p = put_option(p, OPT_SERVER, ip_v4_bytes(&net->plan.gateway4), 4);
	if (type != DHCP_NAK)
		p = put_config(net, p, r.type != DHCP_INFORM);
	*p++ = OPT_END;
	/* to everybody: the client cannot be asked by ARP yet, and nobody else is here */
	out_datagram(net, &net->plan.gateway4, 67, &broadcast, 68, out, (size_t)(p - out));
}
