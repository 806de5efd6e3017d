/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/idtab.h"

#include <stdlib.h>

#include "lib/num.h"

#define IDTAB_FIRST 64

static bool idtab_grow(struct idtab *t)
{
	uint32_t n = t->n_slots ? t->n_slots * 2 : IDTAB_FIRST;
	struct idslot *slot;

	if (n < t->n_slots)
		return false;
	slot = realloc(t->slot, n * sizeof(*slot));
	if (!slot)
		return false;
	/* Slot 0 heads no id; the rest is chained in ascending order, so that 1 comes first. */
	for (uint32_t i = t->n_slots; i < n; i++)
		slot[i] = (struct idslot){ .next_free = i + 1 < n ? i + 1 : 0 };
	t->free_head = t->n_slots ? t->n_slots : 1;
	t->slot = slot;
	t->n_slots = n;
	return true;
}

uint64_t idtab_add(struct idtab *t, void *obj)
{
	if (!t->free_head && !idtab_grow(t))
		return 0;
	uint32_t i = t->free_head;
	struct idslot *s = &t->slot[i];

	t->free_head = s->next_free;
	t->n_used++;
	s->obj = obj;
	return (uint64_t)s->gen << 32 | i;
}

static struct idslot *idtab_slot(const struct idtab *t, uint64_t id)
{
	uint32_t i = (uint32_t)id;

	if (i >= t->n_slots || !t->slot[i].obj || t->slot[i].gen != id >> 32)
		return NULL;
	return &t->slot[i];
}

void *idtab_get(const struct idtab *t, uint64_t id)
{
	struct idslot *s = idtab_slot(t, id);

	return s ? s->obj : NULL;
}

void idtab_del(struct idtab *t, uint64_t id)
{
	struct idslot *s = idtab_slot(t, id);

	if (!s)
		return;
	s->obj = NULL;
	s->gen++;
	s->next_free = t->free_head;
	t->free_head = (uint32_t)id;
	t->n_used--;
}

void idtab_release(struct idtab *t)
{
	free(t->slot);
	*t = (struct idtab){ 0 };
}
