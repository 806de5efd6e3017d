/* SPDX-License-Identifier: Apache-2.0 */
/* A read-only disk made of pieces of other images, end to end. */
#ifndef BLOCK_SPANS_H
#define BLOCK_SPANS_H

#include "block/block.h"

#define SPANS_MAX 4096

/*
 * struct span - @len bytes of the disk, more than none
 * @image: read-only, from its byte @off on; must be that long. NULL: zeroes. Neighbours may share
 * one.
 */
struct span {
	uint64_t len, off;
	struct block *image;
};

/*
 * spans_new() - the disk; its id is that of the first image
 * @span: copied; the images belong to the disk on success and stay the caller's on failure
 * Return: 0 and *ret; -EINVAL none, too many, an image too short, or more than 2^63 bytes
 */
int spans_new(const struct span *span, unsigned n, struct block **ret, struct err *err);

#endif
