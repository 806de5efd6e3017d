/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors of nodes. A client with much memory remembers more objects than a process may
 * have descriptors (20000 is a common limit), so those of nodes that no request uses are closed,
 * oldest first, once there are max_fds.
 *
 * Such a node is opened again by name: the names of its ancestors up to one that has a descriptor
 * make a path, which openat2 resolves beneath that one without following symlinks. What it finds
 * must be the same object: device, inode, mount and birth time. If the host moved it, the client
 * gets ESTALE and looks it up again.
 *
 * Names follow the client: a lookup notes where the object was seen, a rename moves it (tree_lock
 * keeps paths from being put together meanwhile). A name that is removed or replaced may be the
 * last one of an object that the client still uses: such a node is anchored, its descriptor stays.
 * Pinned nodes and unnamed temporary files keep theirs, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/fs_internal.h"

#define RELIEF	  32   /* descriptors closed when the process has none left */
#define PATH_ROOM 4096 /* longest path to an ancestor */

void lru_init(struct fs_server *fs)
{
	fs->lru.lru_prev = fs->lru.lru_next = &fs->lru;
}

void lru_add(struct fs_server *fs, struct node *node)
{
	if (node->pinned || node->anchored || !node->name || node->fd < 0 || node->in_lru)
		return;
	node->lru_next = &fs->lru;
	node->lru_prev = fs->lru.lru_prev;
	node->lru_prev->lru_next = node;
	fs->lru.lru_prev = node;
	node->in_lru = true;
}

void lru_del(struct node *node)
{
	if (!node->in_lru)
		return;
	node->lru_prev->lru_next = node->lru_next;
	node->lru_next->lru_prev = node->lru_prev;
	node->in_lru = false;
}

int fd_evict(struct fs_server *fs)
{
	struct node *node = fs->lru.lru_next;

	if (node == &fs->lru)
		return -1;
	int fd = node->fd;
	lru_del(node);
	node->fd = -1;
	fs->n_fds--;
	return fd;
}

int fd_account(struct fs_server *fs, int *ret_close)
{
	*ret_close = -1;
	if (fs->n_fds >= fs->max_fds) {
		*ret_close = fd_evict(fs);
		if (*ret_close < 0)
			return -ENFILE;
	}
	fs->n_fds++;
	return 0;
}

bool fd_relieve(struct fs_server *fs)
{
	unsigned n = 0;

	for (int fd = 0; n < RELIEF && fd >= 0; n++) {
		pthread_mutex_lock(&fs->node_lock);
		fd = fd_evict(fs);
		pthread_mutex_unlock(&fs->node_lock);
		if (fd < 0)
			break;
		(void)close(fd);
	}
	return n > 0;
}

int node_give_fd(struct fs_server *fs, struct node *node, int *fd)
{
	cleanup_fd int surplus = -1;
	int rc = 0;

	pthread_mutex_lock(&fs->node_lock);
	if (node->fd < 0) {
		rc = fd_account(fs, &surplus);
		if (rc == 0)
			node->fd = take_fd(fd);
	}
	pthread_mutex_unlock(&fs->node_lock);
	return rc;
}

void node_place(struct node *node, uint64_t parent_id, const char *name)
{
	if (node->name && node->parent_id == parent_id && !strcmp(node->name, name))
		return;
	char *copy = strdup(name);
	if (!copy)
		return; /* wherever it is now, its old place is not worse than none */
	free(node->name);
	node->name = copy;
	node->parent_id = parent_id;
	node->anchored = false;
}

/*
 * With node_lock held: the path of @node below its nearest ancestor that has a descriptor, written
 * at the end of @buf. Takes a reference on that one. A cycle of stale places runs out of room.
 * Return: the ancestor and *ret_path; NULL
 */
static struct node *path_to(
	struct fs_server *fs, const struct node *node, char buf[PATH_ROOM], char **ret_path)
{
	char *p = buf + PATH_ROOM - 1;

	*p = 0;
	while (node && node->name) {
		size_t len = strlen(node->name);
		if ((size_t)(p - buf) < len + 1)
			return NULL;
		if (*p)
			*--p = '/';
		p -= len;
		memcpy(p, node->name, len);
		struct node *up = idtab_get(&fs->nodes, node->parent_id);
		if (up && up->fd >= 0) {
			up->refs++;
			lru_del(up);
			*ret_path = p;
			return up;
		}
		node = up;
	}
	return NULL;
}

/* Return: a descriptor of what is at the node's place; -ESTALE if that is not the node; -errno */
static int open_by_place(struct fs_server *fs, const struct node *node)
{
	char buf[PATH_ROOM], *path = NULL;
	struct statx stx;

	pthread_mutex_lock(&fs->node_lock);
	struct node *up = path_to(fs, node, buf, &path);
	pthread_mutex_unlock(&fs->node_lock);
	if (!up)
		return -ESTALE;
	cleanup_fd int fd = open_beneath(up->fd, path);
	if (fd == -EMFILE && fd_relieve(fs))
		fd = open_beneath(up->fd, path);
	node_put(fs, up);
	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE ? -ENFILE : -ESTALE;
	const struct node found = { .fd = fd };
	if (node_statx(&found, &stx) < 0 || !node_same(node, &stx))
		return -ESTALE;
	return take_fd(&fd);
}

int node_open(struct fs_server *fs, struct node *node)
{
	if (node->fd >= 0 || node->extra)
		return 0;
	pthread_rwlock_rdlock(&fs->tree_lock);
	cleanup_fd int fd = open_by_place(fs, node);
	pthread_rwlock_unlock(&fs->tree_lock);
	return fd < 0 ? fd : node_give_fd(fs, node, &fd);
}

struct node *node_anchor(struct fs_server *fs, struct node *parent, const char *name)
{
	struct statx stx;
	struct node *node;

	if (statx(parent->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, FS_STATX_MASK, &stx))
		return NULL;
	node = node_peek(fs, &stx, parent->id, name);
	if (!node)
		return NULL;
	(void)node_open(fs, node);
	pthread_mutex_lock(&fs->node_lock);
	node->anchored = true;
	pthread_mutex_unlock(&fs->node_lock);
	return node;
}

void node_unanchor(struct fs_server *fs, struct node *node)
{
	pthread_mutex_lock(&fs->node_lock);
	node->anchored = false;
	pthread_mutex_unlock(&fs->node_lock);
}
