/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic over iovecs. The iovecs may point into guest memory, whose bytes change under us:
 * every function reads or writes each byte once, so copy first, then check the copy.
 */
#ifndef LIB_IOV_H
#define LIB_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* iov_len() - total bytes. */
size_t iov_len(const struct iovec *iov, unsigned n);

/* iov_read() - copy up to @len bytes from offset @off out of @iov. Return: bytes copied. */
size_t iov_read(const struct iovec *iov, unsigned n, size_t off, void *dst, size_t len);

/* iov_write() - copy up to @len bytes into @iov from offset @off. Return: bytes copied. */
size_t iov_write(const struct iovec *iov, unsigned n, size_t off, const void *src, size_t len);

/* iov_fill() - set up to @len bytes at @off to @byte. Return: bytes set. */
size_t iov_fill(const struct iovec *iov, unsigned n, size_t off, int byte, size_t len);

/*
 * iov_slice() - describe [off, off + len) of @iov in @dst, without copying data
 * @dst_max: room in @dst
 * Return: entries used; fewer bytes than @len are covered if @iov or @dst ends early
 */
unsigned iov_slice(const struct iovec *iov, unsigned n, size_t off, size_t len, struct iovec *dst,
	unsigned dst_max);

#endif
