/* SPDX-License-Identifier: Apache-2.0 */
/* Files that exist only in the served root directory, in memory: read-only for everybody. */
#include <errno.h>
#include <string.h>

#include "fs/fs_internal.h"

bool extra_hides(const struct fs_server *fs, const struct node *dir, const char *name)
{
	if (dir->id != FUSE_ROOT_ID)
		return false;
	for (unsigned i = 0; i < fs->n_extra; i++) {
		if (!strcmp(fs->extra[i].name, name))
			return true;
	}
	return false;
}

struct node *extra_find(struct fs_server *fs, const struct node *dir, const char *name)
{
	struct node *node;

	if (dir->id != FUSE_ROOT_ID)
		return NULL;
	for (unsigned i = 0; i < fs->n_extra; i++) {
		/* Their nodes were made right after the root's, in order, and are never forgotten.
		 */
		if (!strcmp(fs->extra[i].name, name))
			return node_get(fs, FUSE_ROOT_ID + 1 + i, &node) == 0 ? node : NULL;
	}
	return NULL;
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
