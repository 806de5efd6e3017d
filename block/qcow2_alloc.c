/* SPDX-License-Identifier: Apache-2.0 */
/* Handing clusters out and taking them back. */
#include "block/file.h"
#include "block/qcow2.h"
#include "lib/num.h"

#define SEARCH_ROUNDS (4 * QCOW2_MAX_SPARES) /* each makes a block fresh: spares lie in as many */

int qcow2_alloc(
	struct qcow2 *q, uint64_t want, uint64_t *ret_first, uint64_t *ret_n, bool *ret_zero)
{
	uint64_t first, n, done = 0;
	int r = qcow2_find_counted(q, want, &first, &n);

	if (r == 0)
		r = qcow2_extend(q, first, n, ret_zero);
	while (r == 0 && done < n) {
		r = qcow2_ref_set(q, first + done, 1);
		done += r == 0;
	}
	if (r < 0) {
		if (done)
			qcow2_unalloc(q, first, done);
		return r;
	}
	q->hint = first + n;
	*ret_first = first;
	*ret_n = n;
	return 0;
}

void qcow2_unalloc(struct qcow2 *q, uint64_t first, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		(void)qcow2_ref_set(q, first + i, 0); /* what fails stays a leak */
	q->hint = MIN_OF(q->hint, first);
}

/* A place whose counts can be changed without anything else moving. */
static int find_counted_place(struct qcow2 *q, uint64_t from, uint64_t n, struct qcow2_place *ret)
{
	for (unsigned i = 0; i < SEARCH_ROUNDS; i++) {
		bool moved = false;
		int r = qcow2_find_place(q, from, n, ret);

		if (r == 0)
			r = qcow2_counts_for_write(q, ret->at, n, &moved);
		if (r < 0 || !moved)
			return r;
	}
	return qcow2_broken(q, "no end of missing refcount blocks");
}

int qcow2_alloc_table(struct qcow2 *q, uint64_t from, uint64_t n, uint64_t *ret)
{
	struct qcow2_place p;
	int r = find_counted_place(q, from, n, &p);

	if (r == 0)
		r = qcow2_move_table(q, &p, from, from ? n : 0);
	for (uint64_t i = 0; r == 0 && i < n; i++)
		r = qcow2_ref_set(q, p.at + i, 1);
	if (r == 0)
		*ret = p.at;
	return r;
}

static int unref_one(struct qcow2 *q, uint64_t cluster)
{
	uint64_t refs;
	int r = qcow2_ref_get(q, cluster, &refs);

	if (r < 0)
		return r;
	if (refs == 0)
		return qcow2_broken(q, "a cluster in use counts as free");
	return qcow2_ref_set(q, cluster, refs - 1);
}

/* What cannot be written now is tried again, at the latest with the commit. */
static void relieve(struct qcow2 *q)
{
	if (meta_crowded(q->meta))
		(void)meta_write_back(q->meta);
}

/* Blocks that move are freed themselves: the list may grow on the way. */
int qcow2_prepare_freed(struct qcow2 *q)
{
	int r = qcow2_count_table(q);

	for (size_t i = 0; r == 0 && i < q->n_freed; i++) {
		bool moved;

		r = qcow2_counts_for_write(q, q->freed[i].first, q->freed[i].n, &moved);
		relieve(q);
	}
	return r;
}

int qcow2_count_freed(struct qcow2 *q)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < q->n_freed; i++) {
		for (uint64_t k = 0; r == 0 && k < q->freed[i].n; k++)
			r = unref_one(q, q->freed[i].first + k);
		relieve(q);
	}
	return r;
}
