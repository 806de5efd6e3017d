/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing. Of the client's flags only the access mode and O_TRUNC reach the host:
 * O_APPEND would make the host ignore the offsets of page write-back, O_DIRECT would need aligned
 * guest buffers, O_NOATIME ownership; the client implements their meaning itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "fs/fs_internal.h"

/* A change within this long before the last look may share its time stamp with a later one. */
#define STAMP_SETTLED_S 2

static bool stamp_eq(const struct node_stamp *a, const struct node_stamp *b)
{
	return a->valid && b->valid && a->size == b->size && a->ctime.tv_sec == b->ctime.tv_sec &&
	       a->ctime.tv_nsec == b->ctime.tv_nsec && a->mtime.tv_sec == b->mtime.tv_sec &&
	       a->mtime.tv_nsec == b->mtime.tv_nsec;
}

/*
 * May the client keep the pages it has cached since the last open? Only if nothing was written to
 * the file since, by anybody: then close-to-open consistency holds and a program that is run twice
 * is read once.
 */
static bool open_keeps_cache(struct fs_server *fs, struct node *node)
{
	struct node_stamp now = { 0 };
	struct timespec ts;
	struct statx stx;

	if (node_statx(node, &stx) < 0)
		return false;
	(void)clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	now.ctime = stx.stx_ctime;
	now.mtime = stx.stx_mtime;
	now.size = stx.stx_size;
	now.valid = ts.tv_sec - stx.stx_ctime.tv_sec > STAMP_SETTLED_S;
	pthread_mutex_lock(node_stripe(fs, node));
	bool same = stamp_eq(&node->stamp, &now);
	node->stamp = now;
	pthread_mutex_unlock(node_stripe(fs, node));
	return same;
}

static ssize_t open_reply(struct fs_req *r, int *fd, enum handle_kind kind, uint32_t open_flags)
{
	struct fuse_open_out out = { .open_flags = open_flags };
	int rc = handle_add(r->fs, fd, r->node, kind, &out.fh);

	return rc < 0 ? rc : req_reply(r, &out, sizeof(out));
}

int open_cut(struct fs_server *fs, const struct node *node, int flags)
{
	uint64_t before = quota_cut_begin(fs, node);
	int fd = node_reopen(fs, node, flags);

	quota_cut_end(fs, node, before);
	return fd;
}

ssize_t op_open(struct fs_req *r)
{
	const struct fuse_open_in *in = &r->arg.open;
	int flags = (int)in->flags & (O_ACCMODE | O_TRUNC);
	bool writes = flags != O_RDONLY;
	cleanup_fd int fd = -1;

	if ((flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	if (writes && r->fs->read_only)
		return -EROFS;
	if (r->node->extra)
		return writes ? -EACCES : open_reply(r, &fd, HANDLE_FILE, FOPEN_KEEP_CACHE);
	if (r->node->type == S_IFDIR)
		return -EISDIR;
	if ((flags & O_TRUNC) && (in->open_flags & FUSE_OPEN_KILL_SUIDGID)) {
		int rc = attr_kill_priv(r->fs, r->node);
		if (rc < 0)
			return rc;
	}
	fd = flags & O_TRUNC ? open_cut(r->fs, r->node, flags) : node_reopen(r->fs, r->node, flags);
	if (fd < 0)
		return fd;
	bool keep = !(flags & O_TRUNC) && open_keeps_cache(r->fs, r->node);
	return open_reply(r, &fd, HANDLE_FILE, keep ? FOPEN_KEEP_CACHE : 0);
}

ssize_t op_opendir(struct fs_req *r)
{
	cleanup_fd int fd = node_reopen(r->fs, r->node, O_RDONLY | O_DIRECTORY);

	return fd < 0 ? (ssize_t)fd : open_reply(r, &fd, HANDLE_DIR, 0);
}

ssize_t op_release(struct fs_req *r)
{
	handle_close(r->fs, r->arg.fh);
	return 0;
}
