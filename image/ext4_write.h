/* SPDX-License-Identifier: Apache-2.0 */
/* A whole tree as an ext4 file system: what a machine's root can be without layers. */
#ifndef IMAGE_EXT4_WRITE_H
#define IMAGE_EXT4_WRITE_H

#include "image/tree.h"

/*
 * ext4_write() - fill an empty file with the tree, contents included
 *
 * The file system has hardly more room than the tree needs, and can be grown. Everything a layer
 * can say is kept: inodes of all kinds, hard links, owners, times (to the year 2446), xattrs as
 * far as ext4 takes them: what is more than 4 KiB for a file is in inodes of its own (feature
 * ea_inode, on only where it is needed), names in 4 KiB, and all of them for a symbolic link whose
 * target is shorter than 60 bytes. The same tree gives the same bytes.
 * @device:   files of the layers, whose inodes' device counts from 1
 * @uuid:     as RFC 9562 wants it
 * @out_fd:   an empty regular file; borrowed
 * @ret_size: bytes of the file
 * Sets nid, addr and nlink in the tree. Return: 0; -E2BIG more than ext4 can say; -ENOMEM; -errno
 */
int ext4_write(struct tree *t, const int *device, const uint8_t uuid[16], int out_fd,
	uint64_t *ret_size, struct err *err);

#endif
