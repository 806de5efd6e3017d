/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2 images, inside this room (format: docs/interop/qcow2.rst of QEMU).
 *
 * Theory of operation
 *
 * The image's lock is held for reading by requests that find their clusters in place: reads, and
 * writes to clusters that belong to this image alone. Everything that changes the mapping holds it
 * for writing: new clusters, discards, commits. So a cluster cannot be given away while somebody
 * reads or writes it.
 *
 * Tables are never changed where the file refers to them. The first change of one after a commit
 * moves it to a free place (qcow2_shadow.c), and with it what leads there: L1 or the refcount
 * table, in the end the two fields of the header that lead to these. So there are two trees: the
 * one in the file, which is complete and whose refcounts are exact, and the one being worked on,
 * whose own tables and new clusters count as free in the other. A commit, which comes with a flush,
 * when many clusters have been given up, and at the end, makes everything stable and then writes
 * those fields of the header, all in one sector, with one write.
 *
 * So an image is right at any moment, for version 2 as for 3, and no dirty bit is needed: a process
 * that is killed, or a host that crashes, leaves the tree of the last commit, with neither errors
 * nor leaks; what was written to new clusters since then is what a disk loses that was not flushed.
 * Clusters that a commit gives up are neither reused nor punched before it is stable. A host that
 * has no room left fails single requests, and nothing else: whatever takes room comes before the
 * change that needs it.
 *
 * An image is hostile until proved otherwise. Offsets are checked where they are used: aligned, in
 * the file. Before an image is opened for writing, a list of all its tables is made (owned.c), and
 * no write for the guest ever goes to one of them, whatever the mapping says.
 */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/backing.h"
#include "block/block.h"
#include "block/meta.h"
#include "block/owned.h"
#include "lib/err.h"

#define QCOW2_MIN_BITS	 9
#define QCOW2_MAX_BITS	 21
#define QCOW2_NAME_MAX	 1023
#define QCOW2_MAX_FREED	 1024
#define QCOW2_MAX_SPARES 256

/* Entries of L1 and L2. */
#define QCOW2_OFFSET	 UINT64_C(0x00fffffffffffe00)
#define QCOW2_COPIED	 (UINT64_C(1) << 63) /* refcount 1: may be written in place */
#define QCOW2_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_ZERO	 UINT64_C(1)

#define QCOW2_INCOMPAT_DIRTY	   UINT64_C(1)
#define QCOW2_INCOMPAT_CORRUPT	   UINT64_C(2)
#define QCOW2_INCOMPAT_DATA_FILE   UINT64_C(4)
#define QCOW2_INCOMPAT_COMPRESSION UINT64_C(8)
#define QCOW2_INCOMPAT_EXTENDED_L2 UINT64_C(16)
#define QCOW2_AUTOCLEAR_BITMAPS	   UINT64_C(1)

/* struct qcow2_header - every field is legal: sizes and places fit each other and the file */
struct qcow2_header {
	uint32_t version, cluster_bits, refcount_order;
	uint64_t size;
	uint64_t l1_off, reftable_off, snapshots_off;
	uint32_t l1_size, reftable_clusters, n_snapshots;
	uint64_t incompat, autoclear;
	bool zstd; /* of compressed clusters; else deflate */
	char backing[QCOW2_NAME_MAX + 1], backing_format[16]; /* empty: none */
};

/* qcow2_header_read() - Return: 0; -EINVAL not a qcow2 image, or damaged; -ENOTSUP feature, by name
 */
int qcow2_header_read(
	int fd, uint64_t file_size, bool read_only, struct qcow2_header *h, struct err *err);

/*
 * struct qcow2_fresh - a table that may be changed, of @n clusters at @at
 * @from: where the table is that it replaces; 0: none, or nothing is known of it
 * @lo, @hi: the bytes that differ from that one
 */
struct qcow2_fresh {
	uint64_t at, n, from, lo, hi;
};

/* struct qcow2_freed - clusters that only the file's tree refers to */
struct qcow2_freed {
	uint64_t first, n;
	bool table;
};

/*
 * struct qcow2_spare - clusters that are free but kept for tables
 * @twin: the table that has left it and that it equals, but for the bytes from @lo to @hi; 0: none
 */
struct qcow2_spare {
	uint64_t at, n, twin, lo, hi;
};

struct qcow2 {
	struct block block;
	struct qcow2_header h;
	int fd;
	struct meta *meta;
	struct block *backing;
	struct owned owned;
	pthread_rwlock_t lock; /* of what follows, for writing; see above */
	uint64_t file_end;     /* bytes; whole clusters when writable */
	uint64_t hint;	       /* no cluster below is free, but spares */
	bool marked;	       /* those who want to know of writes have been told */
	int broken;	       /* nothing is written any more */
	bool counted;	       /* a commit has begun that could not be ended yet */
	struct qcow2_fresh *fresh;
	size_t n_fresh, cap_fresh;
	struct qcow2_freed *freed;
	size_t n_freed, cap_freed;
	struct qcow2_spare spare[QCOW2_MAX_SPARES];
	unsigned n_spare;
	uint64_t reserved, n_reserved; /* clusters of the refcount table that are to be counted */
	bool counting;

	pthread_mutex_t inflate_lock; /* of the compressed cluster that was read last */
	uint64_t inflated_entry;      /* 0: none */
	uint8_t *inflated;
};

static inline uint64_t qcow2_cluster_len(const struct qcow2 *q)
{
	return UINT64_C(1) << q->h.cluster_bits;
}

/* --- qcow2.c --- */

int qcow2_open(const struct block_config *cfg, const struct backing_chain *chain,
	struct block **ret, struct err *err);

/* qcow2_broken() - the tables make no sense: no more changes. Return: -EIO */
int qcow2_broken(struct qcow2 *q, const char *what);

/* qcow2_stop() - it cannot be written any more, through no fault of its own. Return: -EIO */
int qcow2_stop(struct qcow2 *q, const char *what);

/* qcow2_begin() - before any change; lock held for writing. Return: 0; -EIO broken; -errno */
int qcow2_begin(struct qcow2 *q);

/* qcow2_commit() - lock held for writing; see above. Return: 0: all is stable; -errno: may be
 * tried again */
int qcow2_commit(struct qcow2 *q);

/* --- qcow2_shadow.c: tables in new places; lock held for writing --- */

/* struct qcow2_place - @n adjacent clusters from @at on, free; @spare: index of the spare, or -1 */
struct qcow2_place {
	uint64_t at, n;
	int spare;
};

/* qcow2_find_place() - for a table of @n clusters that is at @from now (0: a new one) */
int qcow2_find_place(struct qcow2 *q, uint64_t from, uint64_t n, struct qcow2_place *ret);

/*
 * qcow2_move_table() - to @p, which may be longer; without @from make one of zeroes. No guest may
 * write there. Nothing has changed where the host has no room. The caller counts @p, at once.
 */
int qcow2_move_table(struct qcow2 *q, const struct qcow2_place *p, uint64_t from, uint64_t from_n);

/* qcow2_is_fresh() - is there a table that may be changed? */
bool qcow2_is_fresh(const struct qcow2 *q, uint64_t cluster);

/* qcow2_table_store() - change a fresh table, at a byte of the file. Return: 0; -EIO: stopped */
int qcow2_table_store(struct qcow2 *q, uint64_t off, const void *src, size_t len);
int qcow2_table_store_be64(struct qcow2 *q, uint64_t off, uint64_t v);

/* qcow2_skip_held() - clusters that count as free: return the end of what is kept for tables at
 * @first, or 0 and the number of those that are not */
uint64_t qcow2_skip_held(const struct qcow2 *q, uint64_t first, uint64_t *n);

/* qcow2_unref() - a reference has gone from the working tree: counts with the next commit */
int qcow2_unref(struct qcow2 *q, uint64_t first, uint64_t n, bool table);

/* qcow2_release_freed() - the file's tree is the working tree now */
void qcow2_release_freed(struct qcow2 *q);

/* qcow2_release_spares() - at the end */
void qcow2_release_spares(struct qcow2 *q);

/* --- qcow2_ref.c: refcounts; lock held for writing --- */

/* qcow2_ref_get() - 0 also where no table says anything */
int qcow2_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret);

/* qcow2_ref_set() - makes a refcount block if there is none */
int qcow2_ref_set(struct qcow2 *q, uint64_t cluster, uint64_t refs);

/* qcow2_counts_for_write() - what counts these clusters is fresh; @ret_moved: it was not, and so
 * places have been taken */
int qcow2_counts_for_write(struct qcow2 *q, uint64_t first, uint64_t n, bool *ret_moved);

/* qcow2_count_table() - what is left to do after the refcount table has moved */
int qcow2_count_table(struct qcow2 *q);

/* qcow2_find_free() - the first run of clusters that are free and not kept, from @from on, of at
 * most @want */
int qcow2_find_free(
	struct qcow2 *q, uint64_t from, uint64_t want, uint64_t *ret_first, uint64_t *ret_n);

/* qcow2_find_counted() - up to @want adjacent free clusters, whose counts are in one block that
 * is fresh */
int qcow2_find_counted(struct qcow2 *q, uint64_t want, uint64_t *ret_first, uint64_t *ret_n);

/* qcow2_extend() - make the file reach to the end of these clusters. @ret_zero: they were beyond
 * it, so they are zeroes */
int qcow2_extend(struct qcow2 *q, uint64_t first, uint64_t n, bool *ret_zero);

/* --- qcow2_alloc.c: lock held for writing --- */

/*
 * qcow2_alloc() - up to @want adjacent clusters, with refcount 1, within the file
 * @ret_zero: they read as zeroes
 */
int qcow2_alloc(
	struct qcow2 *q, uint64_t want, uint64_t *ret_first, uint64_t *ret_n, bool *ret_zero);

/* qcow2_alloc_table() - a fresh table of @n clusters, which replaces the one at @from if that is
 * not 0 */
int qcow2_alloc_table(struct qcow2 *q, uint64_t from, uint64_t n, uint64_t *ret_cluster);

/* qcow2_unalloc() - take qcow2_alloc() back, nothing refers to them */
void qcow2_unalloc(struct qcow2 *q, uint64_t first, uint64_t n);

/* The parts of a commit that count what is freed: all that may take room, and then the rest. */
int qcow2_prepare_freed(struct qcow2 *q);
int qcow2_count_freed(struct qcow2 *q);

/* --- qcow2_map.c --- */

enum qcow2_kind {
	QCOW2_UNALLOCATED, /* the backing file, or zeroes */
	QCOW2_ZEROES,	   /* without a cluster of its own */
	QCOW2_ZEROES_KEPT, /* with one, whatever it holds */
	QCOW2_NORMAL,
	QCOW2_DEFLATED, /* compressed; one cluster per run */
};

/*
 * struct qcow2_run - what is behind adjacent bytes of the disk
 * @len: bytes from the one asked for; @host: place in the file of that byte, if there is one
 * @copied: the clusters may be written in place; @entry: of the first cluster
 */
struct qcow2_run {
	enum qcow2_kind kind;
	bool copied;
	uint64_t host, len, entry;
};

/* qcow2_map() - the longest run known at once, at most @len. Return: 0; -EIO damaged; -errno */
int qcow2_map(struct qcow2 *q, uint64_t off, uint64_t len, struct qcow2_run *ret);

/* qcow2_l2_for_write() - the place of the entry of @off, in a table that is ours alone */
int qcow2_l2_for_write(struct qcow2 *q, uint64_t off, uint64_t *ret_entry_off);

/* qcow2_unref_run() - give up what @n clusters of @run, from its first, refer to */
int qcow2_unref_run(struct qcow2 *q, const struct qcow2_run *run, uint64_t n);

/* qcow2_deflated_span() - the bytes of the file that a compressed cluster is in */
void qcow2_deflated_span(const struct qcow2 *q, uint64_t entry, uint64_t *off, uint64_t *len);

/* --- qcow2_inflate.c --- */

/* qcow2_inflate() - bytes [in, in + len) of a compressed cluster into @iov from @skip; any thread
 */
int qcow2_inflate(struct qcow2 *q, uint64_t entry, uint64_t in, const struct iovec *iov, unsigned n,
	size_t skip, size_t len);

/* --- qcow2_io.c --- */

int qcow2_read(struct block *b, const struct iovec *iov, unsigned n, uint64_t off);
int qcow2_write(struct block *b, const struct iovec *iov, unsigned n, uint64_t off);
int qcow2_discard(struct block *b, uint64_t off, uint64_t len);
int qcow2_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool may_unmap);

/* --- qcow2_check.c --- */

/* qcow2_list_tables() - fill q->owned; for writing */
int qcow2_list_tables(struct qcow2 *q, struct err *err);

/* qcow2_recount() - make the refcounts of an image right that was not closed */
int qcow2_recount(struct qcow2 *q, struct err *err);

#endif
