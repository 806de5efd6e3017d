/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much a client may add to a share. What was there at its first write is the base line; growth
 * of files is charged as it comes, by their size. Nothing is given back when files shrink or go:
 * when the charges reach the limit everything is counted anew, and that decides.
 *
 * Counted is what the tree holds, and what is open or remembered but has no name any more: it still
 * takes space. Of a file with several names each counts its part. Blocks count if they are more
 * than the size: space can be allocated beyond the end of a file.
 *
 * An entry without data takes space too, which no size tells: so there is also a limit to their
 * number, which what is there at the first creation does not count towards.
 *
 * A count walks the whole tree, and only writes of a client at its limit wait for it. Once it was
 * refused there is no other before something may have become smaller.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/fs_internal.h"

/* Deeper than that nothing is counted, so nothing may be added either. */
#define DEPTH_MAX 512

#define STATFS_BLOCK 4096

/* More generous than file systems are; and a few for a small quota. */
#define BYTES_PER_NAME 1024
#define NAMES_MIN      1024

/* struct sum - what is in a share: bytes of files, entries of all kinds */
struct sum {
	uint64_t bytes, names;
};

struct quota {
	pthread_mutex_t lock; /* of what follows */
	struct sum limit, base, used;
	bool started, full, names_full;
	_Atomic bool released; /* since the last count */
};

int quota_new(uint64_t limit, struct quota **ret)
{
	struct quota *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	q->limit = (struct sum){ limit, limit / BYTES_PER_NAME + NAMES_MIN };
	pthread_mutex_init(&q->lock, NULL);
	*ret = q;
	return 0;
}

void quota_free(struct quota *q)
{
	if (!q)
		return;
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* ---- counting ---- */

static uint64_t weight(const struct stat *st)
{
	uint64_t blocks = (uint64_t)st->st_blocks * 512, size = (uint64_t)st->st_size;
	uint64_t n = MAX_OF(st->st_nlink, 1);

	return (MAX_OF(blocks, size) + n - 1) / n;
}

/* A folder of the walk; @name in the one above it. Return: NULL */
static DIR *open_dir(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		(void)close(fd);
	return dir;
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* The next entry that is a folder, and the sum of what is before it. Return: NULL: no more */
static DIR *next_folder(DIR *dir, struct sum *sum)
{
	struct dirent *e;
	struct stat st;

	while ((e = readdir(dir))) {
		DIR *sub;

		if (is_dots(e->d_name) ||
			fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		sum->names++;
		if (S_ISREG(st.st_mode))
			sum->bytes += weight(&st);
		sub = S_ISDIR(st.st_mode) ? open_dir(dirfd(dir), e->d_name) : NULL;
		if (sub)
			return sub;
	}
	return NULL;
}

static int walk(int root_fd, struct sum *sum)
{
	DIR **stack = calloc(DEPTH_MAX, sizeof(DIR *)), *sub;
	unsigned depth = 0;
	int rc = 0;

	if (!stack)
		return -ENOMEM;
	stack[0] = open_dir(root_fd, ".");
	depth = stack[0] != NULL;
	while (depth > 0 && rc == 0) {
		sub = next_folder(stack[depth - 1], sum);
		if (sub && depth == DEPTH_MAX) {
			(void)closedir(sub);
			rc = -ELOOP;
		} else if (sub) {
			stack[depth++] = sub;
		} else {
			(void)closedir(stack[--depth]);
		}
	}
	while (depth > 0)
		(void)closedir(stack[--depth]);
	free(stack);
	return rc;
}

/* struct nameless - descriptors of objects that may have lost their last name */
struct nameless {
	struct node **node;
	size_t n, max;
};

/* A node whose name is gone keeps its descriptor, so it is one of the anchored ones. */
static void collect(struct fs_server *fs, struct nameless *l)
{
	pthread_mutex_lock(&fs->node_lock);
	for (uint32_t i = 0; i < fs->nodes.n_slots && l->n < l->max; i++) {
		struct node *node = fs->nodes.slot[i].obj;

		if (!node || node->pinned || node->fd < 0 || node->type != S_IFREG ||
			(node->name && !node->anchored))
			continue;
		node->refs++;
		lru_del(node);
		l->node[l->n++] = node;
	}
	pthread_mutex_unlock(&fs->node_lock);
}

static int count_nameless(struct fs_server *fs, uint64_t *sum)
{
	struct nameless l = { .max = fs->max_fds };
	struct stat st;

	l.node = calloc(l.max ? l.max : 1, sizeof(struct node *));
	if (!l.node)
		return -ENOMEM;
	collect(fs, &l);
	for (size_t i = 0; i < l.n; i++) {
		if (fstat(l.node[i]->fd, &st) == 0 && st.st_nlink == 0)
			*sum += weight(&st);
		node_put(fs, l.node[i]);
	}
	free(l.node);
	return 0;
}

/* A client may forget what it has open: then only the handle still tells. */
static bool is_forgotten(struct fs_server *fs, const struct handle *h)
{
	struct node *node;

	if (node_get(fs, h->node_id, &node) < 0)
		return true;
	node_put(fs, node);
	return false;
}

static int count_forgotten(struct fs_server *fs, uint64_t *sum)
{
	struct handle **h = calloc(fs->max_open ? fs->max_open : 1, sizeof(*h));
	struct stat st;
	size_t n = 0;

	if (!h)
		return -ENOMEM;
	pthread_mutex_lock(&fs->handle_lock);
	for (uint32_t i = 0; i < fs->handles.n_slots && n < fs->max_open; i++) {
		h[n] = fs->handles.slot[i].obj;
		if (!h[n] || h[n]->kind != HANDLE_FILE || h[n]->extra)
			continue;
		h[n++]->refs++;
	}
	pthread_mutex_unlock(&fs->handle_lock);
	for (size_t i = 0; i < n; i++) {
		if (fstat(h[i]->fd, &st) == 0 && st.st_nlink == 0 && is_forgotten(fs, h[i]))
			*sum += weight(&st);
		handle_put(fs, h[i]);
	}
	free(h);
	return 0;
}

static int count(struct fs_server *fs, struct sum *ret)
{
	struct sum sum = { 0, 0 };
	struct node *root;
	int rc = node_get(fs, FUSE_ROOT_ID, &root);

	if (rc < 0)
		return rc;
	rc = walk(root->fd, &sum);
	node_put(fs, root);
	if (rc == 0)
		rc = count_nameless(fs, &sum.bytes);
	if (rc == 0)
		rc = count_forgotten(fs, &sum.bytes);
	*ret = sum;
	return rc;
}

/* ---- charging ---- */

static int start(struct fs_server *fs, struct quota *q)
{
	int rc = q->started ? 0 : count(fs, &q->base);

	q->started |= rc == 0;
	return rc;
}

static uint64_t grown(uint64_t now, uint64_t base)
{
	return now > base ? now - base : 0;
}

/* Once more from the start. @full: the last time it did not help; then only if there is less. */
static int recount(struct fs_server *fs, struct quota *q, bool full)
{
	struct sum now;
	int rc;

	if (!atomic_exchange(&q->released, false) && full)
		return -ENOSPC;
	rc = count(fs, &now);
	if (rc < 0)
		return rc;
	q->used.bytes = grown(now.bytes, q->base.bytes);
	q->used.names = grown(now.names, q->base.names);
	q->full = q->names_full = false;
	return 0;
}

static bool fits(const struct quota *q, uint64_t growth)
{
	return q->used.bytes <= q->limit.bytes && growth <= q->limit.bytes - q->used.bytes;
}

static int charge(struct fs_server *fs, struct quota *q, uint64_t growth)
{
	int rc = fits(q, growth) ? 0 : recount(fs, q, q->full);

	if (rc < 0)
		return rc;
	q->full = !fits(q, growth);
	if (q->full)
		return -ENOSPC;
	q->used.bytes += growth;
	return 0;
}

static int charge_name(struct fs_server *fs, struct quota *q)
{
	int rc = q->used.names < q->limit.names ? 0 : recount(fs, q, q->names_full);

	if (rc < 0)
		return rc;
	q->names_full = q->used.names >= q->limit.names;
	if (q->names_full)
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

int quota_charge(struct fs_server *fs, int fd, uint64_t end)
{
	struct quota *q = fs->quota;
	struct stat st;
	int rc;

	if (!q)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	pthread_mutex_lock(&q->lock);
	rc = start(fs, q);
	if (rc == 0 && end > (uint64_t)st.st_size)
		rc = charge(fs, q, end - (uint64_t)st.st_size);
	pthread_mutex_unlock(&q->lock);
	return rc < 0 ? -ENOSPC : 0;
}

void quota_released(struct fs_server *fs)
{
	if (fs->quota)
		atomic_store(&fs->quota->released, true);
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
