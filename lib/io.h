/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole transfers on blocking descriptors of files: interrupted and partial calls are gone on with.
 * Thread-safe as the system calls are.
 */
#ifndef LIB_IO_H
#define LIB_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/buf.h"

/*
 * io_read(), io_pread() - @len bytes, or what there is before the end of the file
 * Return: bytes read; -errno, @dst is then partly filled
 */
ssize_t io_read(int fd, void *dst, size_t len);
ssize_t io_pread(int fd, void *dst, size_t len, uint64_t off);

/* io_write(), io_pwrite() - all of it. Return: 0; -errno, some of it may be written. */
int io_write(int fd, const void *src, size_t len);
int io_pwrite(int fd, const void *src, size_t len, uint64_t off);

/*
 * io_copy() - @len bytes from one file to another, by the kernel where it can, which may share the
 * blocks
 * Return: 0; -EIO @from ends before that; -errno, some of it may be written
 */
int io_copy(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t len);

/*
 * io_next_data() - the next part of a file that is no hole
 * @from: where to look from
 * @size: of the file; what lies beyond is left alone
 * Return: true and where it is, within [@from, @size); false: all the rest is a hole. A file whose
 * holes cannot be told, or that changes just now, has none. Moves the offset of @fd.
 */
bool io_next_data(int fd, uint64_t from, uint64_t size, uint64_t *ret_start, uint64_t *ret_end);

/*
 * io_copy_sparse() - all of @from to the empty file @to, which gets its holes too, and its length
 * @share: let the kernel share blocks between the two, as io_copy() does
 * Return: 0; -errno
 */
int io_copy_sparse(int from, int to, bool share);

/*
 * io_read_to_end() - append what is left of the file to @ret
 * @max: bytes that @ret may hold in all; a little more has been read when it is exceeded
 * Return: 0; -EFBIG; -ENOMEM; -errno
 */
int io_read_to_end(int fd, size_t max, struct buf *ret);

#endif
