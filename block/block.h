/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk images behind a few operations. A format is one file with a constructor and a struct
 * block_ops; everybody else calls the block_*() functions below, which check range and
 * write protection before a format sees the request.
 *
 * All calls are synchronous, may block on host I/O, and may run on several threads at once; each
 * request stands for itself, and block_flush() covers the writes that returned before it began.
 * Everything is opened by the constructors: no request opens a file.
 *
 * A process that is killed, at any moment, leaves an image without errors and without leaked
 * clusters; a host that crashes does too, with all that was flushed (qcow2.h).
 *
 * The format of an image is what the user says or what the extension of its name says. It is never
 * guessed from the contents: a guest can write any header into a raw image, a qcow2 header that
 * names a file of the host among them.
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
 * @read_only: also true for an image opened for writing whose format is never written
 * @unit: bytes, a power of two: a discard gives back whole aligned units; 0: any
 * @id: identifies the image to the guest, zero-padded, not terminated when full
 * @label: what messages call it while it is in use; NULL after opening, then whoever opened it may
 * set it to a string that lasts as long as the image
 */
struct block {
	const struct block_ops *ops;
	uint64_t size;
	uint32_t unit;
	bool read_only;
	char id[BLOCK_ID_LEN];
	const char *label;
};

/* block_label() - for messages; never NULL */
static inline const char *block_label(const struct block *b)
{
	return b->label ? b->label : "a disk image";
}

enum block_format { BLOCK_RAW, BLOCK_QCOW2, BLOCK_VMDK };

/* block_format_name() - "raw", "qcow2", "vmdk" */
const char *block_format_name(enum block_format format);

/* block_format_parse() - the reverse. Return: 0; -EINVAL no such format */
int block_format_parse(const char *name, enum block_format *ret, struct err *err);

/*
 * block_format_of_path() - by extension: .raw and .img, .qcow2, .vmdk
 * Return: 0; -EINVAL another one or none: the user has to say the format
 */
int block_format_of_path(const char *path, enum block_format *ret, struct err *err);

/*
 * struct block_config - which image, and what of the host it may reach
 * @fd: the image; duplicated, stays the caller's; open for writing unless @read_only
 * @dir_fd: the folder of the files that an image consists of (extents of a vmdk: by bare name) or
 * builds on (@backing): regular files that are no symlinks. -1: none is opened. They are locked
 * (flock, shared) while the image is open. Borrowed for the call.
 * @backing: the user allows a qcow2 image to read backing files below @dir_fd: raw or qcow2 as the
 * image says, never guessed, up to 16 behind each other. Whoever made the image can make the guest
 * see any file there.
 * @path, @dir_path: canonical paths of image and folder, so that a backing file may be named by an
 * absolute path, and relative ones count from the image's folder where that is inside of @dir_fd
 * (otherwise from @dir_fd). NULL: absolute ones are refused.
 */
struct block_config {
	enum block_format format;
	int fd;
	int dir_fd;
	const char *path, *dir_path;
	bool read_only;
	bool backing;
};

/*
 * block_open() - open an image of any format
 * A vmdk is opened read-only whatever @read_only says: block->read_only tells.
 * Return: 0 and *ret (block_free()); -EINVAL not a valid image of that format; -ENOTSUP a feature
 * that is not supported, named; -EACCES not open for the access wanted, or a file named by the
 * image that the caller does not allow; -errno
 */
int block_open(const struct block_config *cfg, struct block **ret, struct err *err);

/*
 * block_raw_open() - a file or block device as it is
 * @fd: duplicated, stays the caller's; must be open for writing unless @read_only
 * Return: 0 and *ret (block_free()); -EINVAL neither file nor block device; -EACCES not open for
 * the access wanted; -errno
 */
int block_raw_open(int fd, bool read_only, struct block **ret, struct err *err);

/*
 * block_concat_open() - several files one after the other as one read-only disk
 * @fds: regular files of a multiple of 4096 bytes each; duplicated, stay the caller's
 * @n: 1 to BLOCK_CONCAT_MAX
 * Return: 0 and *ret (block_free()); -EINVAL a size that is not a multiple, or as block_raw_open()
 */
#define BLOCK_CONCAT_MAX 4096
int block_concat_open(const int *fds, unsigned n, struct block **ret, struct err *err);

/* block_free() - flush (unless read-only) and close; NULL is fine; no request may be running. */
void block_free(struct block *b);

/* -EINVAL beyond the end; -EROFS write-protected; -EOPNOTSUPP no such operation; else the host's.
 */
int block_read(struct block *b, const struct iovec *iov, unsigned n, uint64_t off);
int block_write(struct block *b, const struct iovec *iov, unsigned n, uint64_t off);

/* block_read_part() - into the bytes [skip, skip + len) of @iov, which must exist */
int block_read_part(struct block *b, const struct iovec *iov, unsigned n, size_t skip, size_t len,
	uint64_t off);
int block_flush(struct block *b);
int block_discard(struct block *b, uint64_t off, uint64_t len);
int block_write_zeroes(struct block *b, uint64_t off, uint64_t len, bool may_unmap);

#endif
