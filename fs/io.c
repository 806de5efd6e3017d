/* SPDX-License-Identifier: Apache-2.0 */
/* File contents: data moves straight between the client's buffers and the file. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fs/fs_internal.h"

#define IO_SEGMENTS 128
#define COPY_MAX    GIB(1) /* one COPY_FILE_RANGE; the client comes back for the rest */

struct transfer {
	const struct iovec *iov;
	unsigned n_iov;
	size_t skip; /* bytes of @iov before the data */
	int fd;
	uint64_t off;
	int flags; /* RWF_* */
	bool write;
};

static ssize_t transfer_step(const struct transfer *t, size_t done, size_t left)
{
	struct iovec seg[IO_SEGMENTS];
	unsigned n = iov_slice(t->iov, t->n_iov, t->skip + done, left, seg, IO_SEGMENTS);
	off_t off = (off_t)(t->off + done);
	ssize_t ret;

	ret = t->write ? pwritev2(t->fd, seg, (int)n, off, t->flags)
		       : preadv2(t->fd, seg, (int)n, off, t->flags);
	return ret < 0 ? -errno : ret;
}

/* Return: bytes moved, fewer than @len at the end of the file or after a late error; -errno */
static ssize_t transfer_run(const struct transfer *t, size_t len)
{
	size_t done = 0;

	if (t->off > INT64_MAX - FS_MAX_IO)
		return t->write ? -EFBIG : 0;
	while (done < len) {
		ssize_t n = transfer_step(t, done, len - done);
		if (n < 0)
			return done ? (ssize_t)done : n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t op_read(struct fs_req *r)
{
	const struct fuse_read_in *in = &r->arg.read;
	struct transfer t = {
		.iov = r->out,
		.n_iov = r->n_out,
		.skip = sizeof(struct fuse_out_header),
		.fd = r->h->fd,
		.off = in->offset,
	};
	size_t len = MIN_OF(MIN_OF(in->size, FS_MAX_IO), req_room(r));

	return r->h->extra ? extra_read(r) : transfer_run(&t, len);
}

static int write_sync_flags(uint32_t flags)
{
	if ((flags & O_SYNC) == O_SYNC)
		return RWF_SYNC;
	return flags & O_DSYNC ? RWF_DSYNC : 0;
}

ssize_t op_write(struct fs_req *r)
{
	const struct fuse_write_in *in = &r->arg.write;
	struct fuse_write_out out = { 0 };
	struct transfer t = {
		.iov = r->in,
		.n_iov = r->n_in,
		.skip = r->pos,
		.fd = r->h->fd,
		.off = in->offset,
		.flags = write_sync_flags(in->flags),
		.write = true,
	};

	if (in->size > r->in_len - r->pos || in->size > FS_MAX_IO)
		return -EINVAL;
	if (r->h->extra)
		return -EBADF;
	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID) {
		int rc = attr_kill_priv(r->fs, r->node);
		if (rc < 0)
			return rc;
	}
	quota_grow_begin(r->fs, r->node->id);
	int full =
		in->offset > INT64_MAX ? 0 : quota_charge(r->fs, r->h->fd, in->offset + in->size);
	ssize_t n = full < 0 ? full : transfer_run(&t, in->size);
	quota_grow_end(r->fs, r->node->id);
	if (n < 0)
		return n;
	out.size = (uint32_t)n;
	return req_reply(r, &out, sizeof(out));
}

static ssize_t sync_handle(struct fs_req *r)
{
	int rc;

	if (r->h->extra)
		return 0;
	rc = r->arg.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(r->h->fd)
							     : fsync(r->h->fd);
	return rc == 0 ? 0 : -errno;
}

ssize_t op_fsync(struct fs_req *r)
{
	return sync_handle(r);
}

ssize_t op_fsyncdir(struct fs_req *r)
{
	return sync_handle(r);
}

static int allocate(struct fs_req *r)
{
	const struct fuse_fallocate_in *in = &r->arg.fallocate;

	if (fallocate(r->h->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) != 0)
		return -errno;
	return 0;
}

ssize_t op_fallocate(struct fs_req *r)
{
	const struct fuse_fallocate_in *in = &r->arg.fallocate;
	uint32_t ok = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	int rc;

	if (in->mode & ~ok)
		return -EOPNOTSUPP;
	if (in->offset > INT64_MAX || in->length > INT64_MAX)
		return -EINVAL;
	if (r->h->extra)
		return -EPERM;
	if (in->mode & FALLOC_FL_PUNCH_HOLE)
		return allocate(r); /* no size changes */
	quota_grow_begin(r->fs, r->node->id);
	rc = quota_charge(r->fs, r->h->fd, in->offset + in->length);
	if (rc == 0)
		rc = allocate(r);
	quota_grow_end(r->fs, r->node->id);
	return rc;
}

/* In-memory files are all data. */
static off_t extra_lseek(const struct fs_extra *x, off_t off, uint32_t whence)
{
	if ((uint64_t)off >= x->len)
		return -ENXIO;
	return whence == SEEK_DATA ? off : (off_t)x->len;
}

ssize_t op_lseek(struct fs_req *r)
{
	const struct fuse_lseek_in *in = &r->arg.lseek;
	struct fuse_lseek_out out = { 0 };
	off_t off;

	if ((in->whence != SEEK_DATA && in->whence != SEEK_HOLE) || in->offset > INT64_MAX)
		return -EINVAL;
	if (r->h->extra) {
		off = extra_lseek(r->h->extra, (off_t)in->offset, in->whence);
	} else {
		off = lseek(r->h->fd, (off_t)in->offset, (int)in->whence);
		off = off < 0 ? -errno : off;
	}
	if (off < 0)
		return off;
	out.offset = (uint64_t)off;
	return req_reply(r, &out, sizeof(out));
}

static ssize_t copy_range(struct fs_req *r, const struct handle *to)
{
	const struct fuse_copy_file_range_in *in = &r->arg.copy;
	off_t off_in = (off_t)in->off_in, off_out = (off_t)in->off_out;

	if (r->h->extra || to->extra)
		return -EXDEV;
	int rc = quota_charge(r->fs, to->fd, in->off_out + MIN_OF(in->len, COPY_MAX));
	if (rc < 0)
		return rc;
	ssize_t n =
		copy_file_range(r->h->fd, &off_in, to->fd, &off_out, MIN_OF(in->len, COPY_MAX), 0);
	return n < 0 ? -errno : n;
}

ssize_t op_copy_file_range(struct fs_req *r)
{
	const struct fuse_copy_file_range_in *in = &r->arg.copy;
	struct fuse_write_out out = { 0 };
	struct handle *to;

	if (in->flags || in->off_in > INT64_MAX || in->off_out > INT64_MAX)
		return -EINVAL;
	to = handle_get(r->fs, in->fh_out, in->nodeid_out, HANDLE_FILE);
	if (!to)
		return -EBADF;
	quota_grow_begin(r->fs, to->node_id);
	ssize_t n = copy_range(r, to);
	quota_grow_end(r->fs, to->node_id);
	handle_put(r->fs, to);
	if (n < 0)
		return n;
	out.size = (uint32_t)n;
	return req_reply(r, &out, sizeof(out));
}

ssize_t op_statfs(struct fs_req *r)
{
	struct fuse_statfs_out out = { 0 };
	struct statfs st;
	/* In-memory entries live in the root directory. */
	struct node *node;
	int rc = node_get(r->fs, r->node->extra ? FUSE_ROOT_ID : r->node->id, &node);

	if (rc < 0)
		return rc;
	rc = fstatfs(node->fd, &st) == 0 ? 0 : -errno;
	node_put(r->fs, node);
	if (rc < 0)
		return rc;
	out.st = (struct fuse_kstatfs){
		.blocks = st.f_blocks,
		.bfree = st.f_bfree,
		.bavail = st.f_bavail,
		.files = st.f_files,
		.ffree = st.f_ffree,
		.bsize = (uint32_t)st.f_bsize,
		.namelen = (uint32_t)st.f_namelen,
		.frsize = (uint32_t)st.f_frsize,
	};
	quota_statfs(r->fs, &out.st);
	return req_reply(r, &out, sizeof(out));
}

ssize_t op_syncfs(struct fs_req *r)
{
	if (r->fs->read_only)
		return 0;
	cleanup_fd int fd = node_reopen(r->fs, r->node, O_RDONLY);
	if (fd < 0)
		return fd;
	return syncfs(fd) == 0 ? 0 : -errno;
}
