/* SPDX-License-Identifier: Apache-2.0 */
/* Files that exist only in the served directory, in memory: read-only for everybody. */
#include <errno.h>
#include <string.h>

#include "fs/fs_internal.h"

static bool is_in(const struct fs_server *fs, unsigned i, const struct node *dir)
{
	const struct node_key *key = &fs->extra_dir[i];

	if (!fs->extra[i].dir)
		return dir->id == FUSE_ROOT_ID;
	return key->ino == dir->key.ino && key->dev == dir->key.dev &&
	       key->mnt_id == dir->key.mnt_id;
}

/* Return: its number, -1 for none */
static int find(const struct fs_server *fs, const struct node *dir, const char *name)
{
	for (unsigned i = 0; i < fs->n_extra; i++) {
		if (is_in(fs, i, dir) && !strcmp(fs->extra[i].name, name))
			return (int)i;
	}
	return -1;
}

bool extra_hides(const struct fs_server *fs, const struct node *dir, const char *name)
{
	return find(fs, dir, name) >= 0;
}

struct node *extra_find(struct fs_server *fs, const struct node *dir, const char *name)
{
	struct node *node;
	int i = find(fs, dir, name);

	if (i < 0)
		return NULL;
	/* Their nodes were made right after the root's, in order, and are never forgotten. */
	return node_get(fs, FUSE_ROOT_ID + 1 + (unsigned)i, &node) == 0 ? node : NULL;
}

void extra_attr(const struct node *node, struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){
		.ino = node->key.ino,
		.size = node->extra->len,
		.blocks = (node->extra->len + 511) / 512,
		.mode = S_IFREG | (node->extra->mode & 0777),
		.nlink = 1,
		.blksize = 4096,
	};
}

ssize_t extra_read(struct fs_req *r)
{
	const struct fuse_read_in *in = &r->arg.read;
	const struct fs_extra *x = r->h->extra;
	size_t len = MIN_OF(in->size, req_room(r));

	if (in->offset >= x->len)
		return 0;
	len = MIN_OF(len, x->len - in->offset);
	return (ssize_t)iov_write(r->out, r->n_out, sizeof(struct fuse_out_header),
		(const char *)x->data + in->offset, len);
}
