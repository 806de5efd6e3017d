/* SPDX-License-Identifier: Apache-2.0 */
/* Files that a qcow2 image builds on, inside this room: by the name that stands in the image. */
#ifndef BLOCK_BACKING_H
#define BLOCK_BACKING_H

#include "block/block.h"

#define BACKING_DEPTH_MAX 16
#define BACKING_PATH_MAX  4096

/*
 * struct backing_chain - how an image came to be opened
 * @depth: how many images build on it; @folder: where it is, below the folder allowed: "" or ending
 * in a slash
 */
struct backing_chain {
	unsigned depth;
	char folder[BACKING_PATH_MAX];
};

/* backing_start() - the chain of an image that the user names. Return: 0; -ENAMETOOLONG */
int backing_start(const struct block_config *cfg, struct backing_chain *ret, struct err *err);

/*
 * backing_open() - read-only, and locked against writers as long as it is open
 * @cfg, @chain: of the image that says it builds on @name
 * @format: what that image says of it; never guessed
 * Return: 0 and *ret; -EACCES not allowed; -EINVAL no format given, too long a chain; -ENOTSUP
 * neither raw nor qcow2; -EBUSY somebody may write it; -errno
 */
int backing_open(const struct block_config *cfg, const struct backing_chain *chain,
	const char *name, const char *format, struct block **ret, struct err *err);

/*
 * backing_resolve() - a path below the folder that is allowed, without "." and ".."
 * Absolute names count if they lie in that folder, others from the folder of the image.
 * Return: 0; -EACCES it leads out; -ENOTSUP it is no path; -ENAMETOOLONG
 */
int backing_resolve(const struct block_config *cfg, const char *folder, const char *name,
	char ret[BACKING_PATH_MAX], struct err *err);

#endif
