/* SPDX-License-Identifier: Apache-2.0 */
/* The table of open files and directories. */
#include <errno.h>
#include <stdlib.h>

#include "fs/fs_internal.h"

static void handle_destroy(struct handle *h)
{
	if (!h)
		return;
	if (h->fd >= 0)
		(void)close(h->fd);
	pthread_mutex_destroy(&h->lock);
	free(h->dirbuf);
	free(h);
}

/* The id leaves under the lock: once it is live, the client may release it at any moment. */
static int handle_insert(struct fs_server *fs, struct handle *h, uint64_t *ret_fh)
{
	int rc = 0;

	pthread_mutex_lock(&fs->handle_lock);
	if (fs->handles.n_used >= fs->max_open)
		rc = -ENFILE;
	else if (!(h->id = idtab_add(&fs->handles, h)))
		rc = -ENOMEM;
	else
		*ret_fh = h->id;
	pthread_mutex_unlock(&fs->handle_lock);
	return rc;
}

int handle_add(struct fs_server *fs, int *fd, const struct node *node, enum handle_kind kind,
	uint64_t *ret_fh)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	*h = (struct handle){
		.node_id = node->id, .kind = kind, .fd = -1, .extra = node->extra, .refs = 1
	};
	pthread_mutex_init(&h->lock, NULL);
	h->fd = *fd; /* before it can be found */
	int rc = handle_insert(fs, h, ret_fh);
	if (rc < 0) {
		h->fd = -1;
		handle_destroy(h);
		return rc;
	}
	*fd = -1;
	return 0;
}

struct handle *handle_get(
	struct fs_server *fs, uint64_t fh, uint64_t node_id, enum handle_kind kind)
{
	pthread_mutex_lock(&fs->handle_lock);
	struct handle *h = idtab_get(&fs->handles, fh);
	if (h && (h->node_id != node_id || h->kind != kind))
		h = NULL;
	if (h)
		h->refs++;
	pthread_mutex_unlock(&fs->handle_lock);
	return h;
}

void handle_put(struct fs_server *fs, struct handle *h)
{
	pthread_mutex_lock(&fs->handle_lock);
	bool last = --h->refs == 0;
	pthread_mutex_unlock(&fs->handle_lock);
	if (last)
		handle_destroy(h);
}

bool handle_is_open(struct fs_server *fs, uint64_t node_id)
{
	bool found = false;

	pthread_mutex_lock(&fs->handle_lock);
	for (uint32_t i = 0; i < fs->handles.n_slots && !found; i++) {
		const struct handle *h = fs->handles.slot[i].obj;

		found = h && h->kind == HANDLE_FILE && h->node_id == node_id;
	}
	pthread_mutex_unlock(&fs->handle_lock);
	return found;
}

/* With handle_lock held: retire a live id. Return: what to destroy once unlocked, or NULL */
static struct handle *handle_retire(struct fs_server *fs, struct handle *h)
{
	idtab_del(&fs->handles, h->id);
	return --h->refs == 0 ? h : NULL;
}

void handle_close(struct fs_server *fs, uint64_t fh)
{
	pthread_mutex_lock(&fs->handle_lock);
	struct handle *h = idtab_get(&fs->handles, fh);
	if (h)
		h = handle_retire(fs, h);
	pthread_mutex_unlock(&fs->handle_lock);
	handle_destroy(h);
}

void handle_close_all(struct fs_server *fs)
{
	pthread_mutex_lock(&fs->handle_lock);
	for (uint32_t i = 0; i < fs->handles.n_slots; i++) {
		struct handle *h = fs->handles.slot[i].obj;
		if (h)
			handle_destroy(handle_retire(fs, h));
	}
	pthread_mutex_unlock(&fs->handle_lock);
}
