/* SPDX-License-Identifier: Apache-2.0 */
/* Making new objects: each is created exclusively, gets its owner, and becomes a node; if any step
 * fails nothing stays behind. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/fs_internal.h"

/* A name for something new. */
static int req_new_name(struct fs_req *r, struct fs_name *name)
{
	int rc = req_name(r, name);

	if (rc == 0 && extra_hides(r->fs, r->node, name->s))
		rc = -EEXIST;
	return rc == 0 ? quota_charge_name(r->fs) : rc;
}

/* The new object behind *@fd (O_PATH, taken), @name if it has one, becomes a node with its owner
 * set. */
static int adopt(struct fs_req *r, int *fd, const char *name, mode_t mode, uint32_t rdev,
	struct node **ret, struct statx *ret_stx)
{
	struct node fresh = { .fd = *fd };

	int rc = node_statx(&fresh, ret_stx);
	if (rc < 0)
		return rc;
	fresh.type = ret_stx->stx_mode & S_IFMT;
	rc = owner_new_object(r, r->node, &fresh, mode, rdev);
	if (rc == 0)
		rc = node_statx(&fresh, ret_stx);
	if (rc == 0)
		rc = node_remember(r->fs, fd, ret_stx, r->node->id, name, ret);
	if (rc == 0 && fresh.has_link_owner) {
		pthread_mutex_lock(node_stripe(r->fs, *ret));
		(*ret)->has_link_owner = true;
		(*ret)->link_uid = fresh.link_uid;
		(*ret)->link_gid = fresh.link_gid;
		pthread_mutex_unlock(node_stripe(r->fs, *ret));
	}
	return rc;
}

/* After a successful creation by name: adopt and answer, or take it back. */
static ssize_t created(struct fs_req *r, const char *name, mode_t mode, uint32_t rdev)
{
	struct statx stx;
	struct node *node;
	cleanup_fd int fd = open_child(r->fs, r->node, name);
	int rc = fd < 0 ? fd : adopt(r, &fd, name, mode, rdev, &node, &stx);

	if (rc < 0) {
		(void)unlinkat(r->node->fd, name, S_ISDIR(mode) ? AT_REMOVEDIR : 0);
		return rc;
	}
	return entry_reply(r, node, &stx);
}

ssize_t op_mkdir(struct fs_req *r)
{
	mode_t mode = S_IFDIR | (r->arg.mkdir.mode & 07777);
	struct fs_name name;
	int rc = req_new_name(r, &name);

	if (rc < 0)
		return rc;
	if (mkdirat(r->node->fd, name.s, owner_host_mode(r->fs, mode)) != 0)
		return -errno;
	return created(r, name.s, mode, 0);
}

/* Device nodes of the guest never become device nodes of the host: a host user could open them.
 * Only 0:0, which overlay file systems use as a whiteout, is nobody's device. */
static int host_mknod(struct fs_req *r, const char *name, mode_t mode, uint32_t rdev)
{
	bool is_dev = S_ISBLK(mode) || S_ISCHR(mode);

	if (r->fs->owner == FS_OWNER_XATTR)
		mode = S_IFREG | 0600;
	else if (is_dev && (S_ISBLK(mode) || rdev != 0))
		return -EPERM;
	if (mknodat(r->node->fd, name, (mode & S_IFMT) | owner_host_mode(r->fs, mode), 0) != 0)
		return -errno;
	return 0;
}

ssize_t op_mknod(struct fs_req *r)
{
	mode_t mode = r->arg.mknod.mode & (S_IFMT | 07777);
	uint32_t rdev = S_ISCHR(mode) || S_ISBLK(mode) ? r->arg.mknod.rdev : 0;
	struct fs_name name;
	int rc = req_new_name(r, &name);

	if (rc < 0)
		return rc;
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		break;
	default:
		return -EINVAL;
	}
	rc = host_mknod(r, name.s, mode, rdev);
	return rc < 0 ? rc : created(r, name.s, mode, rdev);
}

ssize_t op_symlink(struct fs_req *r)
{
	char target[PATH_MAX];
	struct fs_name name;
	int rc = req_new_name(r, &name);
	ssize_t len = rc < 0 ? rc : req_string(r, target, sizeof(target));

	if (len < 0)
		return len;
	if (symlinkat(target, r->node->fd, name.s) != 0)
		return -errno;
	return created(r, name.s, S_IFLNK | 0777, 0);
}

ssize_t op_link(struct fs_req *r)
{
	char proc_name[FS_PROC_NAME_MAX];
	struct node *node = NULL, *old;
	struct fs_name name;
	struct statx stx;
	int rc = req_new_name(r, &name);

	if (rc < 0)
		return rc;
	rc = node_get(r->fs, r->arg.link.oldnodeid, &old);
	if (rc < 0)
		return rc;
	node_proc_name(old, proc_name);
	if (old->extra)
		rc = -EPERM;
	else if (linkat(r->fs->proc_fd, proc_name, r->node->fd, name.s, AT_SYMLINK_FOLLOW) != 0)
		rc = -errno;
	else
		rc = node_statx(old, &stx);
	if (rc == 0)
		node = node_known(r->fs, &stx, r->node->id, name.s);
	node_put(r->fs, old);
	if (rc < 0)
		return rc;
	return node ? entry_reply(r, node, &stx) : -ESTALE;
}

/* An O_PATH twin of an open file. */
static int open_path_twin(struct fs_server *fs, int fd)
{
	char name[FS_PROC_NAME_MAX];

	(void)snprintf(name, sizeof(name), "%d", fd);
	int twin;
	do
		twin = openat(fs->proc_fd, name, O_PATH | O_CLOEXEC);
	while (twin < 0 && errno == EMFILE && fd_relieve(fs));
	return twin < 0 ? -errno : twin;
}

static ssize_t create_reply(struct fs_req *r, int *fd, struct node *node, const struct statx *stx)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = { 0 };
	ssize_t ret = entry_fill(r->fs, r->node, node, stx, &out.entry);

	if (ret == 0)
		ret = handle_add(r->fs, fd, node, HANDLE_FILE, &out.open.fh);
	if (ret == 0)
		ret = req_reply(r, &out, sizeof(out));
	if (ret < 0)
		node_forget(r->fs, node->id, 1);
	node_put(r->fs, node);
	return ret;
}

/* A file made just now and open as *@fd becomes node and handle. */
static ssize_t created_open(struct fs_req *r, int *fd, const char *name, mode_t mode)
{
	struct statx stx;
	struct node *node;
	cleanup_fd int path_fd = open_path_twin(r->fs, *fd);
	int rc = path_fd < 0 ? path_fd : adopt(r, &path_fd, name, mode, 0, &node, &stx);

	return rc < 0 ? rc : create_reply(r, fd, node, &stx);
}

/* The name was taken meanwhile, and the client did not ask for exclusiveness: plain open. */
static ssize_t create_existing(struct fs_req *r, const char *name, int flags)
{
	struct statx stx;
	struct node *node;
	int rc = lookup_child(r->fs, r->node, name, &node, &stx);

	if (rc < 0)
		return rc;
	cleanup_fd int fd = node->type == S_IFDIR ? -EISDIR
			    : flags & O_TRUNC	  ? open_cut(r->fs, node, flags)
						  : node_reopen(r->fs, node, flags);
	if (fd < 0) {
		rc = fd;
		fd = -1;
		node_forget(r->fs, node->id, 1);
		node_put(r->fs, node);
		return rc;
	}
	if (flags & O_TRUNC)
		(void)node_statx(node, &stx);
	return create_reply(r, &fd, node, &stx);
}

static int create_file(struct fs_req *r, const char *name, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC),
		.mode = owner_host_mode(r->fs, mode),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	long fd;

	do
		fd = syscall(SYS_openat2, r->node->fd, name, &how, sizeof(how));
	while (fd < 0 && errno == EMFILE && fd_relieve(r->fs));
	return fd < 0 ? -errno : (int)fd;
}

ssize_t op_create(struct fs_req *r)
{
	const struct fuse_create_in *in = &r->arg.create;
	mode_t mode = S_IFREG | (in->mode & 07777);
	int acc = (int)in->flags & O_ACCMODE;
	struct fs_name name;
	int rc = acc == O_ACCMODE ? -EINVAL : req_new_name(r, &name);

	if (rc < 0)
		return rc;
	cleanup_fd int fd = create_file(r, name.s, acc, mode);
	if (fd == -EEXIST && !(in->flags & O_EXCL))
		return create_existing(r, name.s, acc | ((int)in->flags & O_TRUNC));
	if (fd < 0)
		return fd;
	ssize_t ret = created_open(r, &fd, name.s, mode);
	if (ret < 0)
		(void)unlinkat(r->node->fd, name.s, 0);
	return ret;
}

ssize_t op_tmpfile(struct fs_req *r)
{
	const struct fuse_create_in *in = &r->arg.create;
	mode_t mode = S_IFREG | (in->mode & 07777);
	int acc = (int)in->flags & O_ACCMODE;

	if (acc != O_WRONLY && acc != O_RDWR)
		return -EINVAL;
	cleanup_fd int fd =
		openat(r->node->fd, ".", acc | O_TMPFILE | O_CLOEXEC, owner_host_mode(r->fs, mode));
	if (fd < 0)
		return -errno;
	return created_open(r, &fd, NULL, mode);
}
