/* SPDX-License-Identifier: Apache-2.0 */
/* Between the resolver's two entrances. */
#ifndef NET_DNS_H
#define NET_DNS_H

#include "net/dns_msg.h"
#include "net/tcp_internal.h"

/*
 * dns_query() - a query from the guest; will be answered in time, or at once
 * @key:   who asks whom
 * @asker: the connection it came over, else NULL
 * Return: false if it was not a query at all: no answer will come
 */
bool dns_query(struct net *net, const struct flow_key *key, struct tcp_flow *asker,
	const uint8_t *msg, size_t len);

/* dns_forget() - @asker is going away: end its queries. */
void dns_forget(struct net *net, const struct tcp_flow *asker);

/* dns_tcp_answer() - for an earlier dns_query() with @asker. */
void dns_tcp_answer(struct tcp_flow *asker, const uint8_t *msg, size_t len);

#endif
