/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLOCK_OPEN_H
#define BLOCK_OPEN_H

#include "block/block.h"

#define BLOCK_DEPTH_MAX 16

/* block_open_nested() - block_open() for a backing file: @depth images build on it already */
int block_open_nested(
	const struct block_config *cfg, unsigned depth, struct block **ret, struct err *err);

#endif
