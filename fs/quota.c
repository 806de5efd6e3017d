/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much a client may add to a share (images.md 5.6). What was there at its first write is the
 * base line; what grows is charged as it comes, and given back when it is known to be gone: a file
 * that shrinks, one that has lost its last name and its last user, an attribute, a name.
 *
 * Giving back is never too much, but may be too little: objects that the client never asked for,
 * names that were replaced, what the host removes. So when the charges reach the limit everything
 * is counted anew (quota_count.c), and that decides. A count takes as long as the tree is large and
 * a client can ask for one with every request, so counts may take a tenth of the time, after a
 * first second; a client that wants more is told that there is no space, until it is time again.
 *
 * An entry without data takes space too, which no size tells: so there is also a limit to their
 * number, which what is there at the first creation does not count towards.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fs/fs_internal.h"
#include "lib/clock.h"

#define STATFS_BLOCK 4096

/* More generous than file systems are; and a few for a small quota. */
#define BYTES_PER_NAME 1024
#define NAMES_MIN      1024

/* Time for counts: one part in COUNT_SHARE, saved up to COUNT_SAVED_NS. */
#define COUNT_SHARE    10
#define COUNT_SAVED_NS ((int64_t)NS_PER_S)

#define N_SIZE_LOCKS 64

/*
 * struct quota
 * @size:      by node: held shared from the charge until the file has grown, alone while one is
 *cut. Else a write that was charged nothing, being within the file, could find it cut
 * @lock:      of all that follows; taken while others are held, and again by the thread that counts
 * @time_left: ns that counts may take; below 0 they have taken more
 * @time_at:   when that was so
 */
struct quota {
	pthread_rwlock_t size[N_SIZE_LOCKS];
	pthread_mutex_t lock;
	struct quota_sum limit, base, used;
	bool started;
	int64_t time_left;
	uint64_t time_at;
};

void quota_set_time(struct quota *q, int64_t ns)
{
	q->time_left = ns;
	q->time_at = clock_mono_ns();
}

int quota_new(uint64_t limit, struct quota **ret)
{
	struct quota *q = calloc(1, sizeof(*q));
	pthread_mutexattr_t again;

	if (!q)
		return -ENOMEM;
	q->limit.bytes = limit;
	q->limit.names = limit / BYTES_PER_NAME + NAMES_MIN;
	quota_set_time(q, COUNT_SAVED_NS);
	/* A count drops nodes, and the last of a file gives back what that took. */
	pthread_mutexattr_init(&again);
	pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&q->lock, &again);
	pthread_mutexattr_destroy(&again);
	for (unsigned i = 0; i < N_SIZE_LOCKS; i++)
		pthread_rwlock_init(&q->size[i], NULL);
	*ret = q;
	return 0;
}

void quota_free(struct quota *q)
{
	if (!q)
		return;
	for (unsigned i = 0; i < N_SIZE_LOCKS; i++)
		pthread_rwlock_destroy(&q->size[i]);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* ---- charging ---- */

static int start(struct fs_server *fs, struct quota *q)
{
	int rc = q->started ? 0 : quota_count(fs, &q->base);

	q->started |= rc == 0;
	return rc;
}

static uint64_t grown(uint64_t now, uint64_t base)
{
	return now > base ? now - base : 0;
}

static bool may_count(struct quota *q)
{
	uint64_t now = clock_mono_ns(), saved = (now - q->time_at) / COUNT_SHARE;

	q->time_at = now;
	q->time_left = MIN_OF(q->time_left + (int64_t)saved, COUNT_SAVED_NS);
	return q->time_left > 0;
}

/* Once more from the start, if there is time for it. Return: 0, whatever came out; -errno */
static int recount(struct fs_server *fs, struct quota *q)
{
	struct quota_sum now;
	int rc;

	if (!may_count(q))
		return -ENOSPC;
	rc = quota_count(fs, &now);
	q->time_left -= (int64_t)(clock_mono_ns() - q->time_at);
	q->time_at = clock_mono_ns();
	if (rc < 0)
		return rc;
	now.bytes = grown(now.bytes, q->base.bytes);
	now.names = grown(now.names, q->base.names);
	/* What is too deep to be seen is not gone. */
	q->used.bytes = now.partial ? MAX_OF(now.bytes, q->used.bytes) : now.bytes;
	q->used.names = now.partial ? MAX_OF(now.names, q->used.names) : now.names;
	return 0;
}

static bool fits(const struct quota *q, uint64_t growth)
{
	return q->used.bytes <= q->limit.bytes && growth <= q->limit.bytes - q->used.bytes;
}

static int charge(struct fs_server *fs, struct quota *q, uint64_t growth)
{
	int rc = fits(q, growth) || growth > q->limit.bytes ? 0 : recount(fs, q);

	if (rc < 0)
		return rc;
	if (!fits(q, growth))
		return -ENOSPC;
	q->used.bytes += growth;
	return 0;
}

static int charge_name(struct fs_server *fs, struct quota *q)
{
	int rc = q->used.names < q->limit.names ? 0 : recount(fs, q);

	if (rc < 0)
		return rc;
	if (q->used.names >= q->limit.names)
		return -ENOSPC;
	q->used.names++;
	return 0;
}

int quota_charge_name(struct fs_server *fs)
{
	struct quota *q = fs->quota;
	int rc;

	if (!q)
		return 0;
	pthread_mutex_lock(&q->lock);
	rc = start(fs, q);
	if (rc == 0)
		rc = charge_name(fs, q);
	pthread_mutex_unlock(&q->lock);
	return rc < 0 ? -ENOSPC : 0;
}

int quota_charge_bytes(struct fs_server *fs, uint64_t bytes)
{
	struct quota *q = fs->quota;
	int rc;

	if (!q)
		return 0;
	pthread_mutex_lock(&q->lock);
	rc = start(fs, q);
	if (rc == 0 && bytes)
		rc = charge(fs, q, bytes);
	pthread_mutex_unlock(&q->lock);
	return rc < 0 ? -ENOSPC : 0;
}

int quota_charge(struct fs_server *fs, int fd, uint64_t end)
{
	struct stat st;

	if (!fs->quota)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	return quota_charge_bytes(fs, grown(end, (uint64_t)st.st_size));
}

/* ---- giving back ---- */

static void give_back(struct quota *q, uint64_t bytes, uint64_t names)
{
	pthread_mutex_lock(&q->lock);
	q->used.bytes -= MIN_OF(bytes, q->used.bytes);
	q->used.names -= MIN_OF(names, q->used.names);
	pthread_mutex_unlock(&q->lock);
}

void quota_free_bytes(struct fs_server *fs, uint64_t bytes)
{
	if (fs->quota && bytes)
		give_back(fs->quota, bytes, 0);
}

void quota_free_name(struct fs_server *fs)
{
	if (fs->quota)
		give_back(fs->quota, 0, 1);
}

void quota_node_gone(struct fs_server *fs, const struct node *node)
{
	if (!fs->quota || node->fd < 0 || node->type != S_IFREG || node->extra)
		return;
	/* One whose name is good is not gone, only forgotten. */
	if (node->name && !node->anchored)
		return;
	if (!handle_is_open(fs, node->id))
		quota_free_bytes(fs, quota_node_weight(node));
}

static pthread_rwlock_t *size_lock(struct quota *q, uint64_t node_id)
{
	return &q->size[(uint32_t)node_id % N_SIZE_LOCKS];
}

void quota_grow_begin(struct fs_server *fs, uint64_t node_id)
{
	if (fs->quota)
		pthread_rwlock_rdlock(size_lock(fs->quota, node_id));
}

void quota_grow_end(struct fs_server *fs, uint64_t node_id)
{
	if (fs->quota)
		pthread_rwlock_unlock(size_lock(fs->quota, node_id));
}

/* Sizes, not blocks: growth was charged by sizes, and no more may be given back. */
static uint64_t size_of(const struct node *node)
{
	struct stat st;

	return fstat(node->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

uint64_t quota_cut_begin(struct fs_server *fs, const struct node *node)
{
	if (!fs->quota)
		return 0;
	pthread_rwlock_wrlock(size_lock(fs->quota, node->id));
	return size_of(node);
}

void quota_cut_end(struct fs_server *fs, const struct node *node, uint64_t before)
{
	uint64_t now;

	if (!fs->quota)
		return;
	now = size_of(node);
	pthread_rwlock_unlock(size_lock(fs->quota, node->id));
	quota_free_bytes(fs, grown(before, now));
}

void quota_statfs(struct fs_server *fs, struct fuse_kstatfs *st)
{
	struct quota *q = fs->quota;
	uint64_t left;

	if (!q)
		return;
	pthread_mutex_lock(&q->lock);
	(void)start(fs, q);
	left = grown(q->limit.bytes, q->used.bytes);
	st->bsize = st->frsize = STATFS_BLOCK;
	st->blocks = (q->base.bytes + q->limit.bytes) / STATFS_BLOCK;
	st->bfree = st->bavail = left / STATFS_BLOCK;
	st->files = q->base.names + q->limit.names;
	st->ffree = grown(q->limit.names, q->used.names);
	pthread_mutex_unlock(&q->lock);
}
