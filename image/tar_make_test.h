/* SPDX-License-Identifier: Apache-2.0 */
/* Archives for tests, member by member, right or wrong in any field. */
#ifndef IMAGE_TAR_MAKE_TEST_H
#define IMAGE_TAR_MAKE_TEST_H

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/layer.h"
#include "lib/buf.h"
#include "lib/num.h"

static inline void tb_bytes(struct buf *b, const void *data, size_t len)
{
	int r = buf_append(b, data, len);

	assert(r == 0);
	(void)r;
}

static inline void tb_zeros(struct buf *b, size_t len)
{
	static const uint8_t zeros[65536];

	for (; len; len -= MIN_OF(len, sizeof(zeros)))
		tb_bytes(b, zeros, MIN_OF(len, sizeof(zeros)));
}

/* Text of a header field; the last header's checksum is made right again. */
static inline void tb_patch(struct buf *b, size_t header, size_t off, const void *data, size_t len)
{
	uint8_t *h = b->data + b->off + header;
	unsigned sum = 0;

	memcpy(h + off, data, len);
	memset(h + 148, ' ', 8);
	for (unsigned i = 0; i < 512; i++)
		sum += h[i];
	(void)snprintf((char *)h + 148, 8, "%06o", sum);
}

static inline void store_octal(uint8_t *field, unsigned digits, uint64_t v)
{
	for (; digits--; v >>= 3)
		field[digits] = (uint8_t)('0' + (v & 7));
}

/* tb_header() - Return: its position, for tb_patch() */
static inline size_t tb_header(
	struct buf *b, const char *name, char type, const char *link, uint64_t size)
{
	uint8_t h[512] = { 0 };
	size_t pos = b->len;

	(void)snprintf((char *)h, 100, "%s", name);
	(void)snprintf((char *)h + 100, 8, "%07o", 0644);
	(void)snprintf((char *)h + 108, 8, "%07o", 0);
	(void)snprintf((char *)h + 116, 8, "%07o", 0);
	store_octal(h + 124, 11, size);
	(void)snprintf((char *)h + 136, 12, "%011o", 1600000000);
	h[156] = (uint8_t)type;
	(void)snprintf((char *)h + 157, 100, "%s", link ? link : "");
	memcpy(h + 257,
		"ustar\0"
		"00",
		8);
	tb_bytes(b, h, sizeof(h));
	tb_patch(b, pos, 0, h, 1);
	return pos;
}

static inline size_t tb_member(
	struct buf *b, const char *name, char type, const char *link, const void *data, size_t len)
{
	size_t pos = tb_header(b, name, type, link, len);

	tb_bytes(b, data, len);
	tb_zeros(b, -len & 511);
	return pos;
}

static inline size_t tb_file(struct buf *b, const char *name, const char *text)
{
	return tb_member(b, name, '0', NULL, text, strlen(text));
}

static inline size_t tb_dir(struct buf *b, const char *name)
{
	return tb_header(b, name, '5', NULL, 0);
}

/* A PAX header of one record, before the member it is about. */
static inline void tb_pax(struct buf *b, const char *key, const char *value)
{
	char rec[8192];
	size_t len = strlen(key) + strlen(value) + 3, digits = 1;

	while ((size_t)snprintf(NULL, 0, "%zu", len + digits) != digits)
		digits++;
	(void)snprintf(rec, sizeof(rec), "%zu %s=%s\n", len + digits, key, value);
	(void)tb_member(b, "pax", 'x', NULL, rec, strlen(rec));
}

static inline void tb_end(struct buf *b)
{
	tb_zeros(b, 1024);
}

static inline int tb_out(void)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert(fd >= 0);
	return fd;
}

/* Through the whole chain in pieces of @piece bytes, to @fd. */
static inline int tb_layer(const void *blob, size_t len, size_t piece,
	const struct layer_options *options, int fd, struct layer_result *res, struct err *err)
{
	cleanup_layer struct layer *l = NULL;
	int r = layer_new(fd, options, &l, err);

	for (size_t at = 0; r == 0 && at < len; at += piece)
		r = layer_feed(l, (const uint8_t *)blob + at, MIN_OF(piece, len - at), err);
	return r < 0 ? r : layer_finish(l, res, err);
}

#endif
