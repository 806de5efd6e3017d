/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk images behind a few operations. A format is one file with a constructor and a struct
 * block_ops; everybody else calls the block_*() functions below, which check range and
 * write protection before a format sees the request.
 *
 * All calls are synchronous, may block on host I/O, and may run on several threads at once; each
 * request stands for itself, and block_flush() covers the writes that returned before it began.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/err.h"

#define BLOCK_SECTOR 512
#define BLOCK_ID_LEN 20

struct block;

/* Offsets and lengths are bytes, already checked. Return: 0 when all of it was done, or -errno. */
struct block_ops {
	const char *name; /* "raw" */
	int (*read)(struct block *b, const struct iovec *iov, unsigned n, uint64_t off);
	int (*write)(struct block *b, const struct iovec *iov, unsigned n, uint64_t off);
	int (*flush)(struct block *b);
	/* what is in the range may be forgotten; advice; NULL: the format cannot */
	int (*discard)(struct block *b, uint64_t off, uint64_t len);
	/* the range reads as zeroes; @may_unmap: space may be given back; NULL: the format cannot
	 */
	int (*write_zeroes)(struct block *b, uint64_t off, uint64_t len, bool may_unmap);
	void (*free)(struct block *b);
};

/*
 * struct block - an open image; a format embeds it first
 * @size: bytes, fixed while open; a tail shorter than a sector is out of the guest's reach
 * @id: identifies the image to the guest, zero-padded, not terminated when full
 */
struct block {
	const struct block_ops *ops;
	uint64_t size;
	bool read_only;
	char id[BLOCK_ID_LEN];
};

/*
 * block_raw_open() - a file or block device as it is
 * @fd: duplicated, stays the caller's; must be open for writing unless @read_only
 * Return: 0 and *ret (block_free()); -EINVAL neither file nor block device; -EACCES not open for
 * the access wanted; -errno
 */
int block_raw_open(int fd, bool read_only, struct block **ret, struct err *err);

/* block_free() - flush (unless read-only) and close; NULL is fine; no request may be running. */
void block_free(struct block *b);

/* -EINVAL beyond the end; -EROFS write-protected; -EOPNOTSUPP no such operation; else the host's.
 */
int block_read(struct block *b, const struct iovec *iov, unsigned n, uint64_t off);
int block_write(struct block *b, const struct iovec *iov, unsigned n, uint64_t off);
int block_flush(struct block *b);
int block_discard(struct block *b, uint64_t off, uint64_t len);
int block_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool may_unmap);

#endif
