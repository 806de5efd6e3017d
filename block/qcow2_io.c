/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/file.h"
#include "block/qcow2.h"
#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/num.h"

#define RUN_MAX	  64
#define ZERO_LEN  65536
#define CHUNK_MAX MIB(64) /* of a long request, between two looks at the state of things */

/* struct piece - bytes [skip, skip + len) of a request's buffers, for @off of the disk */
struct piece {
	const struct iovec *iov;
	unsigned n;
	size_t skip, len;
	uint64_t off;
};

static struct qcow2 *to_qcow2(struct block *b)
{
	return container_of(b, struct qcow2, block);
}

/* --- reading: lock held for reading or writing --- */

/* A backing file may be shorter than the image. */
static int read_backing(struct qcow2 *q, const struct piece *p)
{
	uint64_t size = q->backing ? q->backing->size : 0;
	size_t there = p->off < size ? MIN_OF(p->len, size - p->off) : 0;

	(void)iov_fill(p->iov, p->n, p->skip + there, 0, p->len - there);
	return there ? block_read_part(q->backing, p->iov, p->n, p->skip, there, p->off) : 0;
}

/* The last cluster of a file may be cut short; one that is not there at all is damage. */
static int read_file(struct qcow2 *q, const struct piece *p, uint64_t host)
{
	uint64_t cluster_end = ALIGN_UP(q->file_end, qcow2_cluster_len(q));
	size_t there = host < q->file_end ? MIN_OF(p->len, q->file_end - host) : 0;

	if (!range_ok(host, p->len, cluster_end))
		return -EIO;
	(void)iov_fill(p->iov, p->n, p->skip + there, 0, p->len - there);
	return file_readv_part(q->fd, p->iov, p->n, p->skip, there, host);
}

static int read_run(struct qcow2 *q, const struct piece *p, const struct qcow2_run *run)
{
	switch (run->kind) {
	case QCOW2_UNALLOCATED:
		return read_backing(q, p);
	case QCOW2_NORMAL:
		return read_file(q, p, run->host);
	case QCOW2_DEFLATED:
		return qcow2_inflate(q, run->entry, p->off & (qcow2_cluster_len(q) - 1), p->iov,
			p->n, p->skip, p->len);
	default:
		(void)iov_fill(p->iov, p->n, p->skip, 0, p->len);
		return 0;
	}
}

static int read_locked(
	struct qcow2 *q, const struct iovec *iov, unsigned n, size_t len, uint64_t off)
{
	struct piece p = { .iov = iov, .n = n, .off = off };

	while (p.skip < len) {
		struct qcow2_run run;
		int r = qcow2_map(q, p.off, len - p.skip, &run);

		p.len = run.len;
		if (r == 0)
			r = read_run(q, &p, &run);
		if (r < 0)
			return r;
		p.skip += p.len;
		p.off += p.len;
	}
	return 0;
}

int qcow2_read(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	struct qcow2 *q = to_qcow2(b);
	int r;

	(void)pthread_rwlock_rdlock(&q->lock);
	r = read_locked(q, iov, n, iov_len(iov, n), off);
	(void)pthread_rwlock_unlock(&q->lock);
	return r;
}

/* --- writing in place: lock held for reading --- */

/* Return: bytes written, 0 if the clusters have to be found or made ours first; -errno */
static int64_t write_in_place(struct qcow2 *q, struct piece *p)
{
	struct qcow2_run run;
	uint64_t first, last;
	int r = q->broken ? -EIO : qcow2_map(q, p->off, p->len, &run);

	if (r < 0)
		return r;
	if (run.kind != QCOW2_NORMAL || !run.copied)
		return 0;
	first = run.host >> q->h.cluster_bits;
	last = (run.host + run.len - 1) >> q->h.cluster_bits;
	if (!range_ok(run.host, run.len, q->file_end) ||
		owned_hit(&q->owned, first, last - first + 1))
		return qcow2_broken(q, "a cluster of the disk lies in a table");
	r = file_writev_part(q->fd, p->iov, p->n, p->skip, run.len, run.host);
	return r < 0 ? r : (int64_t)run.len;
}

/* --- writing elsewhere: lock held for writing --- */

/*
 * struct target - where the clusters of a run are going to be
 * @host: in the file, of the first of @n clusters; @fresh: they were allocated for this;
 * @zero: they read as zeroes
 */
struct target {
	uint64_t host, n;
	bool fresh, zero;
};

static int choose_target(struct qcow2 *q, const struct qcow2_run *run, uint64_t n, struct target *t)
{
	uint64_t first;
	int r;

	if (run->kind == QCOW2_ZEROES_KEPT && run->copied) {
		*t = (struct target){ .host = ALIGN_DOWN(run->host, qcow2_cluster_len(q)), .n = 1 };
		if (!range_ok(t->host, qcow2_cluster_len(q), q->file_end) ||
			owned_hit(&q->owned, t->host >> q->h.cluster_bits, 1))
			return qcow2_broken(q, "a cluster of the disk lies in a table");
		return 0;
	}
	r = qcow2_alloc(q, n, &first, &t->n, &t->zero);
	if (r < 0)
		return r;
	t->host = first << q->h.cluster_bits;
	t->fresh = true;
	return 0;
}

/* What a new cluster holds besides the data of the request: what was there before. */
static int fill_edge(struct qcow2 *q, const struct target *t, const struct qcow2_run *run,
	uint64_t host, uint64_t off, uint64_t len)
{
	cleanup_free uint8_t *old = NULL;
	struct iovec iov;
	int r;

	if (!len)
		return 0;
	if (run->kind == QCOW2_ZEROES || run->kind == QCOW2_ZEROES_KEPT ||
		(run->kind == QCOW2_UNALLOCATED && !q->backing))
		return t->zero ? 0 : file_zero(q->fd, host, len, false);
	old = malloc(len);
	if (!old)
		return -ENOMEM;
	iov = (struct iovec){ old, len };
	r = read_locked(q, &iov, 1, len, off);
	return r == 0 ? file_write(q->fd, old, len, host) : r;
}

static int write_data(
	struct qcow2 *q, const struct piece *p, const struct qcow2_run *run, const struct target *t)
{
	uint64_t head = p->off & (qcow2_cluster_len(q) - 1), end = head + p->len;
	uint64_t whole = t->n << q->h.cluster_bits;
	int r = fill_edge(q, t, run, t->host, p->off - head, head);

	if (r == 0)
		r = file_writev_part(q->fd, p->iov, p->n, p->skip, p->len, t->host + head);
	if (r == 0)
		r = fill_edge(q, t, run, t->host + end, p->off + p->len, whole - end);
	return r;
}

/* @n entries from @entry_off on: @first, and then @step more for each */
static int store_entries(
	struct qcow2 *q, uint64_t entry_off, uint64_t n, uint64_t first, uint64_t step)
{
	uint8_t raw[RUN_MAX * 8];

	for (uint64_t i = 0; i < n; i++)
		store_be64(raw + 8 * i, first + i * step);
	return qcow2_table_store(q, entry_off, raw, n * 8);
}

static int write_to(struct qcow2 *q, struct piece *p, struct qcow2_run *run, const struct target *t)
{
	uint64_t entry_off, in = p->off & (qcow2_cluster_len(q) - 1);
	int r;

	p->len = MIN_OF(p->len, (t->n << q->h.cluster_bits) - in);
	run->host -= run->host ? in : 0;
	r = write_data(q, p, run, t);
	if (r == 0)
		r = qcow2_l2_for_write(q, p->off, &entry_off);
	if (r == 0)
		r = store_entries(q, entry_off, t->n, t->host | QCOW2_COPIED, qcow2_cluster_len(q));
	if (r < 0 && t->fresh)
		qcow2_unalloc(q, t->host >> q->h.cluster_bits, t->n);
	if (r < 0 || !t->fresh)
		return r;
	return qcow2_unref_run(q, run, t->n);
}

/* Return: bytes written, 0 if meanwhile somebody else has seen to the clusters; -errno */
static int64_t write_elsewhere(struct qcow2 *q, struct piece *p)
{
	uint64_t in = p->off & (qcow2_cluster_len(q) - 1);
	uint64_t most = ((uint64_t)RUN_MAX << q->h.cluster_bits) - in;
	struct qcow2_run run;
	struct target t = { 0 };
	int r = qcow2_begin(q);

	if (r == 0)
		r = qcow2_map(q, p->off, MIN_OF(p->len, most), &run);
	if (r < 0 || (run.kind == QCOW2_NORMAL && run.copied))
		return r;
	p->len = run.len;
	r = choose_target(
		q, &run, (in + run.len + qcow2_cluster_len(q) - 1) >> q->h.cluster_bits, &t);
	if (r == 0)
		r = write_to(q, p, &run, &t);
	return r < 0 ? r : (int64_t)p->len;
}

static int64_t write_some(struct qcow2 *q, struct piece *p)
{
	int64_t done;

	(void)pthread_rwlock_rdlock(&q->lock);
	done = write_in_place(q, p);
	(void)pthread_rwlock_unlock(&q->lock);
	if (done)
		return done;
	(void)pthread_rwlock_wrlock(&q->lock);
	done = write_elsewhere(q, p);
	(void)pthread_rwlock_unlock(&q->lock);
	return done;
}

int qcow2_write(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	struct qcow2 *q = to_qcow2(b);
	size_t len = iov_len(iov, n), done = 0;

	while (done < len) {
		struct piece p = { iov, n, done, len - done, off + done };
		int64_t now = write_some(q, &p);

		if (now < 0)
			return (int)now;
		done += (size_t)now;
	}
	return 0;
}

/* --- discarding and zeroes: lock held for writing --- */

enum erase { ERASE_DISCARD, ERASE_UNMAP, ERASE_KEEP };

/* The first entry of the run afterwards, and what each further one has more. False: as it is. */
static bool erased_entry(const struct qcow2 *q, const struct qcow2_run *run, enum erase how,
	uint64_t *entry, uint64_t *step)
{
	bool plain = run->kind == QCOW2_ZEROES || (run->kind == QCOW2_UNALLOCATED && !q->backing);

	if (plain || (run->kind == QCOW2_ZEROES_KEPT && how == ERASE_KEEP))
		return false;
	*entry = q->backing ? QCOW2_ZERO : 0;
	*step = 0;
	if (how == ERASE_KEEP && q->h.version > 2 && run->kind == QCOW2_NORMAL && run->copied) {
		*entry = run->host | QCOW2_COPIED | QCOW2_ZERO;
		*step = qcow2_cluster_len(q);
	}
	return true;
}

static int erase_run(
	struct qcow2 *q, uint64_t off, const struct qcow2_run *run, uint64_t n, enum erase how)
{
	uint64_t entry_off, entry, step;
	int r;

	if (!erased_entry(q, run, how, &entry, &step))
		return 0;
	r = qcow2_l2_for_write(q, off, &entry_off);
	for (uint64_t i = 0; r == 0 && i < n; i += RUN_MAX)
		r = store_entries(q, entry_off + i * 8, MIN_OF(n - i, (uint64_t)RUN_MAX),
			entry + i * step, step);
	return r == 0 && !step ? qcow2_unref_run(q, run, n) : r;
}

/* Whole clusters. */
static int erase_locked(struct qcow2 *q, uint64_t off, uint64_t len, enum erase how)
{
	while (len) {
		struct qcow2_run run;
		int r = qcow2_begin(q);

		if (r == 0)
			r = qcow2_map(q, off, len, &run);
		if (r == 0)
			r = erase_run(q, off, &run, run.len >> q->h.cluster_bits, how);
		if (r < 0)
			return r;
		off += run.len;
		len -= run.len;
	}
	return 0;
}

static int erase(struct qcow2 *q, uint64_t off, uint64_t len, enum erase how)
{
	int r = 0;

	while (r == 0 && len) {
		uint64_t now = MIN_OF(len, MAX_OF(CHUNK_MAX, qcow2_cluster_len(q)));

		(void)pthread_rwlock_wrlock(&q->lock);
		r = erase_locked(q, off, now, how);
		(void)pthread_rwlock_unlock(&q->lock);
		off += now;
		len -= now;
	}
	return r;
}

/* The whole clusters in a range; the last one of the disk counts as whole. Return: is there one? */
static bool whole_clusters(
	const struct qcow2 *q, uint64_t off, uint64_t len, uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t cluster = qcow2_cluster_len(q), end = off + len;

	*ret_start = ALIGN_UP(off, cluster);
	*ret_end = end == q->block.size ? ALIGN_UP(end, cluster) : ALIGN_DOWN(end, cluster);
	return *ret_start < *ret_end;
}

int qcow2_discard(struct block *b, uint64_t off, uint64_t len)
{
	struct qcow2 *q = to_qcow2(b);
	uint64_t start, end;

	/* Version 2 cannot say "zeroes": what the backing file has there would come to light. */
	if ((q->h.version == 2 && q->backing) || !whole_clusters(q, off, len, &start, &end))
		return 0;
	return erase(q, start, end - start, ERASE_DISCARD);
}

static bool reads_zero(struct qcow2 *q, uint64_t off, uint64_t len)
{
	struct qcow2_run run;
	bool zero;

	(void)pthread_rwlock_rdlock(&q->lock);
	zero = qcow2_map(q, off, len, &run) == 0 && run.len == len &&
	       (run.kind == QCOW2_ZEROES || run.kind == QCOW2_ZEROES_KEPT ||
		       (run.kind == QCOW2_UNALLOCATED && !q->backing));
	(void)pthread_rwlock_unlock(&q->lock);
	return zero;
}

static int write_zero_data(struct qcow2 *q, uint64_t off, uint64_t len)
{
	static const uint8_t zero[ZERO_LEN];

	while (len) {
		uint64_t in = off & (qcow2_cluster_len(q) - 1);
		uint64_t now = MIN_OF(MIN_OF(len, (uint64_t)ZERO_LEN), qcow2_cluster_len(q) - in);
		struct iovec iov = { (void *)zero, now };
		int r = reads_zero(q, off, now) ? 0 : qcow2_write(&q->block, &iov, 1, off);

		if (r < 0)
			return r;
		off += now;
		len -= now;
	}
	return 0;
}

int qcow2_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool may_unmap)
{
	struct qcow2 *q = to_qcow2(b);
	uint64_t start, end;
	int r;

	if ((q->h.version == 2 && q->backing) || !whole_clusters(q, off, len, &start, &end))
		return write_zero_data(q, off, len);
	r = write_zero_data(q, off, start - off);
	if (r == 0)
		r = erase(q, start, end - start, may_unmap ? ERASE_UNMAP : ERASE_KEEP);
	if (r == 0 && off + len > end)
		r = write_zero_data(q, end, off + len - end);
	return r;
}
