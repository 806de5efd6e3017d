/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages are short: each is written in one go into an empty socket buffer, and answers are read
 * exactly, so that not a byte of the connection behind them is taken away.
 */
#include "net/socks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/num.h"

enum socks_step { SOCKS4_REPLY, SOCKS5_METHOD, SOCKS5_AUTH, SOCKS5_REPLY, SOCKS5_BOUND };

#define ATYP_V4	  1
#define ATYP_NAME 3
#define ATYP_V6	  4

struct socks {
	const struct net_proxy *proxy;
	enum socks_command command;
	struct ip_port dst, bound;
	enum socks_step step;
	uint8_t got[512];
	size_t have, want;
};

void socks_free(struct socks *s)
{
	free(s);
}

const struct ip_port *socks_bound(const struct socks *s)
{
	return &s->bound;
}

/* --- addresses as they are written --- */

/* Type, address, port. Return: length. */
static size_t put_address(uint8_t *dst, const struct ip_port *a)
{
	bool v4 = ip_is_v4(&a->addr);
	size_t n = v4 ? 4 : 16;

	dst[0] = v4 ? ATYP_V4 : ATYP_V6;
	memcpy(dst + 1, v4 ? ip_v4_bytes(&a->addr) : a->addr.b, n);
	store_be16(dst + 1 + n, a->port);
	return 1 + n + 2;
}

/* At the type byte. Return: length; -EBADMSG: a name, or cut short. */
static int read_address(const uint8_t *p, size_t len, struct ip_port *ret)
{
	size_t n = len && p[0] == ATYP_V4 ? 4 : 16;

	if (!len || (p[0] != ATYP_V4 && p[0] != ATYP_V6) || len < 1 + n + 2)
		return -EBADMSG;
	ret->addr = n == 4 ? ip_from_v4(p + 1) : ip_from_v6(p + 1);
	ret->port = load_be16(p + 1 + n);
	return (int)(1 + n + 2);
}

size_t socks_put_udp(uint8_t dst[SOCKS_UDP_MAX], const struct ip_port *to)
{
	memset(dst, 0, 3); /* reserved, and no fragment */
	return 3 + put_address(dst + 3, to);
}

int socks_read_udp(const uint8_t *p, size_t len, struct ip_port *ret_from)
{
	int n;

	if (len < 3 || p[2])
		return -EBADMSG;
	n = read_address(p + 3, len - 3, ret_from);
	return n < 0 ? n : n + 3;
}

/* --- asking --- */

static int put(
	struct socks *s, int fd, const uint8_t *msg, size_t len, enum socks_step next, size_t want)
{
	ssize_t n = send(fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EPROTO;
	s->step = next;
	s->have = 0;
	s->want = want;
	return 0;
}

static int ask4(struct socks *s, int fd)
{
	const struct net_proxy *p = s->proxy;
	uint8_t msg[8 + 256] = { 4, SOCKS_CONNECT };
	size_t n = p->user ? MIN_OF(strlen(p->user), (size_t)255) : 0;

	if (!ip_is_v4(&s->dst.addr) || s->command != SOCKS_CONNECT)
		return -ENETUNREACH; /* the protocol has neither IPv6 nor UDP */
	store_be16(msg + 2, s->dst.port);
	memcpy(msg + 4, ip_v4_bytes(&s->dst.addr), 4);
	if (n)
		memcpy(msg + 8, p->user, n);
	return put(s, fd, msg, 8 + n + 1, SOCKS4_REPLY, 8);
}

static int ask5(struct socks *s, int fd)
{
	uint8_t msg[SOCKS_UDP_MAX] = { 5, (uint8_t)s->command, 0 };

	return put(s, fd, msg, 3 + put_address(msg + 3, &s->dst), SOCKS5_REPLY, 5);
}

int socks_start(const struct net_proxy *proxy, enum socks_command command,
	const struct ip_port *dst, int fd, struct socks **ret)
{
	uint8_t plain[] = { 5, 1, 0 }, with_user[] = { 5, 1, 2 };
	struct socks *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->proxy = proxy;
	s->command = command;
	s->dst = *dst;
	if (proxy->kind == NET_PROXY_SOCKS4)
		rc = ask4(s, fd);
	else
		rc = put(s, fd, proxy->user ? with_user : plain, 3, SOCKS5_METHOD, 2);
	if (rc < 0)
		socks_free(s);
	else
		*ret = s;
	return rc;
}

static int authenticate(struct socks *s, int fd)
{
	const struct net_proxy *p = s->proxy;
	uint8_t msg[3 + 2 * 255] = { 1 };
	size_t u = MIN_OF(strlen(p->user), (size_t)255);
	size_t w = p->password ? MIN_OF(strlen(p->password), (size_t)255) : 0;
	int rc;

	msg[1] = (uint8_t)u;
	memcpy(msg + 2, p->user, u);
	msg[2 + u] = (uint8_t)w;
	if (w)
		memcpy(msg + 3 + u, p->password, w);
	rc = put(s, fd, msg, 3 + u + w, SOCKS5_AUTH, 2);
	explicit_bzero(msg, sizeof(msg));
	return rc;
}

/* --- answers --- */

/* What the proxy says of the target, as our own connect() would have. */
static int reply_errno(uint8_t code)
{
	static const int codes[] = { 0, ECONNABORTED, EACCES, ENETUNREACH, EHOSTUNREACH,
		ECONNREFUSED, EHOSTUNREACH, EPROTO, EAFNOSUPPORT };

	return code < ARRAY_LEN(codes) ? -codes[code] : -EPROTO;
}

/* The whole length of a reply, from its first five bytes; 0: none that exists. */
static size_t reply_len(const uint8_t *m)
{
	switch (m[3]) {
	case ATYP_V4:
		return 10;
	case ATYP_V6:
		return 22;
	case ATYP_NAME:
		return 7u + m[4];
	default:
		return 0;
	}
}

/* A whole answer is in s->got. Return: as socks_run(). */
static int step(struct socks *s, int fd)
{
	const uint8_t *m = s->got;

	switch (s->step) {
	case SOCKS4_REPLY:
		return m[0] != 0 ? -EPROTO : m[1] == 90 ? 1 : -ECONNREFUSED;
	case SOCKS5_METHOD:
		if (m[0] != 5 || m[1] != (s->proxy->user ? 2 : 0))
			return -EACCES;
		return m[1] ? authenticate(s, fd) : ask5(s, fd);
	case SOCKS5_AUTH:
		return m[1] == 0 ? ask5(s, fd) : -EACCES;
	case SOCKS5_REPLY:
		if (m[0] != 5)
			return -EPROTO;
		if (m[1])
			return reply_errno(m[1]);
		s->step = SOCKS5_BOUND;
		s->want = reply_len(m);
		return s->want ? 0 : -EPROTO;
	case SOCKS5_BOUND:
		(void)read_address(m + 3, s->have - 3, &s->bound);
		return 1;
	}
	return -EPROTO;
}

int socks_run(struct socks *s, int fd)
{
	for (;;) {
		ssize_t n;

		if (s->have == s->want) {
			int rc = step(s, fd);

			if (rc != 0)
				return rc;
		}
		n = recv(fd, s->got + s->have, s->want - s->have, MSG_DONTWAIT);
		if (n == 0)
			return -ECONNREFUSED;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		s->have += (size_t)n;
	}
}
