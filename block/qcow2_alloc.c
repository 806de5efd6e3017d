/* SPDX-License-Identifier: Apache-2.0 */
/* Handing clusters out and taking them back. */
#include "block/file.h"
#include "block/qcow2.h"
#include "lib/num.h"

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

int qcow2_alloc_table(struct qcow2 *q, uint64_t *ret_cluster)
{
	uint64_t c, n;
	bool zero;
	int r = qcow2_alloc(q, 1, &c, &n, &zero);

	if (r < 0)
		return r;
	meta_forget(q->meta, c << q->h.cluster_bits, qcow2_cluster_len(q));
	if (!zero)
		r = file_zero(q->fd, c << q->h.cluster_bits, qcow2_cluster_len(q), true);
	if (r == 0)
		r = owned_add(&q->owned, c);
	if (r < 0) {
		qcow2_unalloc(q, c, 1);
		return r;
	}
	*ret_cluster = c;
	return 0;
}

int qcow2_unref(struct qcow2 *q, uint64_t first, uint64_t n)
{
	unsigned last = q->n_freed - 1;
	int r = 0;

	if (q->n_freed && q->freed[last].first + q->freed[last].n == first) {
		q->freed[last].n += n;
		return 0;
	}
	if (q->n_freed == QCOW2_MAX_FREED)
		r = qcow2_commit(q);
	if (r < 0)
		return r;
	q->freed[q->n_freed].first = first;
	q->freed[q->n_freed].n = n;
	q->n_freed++;
	return 0;
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

int qcow2_count_freed(struct qcow2 *q)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < q->n_freed; i++) {
		for (uint64_t k = 0; r == 0 && k < q->freed[i].n; k++)
			r = unref_one(q, q->freed[i].first + k);
	}
	return r;
}

static void punch(struct qcow2 *q, uint64_t first, uint64_t n)
{
	if (!n)
		return;
	q->hint = MIN_OF(q->hint, first);
	(void)file_punch(q->fd, first << q->h.cluster_bits, n << q->h.cluster_bits);
}

/* Clusters that others still refer to stay. */
static void punch_range(struct qcow2 *q, uint64_t first, uint64_t end)
{
	uint64_t start = first, refs;

	for (uint64_t c = first; c < end; c++) {
		if (qcow2_ref_get(q, c, &refs) == 0 && refs == 0)
			continue;
		punch(q, start, c - start);
		start = c + 1;
	}
	punch(q, start, end - start);
}

void qcow2_punch_freed(struct qcow2 *q)
{
	for (unsigned i = 0; i < q->n_freed; i++)
		punch_range(q, q->freed[i].first, q->freed[i].first + q->freed[i].n);
	q->n_freed = 0;
}
