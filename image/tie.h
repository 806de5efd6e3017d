/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ties a merged metadata image to the very files of its layers. It names blocks of them, and
 * the same layer may come to lie in other blocks when another release makes its file again: then
 * the merged image would show wrong data, and must be made again, too.
 *
 * A layer's file vouches for itself by its superblock: its UUID is made of the diff id and of the
 * layer's metadata, which say where every block of data is (erofs_write.h). Upstream's layers have
 * no UUID; for them the time of the file stands in, so that at worst too much is made again. A
 * digest of that is the tag of the layer's slot in the merged image's device table. The tag is
 * there for the purpose, and Linux does not look at it where the layers follow on the same disk.
 */
#ifndef IMAGE_TIE_H
#define IMAGE_TIE_H

#include <stddef.h>

#include "lib/err.h"
#include "lib/sha256.h"

/* tie_tag() - what identifies the layer's file. Return: 0 and @ret; -EBADMSG no layer; -errno */
int tie_tag(int layer_fd, char ret[static SHA256_TEXT_MAX], struct err *err);

/*
 * tie_check() - was @merged_fd made for these files, and do they follow each other on a disk as its
 * device table says?
 * @layer_fd: bottom first
 * Return: 0; -ESTALE and which is not; -EBADMSG not images; -errno
 */
int tie_check(int merged_fd, const int *layer_fd, size_t n, struct err *err);

#endif
