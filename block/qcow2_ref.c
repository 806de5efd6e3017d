/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refcounts: a table of blocks, each with the counts of as many clusters as fit. A block that is
 * missing means zeroes. Blocks and table are changed in new places (qcow2.h), which are counted
 * themselves: a block may count the cluster it is in, and the table is made long enough for the
 * clusters that counting it needs.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "block/file.h"
#include "block/qcow2.h"
#include "lib/num.h"

#define REFTABLE_MAX   MIB(8)
#define SLAB	       512		      /* bytes of a block that a search looks at together */
#define SEARCH_ROUNDS  (4 * QCOW2_MAX_SPARES) /* each makes a block fresh: spares lie in as many */
#define SLACK	       64 /* clusters, beyond everything, that a new table covers */
#define MAX_HOST_BYTES (INT64_MAX / 2)

static unsigned block_shift(const struct qcow2 *q)
{
	return q->h.cluster_bits + 3 - q->h.refcount_order; /* log2 of counts in a block */
}

static uint64_t table_entries(const struct qcow2 *q)
{
	return (uint64_t)q->h.reftable_clusters << (q->h.cluster_bits - 3);
}

static uint64_t clusters_of(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes + qcow2_cluster_len(q) - 1) >> q->h.cluster_bits;
}

/* 0 where there is none. */
static int block_off(struct qcow2 *q, uint64_t index, uint64_t *ret)
{
	uint64_t e = 0;
	int r = 0;

	if (index < table_entries(q))
		r = meta_load_be64(q->meta, q->h.reftable_off + index * 8, &e);
	if (r < 0)
		return r;
	e &= ~UINT64_C(511);
	if (e % qcow2_cluster_len(q) || e >= MAX_HOST_BYTES)
		return qcow2_broken(q, "place of a refcount block");
	*ret = e;
	return 0;
}

/* --- one count, of 1 to 64 bits --- */

static uint64_t unpack(const uint8_t *raw, unsigned i, unsigned order)
{
	switch (order) {
	case 3:
		return raw[i];
	case 4:
		return load_be16(raw + 2 * i);
	case 5:
		return load_be32(raw + 4 * i);
	case 6:
		return load_be64(raw + 8 * i);
	default:
		return raw[(i << order) / 8] >> ((i << order) % 8) & ((1U << (1U << order)) - 1);
	}
}

static void pack(uint8_t *raw, unsigned i, unsigned order, uint64_t v)
{
	unsigned shift = (i << order) % 8, mask = order < 3 ? (1U << (1U << order)) - 1 : 0;

	switch (order) {
	case 3:
		raw[i] = (uint8_t)v;
		break;
	case 4:
		store_be16(raw + 2 * i, (uint16_t)v);
		break;
	case 5:
		store_be32(raw + 4 * i, (uint32_t)v);
		break;
	case 6:
		store_be64(raw + 8 * i, v);
		break;
	default:
		raw[(i << order) / 8] &= (uint8_t) ~(mask << shift);
		raw[(i << order) / 8] |= (uint8_t)((v & mask) << shift);
		break;
	}
}

/* Where the count of a cluster is: a byte that holds it and maybe others, or its own bytes. */
static uint64_t count_off(
	const struct qcow2 *q, uint64_t block, uint64_t cluster, unsigned *ret_len, unsigned *ret_i)
{
	unsigned order = q->h.refcount_order;
	uint64_t in_block = cluster & ((UINT64_C(1) << block_shift(q)) - 1);

	*ret_len = order < 3 ? 1 : 1U << (order - 3);
	*ret_i = order < 3 ? (unsigned)(in_block & ((8U >> order) - 1)) : 0;
	return block + ((in_block << order) / 8);
}

int qcow2_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret)
{
	uint8_t raw[8];
	uint64_t block = 0, at;
	unsigned len, i;
	int r = block_off(q, cluster >> block_shift(q), &block);

	if (r < 0)
		return r;
	if (!block) {
		*ret = 0;
		return 0;
	}
	at = count_off(q, block, cluster, &len, &i);
	r = meta_load(q->meta, at, raw, len);
	if (r == 0)
		*ret = unpack(raw, i, q->h.refcount_order);
	return r;
}

static int store_count(struct qcow2 *q, uint64_t block, uint64_t cluster, uint64_t refs)
{
	uint8_t raw[8];
	unsigned len, i;
	uint64_t at = count_off(q, block, cluster, &len, &i);
	int r = meta_load(q->meta, at, raw, len);

	if (r < 0)
		return r;
	pack(raw, i, q->h.refcount_order, refs);
	return qcow2_table_store(q, at, raw, len);
}

/* --- looking for free clusters --- */

/* struct slab - counts of adjacent clusters from @first on; @missing: no block, all are 0 */
struct slab {
	uint8_t raw[SLAB];
	uint64_t first, n;
	bool missing;
};

static int load_slab(struct qcow2 *q, uint64_t cluster, struct slab *s)
{
	unsigned order = q->h.refcount_order;
	uint64_t block = 0, mask = (UINT64_C(1) << block_shift(q)) - 1;
	int r = block_off(q, cluster >> block_shift(q), &block);

	if (r < 0)
		return r;
	s->missing = !block;
	s->n = block ? (SLAB * 8U) >> order : mask + 1;
	s->first = ALIGN_DOWN(cluster, s->n);
	if (!block)
		return 0;
	return meta_load(q->meta, block + (((s->first & mask) << order) / 8), s->raw, SLAB);
}

static bool slab_free(const struct slab *s, uint64_t cluster, unsigned order)
{
	return s->missing || unpack(s->raw, (unsigned)(cluster - s->first), order) == 0;
}

/* The first run of clusters from @from on, of at most @want, whose counts are 0. */
static int find_zeroes(
	struct qcow2 *q, uint64_t from, uint64_t want, uint64_t *ret_first, uint64_t *ret_n)
{
	uint64_t limit = MAX_HOST_BYTES >> q->h.cluster_bits, first = from, n = 0;
	struct slab s = { .n = 0 };

	for (uint64_t c = from; n < want; c++) {
		int r = 0;

		if (c >= limit)
			return -EFBIG;
		if (c - s.first >= s.n)
			r = load_slab(q, c, &s);
		if (r < 0)
			return r;
		if (slab_free(&s, c, q->h.refcount_order)) {
			first = n++ ? first : c;
		} else if (n) {
			break;
		}
	}
	*ret_first = first;
	*ret_n = n;
	return 0;
}

int qcow2_find_free(
	struct qcow2 *q, uint64_t from, uint64_t want, uint64_t *ret_first, uint64_t *ret_n)
{
	uint64_t first, n;

	do {
		int r = find_zeroes(q, from, want, &first, &n);

		if (r < 0)
			return r;
		from = qcow2_skip_held(q, first, &n);
	} while (from);
	if (owned_hit(&q->owned, first, n))
		return qcow2_broken(q, "a table counts as free");
	*ret_first = first;
	*ret_n = n;
	return 0;
}

/* --- the file --- */

int qcow2_extend(struct qcow2 *q, uint64_t first, uint64_t n, bool *ret_zero)
{
	uint64_t start = first << q->h.cluster_bits, end = (first + n) << q->h.cluster_bits;

	*ret_zero = start >= q->file_end;
	if (end <= q->file_end)
		return 0;
	if (ftruncate(q->fd, (off_t)end) < 0)
		return -errno;
	q->file_end = end;
	return 0;
}

/* --- refcount blocks and their table --- */

static uint64_t index_of(const struct qcow2 *q, uint64_t cluster)
{
	return cluster >> block_shift(q);
}

/* A place for the table, and how long it is to be: it covers block @index, itself, and what
 * counting it may take. */
static int place_table(struct qcow2 *q, uint64_t index, struct qcow2_place *ret)
{
	uint64_t n = q->h.reftable_clusters, old = table_entries(q), beyond, need;

	for (;;) {
		int r = qcow2_find_place(q, q->h.reftable_off >> q->h.cluster_bits, n, ret);

		if (r < 0)
			return r;
		beyond = MAX_OF(ret->at, clusters_of(q, q->file_end)) + 2 * n + SLACK;
		need = MAX_OF(index, index_of(q, beyond)) + 1;
		if (need <= n << (q->h.cluster_bits - 3))
			return 0;
		n = clusters_of(q, MAX_OF(need, old + old / 2) * 8);
		if (n << q->h.cluster_bits > REFTABLE_MAX)
			return -EFBIG;
	}
}

/* Counts of the table itself. It moves first: they are in blocks that it leads to. */
int qcow2_count_table(struct qcow2 *q)
{
	int r = 0;

	if (q->counting)
		return 0;
	q->counting = true;
	while (r == 0 && q->n_reserved) {
		r = qcow2_ref_set(q, q->reserved, 1);
		if (r < 0)
			break; /* where the host is full, until the next time */
		q->reserved++;
		q->n_reserved--;
	}
	q->counting = false;
	return r;
}

/* The table may be changed, and is long enough for block @index. */
static int table_for_write(struct qcow2 *q, uint64_t index)
{
	uint64_t from = q->h.reftable_off >> q->h.cluster_bits;
	struct qcow2_place p;
	int r = qcow2_count_table(q);

	if (r < 0 || (index < table_entries(q) && qcow2_is_fresh(q, from)))
		return r;
	if (q->counting) /* it reaches as far as that can take */
		return qcow2_broken(q, "refcounts beyond the end of the file");
	r = place_table(q, index, &p);
	if (r == 0)
		r = qcow2_move_table(q, &p, from, q->h.reftable_clusters);
	if (r < 0)
		return r;
	q->h.reftable_off = p.at << q->h.cluster_bits;
	q->h.reftable_clusters = (uint32_t)p.n;
	q->reserved = p.at;
	q->n_reserved = p.n;
	return qcow2_count_table(q);
}

/* Move block @index to @p, or make it there; the block that counts @p can be changed afterwards. */
static int move_block(struct qcow2 *q, uint64_t index, const struct qcow2_place *p)
{
	uint64_t old = 0, counting = 0;
	int r = block_off(q, index, &old);

	if (r == 0)
		r = qcow2_move_table(q, p, old >> q->h.cluster_bits, old ? 1 : 0);
	if (r == 0)
		r = qcow2_table_store_be64(
			q, q->h.reftable_off + index * 8, p->at << q->h.cluster_bits);
	if (r == 0)
		r = block_off(q, index_of(q, p->at), &counting);
	return r == 0 ? store_count(q, counting, p->at, 1) : r;
}

static bool is_fresh_block(struct qcow2 *q, uint64_t block)
{
	return block && qcow2_is_fresh(q, block >> q->h.cluster_bits);
}

/*
 * The block @index may be changed. The place it moves to may be counted by a block that cannot be
 * changed yet either: then that one goes there, where it counts itself, and another place is
 * looked for.
 */
static int block_for_write(struct qcow2 *q, uint64_t index)
{
	for (unsigned i = 0; i < SEARCH_ROUNDS; i++) {
		uint64_t block = 0, counting = 0;
		struct qcow2_place p;
		int r = table_for_write(q, index);

		if (r == 0)
			r = block_off(q, index, &block);
		if (r < 0 || is_fresh_block(q, block))
			return r;
		r = qcow2_find_place(q, block >> q->h.cluster_bits, 1, &p);
		if (r < 0)
			return r;
		if (index_of(q, p.at) >= table_entries(q)) {
			r = table_for_write(q, index_of(q, p.at));
			if (r < 0)
				return r;
			continue;
		}
		r = block_off(q, index_of(q, p.at), &counting);
		if (r == 0)
			r = move_block(
				q, is_fresh_block(q, counting) ? index : index_of(q, p.at), &p);
		if (r < 0)
			return r;
	}
	return qcow2_broken(q, "no end of missing refcount blocks");
}

/* Is it so already? */
static int check_block(struct qcow2 *q, uint64_t index, bool *ret)
{
	uint64_t block = 0;
	int r = block_off(q, index, &block);

	*ret = r == 0 && is_fresh_block(q, block);
	return r;
}

int qcow2_counts_for_write(struct qcow2 *q, uint64_t first, uint64_t n, bool *ret_moved)
{
	*ret_moved = false;
	for (uint64_t i = index_of(q, first); i <= index_of(q, first + n - 1); i++) {
		bool fresh;
		int r = check_block(q, i, &fresh);

		if (r == 0 && !fresh) {
			r = block_for_write(q, i);
			*ret_moved = true;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int qcow2_ref_set(struct qcow2 *q, uint64_t cluster, uint64_t refs)
{
	uint64_t block = 0;
	bool moved;
	int r = qcow2_counts_for_write(q, cluster, 1, &moved);

	if (r == 0)
		r = block_off(q, index_of(q, cluster), &block);
	return r == 0 ? store_count(q, block, cluster, refs) : r;
}

int qcow2_find_counted(struct qcow2 *q, uint64_t want, uint64_t *ret_first, uint64_t *ret_n)
{
	for (unsigned i = 0; i < SEARCH_ROUNDS; i++) {
		uint64_t first, n, left;
		bool moved;
		int r = qcow2_find_free(q, q->hint, want, &first, &n);

		if (r == 0)
			r = qcow2_counts_for_write(q, first, 1, &moved);
		if (r < 0)
			return r;
		if (moved)
			continue;
		left = ((index_of(q, first) + 1) << block_shift(q)) - first;
		*ret_first = first;
		*ret_n = MIN_OF(n, left);
		return 0;
	}
	return qcow2_broken(q, "no end of missing refcount blocks");
}
