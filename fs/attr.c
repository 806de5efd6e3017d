/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes: reading, changing, and what writes by unprivileged users take away. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/fs_internal.h"

int attr_fill(
	struct fs_server *fs, struct node *node, const struct statx *stx, struct fuse_attr *ret)
{
	struct owner owner;

	if (node->extra) {
		extra_attr(node, ret);
		return 0;
	}
	int rc = owner_get(fs, node, stx, &owner);
	if (rc < 0)
		return rc;
	*ret = (struct fuse_attr){
		.ino = stx->stx_ino,
		.size = stx->stx_size,
		.blocks = stx->stx_blocks,
		.atime = (uint64_t)stx->stx_atime.tv_sec,
		.mtime = (uint64_t)stx->stx_mtime.tv_sec,
		.ctime = (uint64_t)stx->stx_ctime.tv_sec,
		.atimensec = stx->stx_atime.tv_nsec,
		.mtimensec = stx->stx_mtime.tv_nsec,
		.ctimensec = stx->stx_ctime.tv_nsec,
		.mode = owner.mode,
		.nlink = stx->stx_nlink,
		.uid = owner.uid,
		.gid = owner.gid,
		.rdev = owner.rdev,
		.blksize = stx->stx_blksize,
	};
	return 0;
}

static ssize_t attr_reply(struct fs_req *r)
{
	struct fuse_attr_out out = { .attr_valid = FS_TIMEOUT_S };
	struct statx stx;
	int rc = r->node->extra ? 0 : node_statx(r->node, &stx);

	if (rc == 0)
		rc = attr_fill(r->fs, r->node, &stx, &out.attr);
	return rc < 0 ? rc : req_reply(r, &out, sizeof(out));
}

ssize_t op_getattr(struct fs_req *r)
{
	return attr_reply(r);
}

static mode_t mode_without_priv(mode_t mode)
{
	mode &= ~(mode_t)S_ISUID;
	if (mode & S_IXGRP)
		mode &= ~(mode_t)S_ISGID;
	return mode;
}

static int node_chmod(struct fs_server *fs, const struct node *node, mode_t mode)
{
	char name[FS_PROC_NAME_MAX];

	if (node->type == S_IFLNK)
		return -EOPNOTSUPP;
	node_proc_name(node, name);
	return fchmodat(fs->proc_fd, name, mode & 07777, 0) == 0 ? 0 : -errno;
}

/* What SETATTR asks of owner and mode, on the override record. */
static void owner_apply(struct owner *o, const struct fuse_setattr_in *in, bool is_dir)
{
	if (in->valid & FATTR_MODE)
		o->mode = (o->mode & S_IFMT) | (in->mode & 07777);
	if ((in->valid & (FATTR_UID | FATTR_GID)) && !is_dir && !(in->valid & FATTR_MODE))
		o->mode = mode_without_priv(o->mode);
	if (in->valid & FATTR_UID)
		o->uid = in->uid;
	if (in->valid & FATTR_GID)
		o->gid = in->gid;
}

/* Where the host is to see it: what is a file or a folder for the guest too gets its mode. */
static int mirror_mode(struct fs_req *r, const struct owner *owner)
{
	if (r->fs->records.perms != FS_PERMS_MIRROR || !(r->arg.setattr.valid & FATTR_MODE))
		return 0;
	if (!S_ISREG(owner->mode) && !S_ISDIR(owner->mode))
		return 0;
	return node_chmod(r->fs, r->node, owner_host_mode(r->fs, owner->mode));
}

static int setattr_owner_xattr(struct fs_req *r)
{
	const struct fuse_setattr_in *in = &r->arg.setattr;
	struct node *node = r->node;
	struct owner owner;
	struct statx stx;
	int rc = node_statx(node, &stx);

	if (rc < 0)
		return rc;
	if (node->type == S_IFLNK) { /* no record to update: owner_set() alone decides */
		rc = owner_get(r->fs, node, &stx, &owner);
		owner_apply(&owner, in, true);
		return rc == 0 ? owner_set(r->fs, node, &owner) : rc;
	}
	if (in->valid & (FATTR_UID | FATTR_GID))
		xattr_drop_caps(r->fs, node);
	pthread_mutex_lock(node_stripe(r->fs, node));
	rc = owner_get(r->fs, node, &stx, &owner);
	if (rc == 0) {
		owner_apply(&owner, in, node->type == S_IFDIR);
		rc = mirror_mode(r, &owner);
	}
	if (rc == 0)
		rc = owner_set(r->fs, node, &owner);
	pthread_mutex_unlock(node_stripe(r->fs, node));
	return rc;
}

static int setattr_owner_host(struct fs_req *r)
{
	const struct fuse_setattr_in *in = &r->arg.setattr;
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

	if ((in->valid & (FATTR_UID | FATTR_GID)) &&
		fchownat(r->node->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	/* after chown, which clears setuid and setgid */
	return in->valid & FATTR_MODE ? node_chmod(r->fs, r->node, in->mode) : 0;
}

static int setattr_owner(struct fs_req *r)
{
	if (!(r->arg.setattr.valid & (FATTR_MODE | FATTR_UID | FATTR_GID)))
		return 0;
	return r->fs->owner == FS_OWNER_HOST ? setattr_owner_host(r) : setattr_owner_xattr(r);
}

static int set_size(struct fs_req *r, int fd, uint64_t size)
{
	uint64_t before = quota_cut_begin(r->fs, r->node);
	int rc = quota_charge(r->fs, fd, size);

	if (rc == 0 && ftruncate(fd, (off_t)size) != 0)
		rc = -errno;
	quota_cut_end(r->fs, r->node, before);
	return rc;
}

static int setattr_size(struct fs_req *r)
{
	const struct fuse_setattr_in *in = &r->arg.setattr;

	if (!(in->valid & FATTR_SIZE))
		return 0;
	if (in->size > INT64_MAX)
		return -EINVAL;
	if (r->node->type != S_IFREG)
		return r->node->type == S_IFDIR ? -EISDIR : -EINVAL;
	if (in->valid & FATTR_KILL_SUIDGID) {
		int rc = attr_kill_priv(r->fs, r->node);
		if (rc < 0)
			return rc;
	}
	if (in->valid & FATTR_FH) {
		struct handle *h = handle_get(r->fs, in->fh, r->node->id, HANDLE_FILE);
		if (!h)
			return -EBADF;
		int rc = set_size(r, h->fd, in->size);
		handle_put(r->fs, h);
		return rc;
	}
	cleanup_fd int fd = node_reopen(r->fs, r->node, O_WRONLY);
	if (fd < 0)
		return fd;
	return set_size(r, fd, in->size);
}

static struct timespec setattr_time(
	const struct fuse_setattr_in *in, uint32_t set, uint32_t now, uint64_t s, uint32_t ns)
{
	if (!(in->valid & set))
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	if (in->valid & now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	return (struct timespec){ .tv_sec = (time_t)s, .tv_nsec = ns };
}

static int setattr_times(struct fs_req *r)
{
	const struct fuse_setattr_in *in = &r->arg.setattr;
	struct timespec ts[2];

	if (!(in->valid & (FATTR_ATIME | FATTR_MTIME)))
		return 0;
	if (in->atimensec >= 1000000000 || in->mtimensec >= 1000000000)
		return -EINVAL;
	ts[0] = setattr_time(in, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec);
	ts[1] = setattr_time(in, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec);
	if (utimensat(r->node->fd, "", ts, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	return 0;
}

ssize_t op_setattr(struct fs_req *r)
{
	int rc;

	if (r->node->extra)
		return -EPERM;
	rc = setattr_owner(r);
	if (rc == 0)
		rc = setattr_size(r);
	if (rc == 0)
		rc = setattr_times(r);
	return rc < 0 ? rc : attr_reply(r);
}

int attr_kill_priv(struct fs_server *fs, struct node *node)
{
	struct owner owner;
	struct statx stx;
	int rc = node_statx(node, &stx);

	if (rc < 0)
		return rc;
	/* The host's kernel removes security.capability by itself on every write. */
	if (fs->owner == FS_OWNER_HOST) {
		mode_t mode = mode_without_priv(stx.stx_mode);
		return mode == stx.stx_mode ? 0 : node_chmod(fs, node, mode);
	}
	xattr_drop_caps(fs, node);
	pthread_mutex_lock(node_stripe(fs, node));
	rc = owner_get(fs, node, &stx, &owner);
	mode_t mode = mode_without_priv(owner.mode);
	if (rc == 0 && mode != owner.mode) {
		owner.mode = mode;
		rc = owner_set(fs, node, &owner);
	}
	pthread_mutex_unlock(node_stripe(fs, node));
	return rc;
}
