/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EROFS on disk, as far as we write and read it: 4 KiB blocks, no compression, no shared xattrs.
 * Facts are those of Linux 6.12, Documentation/filesystems/erofs.rst. All integers little-endian.
 */
#ifndef IMAGE_EROFS_DISK_H
#define IMAGE_EROFS_DISK_H

#include <stdint.h>

#define EROFS_MAGIC	      0xE0F5E1E2U
#define EROFS_BLOCK_BITS      12
#define EROFS_SB_POS	      1024
#define EROFS_NULL_ADDR	      UINT32_MAX
#define EROFS_SLOT	      32 /* a nid counts these from the start of the metadata */
#define EROFS_XATTR_MAX_IBODY (12 + 4 * (65535 - 1))

enum {
	EROFS_COMPAT_SB_CHKSUM = 0x1,
	EROFS_INCOMPAT_CHUNKED_FILE = 0x4,
	EROFS_INCOMPAT_DEVICE_TABLE = 0x8,
};

enum { EROFS_FLAT_PLAIN = 0, EROFS_FLAT_INLINE = 2, EROFS_CHUNK_BASED = 4 };

/* i_u of chunk-based files: chunk size is a block << low bits */
enum { EROFS_CHUNK_BITS = 0x1f, EROFS_CHUNK_INDEXES = 0x20 };

enum {
	EROFS_FT_REG = 1,
	EROFS_FT_DIR = 2,
	EROFS_FT_CHR = 3,
	EROFS_FT_BLK = 4,
	EROFS_FT_FIFO = 5,
	EROFS_FT_SOCK = 6,
	EROFS_FT_SYMLINK = 7,
};

struct erofs_super_disk {
	uint32_t magic, checksum, feature_compat;
	uint8_t blkszbits, sb_extslots;
	uint16_t root_nid;
	uint64_t inos, build_time;
	uint32_t build_time_nsec, blocks, meta_blkaddr, xattr_blkaddr;
	uint8_t uuid[16], volume_name[16];
	uint32_t feature_incompat;
	uint16_t compr, extra_devices, devt_slotoff;
	uint8_t dirblkbits, xattr_prefix_count;
	uint32_t xattr_prefix_start;
	uint64_t packed_nid;
	uint8_t reserved[24];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_super_disk) == 128, "wire size");

struct erofs_device_disk {
	uint8_t tag[64];
	uint32_t blocks, mapped_blkaddr;
	uint8_t reserved[56];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_device_disk) == 128, "wire size");

struct erofs_inode_compact {
	uint16_t format, xattr_icount, mode, nlink;
	uint32_t size, reserved, u, ino;
	uint16_t uid, gid;
	uint32_t reserved2;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_inode_compact) == 32, "wire size");

struct erofs_inode_extended {
	uint16_t format, xattr_icount, mode, reserved;
	uint64_t size;
	uint32_t u, ino, uid, gid;
	uint64_t mtime;
	uint32_t mtime_nsec, nlink;
	uint8_t reserved2[16];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_inode_extended) == 64, "wire size");

struct erofs_dirent_disk {
	uint64_t nid;
	uint16_t nameoff;
	uint8_t file_type, reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_dirent_disk) == 12, "wire size");

struct erofs_chunk_disk {
	uint16_t advise, device_id;
	uint32_t blkaddr;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_chunk_disk) == 8, "wire size");

struct erofs_xattr_ibody_disk {
	uint32_t name_filter;
	uint8_t shared_count, reserved[7];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_xattr_ibody_disk) == 12, "wire size");

struct erofs_xattr_disk {
	uint8_t name_len, name_index;
	uint16_t value_size;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_xattr_disk) == 4, "wire size");

/* erofs_crc32c() - Castagnoli, reflected, without the final inversion */
uint32_t erofs_crc32c(uint32_t crc, const void *data, unsigned len);

#endif
