/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inodes get their numbers in the order of the tree, and blocks follow each other in that order
 * too, so that what lies together in the tree does so on the disk. libext2fs keeps the tables; data
 * goes from layer to file without it.
 */
#include "image/ext4_write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/ext4_dir.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/num.h"

#define JOURNAL_BLOCKS	 4096
#define LINKS_MAX	 65000
#define FAST_SYMLINK_MAX 60 /* with NUL */
#define EXTENT_MAX	 32768
#define EXTENTS_INLINE	 4
#define EXTENTS_LEAF	 340
#define XATTRS_INLINE	 64   /* surely fit into the inode */
#define XATTRS_BLOCK	 4000 /* surely fit into a block */
#define META_BLOCKS	 1024 /* of a group that none of the tree can have */
#define SLACK_BLOCKS	 4096
#define SIZE_MAX_EXT4	 (UINT64_C(16) << 40)
#define MTIME_MAX	 ((INT64_C(4) << 32) + INT32_MIN - 1)

/*
 * struct writer - @goal: where the next block is looked for; @name: what is being written
 * @large_xattrs: inodes whose extended attributes take inodes of their own
 */
struct writer {
	struct tree *t;
	const int *device;
	int out_fd;
	ext2_filsys fs;
	blk64_t goal;
	uint64_t blocks, inodes, large_xattrs;
	uint32_t next_ino;
	const char *name;
};

static int library_error(const struct writer *w, struct err *err, errcode_t rc, const char *what)
{
	(void)ext4_error(err, rc, what);
	return err_wrap(err, "'%.100s'", w->name);
}

/* ---- what is needed ---- */

static uint64_t data_blocks(const struct tree_inode *inode)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < inode->n_extents; i++)
		n += inode->extents[i].count;
	/* Free space may be in pieces: some more extents than those we know. */
	return inode->n_extents > EXTENTS_INLINE / 2 ? n + 2 + inode->n_extents * 2 / EXTENTS_LEAF
						     : n + 1;
}

static size_t xattr_bytes(const struct tree_inode *inode)
{
	size_t n = 0;

	for (const struct tree_xattr *x = inode->xattrs; x; x = x->next)
		n += x->name_len + x->value_len + 24;
	return n;
}

static bool has_large_xattrs(const struct tree_inode *inode)
{
	return xattr_bytes(inode) > XATTRS_BLOCK;
}

/* Any value may get an inode: which ones do is up to the library. */
static void count_large_xattrs(struct writer *w, const struct tree_inode *inode)
{
	w->large_xattrs++;
	for (const struct tree_xattr *x = inode->xattrs; x; x = x->next) {
		w->inodes++;
		w->blocks += x->value_len / EXT4_BLOCK + 1;
	}
}

static uint64_t blocks_of(const struct tree_inode *inode)
{
	uint64_t n = 0;

	if (S_ISREG(inode->mode))
		n = data_blocks(inode);
	else if (S_ISDIR(inode->mode))
		n = ext4_dir_blocks(inode);
	else if (S_ISLNK(inode->mode))
		n = inode->size >= FAST_SYMLINK_MAX;
	return n + (xattr_bytes(inode) > XATTRS_INLINE);
}

static int forget_number(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err)
{
	struct tree_inode *inode = name ? name->inode : dir;

	inode->nid = 0;
	inode->addr = 0;
	return 0;
}

static int number(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err)
{
	struct tree_inode *inode = name ? name->inode : dir;
	struct writer *w = ctx;

	if (inode->nid)
		return 0;
	if (name && inode->nlink > LINKS_MAX && !S_ISDIR(inode->mode))
		return err_msg(err, E2BIG, "'%s' has %u names: ext4 takes %d", name->name,
			inode->nlink, LINKS_MAX);
	if (name && S_ISLNK(inode->mode) && (!inode->size || inode->size >= EXT4_BLOCK))
		return err_msg(err, E2BIG,
			"the symbolic link '%s' is %" PRIu64 " bytes long: ext4 takes 1 to %d",
			name->name, inode->size, EXT4_BLOCK - 1);
	inode->nid = name ? w->next_ino++ : EXT2_ROOT_INO;
	w->blocks += blocks_of(inode);
	if (has_large_xattrs(inode))
		count_large_xattrs(w, inode);
	return 0;
}

/* Whole groups, two at least: the library makes none of less than a few dozen blocks. */
static uint64_t size_needed(const struct writer *w)
{
	uint64_t slack = MAX_OF(w->blocks / 20, (uint64_t)SLACK_BLOCKS);
	uint64_t per_group = EXT4_GROUP_BLOCKS - META_BLOCKS;
	uint64_t data = w->blocks + slack + JOURNAL_BLOCKS;
	uint64_t inodes = w->inodes + w->inodes / 10 + EXT2_GOOD_OLD_FIRST_INO;
	uint64_t groups = MAX_OF((data + per_group - 1) / per_group,
		(inodes + EXT4_INODES_PER_GROUP - 1) / EXT4_INODES_PER_GROUP);

	return MAX_OF(groups, (uint64_t)2) * EXT4_GROUP_BLOCKS * EXT4_BLOCK;
}

/* ---- blocks ---- */

/* Up to @want blocks in a row. */
static int take_blocks(
	struct writer *w, blk64_t want, blk64_t *ret, blk64_t *ret_n, struct err *err)
{
	errcode_t rc = ext2fs_new_range(
		w->fs, 0, w->goal, MIN_OF(want, (blk64_t)EXTENT_MAX), NULL, ret, ret_n);

	if (rc)
		return library_error(w, err, rc, "take blocks");
	ext2fs_block_alloc_stats_range(w->fs, *ret, (blk_t)*ret_n, +1);
	w->goal = *ret + *ret_n;
	return 0;
}

/* struct mapping - an inode whose blocks are being added, in order */
struct mapping {
	struct writer *w;
	struct tree_inode *node;
	struct ext2_inode *inode;
	ext2_extent_handle_t handle;
};

static int mapping_begin(struct mapping *m, struct err *err)
{
	errcode_t rc =
		ext2fs_extent_open2(m->w->fs, (ext2_ino_t)m->node->nid, m->inode, &m->handle);

	return rc ? library_error(m->w, err, rc, "begin its blocks") : 0;
}

/* @count blocks of the file from @block on; *ret_n are given places from *ret on. */
static int mapping_add(struct mapping *m, uint32_t block, uint32_t count, blk64_t *ret,
	blk64_t *ret_n, struct err *err)
{
	struct ext2fs_extent e = { .e_lblk = block };
	errcode_t rc;
	int r = take_blocks(m->w, count, ret, ret_n, err);

	if (r < 0)
		return r;
	e.e_pblk = *ret;
	e.e_len = (uint32_t)*ret_n;
	rc = ext2fs_iblk_add_blocks(m->w->fs, m->inode, *ret_n);
	if (!rc)
		rc = ext2fs_extent_insert(m->handle, EXT2_EXTENT_INSERT_AFTER, &e);
	return rc ? library_error(m->w, err, rc, "map its blocks") : 0;
}

/* ---- contents ---- */

static int put_extent(struct mapping *m, struct tree_extent x, struct err *err)
{
	int r = 0;

	while (r == 0 && x.count) {
		blk64_t to, n;

		r = mapping_add(m, x.block, x.count, &to, &n, err);
		if (r < 0)
			return r;
		r = io_copy(m->w->device[m->node->device - 1], (uint64_t)x.addr * EXT4_BLOCK,
			m->w->out_fd, to * EXT4_BLOCK, n * EXT4_BLOCK);
		if (r < 0)
			return err_set(err, r, "copy '%.100s' from its layer", m->w->name);
		x.block += (uint32_t)n;
		x.addr += (uint32_t)n;
		x.count -= (uint32_t)n;
	}
	return r;
}

static int put_file(struct mapping *m, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < m->node->n_extents; i++)
		r = put_extent(m, m->node->extents[i], err);
	return r;
}

static int put_symlink(struct mapping *m, struct err *err)
{
	blk64_t at, n;
	int r = mapping_add(m, 0, 1, &at, &n, err);

	if (r == 0)
		r = io_pwrite(m->w->out_fd, m->node->target, m->node->size, at * EXT4_BLOCK);
	return r < 0 ? err_set(err, r, "write the symbolic link '%.100s'", m->w->name) : 0;
}

static int put_dir_blocks(struct mapping *m, const struct buf *blocks, struct err *err)
{
	uint32_t count = (uint32_t)(blocks->len / EXT4_BLOCK), done = 0;

	while (done < count) {
		blk64_t at, n;
		int r = mapping_add(m, done, count - done, &at, &n, err);

		if (r < 0)
			return r;
		for (; n; n--, at++, done++) {
			void *block = (uint8_t *)buf_head(blocks) + (size_t)done * EXT4_BLOCK;
			errcode_t rc = ext2fs_write_dir_block4(
				m->w->fs, at, block, 0, (ext2_ino_t)m->node->nid);

			if (rc)
				return library_error(m->w, err, rc, "write folder");
		}
	}
	return 0;
}

/* The library writes it when its own part of the tree of extents changes, which is not always. */
static int put_block_count(struct mapping *m, struct err *err)
{
	errcode_t rc = ext2fs_write_inode(m->w->fs, (ext2_ino_t)m->node->nid, m->inode);

	return rc ? library_error(m->w, err, rc, "write its inode") : 0;
}

static int put_mapped(struct writer *w, struct tree_inode *node, struct ext2_inode *inode,
	const struct buf *dir, struct err *err)
{
	struct mapping m = { .w = w, .node = node, .inode = inode };
	int r = mapping_begin(&m, err);

	if (r < 0)
		return r;
	if (dir)
		r = put_dir_blocks(&m, dir, err);
	else if (S_ISLNK(node->mode))
		r = put_symlink(&m, err);
	else
		r = put_file(&m, err);
	ext2fs_extent_free(m.handle);
	return r ? r : put_block_count(&m, err);
}

static bool is_mapped(const struct tree_inode *node)
{
	return S_ISDIR(node->mode) || (S_ISREG(node->mode) && node->n_extents) ||
	       (S_ISLNK(node->mode) && node->size >= FAST_SYMLINK_MAX);
}

/* ---- inodes ---- */

static void put_device(struct ext2_inode_large *i, uint32_t rdev)
{
	uint32_t major = (rdev >> 8) & 0xfff, minor = (rdev & 0xff) | ((rdev >> 12) & 0xfff00);

	/* Numbers of one byte each are kept as they always were. */
	if (major < 256 && minor < 256)
		i->i_block[0] = major << 8 | minor;
	else
		i->i_block[1] = rdev;
}

static void put_times(struct ext2_inode_large *i, const struct tree_inode *node)
{
	int64_t s = MIN_OF(MAX_OF(node->mtime, (int64_t)INT32_MIN), MTIME_MAX);
	uint32_t low = (uint32_t)s;
	uint32_t extra = (uint32_t)(((s - (int32_t)low) >> 32) & 3) | node->mtime_ns << 2;

	i->i_mtime = i->i_atime = i->i_ctime = i->i_crtime = low;
	i->i_mtime_extra = i->i_atime_extra = i->i_ctime_extra = i->i_crtime_extra = extra;
}

/* The kernel wants to see that there are none. */
static void put_no_extents(struct ext2_inode_large *i, bool indexed)
{
	struct ext3_extent_header head = { .eh_magic = EXT3_EXT_MAGIC, .eh_max = EXTENTS_INLINE };

	i->i_flags = EXT4_EXTENTS_FL | (indexed ? EXT2_INDEX_FL : 0);
	memcpy(i->i_block, &head, sizeof(head));
}

static void fill_inode(struct ext2_inode_large *i, const struct tree_inode *node, bool indexed)
{
	i->i_mode = (uint16_t)node->mode;
	i->i_uid = (uint16_t)node->uid;
	i->i_gid = (uint16_t)node->gid;
	i->osd2.linux2.l_i_uid_high = (uint16_t)(node->uid >> 16);
	i->osd2.linux2.l_i_gid_high = (uint16_t)(node->gid >> 16);
	/* A folder with more subfolders than can be counted has one link. */
	i->i_links_count = node->nlink > LINKS_MAX ? 1 : (uint16_t)node->nlink;
	i->i_extra_isize = EXT4_INODE_EXTRA;
	put_times(i, node);
	if (S_ISREG(node->mode) || S_ISLNK(node->mode)) {
		i->i_size = (uint32_t)node->size;
		i->i_size_high = (uint32_t)(node->size >> 32);
	}
	if (S_ISREG(node->mode) || is_mapped(node))
		put_no_extents(i, indexed);
	if (S_ISCHR(node->mode) || S_ISBLK(node->mode))
		put_device(i, node->rdev);
	else if (S_ISLNK(node->mode) && !is_mapped(node))
		memcpy(i->i_block, node->target, node->size);
}

static errcode_t set_xattr(struct ext2_xattr_handle *h, const struct tree_xattr *x, size_t len)
{
	char name[64 + UINT8_MAX];

	(void)snprintf(name, sizeof(name), "%s%.*s", tree_xattr_prefix(x->index), x->name_len,
		(const char *)x->data);
	return ext2fs_xattr_set(h, name, x->data + x->name_len, len);
}

/* *sum: and the blocks of the inode that the value was perhaps given; it is one less free then. */
static errcode_t put_xattr(
	ext2_filsys fs, struct ext2_xattr_handle *h, const struct tree_xattr *x, blk64_t *sum)
{
	uint32_t free_inodes = fs->super->s_free_inodes_count;
	errcode_t rc = set_xattr(h, x, x->value_len);

	if (fs->super->s_free_inodes_count != free_inodes)
		*sum += (x->value_len + EXT4_BLOCK - 1) / EXT4_BLOCK;
	return rc;
}

/*
 * A value that lies with the names stays there, even if a name behind it has no room any more: so
 * all names come first where that can happen.
 */
static errcode_t put_all_xattrs(
	ext2_filsys fs, struct ext2_xattr_handle *h, const struct tree_inode *node, blk64_t *sum)
{
	const struct tree_xattr *x = has_large_xattrs(node) ? node->xattrs : NULL;
	errcode_t rc = 0;

	for (; x && !rc; x = x->next)
		rc = set_xattr(h, x, 0);
	for (x = node->xattrs; x && !rc; x = x->next)
		rc = put_xattr(fs, h, x, sum);
	return rc;
}

/* The kernel counts the blocks of attributes with inodes as the file's; the library does not. */
static errcode_t charge(struct writer *w, ext2_ino_t ino, blk64_t blocks)
{
	struct ext2_inode_large large;
	struct ext2_inode *inode = (struct ext2_inode *)&large;
	errcode_t rc = ext2fs_read_inode_full(w->fs, ino, inode, sizeof(large));

	if (!rc)
		rc = ext2fs_iblk_add_blocks(w->fs, inode, blocks);
	return rc ? rc : ext2fs_write_inode_full(w->fs, ino, inode, sizeof(large));
}

static int put_xattrs(struct writer *w, const struct tree_inode *node, struct err *err)
{
	ext2_ino_t ino = (ext2_ino_t)node->nid;
	struct ext2_xattr_handle *h;
	blk64_t blocks = 0;
	errcode_t rc;

	if (!node->xattrs)
		return 0;
	rc = ext2fs_xattrs_open(w->fs, ino, &h);
	if (rc)
		return library_error(w, err, rc, "begin its extended attributes");
	rc = put_all_xattrs(w->fs, h, node, &blocks);
	(void)ext2fs_xattrs_close(&h);
	if (rc == EXT2_ET_EA_NO_SPACE)
		return err_msg(err, E2BIG,
			"'%.100s' has more extended attributes than ext4 takes: 4 KiB of their "
			"names",
			w->name);
	/* That its target is in its inode is seen by its having no blocks. */
	if (!rc && blocks && S_ISLNK(node->mode) && !is_mapped(node))
		return err_msg(err, E2BIG,
			"the symbolic link '%.100s' has more extended attributes than ext4 takes: "
			"4 KiB",
			w->name);
	if (!rc && blocks)
		rc = charge(w, ino, blocks);
	return rc ? library_error(w, err, rc, "write extended attributes") : 0;
}

static int put_inode(
	struct writer *w, struct tree_inode *node, const struct ext4_dir *dir, struct err *err)
{
	struct ext2_inode_large inode = { 0 };
	ext2_ino_t ino = (ext2_ino_t)node->nid;
	errcode_t rc;
	int r = 0;

	fill_inode(&inode, node, dir->indexed);
	if (S_ISDIR(node->mode))
		inode.i_size = (uint32_t)dir->blocks.len;
	ext2fs_inode_alloc_stats2(w->fs, ino, +1, S_ISDIR(node->mode));
	rc = ext2fs_write_inode_full(w->fs, ino, (struct ext2_inode *)&inode, sizeof(inode));
	if (rc)
		return library_error(w, err, rc, "write its inode");
	if (is_mapped(node))
		r = put_mapped(w, node, (struct ext2_inode *)&inode,
			S_ISDIR(node->mode) ? &dir->blocks : NULL, err);
	return r || has_large_xattrs(node) ? r : put_xattrs(w, node, err);
}

static int write_one(void *ctx, struct tree_inode *parent, struct tree_name *name, struct err *err)
{
	struct tree_inode *node = name ? name->inode : parent;
	struct writer *w = ctx;
	struct ext4_dir dir = { 0 };
	int r = 0;

	if (node->addr)
		return 0; /* under another of its names */
	node->addr = 1;
	w->name = name ? name->name : "/";
	if (S_ISDIR(node->mode))
		r = ext4_dir_make(w->fs, node, &dir, err);
	r = r ? r : put_inode(w, node, &dir, err);
	buf_release(&dir.blocks);
	return r;
}

/* The library takes any free inode for a large one: by now all those of the tree are taken. */
static int write_large_xattrs(
	void *ctx, struct tree_inode *parent, struct tree_name *name, struct err *err)
{
	struct tree_inode *node = name ? name->inode : parent;
	struct writer *w = ctx;

	if (!node->addr || !has_large_xattrs(node))
		return 0;
	node->addr = 0; /* once, however many names it has */
	w->name = name ? name->name : "/";
	return put_xattrs(w, node, err);
}

static int fill(void *ctx, ext2_filsys fs, struct err *err)
{
	struct writer *w = ctx;
	int r;

	w->fs = fs;
	w->goal = fs->super->s_first_data_block;
	r = tree_each(w->t, write_one, w, err);
	return r || !w->large_xattrs ? r : tree_each(w->t, write_large_xattrs, w, err);
}

/* ---- the whole ---- */

int ext4_write(struct tree *t, const int *device, const uint8_t uuid[16], int out_fd,
	uint64_t *ret_size, struct err *err)
{
	struct writer w = {
		.t = t, .device = device, .out_fd = out_fd, .next_ino = EXT2_GOOD_OLD_FIRST_INO
	};
	struct ext4_config cfg = {
		.journal = JOURNAL_BLOCKS, .uuid = uuid, .fill = fill, .ctx = &w
	};
	uint64_t bytes;
	int r = tree_count(t, &w.inodes, &bytes, err);

	r = r ? r : tree_each(t, forget_number, NULL, err);
	r = r ? r : tree_each(t, number, &w, err);
	if (r < 0)
		return r;
	cfg.size = size_needed(&w);
	cfg.large_xattrs = w.large_xattrs;
	if (cfg.size > SIZE_MAX_EXT4)
		return err_msg(err, E2BIG, "the image is larger than 16 TiB");
	if (ftruncate(out_fd, (off_t)cfg.size) < 0)
		return err_set(err, errno, "make room for an ext4 file system");
	r = ext4_format(out_fd, &cfg, err);
	if (r == 0)
		*ret_size = cfg.size;
	return r;
}
