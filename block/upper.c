/* SPDX-License-Identifier: Apache-2.0 */
#include "block/upper.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/num.h"
#include "lib/path.h"

#define BLOCK_LEN      4096
#define INODE_LEN      256
#define INODE_PER      16384 /* bytes of disk for each inode */
#define FLEX_LOG       4     /* 16 groups keep their tables together */
#define GROW_BLOCKS    128   /* descriptors for 1 TiB to grow into; the kernel goes on without */
#define LIB_ERROR_BASE 1024  /* errors of the library are far above any errno */

static int lib_error(struct err *err, errcode_t code, const char *what)
{
	if (code < LIB_ERROR_BASE)
		return err_set(err, (int)code, "make an ext4 file system: %s", what);
	return err_msg(
		err, EIO, "make an ext4 file system: %s: libext2fs says %ld", what, (long)code);
}

/* Every feature is known to kernels from 4.4 on. */
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

static void fill_params(struct ext2_super_block *sb, uint64_t size)
{
	sb->s_rev_level = EXT2_DYNAMIC_REV;
	sb->s_log_block_size = 2;
	sb->s_log_cluster_size = 2;
	sb->s_inode_size = INODE_LEN;
	sb->s_desc_size = EXT2_MIN_DESC_SIZE_64BIT;
	sb->s_log_groups_per_flex = FLEX_LOG;
	sb->s_reserved_gdt_blocks = GROW_BLOCKS;
	sb->s_inodes_count = (uint32_t)MIN_OF(size / INODE_PER, (uint64_t)UINT32_MAX - 16);
	sb->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
	sb->s_errors = EXT2_ERRORS_CONTINUE;
	ext2fs_blocks_count_set(sb, size / BLOCK_LEN);
	set_features(sb);
}

static int make_identity(struct ext2_super_block *sb, struct err *err)
{
	if (getrandom(sb->s_uuid, sizeof(sb->s_uuid), 0) != sizeof(sb->s_uuid) ||
		getrandom(sb->s_hash_seed, sizeof(sb->s_hash_seed), 0) != sizeof(sb->s_hash_seed))
		return err_set(err, errno, "make an ext4 file system: random numbers");
	sb->s_uuid[6] = (sb->s_uuid[6] & 0x0f) | 0x40; /* RFC 4122, version 4 */
	sb->s_uuid[8] = (sb->s_uuid[8] & 0x3f) | 0x80;
	sb->s_def_hash_version = EXT2_HASH_HALF_MD4;
	sb->s_checksum_type = EXT2_CRC32C_CHKSUM;
	sb->s_min_extra_isize = sb->s_want_extra_isize = 32;
	sb->s_mkfs_time = sb->s_lastcheck = (uint32_t)time(NULL);
	sb->s_max_mnt_count = -1;
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

static unsigned journal_blocks(uint64_t size)
{
	if (size < MIB(512))
		return 1024; /* the least there is */
	return size < GIB(64) ? 4096 : 16384;
}

static errcode_t make_dir(ext2_filsys fs, ext2_ino_t ino, const char *name)
{
	struct ext2_inode inode;
	errcode_t rc = ext2fs_mkdir(fs, EXT2_ROOT_INO, ino, name);

	if (!rc && ino)
		rc = ext2fs_read_inode(fs, ino, &inode);
	if (rc || !ino)
		return rc;
	inode.i_mode = LINUX_S_IFDIR | 0755; /* whatever the process's umask is */
	return ext2fs_write_inode(fs, ino, &inode);
}

static errcode_t make_dirs(ext2_filsys fs, const char *const *dirs)
{
	errcode_t rc = make_dir(fs, EXT2_ROOT_INO, NULL);

	for (ext2_ino_t i = EXT2_ROOT_INO + 1; !rc && i < EXT2_FIRST_INODE(fs->super); i++)
		ext2fs_inode_alloc_stats2(fs, i, +1, 0);
	ext2fs_inode_alloc_stats2(fs, EXT2_BAD_INO, +1, 0);
	for (unsigned i = 0; !rc && dirs && dirs[i]; i++) {
		ext2_ino_t ino;

		rc = ext2fs_new_inode(fs, EXT2_ROOT_INO, LINUX_S_IFDIR | 0755, 0, &ino);
		if (!rc)
			rc = make_dir(fs, ino, dirs[i]);
	}
	return rc;
}

static int fill(ext2_filsys fs, const struct upper_config *cfg, struct err *err)
{
	int flags = EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK;
	errcode_t rc;
	int r = make_identity(fs->super, err);

	if (r < 0)
		return r;
	ext2fs_init_csum_seed(fs);
	rc = ext2fs_allocate_tables(fs);
	if (rc)
		return lib_error(err, rc, "tables");
	rc = make_dirs(fs, cfg->dirs);
	if (rc)
		return lib_error(err, rc, "directories");
	rc = ext2fs_update_bb_inode(fs, NULL);
	if (!rc)
		rc = ext2fs_create_resize_inode(fs);
	if (rc)
		return lib_error(err, rc, "reserved inodes");
	rc = ext2fs_add_journal_inode2(fs, journal_blocks(cfg->size), ~0ULL, flags);
	if (rc)
		return lib_error(err, rc, "journal");
	tables_are_zero(fs);
	return 0;
}

/* The library opens files by name only: this one leads to @fd. */
static int format(int fd, const struct upper_config *cfg, struct err *err)
{
	struct ext2_super_block params = { 0 };
	ext2_filsys fs = NULL;
	char path[32];
	errcode_t rc;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fill_params(&params, cfg->size);
	rc = ext2fs_initialize(path, EXT2_FLAG_64BITS, &params, unix_io_manager, &fs);
	if (rc)
		return lib_error(err, rc, "start");
	r = fill(fs, cfg, err);
	if (r < 0) {
		ext2fs_free(fs);
		return r;
	}
	rc = ext2fs_close2(fs, cfg->durable ? 0 : EXT2_FLAG_FLUSH_NO_SYNC);
	if (rc) {
		ext2fs_free(fs);
		return lib_error(err, rc, "write");
	}
	return 0;
}

static int check_size(uint64_t size, struct err *err)
{
	if (size < UPPER_MIN || size > UPPER_MAX || size % BLOCK_LEN)
		return err_msg(err, EINVAL,
			"a writable layer has 16 MiB to 16 TiB in multiples of 4096 bytes, "
			"not %" PRIu64 " bytes",
			size);
	return 0;
}

/* Give the file its name, which nothing may have. */
static int publish(int dir_fd, const char *name, int fd, bool durable, struct err *err)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (durable && fsync(fd) < 0)
		return err_set(err, errno, "write '%s' to stable storage", name);
	if (linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW) < 0)
		return err_set(err, errno, "create '%s'", name);
	if (durable && fsync(dir_fd) < 0) {
		int code = errno;

		(void)unlinkat(dir_fd, name, 0);
		return err_set(err, code, "write the folder of '%s' to stable storage", name);
	}
	return 0;
}

/* Without a name until it is complete: killed in between, we leave nothing. File systems that
 * cannot do that (overlayfs before Linux 6.1, NFS) get a name that the next attempt takes over. */
static int open_nameless(int dir_fd, const char *part, struct err *err)
{
	int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		(void)unlinkat(dir_fd, part, 0);
		fd = openat(dir_fd, part, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	return fd < 0 ? err_set(err, errno, "create a file for a writable layer") : fd;
}

static int build(
	int dir_fd, const char *name, int fd, const struct upper_config *cfg, struct err *err)
{
	int r;

	if (ftruncate(fd, (off_t)cfg->size) < 0)
		return err_set(err, errno, "make '%s' %" PRIu64 " bytes long", name, cfg->size);
	r = format(fd, cfg, err);
	if (r < 0) {
		(void)err_wrap(err, "create '%s'", name);
		return r;
	}
	return publish(dir_fd, name, fd, cfg->durable, err);
}

int upper_create(int dir_fd, const char *name, const struct upper_config *cfg, struct err *err)
{
	char part[NAME_MAX + 1];
	cleanup_fd int fd = -1;
	int r = check_size(cfg->size, err);

	if (r < 0)
		return r;
	if (!path_name_ok(name) || strlen(name) > NAME_MAX - sizeof(".part"))
		return err_msg(err, EINVAL, "'%s' is no name for a file", name);
	(void)snprintf(part, sizeof(part), ".%s.part", name);
	fd = open_nameless(dir_fd, part, err);
	if (fd < 0)
		return fd;
	r = build(dir_fd, name, fd, cfg, err);
	(void)unlinkat(dir_fd, part, 0);
	return r;
}

int upper_grow(int fd, uint64_t size, struct err *err)
{
	struct stat st;
	int r = check_size(size, err);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at the writable layer");
	if (!S_ISREG(st.st_mode))
		return err_msg(err, EINVAL, "the writable layer is no regular file");
	if ((uint64_t)st.st_size >= size)
		return 0;
	if (ftruncate(fd, (off_t)size) < 0)
		return err_set(err, errno, "grow the writable layer to %" PRIu64 " bytes", size);
	return 0;
}
