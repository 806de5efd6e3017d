/* SPDX-License-Identifier: Apache-2.0 */
/* Removing and moving names; reading symlinks. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "fs/fs_internal.h"

/* A name that goes away or is replaced: not one of ours. */
static int req_old_name(struct fs_req *r, const struct node *dir, struct fs_name *name)
{
	int rc = req_name(r, name);

	if (rc == 0 && extra_hides(r->fs, dir, name->s))
		rc = -EPERM;
	return rc;
}

static ssize_t remove_name(struct fs_req *r, int flags)
{
	struct fs_name name;
	int rc = req_old_name(r, r->node, &name);

	if (rc < 0)
		return rc;
	return unlinkat(r->node->fd, name.s, flags) == 0 ? 0 : -errno;
}

ssize_t op_unlink(struct fs_req *r)
{
	return remove_name(r, 0);
}

ssize_t op_rmdir(struct fs_req *r)
{
	return remove_name(r, AT_REMOVEDIR);
}

static int rename_into(struct fs_req *r, struct node *newdir, unsigned flags)
{
	struct fs_name from, to;
	int rc = req_old_name(r, r->node, &from);

	if (rc == 0)
		rc = req_old_name(r, newdir, &to);
	if (rc < 0)
		return rc;
	if (newdir->type != S_IFDIR)
		return -ENOTDIR;
	return renameat2(r->node->fd, from.s, newdir->fd, to.s, flags) == 0 ? 0 : -errno;
}

static ssize_t do_rename(struct fs_req *r, uint64_t newdir_id, unsigned flags)
{
	struct node *newdir = node_get(r->fs, newdir_id);

	if (!newdir)
		return -ESTALE;
	int rc = rename_into(r, newdir, flags);
	node_put(r->fs, newdir);
	return rc;
}

ssize_t op_rename(struct fs_req *r)
{
	return do_rename(r, r->arg.rename.newdir, 0);
}

ssize_t op_rename2(struct fs_req *r)
{
	/* A whiteout is a device node, which only the host mode makes for real. */
	unsigned ok = RENAME_NOREPLACE | RENAME_EXCHANGE;

	if (r->fs->owner == FS_OWNER_HOST)
		ok |= RENAME_WHITEOUT;
	if (r->arg.rename2.flags & ~ok)
		return -EINVAL;
	return do_rename(r, r->arg.rename2.newdir, r->arg.rename2.flags);
}

ssize_t op_readlink(struct fs_req *r)
{
	char target[PATH_MAX];
	ssize_t len;

	if (r->node->type != S_IFLNK)
		return -EINVAL;
	len = readlinkat(r->node->fd, "", target, sizeof(target));
	return len < 0 ? -errno : req_reply(r, target, (size_t)len);
}
