/* SPDX-License-Identifier: Apache-2.0 */
#include "block/block.h"

#include <errno.h>

#include "lib/iov.h"
#include "lib/num.h"

#define PART_SEGS 64 /* segments per call where a list has to be cut */

void block_free(struct block *b)
{
	if (!b)
		return;
	(void)block_flush(b);
	b->ops->free(b);
}

int block_read(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	if (!range_ok(off, iov_len(iov, n), b->size))
		return -EINVAL;
	return b->ops->read(b, iov, n, off);
}

int block_read_part(
	struct block *b, const struct iovec *iov, unsigned n, size_t skip, size_t len, uint64_t off)
{
	struct iovec part[PART_SEGS];

	while (len) {
		unsigned m = iov_slice(iov, n, skip, len, part, PART_SEGS);
		size_t now = iov_len(part, m);
		int r = block_read(b, part, m, off);

		if (r < 0)
			return r;
		skip += now;
		off += now;
		len -= now;
	}
	return 0;
}

static int check_change(const struct block *b, uint64_t off, uint64_t len)
{
	if (b->read_only)
		return -EROFS;
	return range_ok(off, len, b->size) ? 0 : -EINVAL;
}

int block_write(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	int r = check_change(b, off, iov_len(iov, n));

	return r < 0 ? r : b->ops->write(b, iov, n, off);
}

int block_flush(struct block *b)
{
	return b->read_only ? 0 : b->ops->flush(b);
}

int block_discard(struct block *b, uint64_t off, uint64_t len)
{
	int r = check_change(b, off, len);

	if (r < 0 || !len)
		return r;
	return b->ops->discard ? b->ops->discard(b, off, len) : -EOPNOTSUPP;
}

int block_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool may_unmap)
{
	int r = check_change(b, off, len);

	if (r < 0 || !len)
		return r;
	return b->ops->write_zeroes ? b->ops->write_zeroes(b, off, len, may_unmap) : -EOPNOTSUPP;
}
