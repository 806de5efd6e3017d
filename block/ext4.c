/* SPDX-License-Identifier: Apache-2.0 */
#include "block/ext4.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "lib/num.h"

#define FLEX_LOG       4    /* 16 groups keep their tables together */
#define GROW_BLOCKS    128  /* descriptors for 1 TiB to grow into; the kernel goes on without */
#define LIB_ERROR_BASE 1024 /* errors of the library are far above any errno */

int ext4_error(struct err *err, errcode_t code, const char *what)
{
	if (code < LIB_ERROR_BASE)
		return err_set(err, (int)code, "make an ext4 file system: %s", what);
	if (code == EXT2_ET_BLOCK_ALLOC_FAIL || code == EXT2_ET_INODE_ALLOC_FAIL)
		return err_set(err, ENOSPC, "make an ext4 file system: %s", what);
	return err_msg(
		err, EIO, "make an ext4 file system: %s: libext2fs says %ld", what, (long)code);
}

/* Every feature is known to kernels from 4.4 on, but the one that @large_xattrs asks for. */
static void set_features(struct ext2_super_block *sb)
{
	ext2fs_set_feature_journal(sb);
	ext2fs_set_feature_xattr(sb);
	ext2fs_set_feature_dir_index(sb);
	ext2fs_set_feature_resize_inode(sb);
	ext2fs_set_feature_filetype(sb);
	ext2fs_set_feature_extents(sb);
	ext2fs_set_feature_64bit(sb);
	ext2fs_set_feature_flex_bg(sb);
	ext2fs_set_feature_sparse_super(sb);
	ext2fs_set_feature_large_file(sb);
	ext2fs_set_feature_huge_file(sb);
	ext2fs_set_feature_dir_nlink(sb);
	ext2fs_set_feature_extra_isize(sb);
	ext2fs_set_feature_metadata_csum(sb);
}

static void fill_params(struct ext2_super_block *sb, const struct ext4_config *cfg)
{
	uint64_t size = cfg->size;
	uint64_t inode_per = (uint64_t)EXT4_BLOCK * EXT4_GROUP_BLOCKS / EXT4_INODES_PER_GROUP;

	sb->s_rev_level = EXT2_DYNAMIC_REV;
	sb->s_log_block_size = 2;
	sb->s_log_cluster_size = 2;
	sb->s_inode_size = EXT4_INODE_LEN;
	sb->s_desc_size = EXT2_MIN_DESC_SIZE_64BIT;
	sb->s_log_groups_per_flex = FLEX_LOG;
	sb->s_reserved_gdt_blocks = GROW_BLOCKS;
	sb->s_inodes_count = (uint32_t)MIN_OF(size / inode_per, (uint64_t)UINT32_MAX - 16);
	sb->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
	sb->s_errors = EXT2_ERRORS_CONTINUE;
	ext2fs_blocks_count_set(sb, size / EXT4_BLOCK);
	set_features(sb);
	if (cfg->large_xattrs)
		ext2fs_set_feature_ea_inode(sb);
}

static int random_identity(struct ext2_super_block *sb, struct err *err)
{
	if (getrandom(sb->s_uuid, sizeof(sb->s_uuid), 0) != sizeof(sb->s_uuid) ||
		getrandom(sb->s_hash_seed, sizeof(sb->s_hash_seed), 0) != sizeof(sb->s_hash_seed))
		return err_set(err, errno, "make an ext4 file system: random numbers");
	sb->s_uuid[6] = (sb->s_uuid[6] & 0x0f) | 0x40; /* RFC 9562, version 4 */
	sb->s_uuid[8] = (sb->s_uuid[8] & 0x3f) | 0x80;
	return 0;
}

static int make_identity(ext2_filsys fs, const uint8_t *uuid, struct err *err)
{
	struct ext2_super_block *sb = fs->super;
	int r = uuid ? 0 : random_identity(sb, err);

	if (r < 0)
		return r;
	if (uuid) {
		memcpy(sb->s_uuid, uuid, sizeof(sb->s_uuid));
		memcpy(sb->s_hash_seed, uuid, sizeof(sb->s_hash_seed));
	}
	/* The library writes the time into more than one place; 0 would mean "now" to it. */
	fs->now = uuid ? 1 : time(NULL);
	sb->s_def_hash_version = EXT2_HASH_HALF_MD4;
	sb->s_checksum_type = EXT2_CRC32C_CHKSUM;
	sb->s_min_extra_isize = sb->s_want_extra_isize = EXT4_INODE_EXTRA;
	sb->s_mkfs_time = sb->s_lastcheck = (uint32_t)fs->now;
	sb->s_flags |= EXT2_FLAGS_SIGNED_HASH;
	sb->s_max_mnt_count = -1;
	ext2fs_init_csum_seed(fs);
	return 0;
}

/* The file is all holes, so the tables are zeroed already: the guest's kernel need not do it, which
 * would fill the holes. */
static void tables_are_zero(ext2_filsys fs)
{
	for (dgrp_t g = 0; g < fs->group_desc_count; g++) {
		ext2fs_bg_flags_set(fs, g, EXT2_BG_INODE_ZEROED);
		ext2fs_group_desc_csum_set(fs, g);
	}
	ext2fs_mark_super_dirty(fs);
}

static errcode_t take_reserved(ext2_filsys fs)
{
	for (ext2_ino_t i = EXT2_BAD_INO; i < EXT2_FIRST_INODE(fs->super); i++) {
		if (i != EXT2_ROOT_INO)
			ext2fs_inode_alloc_stats2(fs, i, +1, 0);
	}
	return ext2fs_update_bb_inode(fs, NULL);
}

static int fill(ext2_filsys fs, const struct ext4_config *cfg, struct err *err)
{
	int flags = EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK;
	errcode_t rc;
	int r = make_identity(fs, cfg->uuid, err);

	if (r < 0)
		return r;
	rc = ext2fs_allocate_tables(fs);
	if (rc)
		return ext4_error(err, rc, "tables");
	rc = take_reserved(fs);
	if (!rc)
		rc = ext2fs_create_resize_inode(fs);
	if (rc)
		return ext4_error(err, rc, "reserved inodes");
	rc = ext2fs_add_journal_inode2(fs, cfg->journal, ~0ULL, flags);
	if (rc)
		return ext4_error(err, rc, "journal");
	r = cfg->fill(cfg->ctx, fs, err);
	if (r == 0)
		tables_are_zero(fs);
	return r;
}

int ext4_format(int fd, const struct ext4_config *cfg, struct err *err)
{
	struct ext2_super_block params = { 0 };
	ext2_filsys fs = NULL;
	char path[32];
	errcode_t rc;
	int r;

	/* The library opens files by name only: this one leads to @fd. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fill_params(&params, cfg);
	rc = ext2fs_initialize(path, EXT2_FLAG_64BITS, &params, unix_io_manager, &fs);
	if (rc)
		return ext4_error(err, rc, "start");
	r = fill(fs, cfg, err);
	if (r < 0) {
		ext2fs_free(fs);
		return r;
	}
	rc = ext2fs_close2(fs, cfg->sync ? 0 : EXT2_FLAG_FLUSH_NO_SYNC);
	if (rc) {
		ext2fs_free(fs);
		return ext4_error(err, rc, "write");
	}
	return 0;
}
