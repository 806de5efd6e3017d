/* SPDX-License-Identifier: Apache-2.0 */
/* From places on the disk to places in the file: the tables L1 and L2. */
#include <errno.h>
#include <stdlib.h>

#include "block/file.h"
#include "block/qcow2.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define RUN_MAX 64 /* entries looked at together */

static uint64_t l2_entries(const struct qcow2 *q)
{
	return UINT64_C(1) << (q->h.cluster_bits - 3);
}

static uint64_t l1_off(const struct qcow2 *q, uint64_t off)
{
	return q->h.l1_off + (off >> (2 * q->h.cluster_bits - 3)) * 8;
}

static uint64_t l2_index(const struct qcow2 *q, uint64_t off)
{
	return (off >> q->h.cluster_bits) & (l2_entries(q) - 1);
}

/* Where the table of @off is, 0 if there is none. */
static int l2_table(struct qcow2 *q, uint64_t off, uint64_t *ret_entry, uint64_t *ret)
{
	int r = meta_load_be64(q->meta, l1_off(q, off), ret_entry);

	if (r < 0)
		return r;
	*ret = *ret_entry & QCOW2_OFFSET;
	if (*ret % qcow2_cluster_len(q) || *ret >= q->file_end)
		return qcow2_broken(q, "place of an L2 table");
	return 0;
}

static enum qcow2_kind kind_of(const struct qcow2 *q, uint64_t entry)
{
	if (entry & QCOW2_COMPRESSED)
		return QCOW2_DEFLATED;
	if (q->h.version > 2 && (entry & QCOW2_ZERO))
		return entry & QCOW2_OFFSET ? QCOW2_ZEROES_KEPT : QCOW2_ZEROES;
	return entry & QCOW2_OFFSET ? QCOW2_NORMAL : QCOW2_UNALLOCATED;
}

/* Does @entry go on where the @i-th cluster of the run would be? */
static bool continues(
	const struct qcow2 *q, const struct qcow2_run *run, uint64_t i, uint64_t entry)
{
	if (run->kind == QCOW2_DEFLATED || kind_of(q, entry) != run->kind)
		return false;
	if (run->kind == QCOW2_UNALLOCATED || run->kind == QCOW2_ZEROES)
		return true;
	return !!(entry & QCOW2_COPIED) == run->copied &&
	       (entry & QCOW2_OFFSET) == (run->entry & QCOW2_OFFSET) + (i << q->h.cluster_bits);
}

static int start_run(struct qcow2 *q, uint64_t entry, struct qcow2_run *run)
{
	*run = (struct qcow2_run){ .kind = kind_of(q, entry), .entry = entry };
	if (run->kind != QCOW2_NORMAL && run->kind != QCOW2_ZEROES_KEPT)
		return 0;
	run->copied = entry & QCOW2_COPIED;
	run->host = entry & QCOW2_OFFSET;
	if (run->host % qcow2_cluster_len(q))
		return qcow2_broken(q, "place of a cluster");
	return 0;
}

int qcow2_map(struct qcow2 *q, uint64_t off, uint64_t len, struct qcow2_run *ret)
{
	uint64_t in = off & (qcow2_cluster_len(q) - 1), index = l2_index(q, off), l1_entry, table;
	uint64_t n = MIN_OF(((in + len - 1) >> q->h.cluster_bits) + 1, l2_entries(q) - index);
	uint8_t raw[RUN_MAX * 8];
	struct qcow2_run run = { .kind = QCOW2_UNALLOCATED };
	uint64_t i = 1;
	int r = l2_table(q, off, &l1_entry, &table);

	if (r == 0 && table) {
		n = MIN_OF(n, (uint64_t)RUN_MAX);
		r = meta_load(q->meta, table + index * 8, raw, n * 8);
		if (r == 0)
			r = start_run(q, load_be64(raw), &run);
		while (i < n && continues(q, &run, i, load_be64(raw + i * 8)))
			i++;
		n = i;
	}
	if (r < 0)
		return r;
	run.host += in;
	run.len = MIN_OF((n << q->h.cluster_bits) - in, len);
	*ret = run;
	return 0;
}

static int l1_for_write(struct qcow2 *q)
{
	uint64_t from = q->h.l1_off >> q->h.cluster_bits, to;
	uint64_t n = (q->h.l1_size * UINT64_C(8) + qcow2_cluster_len(q) - 1) >> q->h.cluster_bits;
	int r;

	if (qcow2_is_fresh(q, from))
		return 0;
	r = qcow2_alloc_table(q, from, n, &to);
	if (r == 0)
		q->h.l1_off = to << q->h.cluster_bits;
	return r;
}

/* Where a snapshot uses the table too, its refcount says so, and it stays. */
static int move_l2(struct qcow2 *q, uint64_t off, uint64_t old, uint64_t *ret)
{
	uint64_t cluster;
	int r = l1_for_write(q);

	if (r == 0)
		r = qcow2_alloc_table(q, old >> q->h.cluster_bits, 1, &cluster);
	if (r < 0)
		return r;
	*ret = cluster << q->h.cluster_bits;
	return qcow2_table_store_be64(q, l1_off(q, off), *ret | QCOW2_COPIED);
}

int qcow2_l2_for_write(struct qcow2 *q, uint64_t off, uint64_t *ret_entry_off)
{
	uint64_t entry, table;
	int r = l2_table(q, off, &entry, &table);

	if (r == 0 && !(table && qcow2_is_fresh(q, table >> q->h.cluster_bits)))
		r = move_l2(q, off, table, &table);
	if (r < 0)
		return r;
	*ret_entry_off = table + l2_index(q, off) * 8;
	return 0;
}

void qcow2_deflated_span(const struct qcow2 *q, uint64_t entry, uint64_t *off, uint64_t *len)
{
	unsigned shift = 62 - (q->h.cluster_bits - 8); /* place below, count of sectors above */
	uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> shift;

	*off = entry & ((UINT64_C(1) << shift) - 1);
	*len = (sectors + 1) * 512 - (*off & 511);
}

int qcow2_unref_run(struct qcow2 *q, const struct qcow2_run *run, uint64_t n)
{
	uint64_t off, len, first;

	switch (run->kind) {
	case QCOW2_NORMAL:
	case QCOW2_ZEROES_KEPT:
		return qcow2_unref(q, run->host >> q->h.cluster_bits, n, false);
	case QCOW2_DEFLATED:
		qcow2_deflated_span(q, run->entry, &off, &len);
		first = off >> q->h.cluster_bits;
		return qcow2_unref(
			q, first, ((off + len - 1) >> q->h.cluster_bits) - first + 1, false);
	default:
		return 0;
	}
}
