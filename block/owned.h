/* SPDX-License-Identifier: Apache-2.0 */
/* Which clusters of a file are its tables: a set that guests' writes are checked against. */
#ifndef BLOCK_OWNED_H
#define BLOCK_OWNED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* struct owned - zero-initialised is valid and empty; changes need a lock against everything else
 */
struct owned {
	uint64_t *one; /* single clusters, sorted once owned_sort() was called */
	size_t n_one, cap_one;
	struct owned_range {
		uint64_t first, n;
	} * range;
	size_t n_range, cap_range;
};

void owned_release(struct owned *o);

/* owned_append() - for the first filling; owned_sort() comes after the last. Return: 0, -ENOMEM */
int owned_append(struct owned *o, uint64_t cluster);

/* owned_sort() - Return: false if something is there twice */
bool owned_sort(struct owned *o);

/* owned_add(), owned_remove() - keep the order; removing what is not there is fine */
int owned_add(struct owned *o, uint64_t cluster);
void owned_remove(struct owned *o, uint64_t cluster);

/* owned_add_range(), owned_remove_range() - for tables of several clusters, of which there are few
 */
int owned_add_range(struct owned *o, uint64_t first, uint64_t n);
void owned_remove_range(struct owned *o, uint64_t first);

/* owned_room() - room for one item more behind the @n of a growing array. Return: 0, -ENOMEM */
int owned_room(void **array, size_t *cap, size_t n, size_t item);

/* owned_hit() - is any of @n clusters a table? */
bool owned_hit(const struct owned *o, uint64_t first, uint64_t n);

#endif
