/* SPDX-License-Identifier: Apache-2.0 */
#include "block/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/num.h"
#include "lib/path.h"

#define SEGS	   64 /* segments per call where a list has to be cut */
#define ZERO_PIECE 4096
#define ZERO_SEGS  16

typedef ssize_t vector_fn(int fd, const struct iovec *iov, int n, off_t off);

/* One call; interrupted ones are repeated. An end of file in the middle of what should be there is
 * an error: somebody cut it off under us. */
static ssize_t transfer(vector_fn *fn, int fd, const struct iovec *iov, unsigned n, uint64_t off)
{
	ssize_t r;

	if (off > INT64_MAX)
		return -EFBIG;
	do {
		r = fn(fd, iov, (int)MIN_OF(n, (unsigned)IOV_MAX), (off_t)off);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r ? r : -EIO;
}

static int transfer_part(vector_fn *fn, int fd, const struct iovec *iov, unsigned n, size_t skip,
	size_t len, uint64_t off)
{
	struct iovec part[SEGS];

	while (len) {
		unsigned m = iov_slice(iov, n, skip, len, part, SEGS);
		ssize_t r = transfer(fn, fd, part, m, off);

		if (r < 0)
			return (int)r;
		skip += (size_t)r;
		len -= (size_t)r;
		off += (size_t)r;
	}
	return 0;
}

static int transfer_all(
	vector_fn *fn, int fd, const struct iovec *iov, unsigned n, size_t len, uint64_t off)
{
	ssize_t r;

	if (!len)
		return 0;
	r = transfer(fn, fd, iov, n, off);
	if (r < 0)
		return (int)r;
	return transfer_part(fn, fd, iov, n, (size_t)r, len - (size_t)r, off + (size_t)r);
}

int file_readv(int fd, const struct iovec *iov, unsigned n, uint64_t off)
{
	return transfer_all(preadv, fd, iov, n, iov_len(iov, n), off);
}

int file_writev(int fd, const struct iovec *iov, unsigned n, uint64_t off)
{
	return transfer_all(pwritev, fd, iov, n, iov_len(iov, n), off);
}

int file_readv_part(
	int fd, const struct iovec *iov, unsigned n, size_t skip, size_t len, uint64_t off)
{
	return transfer_part(preadv, fd, iov, n, skip, len, off);
}

int file_writev_part(
	int fd, const struct iovec *iov, unsigned n, size_t skip, size_t len, uint64_t off)
{
	return transfer_part(pwritev, fd, iov, n, skip, len, off);
}

int file_read(int fd, void *dst, size_t len, uint64_t off)
{
	struct iovec iov = { dst, len };

	return transfer_all(preadv, fd, &iov, 1, len, off);
}

int file_write(int fd, const void *src, size_t len, uint64_t off)
{
	struct iovec iov = { (void *)src, len };

	return transfer_all(pwritev, fd, &iov, 1, len, off);
}

int file_sync(int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

static int allocate(int fd, int mode, uint64_t off, uint64_t len)
{
	int r;

	do {
		r = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* The file system, or the device below it, lacks this kind of fallocate(). */
static bool unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL;
}

int file_punch(int fd, uint64_t off, uint64_t len)
{
	int r = allocate(fd, FALLOC_FL_PUNCH_HOLE, off, len);

	return unsupported(r) ? 0 : r; /* advice that the host cannot use */
}

static int write_zeroes_slowly(int fd, uint64_t off, uint64_t len)
{
	static const uint8_t zero[ZERO_PIECE];
	struct iovec iov[ZERO_SEGS];

	for (unsigned i = 0; i < ZERO_SEGS; i++)
		iov[i] = (struct iovec){ (void *)zero, sizeof(zero) };
	while (len) {
		size_t now = MIN_OF(len, (uint64_t)ZERO_PIECE * ZERO_SEGS);
		int r = transfer_part(pwritev, fd, iov, ZERO_SEGS, 0, now, off);

		if (r < 0)
			return r;
		off += now;
		len -= now;
	}
	return 0;
}

int file_zero(int fd, uint64_t off, uint64_t len, bool may_unmap)
{
	int r = -EOPNOTSUPP;

	if (may_unmap)
		r = allocate(fd, FALLOC_FL_PUNCH_HOLE, off, len);
	if (unsupported(r))
		r = allocate(fd, FALLOC_FL_ZERO_RANGE, off, len);
	return unsupported(r) ? write_zeroes_slowly(fd, off, len) : r;
}

static int file_size(int fd, const struct stat *st, uint64_t *ret, struct err *err)
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

/* The numbers that name the file on this host; what libkrun reports too. */
static void make_id(char id[BLOCK_ID_LEN], const struct stat *st)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%ju%ju%ju", (uintmax_t)st->st_dev,
		(uintmax_t)st->st_rdev, (uintmax_t)st->st_ino);
	memcpy(id, text, strnlen(text, BLOCK_ID_LEN));
}

int file_adopt(int fd, bool read_only, struct file_info *ret, struct err *err)
{
	struct file_info info = { 0 };
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at disk image");
	r = file_size(fd, &st, &info.size, err);
	if (r == 0)
		r = check_access(fd, read_only, err);
	if (r < 0)
		return r;
	info.regular = S_ISREG(st.st_mode);
	make_id(info.id, &st);
	info.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (info.fd < 0)
		return err_set(err, errno, "duplicate descriptor of disk image");
	*ret = info;
	return 0;
}

/* As a lock on images that users name (docs/cli.md): readers together, or one writer. */
static int check_named(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at '%s', which the image names", path);
	if (!S_ISREG(st.st_mode))
		return err_msg(
			err, EINVAL, "'%s', which the image names, is no regular file", path);
	if (flock(fd, LOCK_SH | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_msg(err, EBUSY,
			"'%s', which the image names, is in use by another sandbox that may write "
			"it",
			path);
	return err_set(err, errno, "lock '%s', which the image names", path);
}

int file_open_beneath(int dir_fd, const char *path, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = -1;
	int r;

	if (dir_fd < 0)
		return err_msg(
			err, EACCES, "the image names the file '%s', which is not allowed", path);
	/* O_NONBLOCK: a FIFO in the place of the file must not hang us */
	r = path_open_beneath(
		dir_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0, &fd, NULL);
	if (r < 0)
		return err_set(err, r, "open '%s', which the image names", path);
	r = check_named(fd, path, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

int file_open_named(int dir_fd, const char *name, int *ret_fd, struct err *err)
{
	if (!path_name_ok(name))
		return err_msg(err, EACCES,
			"the image names the file '%s'; only a bare name beside the image is "
			"opened",
			name);
	return file_open_beneath(dir_fd, name, ret_fd, err);
}
