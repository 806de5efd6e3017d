/* SPDX-License-Identifier: Apache-2.0 */
/*
 * struct idtab: 64-bit ids for objects a stranger refers to. An id is a slot number (low half) and
 * the slot's generation (high half), so an id that was given back, or never issued, finds nothing.
 * Id 0 is never issued; the first id of a new table is 1. Not locked: the owner serialises.
 */
#ifndef FS_IDTAB_H
#define FS_IDTAB_H

#include <stdint.h>

struct idslot {
	void *obj;
	uint32_t gen, next_free;
};

struct idtab {
	struct idslot *slot;
	uint32_t n_slots, free_head, n_used;
};

/* idtab_add() - Return: a new id for @obj (not NULL), 0 when out of memory */
uint64_t idtab_add(struct idtab *t, void *obj);

/* idtab_get() - Return: the object, NULL for ids that are not live */
void *idtab_get(const struct idtab *t, uint64_t id);

/* idtab_del() - retire a live id; others are ignored */
void idtab_del(struct idtab *t, uint64_t id);

void idtab_release(struct idtab *t);

#endif
