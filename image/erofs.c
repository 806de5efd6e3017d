/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader. Every byte may be a lie, so: no offset is used before it is known to lie within the
 * image (whose size is the file's, not the superblock's word), no count drives a loop that bytes on
 * disk do not pay for, and names are checked before anyone sees them.
 */
#include "image/erofs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "image/erofs_disk.h"
#include "image/tree.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/num.h"
#include "lib/path.h"

/* Blocks kept: enough that a walk in the order of the writer reads each once. */
#define CACHE_BLOCKS 64

/* No file is larger: block numbers within a file have 32 bits here. */
#define MAX_FILE (1ULL << 43)

/*
 * struct erofs - an image
 * @devices:	   borrowed descriptors, or NULL
 * @device_blocks: of each extra device, from the device table
 * @cache:	   block number % CACHE_BLOCKS; @cached is the number + 1, 0 for none
 */
struct erofs {
	int fd;
	const int *devices;
	uint32_t *device_blocks;
	unsigned n_devices;
	struct erofs_super_disk sb;
	uint64_t size;
	uint8_t (*cache)[EROFS_BLOCK];
	uint64_t cached[CACHE_BLOCKS];
};

static int damaged(struct err *err, const char *what)
{
	return err_msg(err, EBADMSG, "EROFS image is damaged: %s", what);
}

static int pread_all(int fd, void *buf, size_t len, uint64_t pos, struct err *err)
{
	ssize_t n = io_pread(fd, buf, len, pos);

	if (n < 0)
		return err_set(err, (int)n, "read EROFS image");
	return (size_t)n == len ? 0 : damaged(err, "it is shorter than it says");
}

static int cached_block(struct erofs *e, uint64_t block, const uint8_t **ret, struct err *err)
{
	unsigned slot = (unsigned)(block % CACHE_BLOCKS);
	int r;

	*ret = e->cache[slot];
	if (e->cached[slot] == block + 1)
		return 0;
	e->cached[slot] = 0;
	r = pread_all(e->fd, e->cache[slot], EROFS_BLOCK, block * EROFS_BLOCK, err);
	if (r == 0)
		e->cached[slot] = block + 1;
	return r;
}

/* Metadata at byte @pos of the image. */
static int read_meta(struct erofs *e, uint64_t pos, void *buf, size_t len, struct err *err)
{
	uint8_t *dst = buf;

	if (!range_ok(pos, len, e->size))
		return damaged(err, "a pointer leads out of it");
	while (len) {
		const uint8_t *block;
		size_t in = (size_t)(pos % EROFS_BLOCK), n = MIN_OF(len, EROFS_BLOCK - in);
		int r = cached_block(e, pos / EROFS_BLOCK, &block, err);

		if (r < 0)
			return r;
		memcpy(dst, block + in, n);
		dst += n;
		pos += n;
		len -= n;
	}
	return 0;
}

/* ---- opening ---- */

static int check_super(struct erofs *e, uint64_t file_size, struct err *err)
{
	const struct erofs_super_disk *sb = &e->sb;
	uint32_t known = EROFS_INCOMPAT_CHUNKED_FILE | EROFS_INCOMPAT_DEVICE_TABLE;
	uint8_t block[EROFS_BLOCK - EROFS_SB_POS];
	int r;

	if (sb->magic != EROFS_MAGIC)
		return err_msg(err, EBADMSG, "not an EROFS image");
	if (sb->blkszbits != EROFS_BLOCK_BITS || sb->dirblkbits || sb->sb_extslots ||
		sb->feature_incompat & ~known || sb->compr)
		return err_msg(err, EBADMSG, "EROFS image with features that are not supported");
	if (!sb->blocks || (uint64_t)sb->blocks * EROFS_BLOCK > file_size)
		return damaged(err, "it is shorter than it says");
	e->size = (uint64_t)sb->blocks * EROFS_BLOCK;
	if (!(sb->feature_compat & EROFS_COMPAT_SB_CHKSUM))
		return 0;
	r = pread_all(e->fd, block, sizeof(block), EROFS_SB_POS, err);
	if (r < 0)
		return r;
	memset(block + offsetof(struct erofs_super_disk, checksum), 0, 4);
	return erofs_crc32c(UINT32_MAX, block, sizeof(block)) == sb->checksum
		       ? 0
		       : damaged(err, "wrong checksum of the superblock");
}

static int read_devices(struct erofs *e, struct err *err)
{
	uint64_t pos = (uint64_t)e->sb.devt_slotoff * sizeof(struct erofs_device_disk);

	if (!(e->sb.feature_incompat & EROFS_INCOMPAT_DEVICE_TABLE))
		return e->sb.extra_devices ? damaged(err, "it has devices, but no table") : 0;
	e->n_devices = e->sb.extra_devices;
	e->device_blocks = calloc(e->n_devices + 1U, sizeof(*e->device_blocks));
	if (!e->device_blocks)
		return err_set(err, ENOMEM, "open EROFS image");
	for (unsigned i = 0; i < e->n_devices; i++, pos += sizeof(struct erofs_device_disk)) {
		struct erofs_device_disk d;
		int r = read_meta(e, pos, &d, sizeof(d), err);

		if (r < 0)
			return r;
		e->device_blocks[i] = d.blocks;
	}
	return 0;
}

int erofs_open(int fd, const int *devices, unsigned n_devices, struct erofs **ret, struct err *err)
{
	cleanup_erofs struct erofs *e = calloc(1, sizeof(*e));
	struct stat st;
	int r;

	if (!e)
		return err_set(err, ENOMEM, "open EROFS image");
	e->fd = fd;
	e->devices = devices;
	e->cache = calloc(CACHE_BLOCKS, EROFS_BLOCK);
	if (!e->cache)
		return err_set(err, ENOMEM, "open EROFS image");
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "open EROFS image");
	if (!S_ISREG(st.st_mode) || st.st_size < EROFS_BLOCK)
		return err_msg(err, EBADMSG, "not an EROFS image");
	if ((r = pread_all(fd, &e->sb, sizeof(e->sb), EROFS_SB_POS, err)) < 0 ||
		(r = check_super(e, (uint64_t)st.st_size, err)) < 0 ||
		(r = read_devices(e, err)) < 0)
		return r;
	if (devices && n_devices != e->n_devices)
		return err_msg(err, EINVAL, "EROFS image needs %u devices, got %u", e->n_devices,
			n_devices);
	*ret = take_ptr(&e);
	return 0;
}

void erofs_close(struct erofs *e)
{
	if (!e)
		return;
	free(e->device_blocks);
	free(e->cache);
	free(e);
}

uint32_t erofs_blocks(const struct erofs *e)
{
	return e->sb.blocks;
}

uint64_t erofs_inodes(const struct erofs *e)
{
	return e->sb.inos;
}

unsigned erofs_devices(const struct erofs *e)
{
	return e->n_devices;
}

uint64_t erofs_root(const struct erofs *e)
{
	return e->sb.root_nid;
}

/* ---- inodes ---- */

static uint64_t inode_pos(const struct erofs *e, uint64_t nid)
{
	return (uint64_t)e->sb.meta_blkaddr * EROFS_BLOCK + nid * EROFS_SLOT;
}

static uint32_t xattr_size(uint16_t icount)
{
	return icount ? (uint32_t)sizeof(struct erofs_xattr_ibody_disk) + 4U * (icount - 1U) : 0;
}

static void from_compact(
	const struct erofs *e, const struct erofs_inode_compact *d, struct erofs_inode *i)
{
	i->size = d->size;
	i->mode = d->mode;
	i->nlink = d->nlink;
	i->uid = d->uid;
	i->gid = d->gid;
	i->raw = d->u;
	i->mtime = (int64_t)e->sb.build_time;
	i->mtime_ns = e->sb.build_time_nsec;
	i->isize = sizeof(*d);
}

static void from_extended(const struct erofs_inode_extended *d, struct erofs_inode *i)
{
	i->size = d->size;
	i->mode = d->mode;
	i->nlink = d->nlink;
	i->uid = d->uid;
	i->gid = d->gid;
	i->raw = d->u;
	i->mtime = (int64_t)d->mtime;
	i->mtime_ns = d->mtime_nsec;
	i->isize = sizeof(*d);
}

static int check_type(struct erofs *e, struct erofs_inode *i, struct err *err)
{
	bool has_data = S_ISREG(i->mode) || S_ISDIR(i->mode) || S_ISLNK(i->mode);

	if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
		i->rdev = makedev(
			(i->raw & 0xfff00) >> 8, (i->raw & 0xff) | (i->raw >> 12 & 0xfff00));
	else if (!has_data && !S_ISFIFO(i->mode) && !S_ISSOCK(i->mode))
		return damaged(err, "a file of no type");
	if (i->mtime_ns >= 1000000000U)
		return damaged(err, "a time that does not exist");
	if (!has_data)
		return i->size ? damaged(err, "a special file with a size") : 0;
	if (i->size > MAX_FILE || (S_ISLNK(i->mode) && (!i->size || i->size > EROFS_BLOCK)))
		return damaged(err, "a size that is not possible");
	return 0;
}

/* Where its inline data begins, or the chunk indexes without their alignment. */
static uint64_t tail_pos(const struct erofs *e, const struct erofs_inode *i)
{
	return inode_pos(e, i->nid) + i->isize + xattr_size(i->xattr_icount);
}

static unsigned chunk_shift(const struct erofs_inode *i)
{
	return EROFS_BLOCK_BITS + (i->raw & EROFS_CHUNK_BITS);
}

/* All data within the image; of chunks, the indexes: each is checked when it is used. */
static int check_layout(struct erofs *e, const struct erofs_inode *i, struct err *err)
{
	uint64_t whole = ALIGN_DOWN(i->size, (uint64_t)EROFS_BLOCK), tail = i->size - whole;
	uint64_t pos = tail_pos(e, i), n;

	switch (i->layout) {
	case EROFS_FLAT_PLAIN:
		if (S_ISCHR(i->mode) || S_ISBLK(i->mode) || !i->size)
			return 0;
		whole = ALIGN_UP(i->size, (uint64_t)EROFS_BLOCK);
		break;
	case EROFS_FLAT_INLINE:
		if (!range_ok(pos % EROFS_BLOCK, tail, EROFS_BLOCK) ||
			!range_ok(pos, tail, e->size))
			return damaged(err, "inline data leaves its block");
		break;
	case EROFS_CHUNK_BASED:
		if (!S_ISREG(i->mode) ||
			(i->raw & ~(uint32_t)(EROFS_CHUNK_BITS | EROFS_CHUNK_INDEXES)))
			return damaged(err, "chunks of an unknown kind");
		if (!(i->raw & EROFS_CHUNK_INDEXES))
			return damaged(err, "chunks without indexes are not supported");
		n = i->size ? ((i->size - 1) >> chunk_shift(i)) + 1 : 0;
		if (!range_ok(ALIGN_UP(pos, (uint64_t)8), n * sizeof(struct erofs_chunk_disk),
			    e->size))
			return damaged(err, "chunk indexes lead out of it");
		return 0;
	default:
		return damaged(err, "compressed or unknown layout of a file");
	}
	if (whole && !range_ok((uint64_t)i->raw * EROFS_BLOCK, whole, e->size))
		return damaged(err, "data leads out of it");
	return 0;
}

int erofs_get(struct erofs *e, uint64_t nid, struct erofs_inode *ret, struct err *err)
{
	union {
		struct erofs_inode_compact compact;
		struct erofs_inode_extended extended;
	} d = { 0 };
	struct erofs_inode i = { .nid = nid };
	uint64_t pos = inode_pos(e, nid);
	int r;

	if (nid > e->size / EROFS_SLOT)
		return damaged(err, "an inode leads out of it");
	r = read_meta(e, pos, &d, sizeof(d.compact), err);
	if (r == 0 && d.compact.format & 1)
		r = read_meta(e, pos, &d, sizeof(d.extended), err);
	if (r < 0)
		return r;
	if (d.compact.format & ~0xfU)
		return damaged(err, "an inode of an unknown version");
	i.layout = d.compact.format >> 1;
	i.xattr_icount = d.compact.xattr_icount;
	if (d.compact.format & 1)
		from_extended(&d.extended, &i);
	else
		from_compact(e, &d.compact, &i);
	if ((r = check_type(e, &i, err)) < 0 || (r = check_layout(e, &i, err)) < 0)
		return r;
	*ret = i;
	return 0;
}

/* ---- data ---- */

static int map_chunk(struct erofs *e, const struct erofs_inode *i, uint64_t off,
	struct erofs_extent *x, struct err *err)
{
	uint64_t chunk = off >> chunk_shift(i), size = 1ULL << chunk_shift(i), end;
	struct erofs_chunk_disk c;
	uint64_t blocks;
	int r = read_meta(
		e, ALIGN_UP(tail_pos(e, i), (uint64_t)8) + chunk * sizeof(c), &c, sizeof(c), err);

	if (r < 0)
		return r;
	x->logical = chunk * size;
	end = ALIGN_UP(i->size, (uint64_t)EROFS_BLOCK);
	x->len = MIN_OF(size, end - x->logical);
	x->hole = c.blkaddr == EROFS_NULL_ADDR;
	if (x->hole)
		return 0;
	if (c.device_id > e->n_devices)
		return damaged(err, "data on a device that is not in its table");
	x->device = c.device_id;
	x->pos = (uint64_t)c.blkaddr * EROFS_BLOCK;
	blocks = c.device_id ? e->device_blocks[c.device_id - 1] : e->sb.blocks;
	return range_ok(x->pos, x->len, blocks * EROFS_BLOCK)
		       ? 0
		       : damaged(err, "data leads out of it");
}

/* One piece as the disk has it; the caller joins. */
static int map_piece(struct erofs *e, const struct erofs_inode *i, uint64_t off,
	struct erofs_extent *x, struct err *err)
{
	uint64_t whole = ALIGN_DOWN(i->size, (uint64_t)EROFS_BLOCK);

	*x = (struct erofs_extent){ 0 };
	if (off >= i->size)
		return damaged(err, "mapping beyond the end of a file");
	if (i->layout == EROFS_CHUNK_BASED)
		return map_chunk(e, i, off, x, err);
	if (i->layout == EROFS_FLAT_INLINE && off >= whole) {
		x->logical = whole;
		x->len = i->size - whole;
		x->pos = tail_pos(e, i);
		return 0;
	}
	x->len = i->layout == EROFS_FLAT_INLINE ? whole : ALIGN_UP(i->size, (uint64_t)EROFS_BLOCK);
	x->pos = (uint64_t)i->raw * EROFS_BLOCK;
	return 0;
}

int erofs_map(struct erofs *e, const struct erofs_inode *i, uint64_t off, struct erofs_extent *ret,
	struct err *err)
{
	struct erofs_extent x, next;
	int r = map_piece(e, i, off, &x, err);

	if (r < 0)
		return r;
	while (i->layout == EROFS_CHUNK_BASED && x.logical + x.len < i->size) {
		r = map_piece(e, i, x.logical + x.len, &next, err);
		if (r < 0)
			return r;
		if (next.hole != x.hole || next.device != x.device ||
			(!x.hole && next.pos != x.pos + x.len))
			break;
		x.len += next.len;
	}
	*ret = x;
	return 0;
}

/* @len bytes of one piece, @in bytes from its start. */
static int read_piece(struct erofs *e, const struct erofs_extent *x, uint64_t in, void *buf,
	size_t len, struct err *err)
{
	if (x->hole) {
		memset(buf, 0, len);
		return 0;
	}
	if (!x->device)
		return pread_all(e->fd, buf, len, x->pos + in, err);
	if (!e->devices)
		return err_msg(
			err, ENXIO, "the data lies on device %u, which was not given", x->device);
	return pread_all(e->devices[x->device - 1], buf, len, x->pos + in, err);
}

ssize_t erofs_read(struct erofs *e, const struct erofs_inode *i, uint64_t off, void *buf,
	size_t len, struct err *err)
{
	uint8_t *dst = buf;
	size_t done = 0;

	if (off >= i->size)
		return 0;
	len = (size_t)MIN_OF((uint64_t)MIN_OF(len, (size_t)INT32_MAX), i->size - off);
	while (done < len) {
		struct erofs_extent x;
		uint64_t in;
		size_t n;
		int r = map_piece(e, i, off + done, &x, err);

		if (r < 0)
			return r;
		in = off + done - x.logical;
		n = (size_t)MIN_OF((uint64_t)(len - done), x.len - in);
		r = read_piece(e, &x, in, dst + done, n, err);
		if (r < 0)
			return r;
		done += n;
	}
	return (ssize_t)done;
}

/* ---- directories ---- */

/* struct dir_block - a block of a directory, @len bytes, @n entries */
struct dir_block {
	uint8_t data[EROFS_BLOCK];
	size_t len, n;
};

static int load_dir_block(struct erofs *e, const struct erofs_inode *dir, uint64_t off,
	struct dir_block *b, struct err *err)
{
	ssize_t len = erofs_read(e, dir, off, b->data, EROFS_BLOCK, err);
	struct erofs_dirent_disk first;

	if (len < 0)
		return (int)len;
	if ((size_t)len < sizeof(first))
		return damaged(err, "a directory that is cut off");
	memcpy(&first, b->data, sizeof(first));
	if (!first.nameoff || first.nameoff % sizeof(first) || first.nameoff >= len)
		return damaged(err, "a directory with a wrong table");
	b->len = (size_t)len;
	b->n = first.nameoff / sizeof(first);
	return 0;
}

/* Entry @i: a name ends where the next begins, the last one with the block or its first NUL. */
static int dir_entry(
	const struct dir_block *b, size_t i, char *name, uint64_t *ret_nid, struct err *err)
{
	struct erofs_dirent_disk d, next = { .nameoff = (uint16_t)b->len };
	size_t len;

	memcpy(&d, b->data + i * sizeof(d), sizeof(d));
	if (i + 1 < b->n)
		memcpy(&next, b->data + (i + 1) * sizeof(d), sizeof(d));
	if (d.nameoff < b->n * sizeof(d) || d.nameoff >= next.nameoff || next.nameoff > b->len)
		return damaged(err, "a directory with a wrong table");
	len = strnlen((const char *)b->data + d.nameoff, (size_t)(next.nameoff - d.nameoff));
	if (!len || len > 255 || (i + 1 < b->n && len != (size_t)(next.nameoff - d.nameoff)))
		return damaged(err, "a directory with a wrong name");
	memcpy(name, b->data + d.nameoff, len);
	name[len] = '\0';
	*ret_nid = d.nid;
	return 0;
}

/* @last: the name before, which must be smaller; "." and ".." count, but are not told. */
static int list_block(
	const struct dir_block *b, char *last, erofs_name_fn *fn, void *ctx, struct err *err)
{
	for (size_t i = 0; i < b->n; i++) {
		char name[256];
		uint64_t nid = 0;
		int r = dir_entry(b, i, name, &nid, err);

		if (r < 0)
			return r;
		if (strcmp(last, name) >= 0)
			return damaged(err, "a directory that is not sorted");
		memcpy(last, name, strlen(name) + 1);
		if (!strcmp(name, ".") || !strcmp(name, ".."))
			continue;
		if (!path_name_ok(name))
			return damaged(err, "a directory with a wrong name");
		r = fn(ctx, name, nid, err);
		if (r)
			return r;
	}
	return 0;
}

int erofs_list(struct erofs *e, const struct erofs_inode *dir, erofs_name_fn *fn, void *ctx,
	struct err *err)
{
	cleanup_free struct dir_block *b = malloc(sizeof(*b));
	char last[256] = "";
	int r = 0;

	if (!b)
		return err_set(err, ENOMEM, "read directory");
	if (!S_ISDIR(dir->mode))
		return err_msg(err, ENOTDIR, "not a directory");
	for (uint64_t off = 0; r == 0 && off < dir->size; off += EROFS_BLOCK) {
		r = load_dir_block(e, dir, off, b, err);
		if (r == 0)
			r = list_block(b, last, fn, ctx, err);
	}
	return r;
}

/* struct find - the name looked for, and what it was */
struct find {
	const char *name;
	size_t len;
	uint64_t nid;
};

static int find_name(void *ctx, const char *name, uint64_t nid, struct err *err)
{
	struct find *f = ctx;

	if (strlen(name) != f->len || memcmp(name, f->name, f->len) != 0)
		return 0;
	f->nid = nid;
	return 1;
}

/* ---- paths ---- */

/* struct lookup - a walk; @stack holds the directories from the root down, for ".." */
struct lookup {
	struct erofs *e;
	struct erofs_inode stack[TREE_MAX_DEPTH + 1];
	unsigned depth, links;
	struct err *err;
};

static int look_up(struct lookup *l, const char *path, bool follow, struct erofs_inode *ret);

static int look_up_link(struct lookup *l, const struct erofs_inode *link, struct erofs_inode *ret)
{
	char target[EROFS_BLOCK + 1];
	ssize_t n;

	if (++l->links > TREE_MAX_SYMLINKS)
		return err_set(l->err, ELOOP, "look up file in image");
	n = erofs_read(l->e, link, 0, target, EROFS_BLOCK, l->err);
	if (n < 0)
		return (int)n;
	target[n] = '\0';
	return look_up(l, target, true, ret);
}

/* A component below the directory on top of the stack. */
static int look_up_name(
	struct lookup *l, const char *name, size_t len, bool follow, struct erofs_inode *ret)
{
	struct find f = { .name = name, .len = len };
	int r = erofs_list(l->e, &l->stack[l->depth], find_name, &f, l->err);

	if (r == 0)
		return err_set(l->err, ENOENT, "look up file in image");
	if (r < 0)
		return r;
	r = erofs_get(l->e, f.nid, ret, l->err);
	if (r < 0)
		return r;
	if (S_ISLNK(ret->mode) && follow)
		return look_up_link(l, ret, ret);
	if (!S_ISDIR(ret->mode))
		return 0;
	if (l->depth >= TREE_MAX_DEPTH)
		return err_set(l->err, ELOOP, "look up file in image");
	l->stack[++l->depth] = *ret;
	return 0;
}

static int look_up(struct lookup *l, const char *path, bool follow, struct erofs_inode *ret)
{
	if (*path == '/')
		l->depth = 0;
	*ret = l->stack[l->depth];
	for (const char *s = path; *s;) {
		size_t n = strcspn(s, "/");
		const char *rest = s + n + strspn(s + n, "/");
		int r = 0;

		if (n && !S_ISDIR(ret->mode))
			return err_set(l->err, ENOTDIR, "look up file in image");
		if (n == 2 && !memcmp(s, "..", 2)) {
			l->depth -= l->depth > 0;
			*ret = l->stack[l->depth];
		} else if (n && !(n == 1 && *s == '.')) {
			r = look_up_name(l, s, n, follow || *rest, ret);
		}
		if (r < 0)
			return r;
		s = rest;
	}
	return 0;
}

int erofs_lookup(
	struct erofs *e, const char *path, bool follow, struct erofs_inode *ret, struct err *err)
{
	cleanup_free struct lookup *l = calloc(1, sizeof(*l));
	struct erofs_inode found;
	int r;

	if (!l)
		return err_set(err, ENOMEM, "look up file in image");
	l->e = e;
	l->err = err;
	r = erofs_get(e, erofs_root(e), &l->stack[0], err);
	if (r == 0 && !S_ISDIR(l->stack[0].mode))
		r = damaged(err, "its root is not a directory");
	if (r == 0)
		r = look_up(l, path, follow, &found);
	if (r < 0) {
		(void)err_wrap(err, "'%s'", path);
		return r;
	}
	*ret = found;
	return 0;
}

/* ---- xattrs ---- */

/* The xattr at the cursor. */
static int one_xattr(struct cursor *c, erofs_xattr_fn *fn, void *ctx, struct err *err)
{
	uint8_t name_len = cursor_u8(c), index = cursor_u8(c);
	uint16_t value_len = cursor_le16(c);
	const char *prefix = tree_xattr_prefix(index);
	const uint8_t *suffix = cursor_bytes(c, name_len), *value = cursor_bytes(c, value_len);
	char name[sizeof("system.posix_acl_default") + 256];
	size_t n;

	if (c->failed || !prefix || memchr(suffix, '\0', name_len))
		return damaged(err, "a wrong extended attribute");
	n = strlen(prefix);
	memcpy(name, prefix, n);
	memcpy(name + n, suffix, name_len);
	name[n + name_len] = '\0';
	(void)cursor_bytes(c, MIN_OF(cursor_left(c), (size_t)(-(name_len + value_len) & 3)));
	return fn(ctx, name, value, value_len, err);
}

int erofs_xattrs(struct erofs *e, const struct erofs_inode *i, erofs_xattr_fn *fn, void *ctx,
	struct err *err)
{
	uint32_t size = xattr_size(i->xattr_icount);
	cleanup_free uint8_t *body = NULL;
	struct cursor c;
	int r;

	if (!size)
		return 0;
	body = malloc(size);
	if (!body)
		return err_set(err, ENOMEM, "read extended attributes");
	r = read_meta(e, inode_pos(e, i->nid) + i->isize, body, size, err);
	if (r < 0)
		return r;
	c = cursor_init(body, size);
	(void)cursor_le32(&c);
	if (cursor_u8(&c))
		return damaged(err, "shared extended attributes are not supported");
	(void)cursor_bytes(&c, 7);
	/* Zeros pad the area where the writer kept room. */
	while (r == 0 && cursor_left(&c) >= 4 && load_le32(body + c.pos))
		r = one_xattr(&c, fn, ctx, err);
	return r;
}
