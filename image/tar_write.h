/* SPDX-License-Identifier: Apache-2.0 */
/* Writing tar archives (POSIX.1-2001: ustar headers, PAX records where those are too small). */
#ifndef IMAGE_TAR_WRITE_H
#define IMAGE_TAR_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

/* Takes bytes of the archive; 0 or -errno with @err filled. */
typedef int tar_sink_fn(void *ctx, const void *data, size_t len, struct err *err);

/*
 * struct tar_member - one member
 * @type: '0' file, '1' hard link, '2' symbolic link, '3' and '4' devices, '5' directory, '6' fifo
 * @name: without leading '/'; a directory ends with '/'
 * @link: target of links, or NULL
 * @pax:  further PAX records, made by tar_pax_record(), or NULL
 */
struct tar_member {
	char type;
	const char *name, *link;
	uint32_t mode, uid, gid, major, minor, mtime_ns;
	int64_t mtime;
	uint64_t size;
	const struct buf *pax;
};

/* tar_pax_record() - append "LEN KEY=VALUE\n". Return: 0; -ENOMEM */
int tar_pax_record(struct buf *pax, const char *key, const void *value, size_t len);

/* tar_write_header() - all that comes before the data of a member */
int tar_write_header(const struct tar_member *m, tar_sink_fn *sink, void *ctx, struct err *err);

/* tar_write_padding() - after @size bytes of data, up to the next header */
int tar_write_padding(uint64_t size, tar_sink_fn *sink, void *ctx, struct err *err);

/* tar_write_end() - two blocks of zeros */
int tar_write_end(tar_sink_fn *sink, void *ctx, struct err *err);

/*
 * layer_to_tar() - a layer's EROFS image as a tar of the kind it was made from: whiteouts, opaque
 * directories, hard links, xattrs and all; the same image gives the same bytes
 * @fd: borrowed
 */
int layer_to_tar(int fd, tar_sink_fn *sink, void *ctx, struct err *err);

#endif
