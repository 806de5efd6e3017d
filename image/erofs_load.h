/* SPDX-License-Identifier: Apache-2.0 */
/* An image's metadata as a tree, for merging. */
#ifndef IMAGE_EROFS_LOAD_H
#define IMAGE_EROFS_LOAD_H

#include "image/erofs.h"
#include "image/tree.h"

/*
 * erofs_load() - read all of an image that needs no other devices
 * @device: what the files' data is said to lie on: 1 + layer
 * @t:	    as tree_init() left it; the caller releases it in any case. Its files have the flags
 *	    opaque, implied and link instead of the xattrs of layer.h.
 * Return: 0; -EBADMSG, -E2BIG, -ENOMEM
 */
int erofs_load(struct erofs *e, uint16_t device, struct tree *t, struct err *err);

#endif
