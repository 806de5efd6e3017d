/* SPDX-License-Identifier: Apache-2.0 */
/* Raw images: a file or a block device, byte for byte. The format is chosen by the user, never
 * probed: a guest can write any header it likes into a raw image. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "block/file.h"
#include "lib/cleanup.h"
#include "lib/num.h"

struct raw {
	struct block block;
	int fd;
};

static int fd_of(struct block *b)
{
	return container_of(b, struct raw, block)->fd;
}

static int raw_read(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	return file_readv(fd_of(b), iov, n, off);
}

static int raw_write(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	return file_writev(fd_of(b), iov, n, off);
}

static int raw_flush(struct block *b)
{
	return file_sync(fd_of(b));
}

static int raw_discard(struct block *b, uint64_t off, uint64_t len)
{
	return file_punch(fd_of(b), off, len);
}

static int raw_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool may_unmap)
{
	return file_zero(fd_of(b), off, len, may_unmap);
}

static void raw_free(struct block *b)
{
	struct raw *raw = container_of(b, struct raw, block);

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

int block_raw_open(int fd, bool read_only, struct block **ret, struct err *err)
{
	struct file_info info;
	struct raw *raw;
	int r = file_adopt(fd, read_only, &info, err);

	if (r < 0)
		return r;
	raw = calloc(1, sizeof(*raw));
	if (!raw) {
		close_fd(&info.fd);
		return err_set(err, ENOMEM, "open disk image");
	}
	raw->block = (struct block){ .ops = &raw_ops, .size = info.size, .read_only = read_only };
	memcpy(raw->block.id, info.id, BLOCK_ID_LEN);
	raw->fd = info.fd;
	*ret = &raw->block;
	return 0;
}
