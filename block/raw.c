/* SPDX-License-Identifier: Apache-2.0 */
/* Raw images: a file or a block device, byte for byte. The format is chosen by the user, never
 * probed: a guest can write any header it likes into a raw image. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "block/block.h"
#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/num.h"

#define RETRY_SEGS 64 /* segments per call once a transfer came back short */
#define ZERO_PIECE 4096
#define ZERO_SEGS  16

struct raw {
	struct block block;
	int fd;
};

typedef ssize_t vector_fn(int fd, const struct iovec *iov, int n, off_t off);

/* One call; interrupted ones are repeated. An end of file in the middle of the image is an error:
 * somebody cut it off under us. */
static ssize_t transfer(
	vector_fn *fn, const struct raw *raw, const struct iovec *iov, unsigned n, uint64_t off)
{
	ssize_t r;

	do {
		r = fn(raw->fd, iov, (int)MIN_OF(n, (unsigned)IOV_MAX), (off_t)off);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r ? r : -EIO;
}

static int transfer_all(
	vector_fn *fn, const struct raw *raw, const struct iovec *iov, unsigned n, uint64_t off)
{
	size_t len = iov_len(iov, n), done = 0;
	struct iovec rest[RETRY_SEGS];
	ssize_t r;

	if (!len)
		return 0;
	r = transfer(fn, raw, iov, n, off);
	while (r > 0 && (done += (size_t)r) < len) {
		unsigned m = iov_slice(iov, n, done, len - done, rest, RETRY_SEGS);

		r = transfer(fn, raw, rest, m, off + done);
	}
	return r < 0 ? (int)r : 0;
}

static struct raw *to_raw(struct block *b)
{
	return container_of(b, struct raw, block);
}

static int raw_read(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	return transfer_all(preadv, to_raw(b), iov, n, off);
}

static int raw_write(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	return transfer_all(pwritev, to_raw(b), iov, n, off);
}

static int raw_flush(struct block *b)
{
	return fdatasync(to_raw(b)->fd) < 0 ? -errno : 0;
}

static int allocate(const struct raw *raw, int mode, uint64_t off, uint64_t len)
{
	int r;

	do {
		r = fallocate(raw->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* The file system, or the device below it, lacks this kind of fallocate(). */
static bool unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL;
}

static int raw_discard(struct block *b, uint64_t off, uint64_t len)
{
	int r = allocate(to_raw(b), FALLOC_FL_PUNCH_HOLE, off, len);

	return unsupported(r) ? 0 : r; /* advice that the host cannot use */
}

static int write_zeroes_slowly(const struct raw *raw, uint64_t off, uint64_t len)
{
	static const uint8_t zero[ZERO_PIECE];
	struct iovec iov[ZERO_SEGS], part[ZERO_SEGS];

	for (unsigned i = 0; i < ZERO_SEGS; i++)
		iov[i] = (struct iovec){ (void *)zero, sizeof(zero) };
	while (len) {
		uint64_t now = MIN_OF(len, (uint64_t)ZERO_PIECE * ZERO_SEGS);
		unsigned n = iov_slice(iov, ZERO_SEGS, 0, now, part, ZERO_SEGS);
		int r = transfer_all(pwritev, raw, part, n, off);

		if (r < 0)
			return r;
		off += now;
		len -= now;
	}
	return 0;
}

static int raw_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool may_unmap)
{
	const struct raw *raw = to_raw(b);
	int r = -EOPNOTSUPP;

	if (may_unmap)
		r = allocate(raw, FALLOC_FL_PUNCH_HOLE, off, len);
	if (unsupported(r))
		r = allocate(raw, FALLOC_FL_ZERO_RANGE, off, len);
	return unsupported(r) ? write_zeroes_slowly(raw, off, len) : r;
}

static void raw_free(struct block *b)
{
	struct raw *raw = to_raw(b);

	close_fd(&raw->fd);
	free(raw);
}

static const struct block_ops raw_ops = {
	.name = "raw",
	.read = raw_read,
	.write = raw_write,
	.flush = raw_flush,
	.discard = raw_discard,
	.write_zeroes = raw_write_zeroes,
	.free = raw_free,
};

/* The numbers that name the file on this host; what libkrun reports too. */
static void make_id(char id[BLOCK_ID_LEN], const struct stat *st)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%ju%ju%ju", (uintmax_t)st->st_dev,
		(uintmax_t)st->st_rdev, (uintmax_t)st->st_ino);
	memcpy(id, text, strnlen(text, BLOCK_ID_LEN));
}

static int image_size(int fd, const struct stat *st, uint64_t *ret, struct err *err)
{
	if (S_ISREG(st->st_mode))
		*ret = (uint64_t)st->st_size;
	else if (!S_ISBLK(st->st_mode))
		return err_msg(err, EINVAL, "a disk image is a regular file or a block device");
	else if (ioctl(fd, BLKGETSIZE64, ret) < 0)
		return err_set(err, errno, "ask for the size of the block device");
	return 0;
}

static int check_access(int fd, bool read_only, struct err *err)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return err_set(err, errno, "look at disk image");
	if ((flags & O_ACCMODE) == O_RDWR || (read_only && (flags & O_ACCMODE) == O_RDONLY))
		return flags & O_PATH ? err_set(err, EACCES, "use disk image") : 0;
	return err_msg(err, EACCES, "the disk image is not open for %s",
		read_only ? "reading" : "reading and writing");
}

int block_raw_open(int fd, bool read_only, struct block **ret, struct err *err)
{
	struct raw *raw;
	struct stat st;
	uint64_t size;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at disk image");
	r = image_size(fd, &st, &size, err);
	if (r == 0)
		r = check_access(fd, read_only, err);
	if (r < 0)
		return r;
	raw = calloc(1, sizeof(*raw));
	if (!raw)
		return err_set(err, ENOMEM, "open disk image");
	raw->block = (struct block){ .ops = &raw_ops, .size = size, .read_only = read_only };
	make_id(raw->block.id, &st);
	raw->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (raw->fd < 0) {
		r = err_set(err, errno, "duplicate descriptor of disk image");
		free(raw);
		return r;
	}
	*ret = &raw->block;
	return 0;
}
