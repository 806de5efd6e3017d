/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refcounts: a table of blocks, each with the counts of as many clusters as fit. A block that is
 * missing means zeroes. New blocks and a longer table need clusters that are counted themselves:
 * a block may count the cluster it is in.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "block/file.h"
#include "block/qcow2.h"
#include "lib/num.h"

#define REFTABLE_MAX   MIB(8)
#define SLAB	       512 /* bytes of a block that a search looks at together */
#define SEARCH_ROUNDS  64
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
	uint64_t block, at;
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
	return meta_store(q->meta, at, raw, len, META_REFBLOCK);
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
	uint64_t block, mask = (UINT64_C(1) << block_shift(q)) - 1;
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

/* The first run of free clusters from @from on, of at most @want, which no table is in. */
static int find_free(
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

static int make_table_cluster(struct qcow2 *q, uint64_t cluster)
{
	uint64_t off = cluster << q->h.cluster_bits;
	bool zero;
	int r = qcow2_extend(q, cluster, 1, &zero);

	meta_forget(q->meta, off, qcow2_cluster_len(q));
	if (r == 0 && !zero)
		r = file_zero(q->fd, off, qcow2_cluster_len(q), true);
	return r == 0 ? owned_add(&q->owned, cluster) : r;
}

/* --- refcount blocks and their table --- */

static int install_block(struct qcow2 *q, uint64_t index, uint64_t cluster)
{
	int r = make_table_cluster(q, cluster);

	if (r < 0)
		return r;
	return meta_store_be64(q->meta, q->h.reftable_off + index * 8, cluster << q->h.cluster_bits,
		META_REFTABLE);
}

/* struct growth - a longer table at @first, of @table clusters, followed by @blocks new blocks */
struct growth {
	uint64_t first, table, blocks, first_index;
};

/* How many clusters a table needs that covers itself, its new blocks and block @index. */
static int plan_growth(struct qcow2 *q, uint64_t index, uint64_t first, struct growth *g)
{
	uint64_t old = table_entries(q), entries, last, shift = block_shift(q);

	*g = (struct growth){ .first = first, .table = 1, .blocks = 0 };
	for (unsigned i = 0; i < SEARCH_ROUNDS; i++) {
		struct growth was = *g;

		last = (first + g->table + g->blocks - 1) >> shift;
		entries = MAX_OF(MAX_OF(index, last) + 1, old + old / 2);
		g->table = MAX_OF(g->table, clusters_of(q, entries * 8));
		g->first_index = MAX_OF(first >> shift, old);
		if (last >= g->first_index)
			g->blocks = MAX_OF(g->blocks, last - g->first_index + 1);
		if (g->table << q->h.cluster_bits > REFTABLE_MAX)
			return -EFBIG;
		if (was.table == g->table && was.blocks == g->blocks)
			return 0;
	}
	return -EFBIG;
}

/* A place beyond everything with room for what is planned there. */
static int place_growth(struct qcow2 *q, uint64_t index, struct growth *g)
{
	uint64_t at = clusters_of(q, q->file_end);

	for (unsigned i = 0; i < SEARCH_ROUNDS; i++) {
		uint64_t first, n, want;
		int r = plan_growth(q, index, at, g);

		if (r < 0)
			return r;
		want = g->table + g->blocks;
		r = find_free(q, at, want, &first, &n);
		if (r < 0)
			return r;
		if (first == at && n == want)
			return 0;
		at = first + n;
	}
	return qcow2_broken(q, "refcounts beyond the end of the file");
}

static int copy_table(struct qcow2 *q, const struct growth *g)
{
	uint64_t len = table_entries(q) * 8, to = g->first << q->h.cluster_bits;
	uint8_t part[SLAB];

	for (uint64_t at = 0; at < len; at += SLAB) {
		int r = meta_load(q->meta, q->h.reftable_off + at, part, SLAB);

		if (r == 0)
			r = file_write(q->fd, part, SLAB, to + at);
		if (r < 0)
			return r;
	}
	for (uint64_t i = 0; i < g->blocks; i++) {
		uint8_t raw[8];
		int r;

		store_be64(raw, (g->first + g->table + i) << q->h.cluster_bits);
		r = file_write(q->fd, raw, sizeof(raw), to + (g->first_index + i) * 8);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Counts of the new table and blocks: in blocks that exist, or in the new ones. */
static int count_growth(struct qcow2 *q, const struct growth *g)
{
	for (uint64_t c = g->first; c < g->first + g->table + g->blocks; c++) {
		uint64_t index = c >> block_shift(q), block = 0;
		int r = 0;

		if (index >= g->first_index)
			block = (g->first + g->table + index - g->first_index) << q->h.cluster_bits;
		else
			r = qcow2_ref_set(q, c, 1);
		if (r == 0 && index >= g->first_index)
			r = store_count(q, block, c, 1);
		if (r < 0)
			return r;
	}
	return 0;
}

/* From here on the file uses the new table. */
static int switch_table(struct qcow2 *q, const struct growth *g)
{
	uint64_t old = q->h.reftable_off, old_n = q->h.reftable_clusters;
	uint8_t raw[12];
	int r;

	store_be64(raw, g->first << q->h.cluster_bits);
	store_be32(raw + 8, (uint32_t)g->table);
	r = file_sync(q->fd);
	if (r == 0)
		r = file_write(q->fd, raw, sizeof(raw), 48);
	if (r == 0)
		r = file_sync(q->fd);
	if (r < 0)
		return r;
	meta_forget(q->meta, old, old_n << q->h.cluster_bits);
	q->h.reftable_off = g->first << q->h.cluster_bits;
	q->h.reftable_clusters = (uint32_t)g->table;
	owned_remove_range(&q->owned, old >> q->h.cluster_bits);
	return qcow2_unref(q, old >> q->h.cluster_bits, old_n);
}

static int make_block(struct qcow2 *q, uint64_t cluster);

/* A place for the growth whose own counts are all in blocks that exist or come with it: a block
 * that is missing below would want a cluster in the middle of the work. */
static int prepare_growth(struct qcow2 *q, uint64_t index, struct growth *g)
{
	for (unsigned i = 0; i < SEARCH_ROUNDS; i++) {
		uint64_t block = 1, missing;
		int r = place_growth(q, index, g);

		if (r < 0)
			return r;
		missing = g->first >> block_shift(q);
		while (r == 0 && missing < g->first_index) {
			r = block_off(q, missing, &block);
			if (r < 0 || !block)
				break;
			missing++;
		}
		if (r < 0 || missing == g->first_index || block)
			return r;
		r = make_block(q, missing << block_shift(q));
		if (r < 0)
			return r;
	}
	return qcow2_broken(q, "no end of missing refcount blocks");
}

static int own_growth(struct qcow2 *q, const struct growth *g)
{
	int r = owned_add_range(&q->owned, g->first, g->table);

	for (uint64_t i = 0; r == 0 && i < g->blocks; i++)
		r = owned_add(&q->owned, g->first + g->table + i);
	return r;
}

static int grow_table(struct qcow2 *q, uint64_t index)
{
	struct growth g;
	bool zero;
	int r = prepare_growth(q, index, &g);

	if (r == 0)
		r = qcow2_extend(q, g.first, g.table + g.blocks, &zero);
	if (r < 0)
		return r;
	meta_forget(
		q->meta, g.first << q->h.cluster_bits, (g.table + g.blocks) << q->h.cluster_bits);
	r = own_growth(q, &g);
	if (r == 0)
		r = count_growth(q, &g);
	if (r == 0)
		r = copy_table(q, &g);
	if (r == 0)
		r = meta_write_back(q->meta, META_REFBLOCK);
	return r == 0 ? switch_table(q, &g) : r;
}

/* Make the block that counts @cluster. A cluster for it is found among those that are free, and
 * that one may be counted by a block that is missing too: then that block is made first. */
static int make_block(struct qcow2 *q, uint64_t cluster)
{
	uint64_t index = cluster >> block_shift(q), block = 0, c, n;
	int r;

	for (unsigned i = 0; i < SEARCH_ROUNDS; i++) {
		r = block_off(q, index, &block);
		if (r < 0 || block)
			return r;
		r = find_free(q, q->hint, 1, &c, &n);
		if (r == 0)
			r = block_off(q, c >> block_shift(q), &block);
		if (r < 0)
			return r;
		if (MAX_OF(index, c >> block_shift(q)) >= table_entries(q)) {
			r = grow_table(q, MAX_OF(index, c >> block_shift(q)));
			if (r < 0)
				return r;
			continue;
		}
		r = install_block(q, block ? index : c >> block_shift(q), c);
		if (r == 0)
			r = qcow2_ref_set(q, c, 1);
		if (r < 0)
			return r;
	}
	return qcow2_broken(q, "no end of missing refcount blocks");
}

int qcow2_ref_set(struct qcow2 *q, uint64_t cluster, uint64_t refs)
{
	uint64_t block;
	int r = block_off(q, cluster >> block_shift(q), &block);

	if (r == 0 && !block) {
		r = make_block(q, cluster);
		if (r == 0)
			r = block_off(q, cluster >> block_shift(q), &block);
	}
	return r == 0 ? store_count(q, block, cluster, refs) : r;
}

int qcow2_find_counted(struct qcow2 *q, uint64_t want, uint64_t *ret_first, uint64_t *ret_n)
{
	for (unsigned i = 0; i < SEARCH_ROUNDS; i++) {
		uint64_t first, n, block, left;
		int r = find_free(q, q->hint, want, &first, &n);

		if (r == 0)
			r = block_off(q, first >> block_shift(q), &block);
		if (r < 0)
			return r;
		if (block) {
			left = (((first >> block_shift(q)) + 1) << block_shift(q)) - first;
			*ret_first = first;
			*ret_n = MIN_OF(n, left);
			return 0;
		}
		r = make_block(q, first); /* in that very cluster, maybe */
		if (r < 0)
			return r;
	}
	return qcow2_broken(q, "no end of missing refcount blocks");
}
