/* SPDX-License-Identifier: Apache-2.0 */
/* The UUID of an image: made of what it was made of and of how it lies. */
#ifndef IMAGE_EROFS_UUID_H
#define IMAGE_EROFS_UUID_H

#include <stdint.h>

#include "lib/err.h"

#define EROFS_SEED_LEN 32

/*
 * erofs_uuid_make() - version 8 of RFC 9562: a digest of @seed and of the bytes @from to @to of
 * @fd, which are the image's metadata: two files with the same UUID have the same data in the same
 * blocks
 * @fd: open for reading
 */
int erofs_uuid_make(const uint8_t seed[static EROFS_SEED_LEN], int fd, uint64_t from, uint64_t to,
	uint8_t ret[static 16], struct err *err);

#endif
