/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLOCK_OPEN_H
#define BLOCK_OPEN_H

#include "block/backing.h"
#include "block/block.h"

/* block_open_nested() - block_open() for an image that others may build on, as @chain says */
int block_open_nested(const struct block_config *cfg, const struct backing_chain *chain,
	struct block **ret, struct err *err);

#endif
