/* SPDX-License-Identifier: Apache-2.0 */
/* The files below images, for the formats of this room: whole transfers at an offset, holes, and
 * the way to files that an image names. No function here moves a file position. */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "block/block.h"
#include "lib/err.h"

/* All of it or -errno; -EIO at an end of file. The _part variants transfer the bytes
 * [skip, skip + len) of @iov, which must exist. */
int file_readv(int fd, const struct iovec *iov, unsigned n, uint64_t off);
int file_writev(int fd, const struct iovec *iov, unsigned n, uint64_t off);
int file_readv_part(
	int fd, const struct iovec *iov, unsigned n, size_t skip, size_t len, uint64_t off);
int file_writev_part(
	int fd, const struct iovec *iov, unsigned n, size_t skip, size_t len, uint64_t off);
int file_read(int fd, void *dst, size_t len, uint64_t off);
int file_write(int fd, const void *src, size_t len, uint64_t off);

int file_sync(int fd);

/* file_punch() - give the space back; a host that cannot is no error. */
int file_punch(int fd, uint64_t off, uint64_t len);

/* file_zero() - zeroes below the end of the file; by a hole if @may_unmap. */
int file_zero(int fd, uint64_t off, uint64_t len, bool may_unmap);

/* struct file_info - what file_adopt() found; @fd: the caller's */
struct file_info {
	int fd;
	uint64_t size;
	bool regular; /* else a block device */
	char id[BLOCK_ID_LEN];
};

/* file_adopt() - check a descriptor given by the user and duplicate it. Return: 0; -EINVAL neither
 * file nor block device; -EACCES not open for the access wanted; -errno */
int file_adopt(int fd, bool read_only, struct file_info *ret, struct err *err);

/* file_open_beneath() - a file that an image names, for reading, below @dir_fd (-1: none is
 * allowed); locked against writers for as long as the descriptor or a duplicate is open. Return: 0;
 * -EACCES; -ELOOP a symlink; -EINVAL no regular file; -EBUSY in use by a writer; -errno */
int file_open_beneath(int dir_fd, const char *path, int *ret_fd, struct err *err);

/* file_open_named() - the same by bare name: -EACCES for any other */
int file_open_named(int dir_fd, const char *name, int *ret_fd, struct err *err);

#endif
