/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nameservers that were given by name. The stack takes addresses only, and its process may neither
 * block nor open what a lookup needs: so names are looked up once, before it starts.
 */
#ifndef CLI_NET_RESOLVE_H
#define CLI_NET_RESOLVE_H

#include <stdint.h>

#include "lib/err.h"
#include "net/config.h"

#define NET_RESOLVE_TIMEOUT_MS 10000

/*
 * net_lookup_fn() - one name to one address; runs in a process of its own and may block
 * Return: 0; an EAI_* code
 */
typedef int net_lookup_fn(const char *name, struct ip_addr *ret);

/* net_lookup_host() - by the host's own resolver (getaddrinfo(3)): the address it prefers. */
int net_lookup_host(const char *name, struct ip_addr *ret);

/*
 * net_resolve_nameservers() - replace each name in @c->nameservers by its address; blocks
 * Forks: not with other threads about that may hold locks.
 * @timeout_ms: for each name
 * Return: 0; -EHOSTUNREACH: no address; -ETIMEDOUT; both name the nameserver; -errno
 */
int net_resolve_nameservers(
	struct net_config *c, net_lookup_fn *lookup, unsigned timeout_ms, struct err *err);

#endif
