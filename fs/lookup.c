/* SPDX-License-Identifier: Apache-2.0 */
/* From names to nodes, and the client's references to them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/fs_internal.h"

#define CONFIGFS_MAGIC 0x62656570 /* not in the kernel's header */

int open_beneath(int dirfd, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int open_child(struct fs_server *fs, const struct node *parent, const char *name)
{
	int fd;

	do
		fd = open_beneath(parent->fd, name);
	while (fd == -EMFILE && fd_relieve(fs));
	return fd;
}

/* Files in these are the host's kernel: writing one may be as good as running a program on it. */
static bool is_kernel_fs(int fd)
{
	static const uint32_t types[] = { PROC_SUPER_MAGIC, SYSFS_MAGIC, DEBUGFS_MAGIC,
		TRACEFS_MAGIC, SECURITYFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		BPF_FS_MAGIC, EFIVARFS_MAGIC, PSTOREFS_MAGIC, NSFS_MAGIC, BINFMTFS_MAGIC,
		SELINUX_MAGIC, CONFIGFS_MAGIC };
	struct statfs st;

	if (fstatfs(fd, &st) != 0)
		return true;
	for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
		if ((uint32_t)st.f_type == types[i])
			return true;
	}
	return false;
}

/* Mounts inside the shared directory are part of it, but a root that somebody also used with
 * chroot may have /proc and /sys there. */
static bool is_refused(const struct node *parent, int fd, const struct statx *stx)
{
	bool other = makedev(stx->stx_dev_major, stx->stx_dev_minor) != parent->key.dev ||
		     stx->stx_mnt_id != parent->key.mnt_id;

	return other && is_kernel_fs(fd);
}

static int bound_statx(struct fs_server *fs, struct node *node, struct statx *ret)
{
	int rc = node_statx(node, ret);

	if (rc < 0)
		node_put(fs, node);
	return rc;
}

/* A stat by name finds objects the client knows already with one system call; only a new one is
 * opened, and then the descriptor alone says what it is. */
int lookup_child(struct fs_server *fs, struct node *parent, const char *name, struct node **ret,
	struct statx *ret_stx)
{
	cleanup_fd int fd = -1;

	*ret = extra_find(fs, parent, name);
	if (*ret)
		return (*ret)->extra ? 0 : bound_statx(fs, *ret, ret_stx);
	if (statx(parent->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, FS_STATX_MASK, ret_stx))
		return -errno;
	*ret = node_known(fs, ret_stx, parent->id, name);
	if (*ret)
		return 0;
	fd = open_child(fs, parent, name);
	if (fd < 0)
		return fd;
	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, FS_STATX_MASK, ret_stx) != 0)
		return -errno;
	if (is_refused(parent, fd, ret_stx))
		return -EACCES;
	return node_remember(fs, &fd, ret_stx, parent->id, name, ret);
}

static bool is_submount(const struct node *parent, const struct node *node)
{
	return node->type == S_IFDIR && !node->extra &&
	       (node->key.dev != parent->key.dev || node->key.mnt_id != parent->key.mnt_id);
}

int entry_fill(struct fs_server *fs, const struct node *parent, struct node *node,
	const struct statx *stx, struct fuse_entry_out *ret)
{
	struct fuse_entry_out out = {
		.nodeid = node->id,
		.entry_valid = FS_TIMEOUT_S,
		.attr_valid = FS_TIMEOUT_S,
	};
	int rc = attr_fill(fs, node, stx, &out.attr);

	if (rc < 0)
		return rc;
	if ((fs->flags & FUSE_SUBMOUNTS) && is_submount(parent, node))
		out.attr.flags |= FUSE_ATTR_SUBMOUNT;
	*ret = out;
	return 0;
}

ssize_t entry_reply(struct fs_req *r, struct node *node, const struct statx *stx)
{
	struct fuse_entry_out out;
	ssize_t ret = entry_fill(r->fs, r->node, node, stx, &out);

	if (ret == 0)
		ret = req_reply(r, &out, sizeof(out));
	if (ret < 0)
		node_forget(r->fs, node->id, 1);
	node_put(r->fs, node);
	return ret;
}

ssize_t op_lookup(struct fs_req *r)
{
	struct fs_name name;
	struct statx stx;
	struct node *node;
	int rc = req_name(r, &name);

	if (rc == 0)
		rc = lookup_child(r->fs, r->node, name.s, &node, &stx);
	if (rc < 0)
		return rc;
	return entry_reply(r, node, &stx);
}

ssize_t op_forget(struct fs_req *r)
{
	node_forget(r->fs, r->hdr.nodeid, r->arg.forget.nlookup);
	return 0;
}

ssize_t op_batch_forget(struct fs_req *r)
{
	struct fuse_forget_one one;

	/* The count is the client's word; what was sent is the limit. */
	for (uint32_t i = 0; i < r->arg.batch_forget.count; i++) {
		if (r->in_len - r->pos < sizeof(one))
			break;
		(void)iov_read(r->in, r->n_in, r->pos, &one, sizeof(one));
		r->pos += sizeof(one);
		node_forget(r->fs, one.nodeid, one.nlookup);
	}
	return 0;
}
