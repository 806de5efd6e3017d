/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two intrusive hash tables over the same objects: keys by (name, family), and one binding per
 * (key, address) by address, because a connection asks "which names is this address bound to?".
 * Bindings live in their key's allocation.
 */
#include "net/name_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/num.h"
#include "net/name.h"

#define BUCKETS 1024

struct key;

struct binding {
	struct binding *next, **link; /* in by_addr; *link points here: unlinking is O(1) */
	struct key *key;
	struct ip_addr addr;
};

struct key {
	struct key *next; /* in by_name */
	uint64_t expiry_ns;
	bool v4;
	size_t n;
	char name[NAME_BUF];
	struct binding b[];
};

struct name_index {
	struct key *by_name[BUCKETS];
	struct binding *by_addr[BUCKETS];
	size_t count;
	uint64_t seed; /* names come from strangers: no chosen collisions */
};

struct name_index *name_index_new(void)
{
	struct name_index *ix = calloc(1, sizeof(*ix));

	if (ix)
		(void)!getrandom(&ix->seed, sizeof(ix->seed), 0);
	return ix;
}

static unsigned hash(const struct name_index *ix, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = ix->seed;

	for (size_t i = 0; i < len; i++) {
		h = (h ^ p[i]) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	return h % BUCKETS;
}

static unsigned name_slot(const struct name_index *ix, const char *name)
{
	return hash(ix, name, strlen(name));
}

static unsigned addr_slot(const struct name_index *ix, const struct ip_addr *a)
{
	return hash(ix, a->b, sizeof(a->b));
}

static void unbind(struct binding *b)
{
	*b->link = b->next;
	if (b->next)
		b->next->link = b->link;
}

static void bind_addr(struct name_index *ix, struct binding *b)
{
	b->link = &ix->by_addr[addr_slot(ix, &b->addr)];
	b->next = *b->link;
	if (b->next)
		b->next->link = &b->next;
	*b->link = b;
}

/* Drops the key *at points to. */
static void key_drop(struct name_index *ix, struct key **at)
{
	struct key *k = *at;

	for (size_t i = 0; i < k->n; i++)
		unbind(&k->b[i]);
	*at = k->next;
	ix->count--;
	free(k);
}

void name_index_free(struct name_index *ix)
{
	if (!ix)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		while (ix->by_name[i])
			key_drop(ix, &ix->by_name[i]);
	}
	free(ix);
}

static struct key **key_find(struct name_index *ix, const char *name, bool v4)
{
	struct key **at = &ix->by_name[name_slot(ix, name)];

	while (*at && ((*at)->v4 != v4 || strcmp((*at)->name, name) != 0))
		at = &(*at)->next;
	return at;
}

void name_index_clear(struct name_index *ix, const char *name, bool v4)
{
	struct key **at = key_find(ix, name, v4);

	if (*at)
		key_drop(ix, at);
}

/* A full index: what expires first goes. Linear, but only once the bound is reached. */
static void evict_one(struct name_index *ix)
{
	struct key **victim = NULL;

	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct key **at = &ix->by_name[i]; *at; at = &(*at)->next) {
			if (!victim || (*at)->expiry_ns < (*victim)->expiry_ns)
				victim = at;
		}
	}
	if (victim)
		key_drop(ix, victim);
}

static void key_add(struct key *k, const struct ip_addr *a)
{
	for (size_t i = 0; i < k->n; i++) {
		if (ip_equal(&k->b[i].addr, a))
			return;
	}
	k->b[k->n++] = (struct binding){ .key = k, .addr = *a };
}

int name_index_put(struct name_index *ix, const char *name, bool v4, const struct ip_addr *addrs,
	size_t n, uint64_t expiry_ns)
{
	struct key *k;
	unsigned slot;

	name_index_clear(ix, name, v4);
	n = MIN_OF(n, (size_t)NAME_INDEX_ADDRS);
	if (!n || strlen(name) > NAME_MAX_LEN)
		return 0;
	if (ix->count >= NAME_INDEX_MAX)
		evict_one(ix);
	k = calloc(1, sizeof(*k) + n * sizeof(k->b[0]));
	if (!k)
		return -ENOMEM;
	k->v4 = v4;
	k->expiry_ns = expiry_ns;
	memcpy(k->name, name, strlen(name) + 1);
	for (size_t i = 0; i < n; i++) {
		if (ip_is_v4(&addrs[i]) == v4)
			key_add(k, &addrs[i]);
	}
	for (size_t i = 0; i < k->n; i++)
		bind_addr(ix, &k->b[i]);
	slot = name_slot(ix, name);
	k->next = ix->by_name[slot];
	ix->by_name[slot] = k;
	ix->count++;
	return 0;
}

static bool lookup(const struct name_index *ix, const char *name, const struct ip_addr *addr,
	uint64_t now_ns, bool under)
{
	const struct binding *b = ix->by_addr[addr_slot(ix, addr)];

	for (; b; b = b->next) {
		if (b->key->expiry_ns <= now_ns || !ip_equal(&b->addr, addr))
			continue;
		if (under ? name_under(b->key->name, name) : !strcmp(b->key->name, name))
			return true;
	}
	return false;
}

bool name_index_has(
	const struct name_index *ix, const char *name, const struct ip_addr *addr, uint64_t now_ns)
{
	return lookup(ix, name, addr, now_ns, false);
}

bool name_index_has_under(const struct name_index *ix, const char *suffix,
	const struct ip_addr *addr, uint64_t now_ns)
{
	return lookup(ix, suffix, addr, now_ns, true);
}

void name_index_sweep(struct name_index *ix, uint64_t now_ns)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		struct key **at = &ix->by_name[i];

		while (*at) {
			if ((*at)->expiry_ns <= now_ns)
				key_drop(ix, at);
			else
				at = &(*at)->next;
		}
	}
}

size_t name_index_count(const struct name_index *ix)
{
	return ix->count;
}
