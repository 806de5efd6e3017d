/* SPDX-License-Identifier: Apache-2.0 */
/* The table of nodes: by id for requests, by key for lookups. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "fs/fs_internal.h"
#include "lib/path.h"

#define HASH_FIRST 1024

static struct node_key node_key_of(const struct statx *stx)
{
	return (struct node_key){
		.ino = stx->stx_ino,
		.dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
		.mnt_id = stx->stx_mnt_id,
	};
}

static size_t node_bucket(const struct fs_server *fs, const struct node_key *k)
{
	uint64_t h = (k->ino ^ k->dev << 32 ^ k->mnt_id << 48) * 0x9e3779b97f4a7c15ULL;

	return (size_t)(h >> 20) & (fs->n_hash - 1);
}

static bool node_key_eq(const struct node_key *a, const struct node_key *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->mnt_id == b->mnt_id;
}

static struct node *hash_find(const struct fs_server *fs, const struct node_key *key)
{
	struct node *n = fs->hash[node_bucket(fs, key)];

	while (n && !node_key_eq(&n->key, key))
		n = n->hash_next;
	return n;
}

static void hash_add(struct fs_server *fs, struct node *node)
{
	struct node **b = &fs->hash[node_bucket(fs, &node->key)];

	node->hash_next = *b;
	*b = node;
}

static void hash_del(struct fs_server *fs, const struct node *node)
{
	struct node **p = &fs->hash[node_bucket(fs, &node->key)];

	while (*p && *p != node)
		p = &(*p)->hash_next;
	if (*p)
		*p = node->hash_next;
}

/* Double the buckets; staying small for want of memory only costs time. */
static void hash_grow(struct fs_server *fs)
{
	struct node **old = fs->hash;
	size_t n_old = fs->n_hash;
	struct node **hash = calloc(n_old * 2, sizeof(*hash));

	if (!hash)
		return;
	fs->hash = hash;
	fs->n_hash = n_old * 2;
	for (size_t i = 0; i < n_old; i++) {
		for (struct node *n = old[i], *next; n; n = next) {
			next = n->hash_next;
			hash_add(fs, n);
		}
	}
	free(old);
}

static void node_destroy(struct node *node)
{
	if (!node)
		return;
	if (node->fd >= 0)
		(void)close(node->fd);
	free(node->name);
	free(node);
}

/* With node_lock held: out of the tables if nobody refers to it any more. Return: what to destroy
 * once unlocked, or NULL. */
static struct node *node_reap(struct fs_server *fs, struct node *node)
{
	if (node->pinned || node->lookups || node->refs)
		return NULL;
	hash_del(fs, node);
	lru_del(node);
	idtab_del(&fs->nodes, node->id);
	if (node->fd >= 0)
		fs->n_fds--;
	return node;
}

/* What node_reap() gave: no request can find it any more. */
static void node_bury(struct fs_server *fs, struct node *dead)
{
	if (dead)
		quota_node_gone(fs, dead);
	node_destroy(dead);
}

int node_get(struct fs_server *fs, uint64_t id, struct node **ret)
{
	pthread_mutex_lock(&fs->node_lock);
	struct node *node = idtab_get(&fs->nodes, id);
	/* A node with no lookups left lives on only for requests that already hold it. */
	if (node && !node->lookups)
		node = NULL;
	if (node) {
		node->refs++;
		lru_del(node);
	}
	pthread_mutex_unlock(&fs->node_lock);
	if (!node)
		return -ESTALE;
	int rc = node_open(fs, node);
	if (rc < 0)
		node_put(fs, node);
	else
		*ret = node;
	return rc;
}

void node_put(struct fs_server *fs, struct node *node)
{
	pthread_mutex_lock(&fs->node_lock);
	node->refs--;
	struct node *dead = node_reap(fs, node);
	if (!dead && !node->refs)
		lru_add(fs, node);
	pthread_mutex_unlock(&fs->node_lock);
	node_bury(fs, dead);
}

bool node_same(const struct node *node, const struct statx *stx)
{
	struct node_key key = node_key_of(stx);

	return node_key_eq(&node->key, &key) && node->type == (stx->stx_mode & S_IFMT) &&
	       node->btime.tv_sec == stx->stx_btime.tv_sec &&
	       node->btime.tv_nsec == stx->stx_btime.tv_nsec;
}

/*
 * With node_lock held: the live node of an object. While a node has its descriptor, its inode
 * number cannot be given to another object; without, another birth time tells that it was, and the
 * old node is never found again.
 */
static struct node *node_find(struct fs_server *fs, const struct statx *stx)
{
	struct node_key key = node_key_of(stx);
	struct node *node = hash_find(fs, &key);

	if (node && node->fd < 0 && !node_same(node, stx)) {
		hash_del(fs, node);
		return NULL;
	}
	return node;
}

/* With node_lock held: a reference for a request, and the place it was reached by. */
static void node_hold(struct node *node, uint64_t parent_id, const char *name)
{
	node->refs++;
	lru_del(node);
	if (name && !node->pinned)
		node_place(node, parent_id, name);
}

struct node *node_known(
	struct fs_server *fs, const struct statx *stx, uint64_t parent_id, const char *name)
{
	pthread_mutex_lock(&fs->node_lock);
	struct node *node = node_find(fs, stx);
	if (node && node->fd < 0)
		node = NULL;
	if (node) {
		node_hold(node, parent_id, name);
		node->lookups += !node->pinned;
	}
	pthread_mutex_unlock(&fs->node_lock);
	return node;
}

struct node *node_peek(
	struct fs_server *fs, const struct statx *stx, uint64_t parent_id, const char *name)
{
	pthread_mutex_lock(&fs->node_lock);
	struct node *node = node_find(fs, stx);
	if (node)
		node_hold(node, parent_id, name);
	pthread_mutex_unlock(&fs->node_lock);
	return node;
}

/* With node_lock held. Return: 0; -ENFILE, -ENOMEM */
static int node_insert(struct fs_server *fs, struct node *node)
{
	if (fs->nodes.n_used >= fs->max_nodes)
		return -ENFILE;
	if (fs->nodes.n_used >= fs->n_hash)
		hash_grow(fs);
	node->id = idtab_add(&fs->nodes, node);
	if (!node->id)
		return -ENOMEM;
	hash_add(fs, node);
	return 0;
}

/* With node_lock held: *@fresh goes into the tables with one lookup and one ref. */
static int node_add(struct fs_server *fs, struct node *fresh, uint64_t parent_id, const char *name,
	int *surplus)
{
	int rc = fd_account(fs, surplus);

	if (rc < 0)
		return rc;
	rc = node_insert(fs, fresh);
	if (rc < 0) {
		fs->n_fds--;
		return rc;
	}
	fresh->refs = 1;
	fresh->lookups = 1;
	if (name)
		node_place(fresh, parent_id, name);
	return 0;
}

/* An existing node may be one whose descriptor was closed: it gets *@fd. */
static int node_revive(struct fs_server *fs, struct node *node, int *fd, struct node **ret)
{
	int rc = node_give_fd(fs, node, fd);

	if (rc < 0) {
		node_forget(fs, node->id, 1);
		node_put(fs, node);
		return rc;
	}
	*ret = node;
	return 0;
}

int node_remember(struct fs_server *fs, int *fd, const struct statx *stx, uint64_t parent_id,
	const char *name, struct node **ret)
{
	cleanup_fd int surplus = -1;
	struct node *fresh = calloc(1, sizeof(*fresh));
	int rc = 0;

	if (!fresh)
		return -ENOMEM;
	fresh->key = node_key_of(stx);
	fresh->btime = stx->stx_btime;
	fresh->fd = *fd;
	fresh->type = stx->stx_mode & S_IFMT;
	pthread_mutex_lock(&fs->node_lock);
	struct node *known = node_find(fs, stx);
	if (known) {
		node_hold(known, parent_id, name);
		known->lookups += !known->pinned;
	} else {
		rc = node_add(fs, fresh, parent_id, name, &surplus);
	}
	pthread_mutex_unlock(&fs->node_lock);
	if (!known && rc == 0) {
		*fd = -1;
		*ret = fresh;
		return 0;
	}
	free(fresh->name);
	free(fresh); /* *fd is still the caller's */
	return known ? node_revive(fs, known, fd, ret) : rc;
}

void node_forget(struct fs_server *fs, uint64_t id, uint64_t n)
{
	struct node *dead = NULL;

	pthread_mutex_lock(&fs->node_lock);
	struct node *node = idtab_get(&fs->nodes, id);
	if (node && !node->pinned) {
		node->lookups -= MIN_OF(n, node->lookups);
		dead = node_reap(fs, node);
	}
	pthread_mutex_unlock(&fs->node_lock);
	node_bury(fs, dead);
}

void node_forget_all(struct fs_server *fs)
{
	pthread_mutex_lock(&fs->node_lock);
	for (uint32_t i = 0; i < fs->nodes.n_slots; i++) {
		struct node *node = fs->nodes.slot[i].obj;
		if (!node || node->pinned)
			continue;
		node->lookups = 0;
		node_destroy(node_reap(fs, node));
	}
	pthread_mutex_unlock(&fs->node_lock);
}

static int node_pin(struct fs_server *fs, struct node *node)
{
	node->pinned = true;
	node->lookups = 1;
	int rc = node_insert(fs, node);
	if (rc < 0)
		node_destroy(node);
	return rc;
}

static int node_add_root(struct fs_server *fs, int root_fd, struct err *err)
{
	struct node *root = calloc(1, sizeof(*root));
	struct statx stx;

	if (!root)
		return err_set(err, ENOMEM, "new file server");
	/* Not dup(): an O_RDONLY root_fd becomes O_PATH. A symlink stays one and is refused. */
	root->fd = openat(root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root->fd < 0 || node_statx(root, &stx) < 0) {
		int code = errno;
		node_destroy(root);
		return err_set(err, code, "open the shared directory");
	}
	root->key = node_key_of(&stx);
	root->btime = stx.stx_btime;
	root->type = S_IFDIR;
	if (node_pin(fs, root) < 0)
		return err_set(err, ENOMEM, "new file server");
	return 0;
}

/* A folder that is not there holds nothing. */
static void find_extra_dir(struct fs_server *fs, const struct fs_extra *extra, int root_fd)
{
	struct node dir = { .fd = -1 };
	struct statx stx;
	int fd = -1;

	if (!extra->dir ||
		path_open_beneath(root_fd, extra->dir, O_PATH | O_DIRECTORY, 0, &fd, NULL) < 0)
		return;
	dir.fd = fd;
	if (node_statx(&dir, &stx) == 0)
		fs->extra_dir[extra - fs->extra] = node_key_of(&stx);
	(void)close(fd);
}

/* A node like any other, but that its name is only in the list of extra entries. */
static int node_add_bound(struct fs_server *fs, const struct fs_extra *extra, struct err *err)
{
	char name[FS_PROC_NAME_MAX];
	struct node *node = calloc(1, sizeof(*node));
	struct statx stx;

	if (!node)
		return err_set(err, ENOMEM, "new file server");
	(void)snprintf(name, sizeof(name), "%d", extra->fd);
	node->fd = openat(fs->proc_fd, name, O_PATH | O_CLOEXEC);
	if (node->fd < 0 || node_statx(node, &stx) < 0) {
		int code = errno;
		node_destroy(node);
		return err_set(err, code, "open shared file '%s'", extra->name);
	}
	if (!S_ISREG(stx.stx_mode)) {
		node_destroy(node);
		return err_msg(err, EINVAL, "shared file '%s' is no regular file", extra->name);
	}
	node->key = node_key_of(&stx);
	node->btime = stx.stx_btime;
	node->type = S_IFREG;
	if (node_pin(fs, node) < 0)
		return err_set(err, ENOMEM, "new file server");
	return 0;
}

static int node_add_extra(struct fs_server *fs, const struct fs_extra *extra, struct err *err)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		return err_set(err, ENOMEM, "new file server");
	node->fd = -1;
	node->type = S_IFREG;
	node->extra = extra;
	/* Keyed where no host object can be: mount and device 0. */
	node->key.ino = UINT64_MAX - (uint64_t)(extra - fs->extra);
	if (node_pin(fs, node) < 0)
		return err_set(err, ENOMEM, "new file server");
	return 0;
}

int node_table_init(struct fs_server *fs, int root_fd, struct err *err)
{
	fs->hash = calloc(HASH_FIRST, sizeof(*fs->hash));
	fs->extra_dir = calloc(fs->n_extra + 1, sizeof(*fs->extra_dir));
	if (!fs->hash || !fs->extra_dir)
		return err_set(err, ENOMEM, "new file server");
	fs->n_hash = HASH_FIRST;
	lru_init(fs);
	int rc = node_add_root(fs, root_fd, err);
	for (unsigned i = 0; rc == 0 && i < fs->n_extra; i++) {
		find_extra_dir(fs, &fs->extra[i], root_fd);
		rc = fs->extra[i].bound ? node_add_bound(fs, &fs->extra[i], err)
					: node_add_extra(fs, &fs->extra[i], err);
	}
	return rc;
}

void node_table_release(struct fs_server *fs)
{
	for (uint32_t i = 0; i < fs->nodes.n_slots; i++)
		node_destroy(fs->nodes.slot[i].obj);
	idtab_release(&fs->nodes);
	free(fs->hash);
	free(fs->extra_dir);
	fs->hash = NULL;
	fs->extra_dir = NULL;
}

pthread_mutex_t *node_stripe(struct fs_server *fs, const struct node *node)
{
	return &fs->stripe[(uint32_t)node->id % FS_N_STRIPES];
}

void node_proc_name(const struct node *node, char name[FS_PROC_NAME_MAX])
{
	(void)snprintf(name, FS_PROC_NAME_MAX, "%d", node->fd);
}

int node_reopen(struct fs_server *fs, const struct node *node, int flags)
{
	char name[FS_PROC_NAME_MAX];
	int fd;

	/* Opening a device, FIFO or socket of the host would act on the host. */
	if (node->type != S_IFREG && node->type != S_IFDIR)
		return node->type == S_IFLNK ? -ELOOP : -ENXIO;
	node_proc_name(node, name);
	do
		fd = openat(fs->proc_fd, name, flags | O_CLOEXEC | O_NOCTTY);
	while (fd < 0 && errno == EMFILE && fd_relieve(fs));
	return fd < 0 ? -errno : fd;
}

int node_statx(const struct node *node, struct statx *ret)
{
	if (statx(node->fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, FS_STATX_MASK, ret) != 0)
		return -errno;
	return 0;
}
