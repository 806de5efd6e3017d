/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables that are never changed where they are (qcow2.h): copies to work on, and what becomes of
 * the old ones. A table that changes again and again moves to and fro between two places; the one
 * that it has left stays set aside with a note of the bytes that differ, so that only those are
 * copied the next time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/file.h"
#include "block/qcow2.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define CHUNK 65536

/* --- the set of fresh tables, sorted --- */

/* The first one that does not end before @cluster. */
static size_t lower_bound(const struct qcow2 *q, uint64_t cluster)
{
	size_t low = 0, high = q->n_fresh;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (q->fresh[mid].at + q->fresh[mid].n <= cluster)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct qcow2_fresh *find_fresh(const struct qcow2 *q, uint64_t cluster)
{
	size_t i = lower_bound(q, cluster);

	return i < q->n_fresh && q->fresh[i].at <= cluster ? &q->fresh[i] : NULL;
}

bool qcow2_is_fresh(const struct qcow2 *q, uint64_t cluster)
{
	return find_fresh(q, cluster) != NULL;
}

static int add_fresh(struct qcow2 *q, const struct qcow2_fresh *f)
{
	size_t i = lower_bound(q, f->at);
	int r = owned_room((void **)&q->fresh, &q->cap_fresh, q->n_fresh, sizeof(*f));

	if (r < 0)
		return r;
	memmove(&q->fresh[i + 1], &q->fresh[i], (q->n_fresh - i) * sizeof(*f));
	q->fresh[i] = *f;
	q->n_fresh++;
	return 0;
}

static void remove_fresh(struct qcow2 *q, struct qcow2_fresh *f)
{
	size_t after = q->n_fresh - (size_t)(f - q->fresh) - 1;

	memmove(f, f + 1, after * sizeof(*f));
	q->n_fresh--;
}

int qcow2_table_store(struct qcow2 *q, uint64_t off, const void *src, size_t len)
{
	struct qcow2_fresh *f = find_fresh(q, off >> q->h.cluster_bits);
	uint64_t in;

	if (!f || meta_store(q->meta, off, src, len) < 0)
		return qcow2_stop(q, "a table cannot be changed");
	in = off - (f->at << q->h.cluster_bits);
	f->lo = MIN_OF(f->lo, in);
	f->hi = MAX_OF(f->hi, in + len);
	return 0;
}

int qcow2_table_store_be64(struct qcow2 *q, uint64_t off, uint64_t v)
{
	uint8_t raw[8];

	store_be64(raw, v);
	return qcow2_table_store(q, off, raw, sizeof(raw));
}

/* --- what is given up --- */

int qcow2_unref(struct qcow2 *q, uint64_t first, uint64_t n, bool table)
{
	struct qcow2_freed *last = q->n_freed ? &q->freed[q->n_freed - 1] : NULL;

	if (last && !table && !last->table && last->first + last->n == first) {
		last->n += n;
		return 0;
	}
	if (owned_room((void **)&q->freed, &q->cap_freed, q->n_freed, sizeof(*q->freed)) < 0)
		return qcow2_stop(q, "out of memory");
	q->freed[q->n_freed++] = (struct qcow2_freed){ first, n, table };
	return 0;
}

static bool all_free(struct qcow2 *q, uint64_t first, uint64_t n)
{
	uint64_t refs;

	for (uint64_t c = first; c < first + n; c++) {
		if (qcow2_ref_get(q, c, &refs) < 0 || refs)
			return false;
	}
	return true;
}

/* Back to the host, and to whoever needs clusters next. */
static void give_back(struct qcow2 *q, uint64_t first, uint64_t n)
{
	if (!n)
		return;
	q->hint = MIN_OF(q->hint, first);
	(void)file_punch(q->fd, first << q->h.cluster_bits, n << q->h.cluster_bits);
}

/* Clusters that a snapshot still refers to stay. */
static void give_back_free(struct qcow2 *q, uint64_t first, uint64_t n)
{
	uint64_t start = first, end = first + n;

	for (uint64_t c = first; c < end; c++) {
		if (all_free(q, c, 1))
			continue;
		give_back(q, start, c - start);
		start = c + 1;
	}
	give_back(q, start, end - start);
}

static void forget_table(struct qcow2 *q, uint64_t first, uint64_t n)
{
	if (n == 1)
		owned_remove(&q->owned, first);
	owned_remove_range(&q->owned, first);
}

/* The place that a table has left. */
static void set_aside(struct qcow2 *q, const struct qcow2_freed *old)
{
	struct qcow2_spare spare = { .at = old->first, .n = old->n };

	forget_table(q, old->first, old->n);
	if (q->n_spare == QCOW2_MAX_SPARES || !all_free(q, old->first, old->n)) {
		give_back_free(q, old->first, old->n);
		return;
	}
	for (size_t i = 0; i < q->n_fresh; i++) {
		const struct qcow2_fresh *f = &q->fresh[i];

		if (f->from == old->first && f->n == old->n) {
			spare.twin = f->at;
			spare.lo = f->lo;
			spare.hi = f->hi;
		}
	}
	q->spare[q->n_spare++] = spare;
}

void qcow2_release_freed(struct qcow2 *q)
{
	for (size_t i = 0; i < q->n_freed; i++) {
		const struct qcow2_freed *old = &q->freed[i];

		if (old->table)
			set_aside(q, old);
		else
			give_back_free(q, old->first, old->n);
	}
	q->n_freed = q->n_fresh = 0;
}

void qcow2_release_spares(struct qcow2 *q)
{
	for (unsigned i = 0; i < q->n_spare; i++)
		give_back(q, q->spare[i].at, q->spare[i].n);
	q->n_spare = 0;
}

/* --- new places --- */

static bool overlap(uint64_t a, uint64_t a_n, uint64_t b, uint64_t b_n)
{
	return a < b ? b - a < a_n : a - b < b_n;
}

/* @first is free: where the range set aside ends that it lies in; 0: in none, and @n clusters
 * are not */
static uint64_t end_of_held(uint64_t first, uint64_t *n, uint64_t held, uint64_t held_n)
{
	if (!held_n || !overlap(first, *n, held, held_n))
		return 0;
	if (held <= first)
		return held + held_n;
	*n = held - first;
	return 0;
}

uint64_t qcow2_skip_held(const struct qcow2 *q, uint64_t first, uint64_t *n)
{
	uint64_t end = end_of_held(first, n, q->reserved, q->n_reserved);

	for (unsigned i = 0; i < q->n_spare && !end; i++)
		end = end_of_held(first, n, q->spare[i].at, q->spare[i].n);
	return end;
}

/* The former place of this very table, or else that of another one of its size. */
static int find_spare(const struct qcow2 *q, uint64_t from, uint64_t n)
{
	int found = -1;

	for (unsigned i = 0; i < q->n_spare; i++) {
		if (q->spare[i].n != n)
			continue;
		if (from && q->spare[i].twin == from)
			return (int)i;
		found = (int)i;
	}
	return found;
}

int qcow2_find_place(struct qcow2 *q, uint64_t from, uint64_t n, struct qcow2_place *ret)
{
	int spare = find_spare(q, from, n);
	uint64_t at = q->hint, got = 0;

	if (spare >= 0) {
		*ret = (struct qcow2_place){ q->spare[spare].at, n, spare };
		return 0;
	}
	for (;;) {
		int r = qcow2_find_free(q, at, n, &at, &got);

		if (r < 0)
			return r;
		if (got == n)
			break;
		at += got;
	}
	*ret = (struct qcow2_place){ at, n, -1 };
	return 0;
}

static int copy(struct qcow2 *q, uint64_t from, uint64_t to, uint64_t len)
{
	cleanup_free uint8_t *chunk = malloc(CHUNK);

	if (!chunk)
		return -ENOMEM;
	for (uint64_t at = 0; at < len; at += CHUNK) {
		size_t now = MIN_OF(len - at, (uint64_t)CHUNK);
		int r = file_read(q->fd, chunk, now, from + at);

		if (r == 0)
			r = file_write(q->fd, chunk, now, to + at);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What the table at @from holds, and zeroes behind it. */
static int fill_place(struct qcow2 *q, const struct qcow2_place *p, uint64_t from, uint64_t from_n)
{
	const struct qcow2_spare *spare = p->spare < 0 ? NULL : &q->spare[p->spare];
	uint64_t bits = q->h.cluster_bits, to = p->at << bits, lo = 0, hi = from_n << bits;
	bool zero;
	int r = qcow2_extend(q, p->at, p->n, &zero);

	meta_forget(q->meta, to, p->n << bits);
	if (r == 0 && !zero && p->n > from_n)
		r = file_zero(q->fd, to + hi, (p->n - from_n) << bits, true);
	if (spare && from && spare->twin == from && p->n == from_n) {
		lo = spare->lo;
		hi = spare->hi;
	}
	if (r == 0 && lo < hi)
		r = copy(q, (from << bits) + lo, to + lo, hi - lo);
	return r;
}

/* @p is somebody's place now, and nobody's at @from: no spare belongs to a table there. */
static void take_place(struct qcow2 *q, const struct qcow2_place *p, uint64_t from)
{
	if (p->spare >= 0)
		q->spare[p->spare] = q->spare[--q->n_spare];
	for (unsigned i = 0; i < q->n_spare; i++) {
		if (q->spare[i].twin == from || q->spare[i].twin == p->at)
			q->spare[i].twin = 0;
	}
}

static int own_place(struct qcow2 *q, const struct qcow2_place *p)
{
	return p->n == 1 ? owned_add(&q->owned, p->at) : owned_add_range(&q->owned, p->at, p->n);
}

int qcow2_move_table(struct qcow2 *q, const struct qcow2_place *p, uint64_t from, uint64_t from_n)
{
	struct qcow2_fresh f = { .at = p->at, .n = p->n, .from = from, .lo = UINT64_MAX };
	struct qcow2_fresh *old = from ? find_fresh(q, from) : NULL;
	int r = old ? meta_write_back(q->meta) : 0;

	if (r == 0)
		r = fill_place(q, p, from, from_n);
	if (r < 0)
		return r;
	take_place(q, p, from);
	if (old) { /* it has become too short: nothing is known of what differs */
		remove_fresh(q, old);
		f.from = 0;
	}
	if (add_fresh(q, &f) < 0 || own_place(q, p) < 0)
		return qcow2_stop(q, "out of memory");
	return from ? qcow2_unref(q, from, from_n, true) : 0;
}
