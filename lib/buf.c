/* SPDX-License-Identifier: Apache-2.0 */
/* Also part of the guest's static binary: nothing but plain C and lib/num.h here. */
#include "lib/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"

#define BUF_MIN_CAP 64

void buf_release(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ .max = b->max };
}

/* Move the content to the front when that costs no more than what was consumed: amortised O(1). */
static bool buf_compact(struct buf *b, size_t want)
{
	if (want > b->cap || b->off < b->len)
		return false;
	if (b->len)
		memmove(b->data, b->data + b->off, b->len);
	b->off = 0;
	return true;
}

static int buf_grow(struct buf *b, size_t want)
{
	size_t cap = MAX_OF(want, (size_t)BUF_MIN_CAP);
	uint8_t *data;

	/* no allocator grants more than half the address space; sanitizers abort when asked */
	if (cap > PTRDIFF_MAX / 2)
		return -ENOMEM;
	cap *= 2; /* fewer copies for the price of some slack */
	if (b->max && cap > b->max)
		cap = MAX_OF(want, b->max);
	data = malloc(cap);
	if (!data)
		return -ENOMEM;
	if (b->len)
		memcpy(data, b->data + b->off, b->len);
	free(b->data);
	b->data = data;
	b->cap = cap;
	b->off = 0;
	return 0;
}

int buf_reserve(struct buf *b, size_t len, uint8_t **ret)
{
	size_t want;

	if (__builtin_add_overflow(b->len, len, &want) || (b->max && want > b->max))
		return -E2BIG;
	if (!b->data || want > b->cap - b->off) {
		if (!buf_compact(b, want) && buf_grow(b, want) < 0)
			return -ENOMEM;
	}
	*ret = b->data + b->off + b->len;
	return 0;
}

void buf_commit(struct buf *b, size_t len)
{
	b->len += len;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	uint8_t *to;
	int r;

	if (!len)
		return 0;
	r = buf_reserve(b, len, &to);
	if (r < 0)
		return r;
	memcpy(to, data, len);
	buf_commit(b, len);
	return 0;
}

void buf_consume(struct buf *b, size_t len)
{
	b->len -= len;
	b->off = b->len ? b->off + len : 0;
}

const uint8_t *cursor_bytes(struct cursor *c, size_t len)
{
	const uint8_t *p;

	if (c->failed || len > c->len - c->pos) {
		c->failed = true;
		return NULL;
	}
	p = c->pos ? c->data + c->pos : c->data; /* NULL + 0 is undefined */
	c->pos += len;
	return p;
}

uint8_t cursor_u8(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 1);

	return p ? *p : 0;
}

uint16_t cursor_le16(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 2);

	return p ? load_le16(p) : 0;
}

uint32_t cursor_le32(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 4);

	return p ? load_le32(p) : 0;
}

uint64_t cursor_le64(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 8);

	return p ? load_le64(p) : 0;
}

uint16_t cursor_be16(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 2);

	return p ? load_be16(p) : 0;
}

uint32_t cursor_be32(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 4);

	return p ? load_be32(p) : 0;
}

uint64_t cursor_be64(struct cursor *c)
{
	const uint8_t *p = cursor_bytes(c, 8);

	return p ? load_be64(p) : 0;
}

int cursor_copy(struct cursor *c, void *dst, size_t len)
{
	const uint8_t *p = cursor_bytes(c, len);

	if (c->failed)
		return -EBADMSG;
	if (len)
		memcpy(dst, p, len);
	return 0;
}
