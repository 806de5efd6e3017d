/* SPDX-License-Identifier: Apache-2.0 */
#include "block/owned.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"

void owned_release(struct owned *o)
{
	free(o->one);
	free(o->range);
	*o = (struct owned){ 0 };
}

int owned_room(void **array, size_t *cap, size_t n, size_t item)
{
	size_t want = n < 16 ? 16 : n * 2;
	void *p;

	if (n < *cap)
		return 0;
	p = realloc(*array, want * item);
	if (!p)
		return -ENOMEM;
	*array = p;
	*cap = want;
	return 0;
}

int owned_append(struct owned *o, uint64_t cluster)
{
	int r = owned_room((void **)&o->one, &o->cap_one, o->n_one, sizeof(*o->one));

	if (r == 0)
		o->one[o->n_one++] = cluster;
	return r;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

bool owned_sort(struct owned *o)
{
	if (o->n_one)
		qsort(o->one, o->n_one, sizeof(*o->one), compare);
	for (size_t i = 1; i < o->n_one; i++) {
		if (o->one[i - 1] == o->one[i])
			return false;
	}
	return true;
}

/* The first place whose cluster is not below @cluster. */
static size_t lower_bound(const struct owned *o, uint64_t cluster)
{
	size_t low = 0, high = o->n_one;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (o->one[mid] < cluster)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int owned_add(struct owned *o, uint64_t cluster)
{
	size_t at = lower_bound(o, cluster);
	int r = owned_room((void **)&o->one, &o->cap_one, o->n_one, sizeof(*o->one));

	if (r < 0)
		return r;
	memmove(&o->one[at + 1], &o->one[at], (o->n_one - at) * sizeof(*o->one));
	o->one[at] = cluster;
	o->n_one++;
	return 0;
}

void owned_remove(struct owned *o, uint64_t cluster)
{
	size_t at = lower_bound(o, cluster);

	if (at == o->n_one || o->one[at] != cluster)
		return;
	o->n_one--;
	memmove(&o->one[at], &o->one[at + 1], (o->n_one - at) * sizeof(*o->one));
}

int owned_add_range(struct owned *o, uint64_t first, uint64_t n)
{
	int r = owned_room((void **)&o->range, &o->cap_range, o->n_range, sizeof(*o->range));

	if (r == 0)
		o->range[o->n_range++] = (struct owned_range){ first, n };
	return r;
}

void owned_remove_range(struct owned *o, uint64_t first)
{
	for (size_t i = 0; i < o->n_range; i++) {
		if (o->range[i].first == first) {
			o->range[i] = o->range[--o->n_range];
			return;
		}
	}
}

bool owned_hit(const struct owned *o, uint64_t first, uint64_t n)
{
	size_t at = lower_bound(o, first);

	if (at < o->n_one && o->one[at] - first < n)
		return true;
	for (size_t i = 0; i < o->n_range; i++) {
		const struct owned_range *r = &o->range[i];

		if (r->first < first ? first - r->first < r->n : r->first - first < n)
			return true;
	}
	return false;
}
