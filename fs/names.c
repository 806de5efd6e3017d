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

/* @kept: the anchor, as the name went away; else the name is still a good place. */
static void anchor_done(struct fs_server *fs, struct node *node, bool kept)
{
	if (!node)
		return;
	if (!kept)
		node_unanchor(fs, node);
	node_put(fs, node);
}

static ssize_t remove_name(struct fs_req *r, int flags)
{
	struct fs_name name;
	int rc = req_old_name(r, r->node, &name);

	if (rc < 0)
		return rc;
	struct node *gone = node_anchor(r->fs, r->node, name.s);
	rc = unlinkat(r->node->fd, name.s, flags) == 0 ? 0 : -errno;
	if (rc == 0)
		quota_free_name(r->fs);
	anchor_done(r->fs, gone, rc == 0);
	return rc;
}

ssize_t op_unlink(struct fs_req *r)
{
	return remove_name(r, 0);
}

ssize_t op_rmdir(struct fs_req *r)
{
	return remove_name(r, AT_REMOVEDIR);
}

/* Rename, and tell the nodes on both sides where they are now. */
static int rename_nodes(struct fs_req *r, struct node *newdir, const struct fs_name *from,
	const struct fs_name *to, unsigned flags)
{
	struct fs_server *fs = r->fs;
	struct node *moved = node_anchor(fs, r->node, from->s);
	struct node *replaced = node_anchor(fs, newdir, to->s);

	pthread_rwlock_wrlock(&fs->tree_lock);
	int rc = renameat2(r->node->fd, from->s, newdir->fd, to->s, flags) == 0 ? 0 : -errno;
	pthread_mutex_lock(&fs->node_lock);
	if (rc == 0 && moved)
		node_place(moved, newdir->id, to->s);
	if (rc == 0 && replaced && (flags & RENAME_EXCHANGE))
		node_place(replaced, r->node->id, from->s);
	pthread_mutex_unlock(&fs->node_lock);
	pthread_rwlock_unlock(&fs->tree_lock);
	anchor_done(fs, replaced, rc == 0 && replaced != moved && !(flags & RENAME_EXCHANGE));
	anchor_done(fs, moved, false);
	return rc;
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
	if (flags & RENAME_WHITEOUT)
		rc = quota_charge_name(r->fs);
	return rc < 0 ? rc : rename_nodes(r, newdir, &from, &to, flags);
}

static ssize_t do_rename(struct fs_req *r, uint64_t newdir_id, unsigned flags)
{
	struct node *newdir;
	int rc = node_get(r->fs, newdir_id, &newdir);

	if (rc < 0)
		return rc;
	rc = rename_into(r, newdir, flags);
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

/* A regular file that stands for a link (fs.h, struct fs_records): what it holds. */
static ssize_t read_file_link(struct fs_req *r, char target[PATH_MAX])
{
	struct owner owner;
	struct statx stx;
	int rc = r->node->extra ? -EINVAL : node_statx(r->node, &stx);

	if (rc == 0)
		rc = owner_get(r->fs, r->node, &stx, &owner);
	if (rc == 0 && !S_ISLNK(owner.mode))
		rc = -EINVAL;
	if (rc < 0)
		return rc;
	cleanup_fd int fd = node_reopen(r->fs, r->node, O_RDONLY);
	if (fd < 0)
		return fd;
	ssize_t len = pread(fd, target, PATH_MAX, 0);
	return len < 0 ? -errno : len;
}

ssize_t op_readlink(struct fs_req *r)
{
	char target[PATH_MAX];
	ssize_t len;

	if (r->node->type == S_IFREG) {
		len = read_file_link(r, target);
		return len < 0 ? len : req_reply(r, target, (size_t)len);
	}
	if (r->node->type != S_IFLNK)
		return -EINVAL;
	len = readlinkat(r->node->fd, "", target, sizeof(target));
	return len < 0 ? -errno : req_reply(r, target, (size_t)len);
}
