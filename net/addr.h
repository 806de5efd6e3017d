/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses, prefixes and the kinds of address a policy distinguishes. One representation for
 * both families: IPv4 is kept in its IPv4-mapped IPv6 form, so comparing and hashing need no case
 * distinction. Packet parsers refuse IPv6 packets that carry a mapped address, so the form cannot
 * be forged on the wire.
 */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/err.h"

/* struct ip_addr - network byte order; IPv4 as ::ffff:a.b.c.d; all zero means "::" */
struct ip_addr {
	uint8_t b[16];
};

/* struct ip_cidr - @bits counts from the start of the family's own address: 0..32 or 0..128 */
struct ip_cidr {
	struct ip_addr addr;
	uint8_t bits;
};

/* struct ip_port - an address with a port in host byte order */
struct ip_port {
	struct ip_addr addr;
	uint16_t port;
};

#define IP_STRLEN 64 /* any text of ip_format(), ip_port_format() or cidr_format() fits */
#define IP_V4(a, b, c, d)                                                                          \
	((struct ip_addr){ { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, (a), (b), (c), (d) } })

static inline bool ip_is_v4(const struct ip_addr *a)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	return memcmp(a->b, mapped, sizeof(mapped)) == 0;
}

static inline bool ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static inline struct ip_addr ip_from_v4(const uint8_t v4[4])
{
	return IP_V4(v4[0], v4[1], v4[2], v4[3]);
}

static inline struct ip_addr ip_from_v6(const uint8_t v6[16])
{
	struct ip_addr a;

	memcpy(a.b, v6, sizeof(a.b));
	return a;
}

/* ip_v4_bytes() - the four bytes of an IPv4 address (ip_is_v4()). */
static inline const uint8_t *ip_v4_bytes(const struct ip_addr *a)
{
	return a->b + 12;
}

/*
 * ip_parse() - dotted decimal or IPv6 text, strictly: no octal, hex or short forms, no zone
 * Return: 0; -EINVAL
 */
int ip_parse(const char *s, struct ip_addr *ret);

/* cidr_parse() - "10.0.0.0/8"; host bits may be set. Return: 0; -EINVAL. */
int cidr_parse(const char *s, struct ip_cidr *ret);

/* ip_port_parse() - "1.2.3.4:5" or "[::1]:5". Return: 0; -EINVAL. */
int ip_port_parse(const char *s, struct ip_port *ret);

/* Text forms; @dst has room for IP_STRLEN. Return: @dst. */
char *ip_format(const struct ip_addr *a, char dst[IP_STRLEN]);
char *cidr_format(const struct ip_cidr *c, char dst[IP_STRLEN]);
char *ip_port_format(const struct ip_addr *a, uint16_t port, char dst[IP_STRLEN]);

/* cidr_contains() - families never mix. */
bool cidr_contains(const struct ip_cidr *c, const struct ip_addr *a);

/*
 * ip_unwrap() - the IPv4 address that an IPv6 address stands for and a router would deliver to:
 * 64:ff9b::/96 (NAT64) and 2002::/16 (6to4); any other address unchanged.
 */
struct ip_addr ip_unwrap(const struct ip_addr *a);

/* enum ip_class - what kind of address; exactly one holds for each */
enum ip_class {
	IP_CLASS_NONE, /* names no host: 0/8, ::, 240/4, IPv4-compatible ::/96 */
	IP_CLASS_METADATA,
	IP_CLASS_LOOPBACK,
	IP_CLASS_PRIVATE,
	IP_CLASS_LINK_LOCAL,
	IP_CLASS_MULTICAST,
	IP_CLASS_PUBLIC,
};

enum ip_class ip_classify(const struct ip_addr *a);

/* ip_is_reserved() - an address no public name should resolve to (DNS rebind protection). */
bool ip_is_reserved(const struct ip_addr *a);

/* ip_is_martian_dst() - a destination that may not come over a wire: loopback, ::, 0/8, 240/4. */
bool ip_is_martian_dst(const struct ip_addr *a);

/* ip_to_sockaddr() - for connect() and friends. Return: the length used. */
socklen_t ip_to_sockaddr(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *ret);

/* ip_from_sockaddr() - Return: false for other families. */
bool ip_from_sockaddr(const struct sockaddr_storage *ss, struct ip_addr *ret, uint16_t *ret_port);

#endif
