/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image, front to back:
 *
 *	block 0      superblock at byte 1024, device table behind it (more blocks if it is long)
 *	data	     of files, if they are in this image; written before we are called
 *	metadata     inodes with their xattrs, chunk indexes and short tails, in the order of
 *		     tree_each(): the root first, so that its nid fits the superblock's 16 bits
 *	blocks	     of directories and symbolic links that are too long to lie inline
 *
 * Three passes over the tree in the same order: place, write inodes, write blocks. What a pass
 * needs to know about a file it computes again (struct shape): cheaper than keeping it for a
 * million of them.
 */
#include "image/erofs_write.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/erofs.h"
#include "image/erofs_disk.h"
#include "lib/cleanup.h"
#include "lib/num.h"

/* nid 0 would be legal for the root, but some tools take it for "none". */
#define ROOT_NID 2U

/*
 * struct writer - one erofs_write()
 * @meta_pos:   where the metadata begins; nids count from there
 * @next:	placing: bytes of metadata so far; writing: end of the last inode written
 * @blocks_pos: where the blocks behind the metadata begin
 * @n_blocks:   of those, handed out so far
 * @majority, @votes: the most frequent time, by the algorithm of Boyer and Moore
 */
struct writer {
	struct tree *t;
	struct out *o;
	const struct erofs_params *p;
	uint64_t meta_pos, next, blocks_pos, n_blocks;
	int64_t majority;
	uint64_t votes;
	uint32_t ino;
	bool has_chunks;
};

/*
 * struct shape - how a file is stored
 * @head:   inode and xattrs
 * @tail:   bytes of inline data, or of chunk indexes with what aligns them
 * @blocks: behind the metadata
 */
struct shape {
	uint32_t isize, xsize, head;
	uint16_t layout;
	uint64_t tail, blocks;
	unsigned chunk_bits;
};

static uint64_t blocks_of(uint64_t size)
{
	return (size + EROFS_BLOCK - 1) >> EROFS_BLOCK_BITS;
}

static uint32_t xattr_size(const struct tree_inode *inode)
{
	uint64_t n = sizeof(struct erofs_xattr_ibody_disk);

	if (!inode->xattrs)
		return 0;
	for (const struct tree_xattr *x = inode->xattrs; x; x = x->next)
		n += ALIGN_UP(sizeof(struct erofs_xattr_disk) + x->name_len + x->value_len, 4U);
	return (uint32_t)MIN_OF(n, (uint64_t)UINT32_MAX);
}

static bool is_compact(const struct writer *w, const struct tree_inode *inode)
{
	return w->p->compact && inode->mtime == w->majority && !inode->mtime_ns &&
	       inode->uid <= UINT16_MAX && inode->gid <= UINT16_MAX && inode->nlink <= UINT16_MAX &&
	       inode->size <= UINT32_MAX;
}

/* Data without holes in this very image: needs no indexes. */
static bool is_flat(const struct tree_inode *inode)
{
	return !inode->size || (!inode->device && inode->n_extents == 1 && !inode->extents->block &&
				       inode->extents->count >= blocks_of(inode->size));
}

/* The largest chunk on whose borders all pieces begin and end; the file's end is no border. */
static unsigned chunk_bits(const struct tree_inode *inode)
{
	uint64_t n = blocks_of(inode->size), borders = 0;
	unsigned bits = 0;

	for (uint32_t i = 0; i < inode->n_extents; i++) {
		const struct tree_extent *e = &inode->extents[i];
		uint64_t end = (uint64_t)e->block + e->count;

		borders |= e->block | (end < n ? end : 0);
	}
	if (borders)
		return (unsigned)__builtin_ctzll(borders);
	while (bits < EROFS_CHUNK_BITS && (1ULL << bits) < n)
		bits++;
	return bits;
}

static void shape_file(const struct tree_inode *inode, struct shape *s)
{
	uint64_t chunk;

	if (is_flat(inode))
		return;
	s->layout = EROFS_CHUNK_BASED;
	s->chunk_bits = chunk_bits(inode);
	chunk = (uint64_t)EROFS_BLOCK << s->chunk_bits;
	s->tail = ALIGN_UP(s->head, 8U) - s->head +
		  (inode->size + chunk - 1) / chunk * sizeof(struct erofs_chunk_disk);
}

/* Directories and symbolic links: what does not fill a block goes beside the inode if it fits. */
static void shape_inline(const struct tree_inode *inode, struct shape *s)
{
	uint32_t tail = inode->size % EROFS_BLOCK;

	if (tail && s->head + tail <= EROFS_BLOCK) {
		s->layout = EROFS_FLAT_INLINE;
		s->tail = tail;
		s->blocks = inode->size / EROFS_BLOCK;
	} else {
		s->blocks = blocks_of(inode->size);
	}
}

static struct shape shape_of(const struct writer *w, const struct tree_inode *inode)
{
	struct shape s = { .isize = is_compact(w, inode) ? 32 : 64, .xsize = xattr_size(inode) };

	s.head = s.isize + s.xsize;
	if (S_ISREG(inode->mode))
		shape_file(inode, &s);
	else if (S_ISDIR(inode->mode) || S_ISLNK(inode->mode))
		shape_inline(inode, &s);
	return s;
}

/* ---- directories ---- */

/* struct dent - an entry of a directory on disk */
struct dent {
	const char *name;
	uint32_t len;
	const struct tree_inode *inode;
};

static void insert_dent(struct dent *v, size_t n, struct dent d)
{
	while (n) {
		int r = memcmp(v[n - 1].name, d.name, MIN_OF(v[n - 1].len, d.len));

		if (r < 0 || (r == 0 && v[n - 1].len < d.len))
			break;
		v[n] = v[n - 1];
		n--;
	}
	v[n] = d;
}

/* "." and ".." have no special place: a name like "+x" sorts before them. */
static int dents_of(struct tree_inode *dir, struct dent **ret, size_t *ret_n, struct err *err)
{
	cleanup_free struct tree_name **names = NULL;
	struct dent *v;
	size_t n = dir->n_children;
	int r = tree_list(dir, &names, err);

	if (r < 0)
		return r;
	v = calloc(n + 2, sizeof(*v));
	if (!v)
		return err_set(err, ENOMEM, "write directory");
	for (size_t i = 0; i < n; i++)
		v[i] = (struct dent){ names[i]->name, names[i]->len, names[i]->inode };
	insert_dent(v, n, (struct dent){ ".", 1, dir });
	insert_dent(v, n + 1, (struct dent){ "..", 2, dir->parent });
	*ret = v;
	*ret_n = n + 2;
	return 0;
}

/* As many entries from @i on as fit a block. Return: index behind the last, *ret_used bytes. */
static size_t fit_block(const struct dent *v, size_t n, size_t i, uint32_t *ret_used)
{
	uint32_t used = 0;

	while (i < n && used + sizeof(struct erofs_dirent_disk) + v[i].len <= EROFS_BLOCK)
		used += (uint32_t)sizeof(struct erofs_dirent_disk) + v[i++].len;
	*ret_used = used;
	return i;
}

static int dir_size(struct tree_inode *dir, struct err *err)
{
	cleanup_free struct dent *v = NULL;
	uint64_t blocks = 0;
	uint32_t used = 0;
	size_t n = 0;
	int r = dents_of(dir, &v, &n, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; blocks++)
		i = fit_block(v, n, i, &used);
	dir->size = (blocks - 1) * EROFS_BLOCK + used;
	return 0;
}

static uint8_t file_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return EROFS_FT_REG;
	case S_IFDIR:
		return EROFS_FT_DIR;
	case S_IFCHR:
		return EROFS_FT_CHR;
	case S_IFBLK:
		return EROFS_FT_BLK;
	case S_IFIFO:
		return EROFS_FT_FIFO;
	case S_IFSOCK:
		return EROFS_FT_SOCK;
	default:
		return EROFS_FT_SYMLINK;
	}
}

static void fill_dir_block(const struct dent *v, size_t from, size_t to, uint8_t *block)
{
	uint32_t name_off = (uint32_t)((to - from) * sizeof(struct erofs_dirent_disk));

	for (size_t i = from; i < to; i++) {
		struct erofs_dirent_disk d = { .nid = v[i].inode->nid,
			.nameoff = (uint16_t)name_off,
			.file_type = file_type(v[i].inode->mode) };

		memcpy(block + (i - from) * sizeof(d), &d, sizeof(d));
		memcpy(block + name_off, v[i].name, v[i].len);
		name_off += v[i].len;
	}
}

/* Write the part of a directory that starts at byte @from and ends before @to, @to - @from at most
 * one block when it is the inline tail. */
static int write_dir(
	struct writer *w, struct tree_inode *dir, uint64_t from, uint64_t to, struct err *err)
{
	cleanup_free struct dent *v = NULL;
	uint64_t pos = 0;
	size_t n = 0, i = 0;
	int r = dents_of(dir, &v, &n, err);

	for (; r == 0 && i < n && pos < to; pos += EROFS_BLOCK) {
		uint8_t block[EROFS_BLOCK] = { 0 };
		uint32_t used;
		size_t end = fit_block(v, n, i, &used);

		if (pos >= from) {
			fill_dir_block(v, i, end, block);
			r = out_write(
				w->o, block, (size_t)MIN_OF(to - pos, (uint64_t)EROFS_BLOCK), err);
		}
		i = end;
	}
	return r;
}

/* ---- placing ---- */

/* Offset of an inode in the metadata; 0: not placed. */
static uint64_t offset_of(const struct tree_inode *inode)
{
	return inode->nid * EROFS_SLOT;
}

static int forget_place(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err)
{
	struct tree_inode *inode = name ? name->inode : dir;
	struct writer *w = ctx;

	inode->nid = 0;
	if (inode->mtime_ns)
		return 0;
	if (!w->votes)
		w->majority = inode->mtime;
	w->votes = inode->mtime == w->majority ? w->votes + 1 : w->votes - 1;
	return 0;
}

/* Inline data must not cross a block's border. */
static int place(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err)
{
	struct tree_inode *inode = name ? name->inode : dir;
	struct writer *w = ctx;
	struct shape s;
	uint64_t off = ALIGN_UP(w->next, (uint64_t)EROFS_SLOT);
	int r = 0;

	if (inode->nid)
		return 0;
	if (S_ISDIR(inode->mode))
		r = dir_size(inode, err);
	if (r < 0)
		return r;
	s = shape_of(w, inode);
	if (s.xsize > EROFS_XATTR_MAX_IBODY)
		return err_msg(err, E2BIG,
			"'%s' has %u bytes of extended attributes, %u are possible",
			name ? name->name : "/", s.xsize, EROFS_XATTR_MAX_IBODY);
	if (s.layout == EROFS_FLAT_INLINE && off % EROFS_BLOCK + s.head + s.tail > EROFS_BLOCK)
		off = ALIGN_UP(off, (uint64_t)EROFS_BLOCK);
	inode->nid = off / EROFS_SLOT;
	inode->addr = (uint32_t)w->n_blocks;
	w->n_blocks += s.blocks;
	w->next = off + s.head + s.tail;
	w->has_chunks |= s.layout == EROFS_CHUNK_BASED;
	return 0;
}

/* ---- inodes ---- */

static uint32_t inode_u(
	const struct writer *w, const struct tree_inode *inode, const struct shape *s)
{
	if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode))
		return inode->rdev;
	if (s->layout == EROFS_CHUNK_BASED)
		return EROFS_CHUNK_INDEXES | s->chunk_bits;
	if (S_ISREG(inode->mode) && inode->size)
		return inode->extents->addr;
	if (s->blocks)
		return (uint32_t)(w->blocks_pos / EROFS_BLOCK) + inode->addr;
	return S_ISREG(inode->mode) || s->layout == EROFS_FLAT_INLINE ? EROFS_NULL_ADDR : 0;
}

static uint16_t xattr_icount(const struct shape *s)
{
	return s->xsize ? (uint16_t)((s->xsize - sizeof(struct erofs_xattr_ibody_disk)) / 4 + 1)
			: 0;
}

static int write_inode_head(
	struct writer *w, const struct tree_inode *inode, const struct shape *s, struct err *err)
{
	uint32_t u = inode_u(w, inode, s), ino = ++w->ino;
	struct erofs_inode_compact c = { .format = (uint16_t)(s->layout << 1),
		.xattr_icount = xattr_icount(s),
		.mode = (uint16_t)inode->mode,
		.nlink = (uint16_t)inode->nlink,
		.size = (uint32_t)inode->size,
		.u = u,
		.ino = ino,
		.uid = (uint16_t)inode->uid,
		.gid = (uint16_t)inode->gid };
	struct erofs_inode_extended e = { .format = (uint16_t)(s->layout << 1 | 1),
		.xattr_icount = xattr_icount(s),
		.mode = (uint16_t)inode->mode,
		.size = inode->size,
		.u = u,
		.ino = ino,
		.uid = inode->uid,
		.gid = inode->gid,
		.mtime = (uint64_t)inode->mtime,
		.mtime_nsec = inode->mtime_ns,
		.nlink = inode->nlink };

	return s->isize == sizeof(c) ? out_write(w->o, &c, sizeof(c), err)
				     : out_write(w->o, &e, sizeof(e), err);
}

static int write_xattrs(struct writer *w, const struct tree_inode *inode, struct err *err)
{
	static const struct erofs_xattr_ibody_disk ibody;
	static const uint8_t zeros[4];
	int r = inode->xattrs ? out_write(w->o, &ibody, sizeof(ibody), err) : 0;

	for (const struct tree_xattr *x = inode->xattrs; r == 0 && x; x = x->next) {
		struct erofs_xattr_disk d = {
			.name_len = x->name_len, .name_index = x->index, .value_size = x->value_len
		};
		uint32_t len = (uint32_t)x->name_len + x->value_len;

		r = out_write(w->o, &d, sizeof(d), err);
		if (r == 0)
			r = out_write(w->o, x->data, len, err);
		if (r == 0)
			r = out_write(w->o, zeros, ALIGN_UP(len, 4U) - len, err);
	}
	return r;
}

static int write_chunks(
	struct writer *w, const struct tree_inode *inode, const struct shape *s, struct err *err)
{
	uint64_t n = blocks_of(inode->size), step = 1ULL << s->chunk_bits;
	const struct tree_extent *e = inode->extents, *end = e ? e + inode->n_extents : NULL;
	int r = out_seek(w->o, ALIGN_UP(w->o->pos, (uint64_t)8), err);

	for (uint64_t block = 0; r == 0 && block < n; block += step) {
		struct erofs_chunk_disk c = { .blkaddr = EROFS_NULL_ADDR };

		while (e != end && block >= (uint64_t)e->block + e->count)
			e++;
		if (e != end && block >= e->block) {
			c.device_id = inode->device;
			c.blkaddr = e->addr + (uint32_t)(block - e->block);
		}
		r = out_write(w->o, &c, sizeof(c), err);
	}
	return r;
}

static int write_tail(
	struct writer *w, struct tree_inode *inode, const struct shape *s, struct err *err)
{
	uint64_t whole = ALIGN_DOWN(inode->size, (uint64_t)EROFS_BLOCK);

	if (s->layout == EROFS_CHUNK_BASED)
		return write_chunks(w, inode, s, err);
	if (s->layout != EROFS_FLAT_INLINE)
		return 0;
	if (S_ISDIR(inode->mode))
		return write_dir(w, inode, whole, inode->size, err);
	return out_write(w->o, inode->target + whole, (size_t)(inode->size - whole), err);
}

static int write_inode(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err)
{
	struct tree_inode *inode = name ? name->inode : dir;
	struct writer *w = ctx;
	struct shape s;
	int r;

	/* Another name of it came before: places only grow. */
	if (offset_of(inode) < w->next)
		return 0;
	s = shape_of(w, inode);
	w->next = offset_of(inode) + s.head + s.tail;
	if ((r = out_seek(w->o, w->meta_pos + offset_of(inode), err)) < 0 ||
		(r = write_inode_head(w, inode, &s, err)) < 0 ||
		(r = write_xattrs(w, inode, err)) < 0)
		return r;
	r = write_tail(w, inode, &s, err);
	assert(r < 0 || w->o->pos == w->meta_pos + w->next);
	return r;
}

static int write_blocks(void *ctx, struct tree_inode *dir, struct tree_name *name, struct err *err)
{
	struct tree_inode *inode = name ? name->inode : dir;
	struct writer *w = ctx;
	struct shape s = shape_of(w, inode);
	uint64_t pos = w->blocks_pos + (uint64_t)inode->addr * EROFS_BLOCK;
	uint64_t len = MIN_OF(inode->size, s.blocks * EROFS_BLOCK);
	int r;

	if (!s.blocks || pos < w->o->pos)
		return 0;
	r = out_seek(w->o, pos, err);
	if (r < 0)
		return r;
	r = S_ISDIR(inode->mode) ? write_dir(w, inode, 0, len, err)
				 : out_write(w->o, inode->target, (size_t)len, err);
	return r < 0 ? r : out_seek(w->o, ALIGN_UP(w->o->pos, (uint64_t)EROFS_BLOCK), err);
}

/* ---- the beginning of the image ---- */

uint32_t erofs_crc32c(uint32_t crc, const void *data, unsigned len)
{
	const uint8_t *p = data;

	while (len--) {
		crc ^= *p++;
		for (unsigned i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78U : 0);
	}
	return crc;
}

static uint64_t table_end(const struct erofs_params *p)
{
	return EROFS_SB_POS + sizeof(struct erofs_super_disk) +
	       (uint64_t)p->n_devices * sizeof(struct erofs_device_disk);
}

static int fill_devices(const struct writer *w, uint64_t blocks, uint8_t *head, struct err *err)
{
	uint8_t *at = head + EROFS_SB_POS + sizeof(struct erofs_super_disk);

	for (unsigned i = 0; i < w->p->n_devices; i++, at += sizeof(struct erofs_device_disk)) {
		const struct erofs_extra *extra = &w->p->devices[i];
		struct erofs_device_disk d = { .blocks = extra->blocks,
			.mapped_blkaddr = (uint32_t)blocks };

		memcpy(d.tag, extra->tag, sizeof(d.tag));
		blocks += extra->blocks;
		if (blocks >= EROFS_NULL_ADDR)
			return err_msg(err, E2BIG,
				"the layers together are larger than EROFS can address");
		memcpy(at, &d, sizeof(d));
	}
	return 0;
}

static void fill_super(const struct writer *w, const struct erofs_written *result,
	const uint8_t uuid[static 16], uint8_t *head)
{
	struct erofs_super_disk sb = { .magic = EROFS_MAGIC,
		.feature_compat = EROFS_COMPAT_SB_CHKSUM,
		.blkszbits = EROFS_BLOCK_BITS,
		.root_nid = ROOT_NID,
		.inos = result->inodes,
		.build_time = (uint64_t)w->majority,
		.blocks = (uint32_t)(result->size / EROFS_BLOCK),
		.meta_blkaddr = (uint32_t)(w->meta_pos / EROFS_BLOCK),
		.extra_devices = (uint16_t)w->p->n_devices };
	uint8_t *at = head + EROFS_SB_POS;

	sb.feature_incompat = (w->has_chunks ? EROFS_INCOMPAT_CHUNKED_FILE : 0) |
			      (w->p->n_devices ? EROFS_INCOMPAT_DEVICE_TABLE : 0);
	sb.devt_slotoff = w->p->n_devices
				  ? (EROFS_SB_POS + sizeof(sb)) / sizeof(struct erofs_device_disk)
				  : 0;
	memcpy(sb.uuid, uuid, sizeof(sb.uuid));
	memcpy(at, &sb, sizeof(sb));
	sb.checksum = erofs_crc32c(UINT32_MAX, at, EROFS_BLOCK - EROFS_SB_POS);
	memcpy(at, &sb, sizeof(sb));
}

static int write_head(struct writer *w, const struct erofs_written *result, struct err *err)
{
	size_t len = (size_t)ALIGN_UP(table_end(w->p), (uint64_t)EROFS_BLOCK);
	cleanup_free uint8_t *head = calloc(1, len);
	uint8_t uuid[16];
	int r;

	if (!head)
		return err_set(err, ENOMEM, "write image");
	r = fill_devices(w, result->size / EROFS_BLOCK, head, err);
	r = r ? r : erofs_uuid_make(w->p->seed, w->o->fd, w->meta_pos, result->size, uuid, err);
	if (r < 0)
		return r;
	fill_super(w, result, uuid, head);
	return out_patch(w->o, 0, head, len, err);
}

static int write_metadata(struct writer *w, struct err *err)
{
	int r = tree_each(w->t, place, w, err);

	if (r < 0)
		return r;
	/* fsck.erofs 1.5 reads the head of xattrs behind every inode, also of those without. */
	w->blocks_pos = ALIGN_UP(w->meta_pos + w->next + sizeof(struct erofs_xattr_ibody_disk),
		(uint64_t)EROFS_BLOCK);
	if (w->blocks_pos / EROFS_BLOCK + w->n_blocks >= EROFS_NULL_ADDR)
		return err_msg(err, E2BIG, "the image is larger than EROFS can address");
	w->next = 0;
	if ((r = tree_each(w->t, write_inode, w, err)) < 0 ||
		(r = out_seek(w->o, w->blocks_pos, err)) < 0)
		return r;
	return w->n_blocks ? tree_each(w->t, write_blocks, w, err) : 0;
}

int erofs_write(struct tree *t, struct out *o, const struct erofs_params *p,
	struct erofs_written *ret, struct err *err)
{
	struct writer w = { .t = t, .o = o, .p = p };
	struct erofs_written result = { 0 };
	int r;

	assert(sizeof(struct erofs_device_disk) == sizeof(struct erofs_super_disk));
	w.meta_pos = ALIGN_UP(MAX_OF(o->pos, table_end(p)), (uint64_t)EROFS_BLOCK);
	w.next = ROOT_NID * EROFS_SLOT;
	if ((r = tree_each(t, forget_place, &w, err)) < 0 ||
		(r = tree_count(t, &result.inodes, &result.file_bytes, err)) < 0 ||
		(r = out_seek(o, w.meta_pos, err)) < 0 || (r = write_metadata(&w, err)) < 0)
		return r;
	result.size = o->pos;
	if ((r = out_finish(o, err)) < 0 || (r = write_head(&w, &result, err)) < 0)
		return r;
	*ret = result;
	return 0;
}
