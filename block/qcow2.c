/* SPDX-License-Identifier: Apache-2.0 */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/file.h"
#include "block/open.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"

#define OFF_ROOTS     36 /* size and place of L1, place and size of the refcount table */
#define ROOTS_LEN     24
#define OFF_INCOMPAT  72
#define OFF_AUTOCLEAR 88
#define PAGE_MAX      4096

static struct qcow2 *to_qcow2(struct block *b)
{
	return container_of(b, struct qcow2, block);
}

static int write_field(struct qcow2 *q, uint64_t off, uint64_t value)
{
	uint8_t raw[8];

	store_be64(raw, value);
	return file_write(q->fd, raw, sizeof(raw), off);
}

int qcow2_broken(struct qcow2 *q, const char *what)
{
	if (__atomic_exchange_n(&q->broken, 1, __ATOMIC_RELAXED))
		return -EIO;
	log_warn("%s is damaged: %s; %s", block_label(&q->block), what,
		q->block.read_only ? "reads from there fail" : "nothing is written any more");
	if (!q->block.read_only && q->h.version > 2)
		(void)write_field(q, OFF_INCOMPAT,
			q->h.incompat | QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
	return -EIO;
}

static bool is_broken(struct qcow2 *q)
{
	return __atomic_load_n(&q->broken, __ATOMIC_RELAXED);
}

int qcow2_stop(struct qcow2 *q, const char *what)
{
	if (!__atomic_exchange_n(&q->broken, 1, __ATOMIC_RELAXED))
		log_warn("%s is not written any more: %s", block_label(&q->block), what);
	return -EIO;
}

/* Features that want to hear about writes and that we do not know are told by their bits being
 * cleared. */
static int mark(struct qcow2 *q)
{
	int r = 0;

	if (q->h.version > 2 && q->h.autoclear) {
		r = write_field(q, OFF_AUTOCLEAR, 0);
		if (r == 0)
			r = file_sync(q->fd);
	}
	q->marked = r == 0;
	return r;
}

int qcow2_begin(struct qcow2 *q)
{
	int r = is_broken(q) ? -EIO : 0;

	if (r == 0 && !q->marked)
		r = mark(q);
	if (r < 0)
		return r;
	if (q->counted || q->n_freed > QCOW2_MAX_FREED)
		return qcow2_commit(q);
	return meta_crowded(q->meta) ? meta_write_back(q->meta) : 0;
}

/* What the working tree no longer refers to is counted in it. After that it must not grow until it
 * is what the file refers to: what counts as free there is still in use here. */
static int count_freed(struct qcow2 *q)
{
	int r = q->counted ? 0 : qcow2_prepare_freed(q);

	if (r < 0 || q->counted)
		return r;
	if (qcow2_count_freed(q) < 0)
		return qcow2_stop(q, "refcounts cannot be changed");
	q->counted = true;
	return 0;
}

/* The one write that replaces the old tree by the new one: adjacent fields within one sector. */
static int write_roots(struct qcow2 *q)
{
	uint8_t raw[ROOTS_LEN];

	store_be32(raw, q->h.l1_size);
	store_be64(raw + 4, q->h.l1_off);
	store_be64(raw + 12, q->h.reftable_off);
	store_be32(raw + 20, q->h.reftable_clusters);
	return file_write(q->fd, raw, sizeof(raw), OFF_ROOTS);
}

static bool is_changed(const struct qcow2 *q)
{
	return q->n_fresh || q->n_freed;
}

int qcow2_commit(struct qcow2 *q)
{
	int r;

	if (is_broken(q))
		return -EIO;
	if (!is_changed(q))
		return 0;
	r = count_freed(q);
	if (r == 0)
		r = meta_write_back(q->meta);
	if (r < 0)
		return r;
	if (file_sync(q->fd) < 0 || write_roots(q) < 0 || file_sync(q->fd) < 0)
		return qcow2_stop(q, "its tables cannot be made stable");
	q->counted = false;
	qcow2_release_freed(q);
	return 0;
}

static int qcow2_flush(struct block *b)
{
	struct qcow2 *q = to_qcow2(b);
	bool changed;
	int r;

	(void)pthread_rwlock_wrlock(&q->lock);
	changed = is_changed(q);
	r = qcow2_commit(q);
	(void)pthread_rwlock_unlock(&q->lock);
	return r == 0 && !changed ? file_sync(q->fd) : r;
}

static void release(struct qcow2 *q)
{
	block_free(q->backing);
	meta_free(q->meta);
	owned_release(&q->owned);
	free(q->fresh);
	free(q->freed);
	free(q->inflated);
	close_fd(&q->fd);
	(void)pthread_rwlock_destroy(&q->lock);
	(void)pthread_mutex_destroy(&q->inflate_lock);
	free(q);
}

static void qcow2_free(struct block *b)
{
	struct qcow2 *q = to_qcow2(b);

	if (!b->read_only && !is_broken(q))
		qcow2_release_spares(q);
	release(q);
}

static const struct block_ops qcow2_ops = {
	.name = "qcow2",
	.read = qcow2_read,
	.write = qcow2_write,
	.flush = qcow2_flush,
	.discard = qcow2_discard,
	.write_zeroes = qcow2_write_zeroes,
	.free = qcow2_free,
};

/* --- opening --- */

/* Whole clusters, and room up to the end of the last: what is behind it is then never in the way.
 */
static int make_writable(struct qcow2 *q, struct err *err)
{
	int r;

	q->file_end = ALIGN_UP(q->file_end, qcow2_cluster_len(q));
	if (ftruncate(q->fd, (off_t)q->file_end) < 0)
		return err_set(err, errno, "complete the last cluster of the qcow2 image");
	r = qcow2_list_tables(q, err);
	if (r < 0 || !(q->h.incompat & QCOW2_INCOMPAT_DIRTY))
		return r;
	r = qcow2_recount(q, err);
	if (r < 0)
		return r;
	q->h.incompat &= ~QCOW2_INCOMPAT_DIRTY;
	r = write_field(q, OFF_INCOMPAT, q->h.incompat);
	if (r == 0)
		r = file_sync(q->fd);
	return r < 0 ? err_set(err, r, "mark the qcow2 image as repaired") : 0;
}

static int load(struct qcow2 *q, const struct block_config *cfg, const struct backing_chain *chain,
	struct err *err)
{
	struct file_info info;
	int r = file_adopt(cfg->fd, cfg->read_only, &info, err);

	if (r < 0)
		return r;
	q->fd = info.fd;
	q->file_end = info.size;
	memcpy(q->block.id, info.id, BLOCK_ID_LEN);
	if (!info.regular)
		return err_msg(err, EINVAL, "a qcow2 image is a regular file");
	r = qcow2_header_read(q->fd, info.size, cfg->read_only, &q->h, err);
	if (r < 0)
		return r;
	q->block.size = q->h.size;
	q->block.unit = (uint32_t)qcow2_cluster_len(q);
	r = meta_new(q->fd, MIN_OF((uint32_t)qcow2_cluster_len(q), PAGE_MAX), &q->meta, err);
	if (r == 0 && q->h.backing[0])
		r = backing_open(cfg, chain, q->h.backing, q->h.backing_format, &q->backing, err);
	return r == 0 && !cfg->read_only ? make_writable(q, err) : r;
}

/* A writer must not wait for ever behind requests that keep coming. */
static void init_locks(struct qcow2 *q)
{
	pthread_rwlockattr_t attr;

	(void)pthread_rwlockattr_init(&attr);
	(void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(&q->lock, &attr);
	(void)pthread_rwlockattr_destroy(&attr);
	(void)pthread_mutex_init(&q->inflate_lock, NULL);
}

int qcow2_open(const struct block_config *cfg, const struct backing_chain *chain,
	struct block **ret, struct err *err)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return err_set(err, ENOMEM, "open qcow2 image");
	q->fd = -1;
	q->block = (struct block){ .ops = &qcow2_ops, .read_only = cfg->read_only };
	init_locks(q);
	r = load(q, cfg, chain, err);
	if (r < 0) {
		release(q);
		return r;
	}
	*ret = &q->block;
	return 0;
}
