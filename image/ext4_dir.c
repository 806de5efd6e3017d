/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of one block is a list of entries. A larger one is a hash tree: block 0 has "." and
 * ".." and, where a reader of lists sees free space, a table of hashes and blocks; the leaves
 * are lists again, each with the names of a range of hashes. Above some 500 leaves the table's
 * blocks are tables themselves. The end of each block is kept for its checksum.
 */
#include "image/ext4_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define ENTRY_HEAD 8
#define TAIL	   12 /* an entry without name, with the checksum */
#define DOT_LEN	   12 /* the entry "." */
#define SELF_LEN   (2 * DOT_LEN)
#define LIST_END   (EXT4_BLOCK - TAIL)
#define SLOT	   8 /* of a table: hash, block */
#define NODE_START ENTRY_HEAD
#define ROOT_START (SELF_LEN + 8)
#define NODE_SLOTS ((EXT4_BLOCK - NODE_START) / SLOT - 1)
#define ROOT_SLOTS ((EXT4_BLOCK - ROOT_START) / SLOT - 1)
#define FULL	   90 /* percent of a leaf that is used, so that a first new name splits none */

/* struct item - a name to be placed */
struct item {
	const struct tree_name *name;
	uint32_t hash, minor;
};

/* struct range - a leaf, or a table of leaves, begins with @hash */
struct range {
	uint32_t hash, block;
};

static size_t entry_len(size_t name_len)
{
	return ALIGN_UP(ENTRY_HEAD + name_len, (size_t)4);
}

static uint8_t type_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return EXT2_FT_REG_FILE;
	case S_IFDIR:
		return EXT2_FT_DIR;
	case S_IFLNK:
		return EXT2_FT_SYMLINK;
	case S_IFCHR:
		return EXT2_FT_CHRDEV;
	case S_IFBLK:
		return EXT2_FT_BLKDEV;
	case S_IFIFO:
		return EXT2_FT_FIFO;
	default:
		return EXT2_FT_SOCK;
	}
}

static void put_entry(
	uint8_t *at, size_t rec_len, uint32_t ino, uint8_t type, const char *name, size_t name_len)
{
	store_le32(at, ino);
	store_le16(at + 4, (uint16_t)rec_len);
	at[6] = (uint8_t)name_len;
	at[7] = type;
	memcpy(at + ENTRY_HEAD, name, name_len);
}

/* "." and "..", the second as long as @end says */
static void put_self(uint8_t *block, const struct tree_inode *dir, size_t end)
{
	put_entry(block, DOT_LEN, (uint32_t)dir->nid, EXT2_FT_DIR, ".", 1);
	put_entry(block + DOT_LEN, end - DOT_LEN, (uint32_t)dir->parent->nid, EXT2_FT_DIR, "..", 2);
}

static int new_block(struct ext4_dir *d, uint8_t **ret, struct err *err)
{
	if (buf_reserve(&d->blocks, EXT4_BLOCK, ret) < 0)
		return err_set(err, ENOMEM, "make a directory");
	memset(*ret, 0, EXT4_BLOCK);
	buf_commit(&d->blocks, EXT4_BLOCK);
	return 0;
}

static uint32_t n_blocks(const struct ext4_dir *d)
{
	return (uint32_t)(d->blocks.len / EXT4_BLOCK);
}

static uint8_t *block_at(struct ext4_dir *d, uint32_t i)
{
	return (uint8_t *)buf_head(&d->blocks) + (size_t)i * EXT4_BLOCK;
}

/* ---- lists ---- */

/*
 * Entries of @item from @block's byte @pos on, the last as long as what is left of the block.
 * @limit: where no further entry begins. Return: how many.
 */
static size_t put_list(
	ext2_filsys fs, uint8_t *block, size_t pos, size_t limit, const struct item *item, size_t n)
{
	size_t i, last = pos;

	for (i = 0; i < n; i++) {
		const struct tree_name *name = item[i].name;
		size_t len = entry_len(name->len);

		if (pos + len > limit)
			break;
		put_entry(block + pos, len, (uint32_t)name->inode->nid, type_of(name->inode->mode),
			name->name, name->len);
		last = pos;
		pos += len;
	}
	if (i)
		store_le16(block + last + 4, (uint16_t)(LIST_END - last));
	ext2fs_initialize_dirent_tail(fs, (void *)(block + LIST_END));
	return i;
}

static int make_list(ext2_filsys fs, const struct tree_inode *dir, const struct item *item,
	struct ext4_dir *d, struct err *err)
{
	uint8_t *block;
	int r = new_block(d, &block, err);

	if (r < 0)
		return r;
	put_self(block, dir, dir->n_children ? SELF_LEN : LIST_END);
	(void)put_list(fs, block, SELF_LEN, LIST_END, item, dir->n_children);
	return 0;
}

/* ---- hash trees ---- */

static int compare(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	if (x->minor != y->minor)
		return x->minor < y->minor ? -1 : 1;
	return strcmp(x->name->name, y->name->name);
}

static int hash_names(ext2_filsys fs, struct item *item, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		const struct tree_name *name = item[i].name;
		errcode_t rc = ext2fs_dirhash2(EXT2_HASH_HALF_MD4, name->name, name->len, NULL, 0,
			fs->super->s_hash_seed, &item[i].hash, &item[i].minor);

		if (rc)
			return ext4_error(err, rc, "hash a name");
	}
	qsort(item, n, sizeof(*item), compare);
	return 0;
}

/* All leaves, and where each begins. A hash that goes on from the leaf before is marked odd. */
static int make_leaves(ext2_filsys fs, const struct item *item, size_t n, struct ext4_dir *d,
	struct buf *leaves, struct err *err)
{
	for (size_t i = 0; i < n;) {
		struct range r = { .hash = item[i].hash, .block = n_blocks(d) };
		uint8_t *block;

		if (i && item[i - 1].hash == item[i].hash)
			r.hash |= 1;
		if (new_block(d, &block, err) < 0 || buf_append(leaves, &r, sizeof(r)) < 0)
			return err_set(err, ENOMEM, "make a directory");
		i += put_list(fs, block, 0, LIST_END * FULL / 100, item + i, n - i);
	}
	return 0;
}

/* The first slot has limit and count in place of a hash: it begins where its table begins. */
static void put_table(uint8_t *at, size_t limit, const struct range *range, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		store_le32(at + i * SLOT, range[i].hash);
		store_le32(at + i * SLOT + 4, range[i].block);
	}
	store_le16(at, (uint16_t)limit);
	store_le16(at + 2, (uint16_t)n);
}

static int make_nodes(
	struct ext4_dir *d, const struct range *leaf, size_t n, struct buf *nodes, struct err *err)
{
	for (size_t i = 0; i < n; i += NODE_SLOTS) {
		struct range r = { .hash = leaf[i].hash, .block = n_blocks(d) };
		uint8_t *block;

		if (new_block(d, &block, err) < 0 || buf_append(nodes, &r, sizeof(r)) < 0)
			return err_set(err, ENOMEM, "make a directory");
		store_le16(block + 4, EXT4_BLOCK); /* an entry that is not used */
		put_table(block + NODE_START, NODE_SLOTS, leaf + i,
			MIN_OF(n - i, (size_t)NODE_SLOTS));
	}
	return 0;
}

static int make_root(struct ext4_dir *d, const struct tree_inode *dir, const struct buf *ranges,
	uint8_t levels, struct err *err)
{
	uint8_t *root = block_at(d, 0);
	size_t n = ranges->len / sizeof(struct range);

	if (n > ROOT_SLOTS)
		return err_msg(err, E2BIG, "a folder has %u names: more than ext4 can hold",
			dir->n_children);
	put_self(root, dir, EXT4_BLOCK);
	root[SELF_LEN + 4] = EXT2_HASH_HALF_MD4;
	root[SELF_LEN + 5] = 8; /* length of this */
	root[SELF_LEN + 6] = levels;
	put_table(root + ROOT_START, ROOT_SLOTS, (const void *)buf_head(ranges), n);
	d->indexed = true;
	return 0;
}

static int make_tree(ext2_filsys fs, const struct tree_inode *dir, struct item *item,
	struct ext4_dir *d, struct err *err)
{
	cleanup_buf struct buf leaves = { 0 }, nodes = { 0 };
	uint8_t *root;
	size_t n;
	int r = hash_names(fs, item, dir->n_children, err);

	r = r ? r : new_block(d, &root, err);
	r = r ? r : make_leaves(fs, item, dir->n_children, d, &leaves, err);
	if (r < 0)
		return r;
	n = leaves.len / sizeof(struct range);
	if (n <= ROOT_SLOTS)
		return make_root(d, dir, &leaves, 0, err);
	r = make_nodes(d, (const void *)buf_head(&leaves), n, &nodes, err);
	return r ? r : make_root(d, dir, &nodes, 1, err);
}

/* ---- the whole ---- */

static struct item *take_names(const struct tree_inode *dir, size_t *ret_len, struct err *err)
{
	cleanup_free struct tree_name **names = NULL;
	struct item *item = calloc((size_t)dir->n_children + 1, sizeof(*item));

	*ret_len = SELF_LEN;
	if (!item || tree_list(dir, &names, err) < 0) {
		free(item);
		return NULL;
	}
	for (uint32_t i = 0; i < dir->n_children; i++) {
		item[i].name = names[i];
		*ret_len += entry_len(names[i]->len);
	}
	return item;
}

int ext4_dir_make(
	ext2_filsys fs, const struct tree_inode *dir, struct ext4_dir *ret, struct err *err)
{
	size_t len;
	cleanup_free struct item *item = take_names(dir, &len, err);

	if (!item)
		return err_set(err, ENOMEM, "make a directory");
	return len <= LIST_END ? make_list(fs, dir, item, ret, err)
			       : make_tree(fs, dir, item, ret, err);
}

/* Leaves are at least half full: the longest name takes a sixteenth. */
uint64_t ext4_dir_blocks(const struct tree_inode *dir)
{
	return 1 + (uint64_t)dir->n_children * entry_len(UINT8_MAX) / (LIST_END / 2);
}
