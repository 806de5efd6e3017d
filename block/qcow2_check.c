/* SPDX-License-Identifier: Apache-2.0 */
/* What is looked at once, before an image is written: where its tables are, and whether its
 * refcounts are right after somebody did not close it. */
#include <errno.h>
#include <stdlib.h>

#include "block/file.h"
#include "block/qcow2.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define CHUNK	      65536
#define L1_MAX	      (MIB(32) / 8)
#define SNAPSHOTS_MAX 1024
#define SNAPSHOT_HEAD 40
#define RECOUNT_MAX   (UINT64_C(1) << 24) /* clusters: 64 MiB of counts */
#define SINGLE	      0x80000000U	  /* in a count: must not be counted again */

static int damaged(struct err *err, const char *what)
{
	return err_msg(err, EINVAL,
		"the qcow2 image is damaged (%s): run qemu-img check -r all on it", what);
}

static uint64_t clusters_of(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes + qcow2_cluster_len(q) - 1) >> q->h.cluster_bits;
}

typedef int entry_fn(struct qcow2 *q, uint64_t entry, void *ctx, struct err *err);

/* Call @fn with each entry of a table that is not 0, as it is in the file. */
static int walk(struct qcow2 *q, uint64_t off, uint64_t n, entry_fn *fn, void *ctx, struct err *err)
{
	cleanup_free uint8_t *chunk = malloc(CHUNK);
	int r = 0;

	if (!chunk)
		return err_set(err, ENOMEM, "open qcow2 image");
	while (n) {
		uint64_t now = MIN_OF(n, (uint64_t)CHUNK / 8);

		r = file_read(q->fd, chunk, now * 8, off);
		if (r < 0)
			return err_set(err, r, "read a table of the qcow2 image");
		for (uint64_t i = 0; r == 0 && i < now; i++) {
			uint64_t e = load_be64(chunk + i * 8);

			r = e ? fn(q, e, ctx, err) : 0;
		}
		if (r < 0)
			return r;
		n -= now;
		off += now * 8;
	}
	return 0;
}

/* --- where the tables are --- */

static int own_table(struct qcow2 *q, uint64_t entry, void *ctx, struct err *err)
{
	uint64_t off = entry & QCOW2_OFFSET;

	if (off % qcow2_cluster_len(q) || !range_ok(off, qcow2_cluster_len(q), q->file_end) || !off)
		return damaged(err, "a table outside the file");
	if (owned_append(&q->owned, off >> q->h.cluster_bits) < 0)
		return err_set(err, ENOMEM, "open qcow2 image");
	return 0;
}

static int own_range(struct qcow2 *q, uint64_t off, uint64_t len, struct err *err)
{
	if (!len)
		return 0;
	if (off % qcow2_cluster_len(q) || !range_ok(off, len, q->file_end))
		return damaged(err, "a table outside the file");
	if (owned_add_range(&q->owned, off >> q->h.cluster_bits, clusters_of(q, len)) < 0)
		return err_set(err, ENOMEM, "open qcow2 image");
	return 0;
}

static int own_snapshots(struct qcow2 *q, struct err *err)
{
	uint64_t at = q->h.snapshots_off;
	uint8_t head[SNAPSHOT_HEAD];

	if (q->h.n_snapshots > SNAPSHOTS_MAX)
		return err_msg(err, ENOTSUP,
			"the qcow2 image has %u snapshots; at most %d when writing",
			q->h.n_snapshots, SNAPSHOTS_MAX);
	for (uint32_t i = 0; i < q->h.n_snapshots; i++) {
		uint32_t l1_size;
		int r;

		if (!range_ok(at, sizeof(head), q->file_end) ||
			file_read(q->fd, head, sizeof(head), at) < 0)
			return damaged(err, "snapshot table");
		l1_size = load_be32(head + 8);
		if (l1_size > L1_MAX || load_be32(head + 36) > CHUNK)
			return damaged(err, "snapshot table");
		r = own_range(q, load_be64(head), (uint64_t)l1_size * 8, err);
		if (r < 0)
			return r;
		at += ALIGN_UP(SNAPSHOT_HEAD + load_be32(head + 36) + load_be16(head + 12) +
				       load_be16(head + 14),
			8U);
	}
	return own_range(q, q->h.snapshots_off, at - q->h.snapshots_off, err);
}

int qcow2_list_tables(struct qcow2 *q, struct err *err)
{
	uint64_t table = (uint64_t)q->h.reftable_clusters << q->h.cluster_bits;
	int r = own_range(q, 0, qcow2_cluster_len(q), err);

	if (r == 0)
		r = own_range(q, q->h.l1_off, (uint64_t)q->h.l1_size * 8, err);
	if (r == 0)
		r = own_range(q, q->h.reftable_off, table, err);
	if (r == 0 && q->h.n_snapshots)
		r = own_snapshots(q, err);
	if (r == 0)
		r = walk(q, q->h.l1_off, q->h.l1_size, own_table, NULL, err);
	if (r == 0)
		r = walk(q, q->h.reftable_off, table / 8, own_table, NULL, err);
	/* many entries that lead to one table would also make a search take very long */
	if (!owned_sort(&q->owned) && r == 0)
		r = damaged(err, "two references to one table");
	return r;
}

/* --- counting again --- */

struct recount {
	uint32_t *count;
	uint64_t n;
};

/* @single: this is the only reference that may be there */
static int count(struct qcow2 *q, struct recount *rc, uint64_t off, uint64_t len, bool single,
	struct err *err)
{
	uint64_t first = off >> q->h.cluster_bits, last = (off + len - 1) >> q->h.cluster_bits;

	if (!range_ok(off, len, q->file_end))
		return damaged(err, "a reference outside the file");
	for (uint64_t c = first; c <= last; c++) {
		if ((rc->count[c] & SINGLE) || (single && rc->count[c]))
			return damaged(err, "two references to one cluster");
		rc->count[c] = single ? 1 | SINGLE : rc->count[c] + 1;
	}
	return 0;
}

static int count_data(struct qcow2 *q, uint64_t entry, void *ctx, struct err *err)
{
	uint64_t off = entry & QCOW2_OFFSET, len = qcow2_cluster_len(q);

	if (entry & QCOW2_COMPRESSED) {
		qcow2_deflated_span(q, entry, &off, &len);
		return count(q, ctx, off, MIN_OF(len, q->file_end - MIN_OF(off, q->file_end)),
			false, err);
	}
	if (!off)
		return 0;
	if (off % len)
		return damaged(err, "place of a cluster");
	return count(q, ctx, off, len, true, err);
}

static int count_table(struct qcow2 *q, uint64_t entry, void *ctx, struct err *err)
{
	return count(q, ctx, entry & QCOW2_OFFSET, qcow2_cluster_len(q), true, err);
}

static int count_l2(struct qcow2 *q, uint64_t entry, void *ctx, struct err *err)
{
	int r = count_table(q, entry, ctx, err);

	if (r == 0)
		r = walk(q, entry & QCOW2_OFFSET, qcow2_cluster_len(q) / 8, count_data, ctx, err);
	return r;
}

static int count_all(struct qcow2 *q, struct recount *rc, struct err *err)
{
	uint64_t table = (uint64_t)q->h.reftable_clusters << q->h.cluster_bits;
	int r = count(q, rc, 0, qcow2_cluster_len(q), true, err);

	if (r == 0 && q->h.l1_size)
		r = count(q, rc, q->h.l1_off, (uint64_t)q->h.l1_size * 8, true, err);
	if (r == 0)
		r = count(q, rc, q->h.reftable_off, table, true, err);
	if (r == 0)
		r = walk(q, q->h.reftable_off, table / 8, count_table, rc, err);
	return r == 0 ? walk(q, q->h.l1_off, q->h.l1_size, count_l2, rc, err) : r;
}

/* New refcount blocks go behind the end: what counts as free before that need not be. */
static int set_counts(struct qcow2 *q, const struct recount *rc, struct err *err)
{
	int r = 0;

	q->hint = rc->n;
	for (uint64_t c = 0; r == 0 && c < rc->n; c++) {
		uint64_t refs, want = rc->count[c] & ~SINGLE;

		r = qcow2_ref_get(q, c, &refs);
		if (r == 0 && refs != want)
			r = qcow2_ref_set(q, c, want);
		if (r == 0 && meta_crowded(q->meta))
			r = meta_write_back(q->meta);
	}
	q->hint = 0;
	if (r == 0)
		r = qcow2_commit(q);
	return r < 0 ? err_set(err, r, "correct the refcounts of the qcow2 image") : 0;
}

int qcow2_recount(struct qcow2 *q, struct err *err)
{
	struct recount rc = { .n = q->file_end >> q->h.cluster_bits };
	int r;

	if (q->h.n_snapshots || rc.n > RECOUNT_MAX)
		return err_msg(err, EINVAL,
			"the qcow2 image was not closed, and it %s: run qemu-img check -r all on "
			"it",
			q->h.n_snapshots ? "has snapshots" : "is large");
	rc.count = calloc(rc.n, sizeof(*rc.count));
	if (!rc.count)
		return err_set(err, ENOMEM, "open qcow2 image");
	r = count_all(q, &rc, err);
	if (r == 0)
		r = set_counts(q, &rc, err);
	free(rc.count);
	return r;
}
