/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/io.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define COPY_PIECE MIB(1)
#define COPY_MAX   GIB(1)

/* @off: NULL: at the file's own offset */
static ssize_t fill(int fd, uint8_t *dst, size_t len, const uint64_t *off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = off ? pread(fd, dst + done, len - done, (off_t)(*off + done))
				: read(fd, dst + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int drain(int fd, const uint8_t *src, size_t len, const uint64_t *off)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = off ? pwrite(fd, src + done, len - done, (off_t)(*off + done))
				: write(fd, src + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

ssize_t io_read(int fd, void *dst, size_t len)
{
	return fill(fd, dst, len, NULL);
}

ssize_t io_pread(int fd, void *dst, size_t len, uint64_t off)
{
	return fill(fd, dst, len, &off);
}

int io_write(int fd, const void *src, size_t len)
{
	return drain(fd, src, len, NULL);
}

int io_pwrite(int fd, const void *src, size_t len, uint64_t off)
{
	return drain(fd, src, len, &off);
}

static bool no_kernel_copy(int error)
{
	return error == EXDEV || error == EINVAL || error == EOPNOTSUPP || error == ENOSYS ||
	       error == EPERM || error == EBADF;
}

static int copy_by_hand(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t len)
{
	cleanup_free uint8_t *piece = malloc(COPY_PIECE);

	if (!piece)
		return -ENOMEM;
	while (len) {
		size_t want = (size_t)MIN_OF(len, (uint64_t)COPY_PIECE);
		ssize_t n = io_pread(from, piece, want, from_off);
		int rc = n < 0 ? (int)n : 0;

		if (n >= 0)
			rc = (size_t)n < want ? -EIO : io_pwrite(to, piece, want, to_off);
		if (rc < 0)
			return rc;
		from_off += want;
		to_off += want;
		len -= want;
	}
	return 0;
}

int io_copy(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t len)
{
	loff_t in = (loff_t)from_off, out = (loff_t)to_off;

	while (len) {
		ssize_t n = copy_file_range(
			from, &in, to, &out, (size_t)MIN_OF(len, (uint64_t)COPY_MAX), 0);

		if (n < 0 && errno == EINTR)
			continue;
		/* Some file systems copy nothing, and say so. */
		if (n == 0 || (n < 0 && no_kernel_copy(errno)))
			return copy_by_hand(from, (uint64_t)in, to, (uint64_t)out, len);
		if (n < 0)
			return -errno;
		len -= (uint64_t)n;
	}
	return 0;
}

bool io_next_data(int fd, uint64_t from, uint64_t size, uint64_t *ret_start, uint64_t *ret_end)
{
	off_t data, hole;

	if (from >= size)
		return false;
	data = lseek(fd, (off_t)from, SEEK_DATA);
	/* ENXIO: no data from here on. Anything else: only reading can tell. */
	if (data < 0 ? errno == ENXIO : (uint64_t)data >= size)
		return false;
	hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
	*ret_start = data < 0 ? from : (uint64_t)data;
	/* A hole punched since then may begin at once; whoever loops must get on. */
	*ret_end = hole > data ? MIN_OF((uint64_t)hole, size) : size;
	return true;
}

int io_copy_sparse(int from, int to, bool share)
{
	struct stat st;
	uint64_t data, end = 0;
	int rc = 0;

	if (fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
		return -errno;
	while (rc == 0 && io_next_data(from, end, (uint64_t)st.st_size, &data, &end))
		rc = (share ? io_copy : copy_by_hand)(from, data, to, data, end - data);
	return rc;
}

int io_read_to_end(int fd, size_t max, struct buf *ret)
{
	for (;;) {
		uint8_t *to;
		ssize_t n;
		int rc = buf_reserve(ret, KIB(64), &to);

		if (rc < 0)
			return rc;
		n = io_read(fd, to, KIB(64));
		if (n < 0)
			return (int)n;
		buf_commit(ret, (size_t)n);
		if (ret->len > max)
			return -EFBIG;
		if ((size_t)n < KIB(64))
			return 0;
	}
}
