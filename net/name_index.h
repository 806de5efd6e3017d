/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name index: which addresses the DNS answers that went through the gateway gave for which
 * name. Domain rules on connections are decided with it ("DNS pinning").
 *
 * Key: (canonical name, family); value: a set of addresses with one expiry. Storing replaces the
 * whole set. The two families of a name are independent. Bounded: at most NAME_INDEX_MAX keys (the
 * one that expires first makes room) and NAME_INDEX_ADDRS addresses per key.
 */
#ifndef NET_NAME_INDEX_H
#define NET_NAME_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

#define NAME_INDEX_MAX	 4096
#define NAME_INDEX_ADDRS 64

struct name_index;

/* name_index_new() - Return: an empty index, freed by name_index_free(); NULL without memory. */
struct name_index *name_index_new(void);
void name_index_free(struct name_index *ix);

/*
 * name_index_put() - replace what (@name, family) stands for
 * @name:      canonical
 * @v4:        the family
 * @addrs:     @n addresses of that family; duplicates are dropped, surplus ones ignored
 * @expiry_ns: monotonic time at which the set stops counting
 * Return: 0; -ENOMEM (the key is then absent)
 */
int name_index_put(struct name_index *ix, const char *name, bool v4, const struct ip_addr *addrs,
	size_t n, uint64_t expiry_ns);

/* name_index_clear() - forget (@name, family). */
void name_index_clear(struct name_index *ix, const char *name, bool v4);

/* name_index_has() - was @addr an answer for exactly @name that still counts at @now_ns? */
bool name_index_has(
	const struct name_index *ix, const char *name, const struct ip_addr *addr, uint64_t now_ns);

/* name_index_has_under() - the same for @suffix itself or any name below it. */
bool name_index_has_under(const struct name_index *ix, const char *suffix,
	const struct ip_addr *addr, uint64_t now_ns);

/* name_index_sweep() - drop what expired; for a periodic caller. */
void name_index_sweep(struct name_index *ix, uint64_t now_ns);

/* name_index_count() - keys held, expired or not. */
size_t name_index_count(const struct name_index *ix);

#endif
