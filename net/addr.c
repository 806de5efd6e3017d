/* SPDX-License-Identifier: Apache-2.0 */
#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "lib/num.h"

int ip_parse(const char *s, struct ip_addr *ret)
{
	uint8_t v6[16], v4[4];

	/* inet_pton takes exactly four decimal parts without leading zeros, and no zone */
	if (inet_pton(AF_INET, s, v4) == 1)
		*ret = ip_from_v4(v4);
	else if (inet_pton(AF_INET6, s, v6) == 1)
		*ret = ip_from_v6(v6);
	else
		return -EINVAL;
	return 0;
}

/* Copies [s, end) to @dst; false if it is empty or does not fit. */
static bool copy_part(const char *s, const char *end, char *dst, size_t dst_len)
{
	size_t len = (size_t)(end - s);

	if (!len || len >= dst_len)
		return false;
	memcpy(dst, s, len);
	dst[len] = 0;
	return true;
}

/* inet_pton() would take "::ffff:1.2.3.4/100": the prefix length must fit the family as written. */
int cidr_parse(const char *s, struct ip_cidr *ret)
{
	const char *slash = strchr(s, '/');
	char text[IP_STRLEN];
	struct ip_cidr c;
	uint64_t bits;

	if (!slash || !copy_part(s, slash, text, sizeof(text)) || ip_parse(text, &c.addr) < 0)
		return -EINVAL;
	if (slash[1] == '0' && slash[2])
		return -EINVAL;
	if (num_parse_u64(slash + 1, "prefix", 0, strchr(text, ':') ? 128 : 32, &bits, NULL) < 0)
		return -EINVAL;
	if (ip_is_v4(&c.addr) && strchr(text, ':')) { /* written as mapped: count from its IPv4 */
		if (bits < 96)
			return -EINVAL;
		bits -= 96;
	}
	c.bits = (uint8_t)bits;
	*ret = c;
	return 0;
}

int ip_port_parse(const char *s, struct ip_port *ret)
{
	const char *colon = strrchr(s, ':');
	char text[IP_STRLEN];
	struct ip_port p;
	uint64_t port;
	bool ok;

	if (!colon)
		return -EINVAL;
	if (*s == '[')
		ok = colon > s && colon[-1] == ']' &&
		     copy_part(s + 1, colon - 1, text, sizeof(text)) && strchr(text, ':');
	else
		ok = copy_part(s, colon, text, sizeof(text)) && !strchr(text, ':');
	if (!ok || ip_parse(text, &p.addr) < 0)
		return -EINVAL;
	if (num_parse_u64(colon + 1, "port", 0, UINT16_MAX, &port, NULL) < 0)
		return -EINVAL;
	p.port = (uint16_t)port;
	*ret = p;
	return 0;
}

char *ip_format(const struct ip_addr *a, char dst[IP_STRLEN])
{
	if (ip_is_v4(a))
		(void)inet_ntop(AF_INET, ip_v4_bytes(a), dst, IP_STRLEN);
	else
		(void)inet_ntop(AF_INET6, a->b, dst, IP_STRLEN);
	return dst;
}

char *cidr_format(const struct ip_cidr *c, char dst[IP_STRLEN])
{
	size_t n = strlen(ip_format(&c->addr, dst));

	(void)snprintf(dst + n, IP_STRLEN - n, "/%u", c->bits);
	return dst;
}

char *ip_port_format(const struct ip_addr *a, uint16_t port, char dst[IP_STRLEN])
{
	char text[IP_STRLEN];

	(void)snprintf(
		dst, IP_STRLEN, ip_is_v4(a) ? "%.48s:%u" : "[%.48s]:%u", ip_format(a, text), port);
	return dst;
}

static bool prefix_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	if (memcmp(a, b, bytes) != 0)
		return false;
	return !rest || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0;
}

bool cidr_contains(const struct ip_cidr *c, const struct ip_addr *a)
{
	bool v4 = ip_is_v4(&c->addr);

	if (v4 != ip_is_v4(a))
		return false;
	return prefix_equal(c->addr.b, a->b, v4 ? 96u + c->bits : c->bits);
}

/* struct range - a table row; @v6 rows carry their bytes in full */
struct range {
	uint8_t b[16];
	uint8_t bits; /* of the 128 */
};

#define R4(a, b, c, d, n)                                                                          \
	{                                                                                          \
		{ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d }, 96 + (n)                 \
	}
#define R6(n, ...)                                                                                 \
	{                                                                                          \
		{ __VA_ARGS__ }, n                                                                 \
	}

static bool in_ranges(const struct range *r, size_t n, const struct ip_addr *a)
{
	for (size_t i = 0; i < n; i++) {
		if (prefix_equal(r[i].b, a->b, r[i].bits))
			return true;
	}
	return false;
}

#define IN_TABLE(table, a) in_ranges(table, ARRAY_LEN(table), a)

struct ip_addr ip_unwrap(const struct ip_addr *a)
{
	static const uint8_t nat64[12] = { 0, 0x64, 0xff, 0x9b };

	if (memcmp(a->b, nat64, sizeof(nat64)) == 0)
		return ip_from_v4(a->b + 12);
	if (a->b[0] == 0x20 && a->b[1] == 0x02)
		return ip_from_v4(a->b + 2);
	return *a;
}

static const struct range loopback[] = { R4(127, 0, 0, 0, 8),
	R6(128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1) };

static const struct range unusable[] = { R4(0, 0, 0, 0, 8), R4(240, 0, 0, 0, 4),
	R6(96, 0) /* :: and the IPv4-compatible form; ::1 is asked before */ };

static const struct range metadata[] = { R4(169, 254, 169, 254, 32),
	R6(128, 0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54) };

static const struct range private[] = { R4(10, 0, 0, 0, 8), R4(172, 16, 0, 0, 12),
	R4(192, 168, 0, 0, 16), R4(100, 64, 0, 0, 10), R6(7, 0xfc), R6(10, 0xfe, 0xc0),
	R6(48, 0, 0x64, 0xff, 0x9b, 0, 1) /* local-use NAT64 */ };

static const struct range link_local[] = { R4(169, 254, 0, 0, 16), R6(10, 0xfe, 0x80) };

static const struct range multicast[] = { R4(224, 0, 0, 0, 4), R6(8, 0xff) };

/* What is neither public nor in a group of its own, but never a sane answer of public DNS. */
static const struct range special[] = { R4(192, 0, 0, 0, 24), R4(192, 0, 2, 0, 24),
	R4(192, 88, 99, 0, 24), R4(198, 18, 0, 0, 15), R4(198, 51, 100, 0, 24),
	R4(203, 0, 113, 0, 24), R6(64, 1), R6(32, 0x20, 0x01, 0x0d, 0xb8),
	R6(20, 0x3f, 0xff, 0x00) };

enum ip_class ip_classify(const struct ip_addr *addr)
{
	struct ip_addr plain = ip_unwrap(addr);
	const struct ip_addr *a = &plain;

	if (IN_TABLE(metadata, a))
		return IP_CLASS_METADATA;
	if (IN_TABLE(loopback, a))
		return IP_CLASS_LOOPBACK;
	if (IN_TABLE(unusable, a))
		return IP_CLASS_NONE;
	if (IN_TABLE(private, a))
		return IP_CLASS_PRIVATE;
	if (IN_TABLE(link_local, a))
		return IP_CLASS_LINK_LOCAL;
	if (IN_TABLE(multicast, a))
		return IP_CLASS_MULTICAST;
	return IP_CLASS_PUBLIC;
}

bool ip_is_reserved(const struct ip_addr *addr)
{
	struct ip_addr a = ip_unwrap(addr);

	return ip_classify(&a) != IP_CLASS_PUBLIC || IN_TABLE(special, &a);
}

bool ip_is_martian_dst(const struct ip_addr *a)
{
	enum ip_class c = ip_classify(a);

	return c == IP_CLASS_LOOPBACK || c == IP_CLASS_NONE;
}

socklen_t ip_to_sockaddr(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (ip_is_v4(a)) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, ip_v4_bytes(a), 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	memcpy(&in6->sin6_addr, a->b, 16);
	return sizeof(*in6);
}

bool ip_from_sockaddr(const struct sockaddr_storage *ss, struct ip_addr *ret, uint16_t *ret_port)
{
	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)ss;

		*ret = ip_from_v4((const uint8_t *)&in->sin_addr);
		*ret_port = ntohs(in->sin_port);
		return true;
	}
	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;

		*ret = ip_from_v6((const uint8_t *)&in6->sin6_addr);
		*ret_port = ntohs(in6->sin6_port);
		return true;
	}
	return false;
}
