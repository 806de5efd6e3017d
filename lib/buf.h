/* SPDX-License-Identifier: Apache-2.0 */
/*
 * struct buf: a growing byte buffer with a hard cap. struct cursor: a bounds-checked reader over
 * somebody else's bytes; once a read fails it stays failed, so parsers may check once at the end.
 */
#ifndef LIB_BUF_H
#define LIB_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * struct buf - bytes [data + off, data + off + len); zero-initialised is valid and empty
 * @max: appending beyond this many bytes fails with -E2BIG; 0 means no cap of its own
 */
struct buf {
	uint8_t *data;
	size_t off, len, cap, max;
};

/* buf_release() - free contents; the struct is as zero-initialised but for its cap. */
void buf_release(struct buf *b);

/* buf_append() - copy @len bytes to the end. Return: 0, -ENOMEM, -E2BIG (nothing appended). */
int buf_append(struct buf *b, const void *data, size_t len);

/*
 * buf_reserve() - room for @len more bytes; *ret is where to put them, then buf_commit() what was
 * put Return: 0, -ENOMEM, -E2BIG. *ret is valid until the next call on @b.
 */
int buf_reserve(struct buf *b, size_t len, uint8_t **ret);
void buf_commit(struct buf *b, size_t len);

/* buf_consume() - drop @len (<= b->len) bytes from the front; no copying. */
void buf_consume(struct buf *b, size_t len);

/* buf_head() - first byte, valid for b->len bytes until the next append; may be NULL when empty. */
static inline const uint8_t *buf_head(const struct buf *b)
{
	return b->data ? b->data + b->off : NULL;
}

#define cleanup_buf __attribute__((cleanup(buf_release)))

/* struct cursor - position @pos within @data of @len bytes; @failed latches the first short read */
struct cursor {
	const uint8_t *data;
	size_t len, pos;
	bool failed;
};

static inline struct cursor cursor_init(const void *data, size_t len)
{
	return (struct cursor){ .data = data, .len = len };
}

static inline size_t cursor_left(const struct cursor *c)
{
	return c->failed ? 0 : c->len - c->pos;
}

/* cursor_bytes() - the next @len bytes in place, or NULL (and failed) if fewer are left. */
const uint8_t *cursor_bytes(struct cursor *c, size_t len);

/* Integers; 0 (and failed) if too few bytes are left. */
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_le16(struct cursor *c);
uint32_t cursor_le32(struct cursor *c);
uint64_t cursor_le64(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
uint64_t cursor_be64(struct cursor *c);

/* cursor_copy() - copy @len bytes out. Return: 0 or -EBADMSG (and failed, @dst untouched). */
int cursor_copy(struct cursor *c, void *dst, size_t len);

#endif
