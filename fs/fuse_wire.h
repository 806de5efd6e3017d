/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FUSE wire structs: the kernel's own header, plus what we rely on about it. All integers are
 * host-endian on the wire, and host and guest are little-endian.
 */
#ifndef FS_FUSE_WIRE_H
#define FS_FUSE_WIRE_H

#include <assert.h>
#include <linux/fuse.h>

/* The newest minor we speak; older clients down to FUSE_MINOR_MIN get their own. */
#define FUSE_MINOR_MAX 38
#define FUSE_MINOR_MIN 27

static_assert(sizeof(struct fuse_in_header) == 40, "fuse_in_header");
static_assert(sizeof(struct fuse_out_header) == 16, "fuse_out_header");
static_assert(sizeof(struct fuse_init_in) == 64, "fuse_init_in");
static_assert(sizeof(struct fuse_init_out) == 64, "fuse_init_out");
static_assert(sizeof(struct fuse_entry_out) == 128, "fuse_entry_out");
static_assert(sizeof(struct fuse_attr_out) == 104, "fuse_attr_out");
static_assert(sizeof(struct fuse_setattr_in) == 88, "fuse_setattr_in");
static_assert(sizeof(struct fuse_write_in) == 40, "fuse_write_in");
static_assert(sizeof(struct fuse_dirent) == 24, "fuse_dirent");
static_assert(sizeof(struct fuse_direntplus) == 152, "fuse_direntplus");

#endif
