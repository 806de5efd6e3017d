/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A SOCKS4 or SOCKS5 (RFC 1928, 1929) upstream proxy, asked by address. Messages are short: each is
 * written in one go into an empty socket buffer, and answers are read exactly, so that not a byte
 * of the connection behind them is taken away.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/num.h"
#include "net/tcp_internal.h"

enum socks_step { SOCKS4_REPLY, SOCKS5_METHOD, SOCKS5_AUTH, SOCKS5_REPLY, SOCKS5_BOUND };

struct socks {
	enum socks_step step;
	uint8_t got[512];
	size_t have, want;
};

void socks_free(struct socks *s)
{
	free(s);
}

static int put(
	struct tcp_flow *tf, const uint8_t *msg, size_t len, enum socks_step next, size_t want)
{
	ssize_t n = send(tf->f.fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EPROTO;
	tf->socks->step = next;
	tf->socks->have = 0;
	tf->socks->want = want;
	return 0;
}

static int ask4(struct tcp_flow *tf)
{
	const struct net_proxy *p = &tf->f.net->config.proxy;
	const struct flow_key *k = &tf->f.key;
	uint8_t msg[8 + 256] = { 4, 1 };
	size_t n = p->user ? MIN_OF(strlen(p->user), (size_t)255) : 0;

	if (!ip_is_v4(&k->peer))
		return -ENETUNREACH; /* the protocol has no IPv6 */
	store_be16(msg + 2, k->peer_port);
	memcpy(msg + 4, ip_v4_bytes(&k->peer), 4);
	if (n)
		memcpy(msg + 8, p->user, n);
	return put(tf, msg, 8 + n + 1, SOCKS4_REPLY, 8);
}

static int ask5(struct tcp_flow *tf)
{
	const struct flow_key *k = &tf->f.key;
	bool v4 = ip_is_v4(&k->peer);
	uint8_t msg[22] = { 5, 1, 0, v4 ? 1 : 4 };
	size_t n = v4 ? 4 : 16;

	memcpy(msg + 4, v4 ? ip_v4_bytes(&k->peer) : k->peer.b, n);
	store_be16(msg + 4 + n, k->peer_port);
	return put(tf, msg, 6 + n, SOCKS5_REPLY, 5);
}

int socks_start(struct tcp_flow *tf)
{
	const struct net_proxy *p = &tf->f.net->config.proxy;
	uint8_t plain[] = { 5, 1, 0 }, with_user[] = { 5, 1, 2 };

	tf->socks = calloc(1, sizeof(*tf->socks));
	if (!tf->socks)
		return -ENOMEM;
	if (p->kind == NET_PROXY_SOCKS4)
		return ask4(tf);
	return put(tf, p->user ? with_user : plain, 3, SOCKS5_METHOD, 2);
}

static int authenticate(struct tcp_flow *tf)
{
	const struct net_proxy *p = &tf->f.net->config.proxy;
	uint8_t msg[3 + 2 * 255] = { 1 };
	size_t u = MIN_OF(strlen(p->user), (size_t)255);
	size_t w = p->password ? MIN_OF(strlen(p->password), (size_t)255) : 0;
	int rc;

	msg[1] = (uint8_t)u;
	memcpy(msg + 2, p->user, u);
	msg[2 + u] = (uint8_t)w;
	if (w)
		memcpy(msg + 3 + u, p->password, w);
	rc = put(tf, msg, 3 + u + w, SOCKS5_AUTH, 2);
	explicit_bzero(msg, sizeof(msg));
	return rc;
}

/* What the proxy says of the target, as our own connect() would have. */
static int reply_errno(uint8_t code)
{
	static const int codes[] = { 0, ECONNABORTED, EACCES, ENETUNREACH, EHOSTUNREACH,
		ECONNREFUSED, EHOSTUNREACH, EPROTO, EAFNOSUPPORT };

	return code < ARRAY_LEN(codes) ? -codes[code] : -EPROTO;
}

/* A message is complete. Return: 1 connected; 0 more to come; -errno. */
static int step(struct tcp_flow *tf)
{
	struct socks *s = tf->socks;
	const uint8_t *m = s->got;

	switch (s->step) {
	case SOCKS4_REPLY:
		return m[0] == 0 && m[1] == 90 ? 1 : -ECONNREFUSED;
	case SOCKS5_METHOD:
		if (m[0] != 5 || m[1] != (tf->f.net->config.proxy.user ? 2 : 0))
			return -EACCES;
		return m[1] ? authenticate(tf) : ask5(tf);
	case SOCKS5_AUTH:
		return m[1] == 0 ? ask5(tf) : -EACCES;
	case SOCKS5_REPLY:
		if (m[0] != 5)
			return -EPROTO;
		if (m[1])
			return reply_errno(m[1]);
		/* version, code, reserved, type, and what says how long the address is */
		s->step = SOCKS5_BOUND;
		s->want = m[3] == 1 ? 10 : m[3] == 4 ? 22 : m[3] == 3 ? 7u + m[4] : 0;
		return s->want ? 0 : -EPROTO;
	case SOCKS5_BOUND:
		return 1;
	}
	return -EPROTO;
}

int socks_run(struct tcp_flow *tf)
{
	struct socks *s = tf->socks;

	for (;;) {
		ssize_t n;
		int rc;

		if (s->have == s->want) {
			rc = step(tf);
			if (rc != 0)
				return rc;
		}
		n = recv(tf->f.fd, s->got + s->have, s->want - s->have, MSG_DONTWAIT);
		if (n == 0)
			return -ECONNREFUSED;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		s->have += (size_t)n;
	}
}
