/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/layout.h"

#include <errno.h>

#define GPA_MAX (1ULL << 46) /* far beyond any host, and no sum below wraps */

static void add_slot(struct layout *l, uint64_t gpa, uint64_t size, bool bundle)
{
	if (size)
		l->slot[l->n_slots++] = (struct layout_slot){ gpa, size, bundle };
}

static void add_e820(struct layout *l, uint64_t addr, uint64_t end)
{
	if (end > addr)
		l->e820[l->n_e820++] = (struct layout_e820){ addr, end - addr };
}

int layout_plan(uint64_t ram, uint64_t load, uint64_t size, struct layout *ret, struct err *err)
{
	uint64_t start = load + size, low;
	struct layout l = { 0 };

	if (!ram || ram > GPA_MAX || start > LAYOUT_HOLE || start < size)
		return err_msg(err, EINVAL, "no place for %llu MiB of memory",
			(unsigned long long)(ram >> 20));
	/* What does not fit below the hole continues above it; the hole is never covered. */
	low = MIN_OF(ram, LAYOUT_HOLE - start);
	add_slot(&l, 0, load, false);
	add_slot(&l, load, size, true);
	add_slot(&l, start, low, false);
	add_slot(&l, LAYOUT_HOLE_END, ram - low, false);
	add_e820(&l, 0, MIN_OF(start + low, (uint64_t)LAYOUT_EBDA));
	add_e820(&l, LAYOUT_HIGH, start + low);
	add_e820(&l, LAYOUT_HOLE_END, LAYOUT_HOLE_END + ram - low);
	*ret = l;
	return 0;
}
