/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sparse extents: a directory of tables of grains. Compressed ones (streamOptimized) have a marker
 * before each grain, and may have their directory at the end, found through a second header.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "block/file.h"
#include "block/meta.h"
#include "block/vmdk.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/num.h"

#define MAGIC		0x564d444b
#define FLAG_ZERO_GRAIN 0x4U
#define FLAG_COMPRESSED 0x10000U
#define FLAG_MARKERS	0x20000U
#define DEFLATE		1
#define AT_END		UINT64_MAX
#define FOOTER_LEN	(3 * BLOCK_SECTOR) /* marker, header, end of stream */
#define MARKER_FOOTER	3
#define GRAIN_MAX	4096 /* sectors */
#define TABLE_MAX	65536
#define MARKER_LEN	12
#define PAGE_LEN	4096

struct header {
	uint32_t version, flags, table_len;
	uint64_t capacity, grain, desc_off, desc_len, dir_off;
	uint16_t compression;
};

struct sparse {
	struct block block;
	int fd;
	uint64_t file_size;
	struct header h;
	uint32_t grain_len; /* bytes */
	struct meta *meta;

	pthread_mutex_t lock; /* of the compressed grain that was read last */
	uint64_t inflated_at; /* its place in the file; 0: none */
	uint8_t *inflated;
};

/* --- grains --- */

/* Where the grain of @off is in the file; 0: nowhere, 1: it is zeroes */
static int find_grain(struct sparse *s, uint64_t off, uint64_t *ret)
{
	uint64_t grain = off / s->grain_len, table;
	uint8_t raw[4];
	int r = meta_load(s->meta, s->h.dir_off * BLOCK_SECTOR + grain / s->h.table_len * 4, raw,
		sizeof(raw));

	table = r == 0 ? load_le32(raw) : 0;
	*ret = 0;
	if (r < 0 || !table)
		return r;
	r = meta_load(s->meta, table * BLOCK_SECTOR + grain % s->h.table_len * 4, raw, sizeof(raw));
	if (r < 0)
		return r;
	*ret = load_le32(raw);
	if (*ret == 1 && !(s->h.flags & FLAG_ZERO_GRAIN))
		return -EIO;
	if (*ret > 1)
		*ret *= BLOCK_SECTOR;
	return 0;
}

/* Into s->inflated; what is missing at the end of a short one is zeroes. */
static int inflate_grain(struct sparse *s, uint64_t at)
{
	cleanup_free uint8_t *in = NULL;
	uint8_t marker[MARKER_LEN];
	uLongf out_len = s->grain_len;
	uint32_t len;
	int r;

	if (!range_ok(at, MARKER_LEN, s->file_size))
		return -EIO;
	r = file_read(s->fd, marker, sizeof(marker), at);
	if (r < 0)
		return r;
	len = load_le32(marker + 8);
	if (!len || len > 2 * s->grain_len || !range_ok(at + MARKER_LEN, len, s->file_size))
		return -EIO;
	in = malloc(len);
	if (!s->inflated)
		s->inflated = malloc(s->grain_len);
	if (!in || !s->inflated)
		return -ENOMEM;
	r = file_read(s->fd, in, len, at + MARKER_LEN);
	if (r < 0)
		return r;
	s->inflated_at = 0;
	if (uncompress(s->inflated, &out_len, in, len) != Z_OK)
		return -EIO;
	memset(s->inflated + out_len, 0, s->grain_len - out_len);
	s->inflated_at = at;
	return 0;
}

static int read_inflated(struct sparse *s, uint64_t at, uint32_t in, const struct iovec *iov,
	unsigned n, size_t skip, size_t len)
{
	int r = 0;

	(void)pthread_mutex_lock(&s->lock);
	if (s->inflated_at != at)
		r = inflate_grain(s, at);
	for (size_t done = 0; r == 0 && done < len;) {
		struct iovec part[64];
		unsigned m = iov_slice(iov, n, skip + done, len - done, part, ARRAY_LEN(part));
		size_t now = iov_len(part, m);

		(void)iov_write(part, m, 0, s->inflated + in + done, now);
		done += now;
	}
	(void)pthread_mutex_unlock(&s->lock);
	return r;
}

static int read_grain(struct sparse *s, const struct iovec *iov, unsigned n, size_t skip,
	size_t len, uint64_t off)
{
	uint32_t in = (uint32_t)(off % s->grain_len);
	uint64_t at;
	int r = find_grain(s, off, &at);

	if (r < 0)
		return r;
	if (at < BLOCK_SECTOR) {
		(void)iov_fill(iov, n, skip, 0, len);
		return 0;
	}
	if (s->h.flags & FLAG_COMPRESSED)
		return read_inflated(s, at, in, iov, n, skip, len);
	return file_readv_part(s->fd, iov, n, skip, len, at + in);
}

static int sparse_read(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	struct sparse *s = container_of(b, struct sparse, block);
	size_t len = iov_len(iov, n), done = 0;

	while (done < len) {
		size_t now = MIN_OF(len - done, s->grain_len - off % s->grain_len);
		int r = read_grain(s, iov, n, done, now, off);

		if (r < 0)
			return r;
		done += now;
		off += now;
	}
	return 0;
}

static void sparse_free(struct block *b)
{
	struct sparse *s = container_of(b, struct sparse, block);

	meta_free(s->meta);
	free(s->inflated);
	close_fd(&s->fd);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

static const struct block_ops sparse_ops = {
	.name = "vmdk",
	.read = sparse_read,
	.free = sparse_free,
};

/* --- opening --- */

static int damaged(struct err *err, const char *what)
{
	return err_msg(err, EINVAL, "the vmdk image is damaged: %s", what);
}

static int parse_header(const uint8_t raw[BLOCK_SECTOR], struct header *h, struct err *err)
{
	struct cursor c = cursor_init(raw, BLOCK_SECTOR);

	if (cursor_le32(&c) != MAGIC)
		return damaged(err, "no header where one should be");
	h->version = cursor_le32(&c);
	h->flags = cursor_le32(&c);
	h->capacity = cursor_le64(&c);
	h->grain = cursor_le64(&c);
	h->desc_off = cursor_le64(&c);
	h->desc_len = cursor_le64(&c);
	h->table_len = cursor_le32(&c);
	(void)cursor_le64(&c); /* the redundant directory */
	h->dir_off = cursor_le64(&c);
	(void)cursor_le64(&c); /* overhead */
	(void)cursor_bytes(&c, 5);
	h->compression = cursor_le16(&c);
	return 0;
}

static int check_features(const struct header *h, struct err *err)
{
	if (h->version < 1 || h->version > 3)
		return err_msg(err, ENOTSUP, "vmdk version %u is not supported", h->version);
	if (!(h->flags & FLAG_COMPRESSED))
		return 0;
	if (h->compression != DEFLATE || !(h->flags & FLAG_MARKERS))
		return err_msg(
			err, ENOTSUP, "vmdk compression type %u is not supported", h->compression);
	return 0;
}

static int check_layout(const struct sparse *s, struct err *err)
{
	const struct header *h = &s->h;
	uint64_t tables;

	if (!is_pow2(h->grain) || h->grain < 8 || h->grain > GRAIN_MAX)
		return damaged(err, "grain size");
	if (!h->table_len || h->table_len > TABLE_MAX)
		return damaged(err, "length of the grain tables");
	if (!h->capacity || h->capacity > INT64_MAX / BLOCK_SECTOR / 2)
		return damaged(err, "disk size");
	tables = (h->capacity - 1) / (h->grain * h->table_len) + 1;
	if (!h->dir_off || h->dir_off > s->file_size / BLOCK_SECTOR ||
		tables > (s->file_size - h->dir_off * BLOCK_SECTOR) / 4)
		return damaged(err, "place of the grain directory");
	return 0;
}

/* Streams know where their directory is only at the end. */
static int read_footer(struct sparse *s, struct err *err)
{
	uint8_t raw[FOOTER_LEN];
	int r;

	if (s->file_size < FOOTER_LEN + BLOCK_SECTOR)
		return damaged(err, "the footer is missing");
	r = file_read(s->fd, raw, sizeof(raw),
		ALIGN_DOWN(s->file_size, (uint64_t)BLOCK_SECTOR) - FOOTER_LEN);
	if (r < 0)
		return err_set(err, r, "read the footer of the vmdk image");
	if (load_le32(raw + 8) != 0 || load_le32(raw + 12) != MARKER_FOOTER ||
		load_le64(raw + 2 * BLOCK_SECTOR) != 0)
		return damaged(err, "the footer is missing");
	r = parse_header(raw + BLOCK_SECTOR, &s->h, err);
	if (r == 0 && s->h.dir_off == AT_END)
		r = damaged(err, "place of the grain directory");
	return r;
}

static int load_headers(struct sparse *s, struct err *err)
{
	uint8_t raw[BLOCK_SECTOR];
	int r;

	if (s->file_size < sizeof(raw))
		return damaged(err, "the file ends within the header");
	r = file_read(s->fd, raw, sizeof(raw), 0);
	if (r < 0)
		return err_set(err, r, "read the header of the vmdk image");
	r = parse_header(raw, &s->h, err);
	if (r == 0 && s->h.dir_off == AT_END)
		r = read_footer(s, err);
	if (r == 0)
		r = check_features(&s->h, err);
	return r == 0 ? check_layout(s, err) : r;
}

/* The text within says whether this is all of the disk. */
static int check_text(const struct sparse *s, struct err *err)
{
	uint64_t off = s->h.desc_off * BLOCK_SECTOR, len = s->h.desc_len * BLOCK_SECTOR;
	cleanup_free char *text = NULL;
	struct vmdk_desc desc;
	int r;

	if (s->h.desc_off > s->file_size / BLOCK_SECTOR || !s->h.desc_off || !s->h.desc_len ||
		s->h.desc_len > VMDK_DESC_MAX / BLOCK_SECTOR || !range_ok(off, len, s->file_size))
		return damaged(err, "place of the descriptor");
	text = malloc(len);
	if (!text)
		return err_set(err, ENOMEM, "open vmdk image");
	r = file_read(s->fd, text, len, off);
	if (r < 0)
		return err_set(err, r, "read the descriptor of the vmdk image");
	r = vmdk_desc_parse(text, len, &desc, err);
	if (r < 0)
		return r;
	if (desc.n != 1 || desc.extent[0].kind != VMDK_SPARSE)
		r = err_msg(err, ENOTSUP,
			"the vmdk image is one of several files: open the one with the descriptor");
	vmdk_desc_release(&desc);
	return r;
}

bool vmdk_is_sparse(int fd, uint64_t size)
{
	uint8_t raw[4];

	return size >= sizeof(raw) && file_read(fd, raw, sizeof(raw), 0) == 0 &&
	       load_le32(raw) == MAGIC;
}

static int load(struct sparse *s, int fd, bool whole, struct err *err)
{
	struct file_info info;
	int r = file_adopt(fd, true, &info, err);

	if (r < 0)
		return r;
	s->fd = info.fd;
	s->file_size = info.size;
	memcpy(s->block.id, info.id, BLOCK_ID_LEN);
	r = load_headers(s, err);
	if (r == 0 && whole)
		r = check_text(s, err);
	if (r < 0)
		return r;
	s->grain_len = (uint32_t)s->h.grain * BLOCK_SECTOR;
	s->block.size = s->h.capacity * BLOCK_SECTOR;
	return meta_new(s->fd, PAGE_LEN, &s->meta, err);
}

int vmdk_sparse_open(int fd, bool whole, struct block **ret, struct err *err)
{
	struct sparse *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, ENOMEM, "open vmdk image");
	s->fd = -1;
	s->block = (struct block){ .ops = &sparse_ops, .read_only = true };
	(void)pthread_mutex_init(&s->lock, NULL);
	r = load(s, fd, whole, err);
	if (r < 0) {
		sparse_free(&s->block);
		return r;
	}
	*ret = &s->block;
	return 0;
}
