/* SPDX-License-Identifier: Apache-2.0 */
/* An output file written front to back in large pieces; what is skipped stays a hole. */
#ifndef IMAGE_OUT_H
#define IMAGE_OUT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define OUT_BUFFER (1U << 20)

/*
 * struct out - a writer
 * @fd:  borrowed
 * @pos: where the next byte goes; @fill bytes before it are still in @buf
 * @behind: the kernel was told to write what lies before it to the disk
 */
struct out {
	int fd;
	uint8_t *buf;
	size_t fill;
	uint64_t pos, behind;
};

/* out_init() - @fd must be an empty regular file. Return: 0; -EINVAL it is not, -ENOMEM */
int out_init(struct out *o, int fd, struct err *err);
void out_release(struct out *o);

/* out_write() - Return: 0; -errno of writing */
int out_write(struct out *o, const void *data, size_t len, struct err *err);

/* out_seek() - go forward to @pos; never back */
int out_seek(struct out *o, uint64_t pos, struct err *err);

/* out_finish() - write what is left and make the file @o->pos bytes long */
int out_finish(struct out *o, struct err *err);

/* out_patch() - write at @pos, which has been passed; only after out_finish() */
int out_patch(struct out *o, uint64_t pos, const void *data, size_t len, struct err *err);

#endif
