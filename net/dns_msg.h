/* SPDX-License-Identifier: Apache-2.0 */
/* DNS messages (RFC 1035): what the gateway needs to read of them, and short answers of its own. */
#ifndef NET_DNS_MSG_H
#define NET_DNS_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"
#include "net/name.h"

#define DNS_HDR_LEN    12
#define DNS_MAX_LEN    65535
#define DNS_TYPE_A     1
#define DNS_TYPE_NS    2
#define DNS_TYPE_CNAME 5
#define DNS_TYPE_AAAA  28
#define DNS_TYPE_OPT   41
#define DNS_CLASS_IN   1

#define DNS_NOERROR  0
#define DNS_FORMERR  1
#define DNS_SERVFAIL 2
#define DNS_NXDOMAIN 3

#define DNS_UDP_MIN 512

/*
 * struct dns_query - a question
 * @name:      canonical, empty if @is_host is false
 * @is_host:   the name is a legal host name (and thereby a subject of domain rules)
 * @end:       where the question section ends
 * @udp_max:   largest answer the asker takes over UDP
 */
struct dns_query {
	uint16_t id, flags, type, class;
	bool is_host;
	char name[NAME_BUF];
	size_t end;
	uint16_t udp_max;
};

/*
 * dns_read_query() - Return: 0; -EBADMSG: not worth an answer; -EINVAL: to be answered with FORMERR
 * (@ret has id and flags, end is DNS_HDR_LEN)
 */
int dns_read_query(const uint8_t *msg, size_t len, struct dns_query *ret);

#define DNS_ADDRS_MAX 64

/*
 * struct dns_answer - what a response says about the question
 * @addrs:    addresses owned by the name asked for or, if that is an alias, by the end of its CNAME
 *            chain, of the family asked for
 * @all:      every address in the answer section, whoever owns it (for rebind protection)
 * @overflow: there were more than fit
 * @ttl_s:    least time to live of the records used, at least 1
 */
struct dns_answer {
	uint8_t rcode;
	bool truncated, overflow;
	struct ip_addr addrs[DNS_ADDRS_MAX], all[DNS_ADDRS_MAX];
	size_t n_addrs, n_all;
	uint32_t ttl_s;
};

/*
 * dns_read_answer() - a response to @q, sent with identifier @id
 * Return: 0; -EBADMSG: malformed, or not an answer to this question
 */
int dns_read_answer(const uint8_t *msg, size_t len, const struct dns_query *q, uint16_t id,
	struct dns_answer *ret);

/*
 * dns_put_status() - an answer without records: the question of @query_msg echoed
 * @dst: room for DNS_HDR_LEN + 260 bytes
 * Return: its length
 */
size_t dns_put_status(uint8_t *dst, const uint8_t *query_msg, const struct dns_query *q,
	uint8_t rcode, bool truncated);

/* dns_put_address() - the same with one address record of @ttl_s; authoritative. */
size_t dns_put_address(uint8_t *dst, const uint8_t *query_msg, const struct dns_query *q,
	const struct ip_addr *addr, uint32_t ttl_s);

#define DNS_SHORT_MAX (DNS_HDR_LEN + 260 + 28)

#endif
