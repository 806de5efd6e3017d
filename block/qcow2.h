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
 * Tables are changed in the cache (meta.h) and written back by a commit, which comes with a flush,
 * when the cache fills up, and at the end. Killed between two commits, an image is as the last one
 * left it: clusters handed out since then are free again, their contents are what a disk loses
 * that was not flushed. A commit makes data and the initial contents of new tables stable, and
 * then writes
 *
 *	refcounts that rose, refcount table, L2, L1, refcounts that fell
 *
 * in this order, so that a process killed in the middle of it leaves nothing in use that counts as
 * free: at worst clusters count as used that nobody uses (a leak, never an error), if the kill
 * falls between the first and the last of these writes to the page cache. A host that crashes
 * reorders writes. Version 3 has the dirty bit for that, which is set from the first change to the
 * end: refcounts are not to be trusted then, and whoever opens the image next counts again
 * (qcow2_check.c; QEMU does too), which ends leaks as well. Nothing else depends on the order:
 * new tables hold something sensible before they are linked. Version 2 lacks the bit and gets a
 *sync between the steps. Freed clusters are not reused, nor their space given back to the host,
 *before the commit that made them unreachable is stable.
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

#include "block/block.h"
#include "block/meta.h"
#include "block/owned.h"
#include "lib/err.h"

#define QCOW2_MIN_BITS	9
#define QCOW2_MAX_BITS	21
#define QCOW2_NAME_MAX	1023
#define QCOW2_MAX_FREED 1024

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

struct qcow2 {
	struct block block;
	struct qcow2_header h;
	int fd;
	struct meta *meta;
	struct block *backing;
	struct owned owned;
	pthread_rwlock_t lock; /* of what follows, for writing; see above */
	uint64_t file_end;     /* bytes; whole clusters when writable */
	uint64_t hint;	       /* no cluster below is free */
	bool marked;	       /* the dirty bit is set, if there is one */
	int broken;	       /* tables contradict each other: nothing is written any more */
	struct {
		uint64_t first, n; /* clusters */
	} freed[QCOW2_MAX_FREED];
	unsigned n_freed;

	pthread_mutex_t inflate_lock; /* of the compressed cluster that was read last */
	uint64_t inflated_entry;      /* 0: none */
	uint8_t *inflated;
};

static inline uint64_t qcow2_cluster_len(const struct qcow2 *q)
{
	return UINT64_C(1) << q->h.cluster_bits;
}

/* --- qcow2.c --- */

int qcow2_open(const struct block_config *cfg, unsigned depth, struct block **ret, struct err *err);

/* qcow2_broken() - the tables make no sense: no more changes. Return: -EIO */
int qcow2_broken(struct qcow2 *q, const char *what);

/* qcow2_begin() - before any change; lock held for writing. Return: 0; -EIO broken; -errno */
int qcow2_begin(struct qcow2 *q);

/* qcow2_commit() - lock held for writing; see above. Syncs what it has to, not the end of it. */
int qcow2_commit(struct qcow2 *q);

/* --- qcow2_ref.c: refcounts; lock held for writing --- */

/* qcow2_ref_get() - 0 also where no table says anything */
int qcow2_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret);

/* qcow2_ref_set() - makes a refcount block if there is none */
int qcow2_ref_set(struct qcow2 *q, uint64_t cluster, uint64_t refs);

/* qcow2_find_counted() - up to @want adjacent free clusters, whose counts are in one block that
 * exists */
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

/* qcow2_alloc_table() - one cluster of zeroes that no guest may write */
int qcow2_alloc_table(struct qcow2 *q, uint64_t *ret_cluster);

/* qcow2_unalloc() - take qcow2_alloc() back, nothing refers to them */
void qcow2_unalloc(struct qcow2 *q, uint64_t first, uint64_t n);

/* qcow2_unref() - a reference has gone from the mapping: counts with the next commit */
int qcow2_unref(struct qcow2 *q, uint64_t first, uint64_t n);

/* The parts of a commit that do it: count, and once that cannot be undone, give the space back. */
int qcow2_count_freed(struct qcow2 *q);
void qcow2_punch_freed(struct qcow2 *q);

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
