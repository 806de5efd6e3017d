/* SPDX-License-Identifier: Apache-2.0 */
/* Pool, texts and the writer; the reader is in cbor_read.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"
#include "protocol/cbor.h"
#include "protocol/cbor_internal.h"

#define POOL_BLOCK 2048

struct cbor_pool_block {
	struct cbor_pool_block *next;
	size_t used, size;
	_Alignas(16) uint8_t data[];
};

void cbor_pool_release(struct cbor_pool *pool)
{
	while (pool->head) {
		struct cbor_pool_block *b = pool->head;

		pool->head = b->next;
		free(b);
	}
}

static struct cbor_pool_block *pool_grow(struct cbor_pool *pool, size_t len)
{
	size_t size = MAX_OF(len, (size_t)POOL_BLOCK);
	struct cbor_pool_block *b = malloc(sizeof(*b) + size);

	if (!b)
		return NULL;
	b->next = pool->head;
	b->used = 0;
	b->size = size;
	pool->head = b;
	return b;
}

void *cbor_pool_alloc(struct cbor_pool *pool, size_t len)
{
	struct cbor_pool_block *b = pool->head;
	void *p;

	if (len > SIZE_MAX / 2)
		return NULL;
	len = ALIGN_UP(len, (size_t)8);
	if (!b || len > b->size - b->used) {
		b = pool_grow(pool, len);
		if (!b)
			return NULL;
	}
	p = b->data + b->used;
	b->used += len;
	return memset(p, 0, len);
}

struct text text_of(const char *s)
{
	return (struct text){ .s = s, .len = s ? strlen(s) : 0 };
}

bool text_is(struct text t, const char *s)
{
	return t.s && t.len == strlen(s) && memcmp(t.s, s, t.len) == 0;
}

bool text_has_nul(struct text t)
{
	return t.s && memchr(t.s, '\0', t.len);
}

/* struct writer - @out NULL counts only; the first failure sticks */
struct writer {
	struct buf *out;
	size_t len;
	int ret;
};

static void put(struct writer *w, const void *data, size_t len)
{
	w->len += len;
	if (w->out && w->ret == 0 && len > 0)
		w->ret = buf_append(w->out, data, len);
}

static void put_head(struct writer *w, unsigned major, uint64_t value)
{
	uint8_t b[9];
	size_t len = 1;

	if (value < 24) {
		b[0] = value;
	} else if (value <= UINT8_MAX) {
		b[0] = 24;
		b[1] = value;
		len = 2;
	} else if (value <= UINT16_MAX) {
		b[0] = 25;
		store_be16(b + 1, value);
		len = 3;
	} else if (value <= UINT32_MAX) {
		b[0] = 26;
		store_be32(b + 1, value);
		len = 5;
	} else {
		b[0] = 27;
		store_be64(b + 1, value);
		len = 9;
	}
	b[0] |= major << 5;
	put(w, b, len);
}

static void put_int(struct writer *w, int64_t v)
{
	if (v < 0)
		put_head(w, CBOR_NEGATIVE, (uint64_t)(-1 - v));
	else
		put_head(w, CBOR_UNSIGNED, v);
}

static void put_simple(struct writer *w, uint8_t byte)
{
	put(w, &byte, 1);
}

static void put_text(struct writer *w, struct text t)
{
	if (!t.s) {
		put_simple(w, CBOR_NULL);
		return;
	}
	put_head(w, CBOR_STRING, t.len);
	put(w, t.s, t.len);
}

static void put_struct(struct writer *w, const struct cbor_schema *schema, const void *src);

static void put_u8s(struct writer *w, const struct bytes *b)
{
	put_head(w, CBOR_ARRAY, b->len);
	for (size_t i = 0; i < b->len; i++)
		put_head(w, CBOR_UNSIGNED, b->data[i]);
}

static void put_texts(struct writer *w, const struct texts *list)
{
	put_head(w, CBOR_ARRAY, list->n);
	for (size_t i = 0; i < list->n; i++)
		put_text(w, list->v[i]);
}

static void put_structs(struct writer *w, const struct cbor_schema *sub, const struct list *list)
{
	put_head(w, CBOR_ARRAY, list->n);
	for (size_t i = 0; i < list->n; i++)
		put_struct(w, sub, (const uint8_t *)list->v + i * sub->size);
}

static void put_opt_i32(struct writer *w, const struct opt_i32 *o)
{
	if (o->set)
		put_int(w, o->v);
	else
		put_simple(w, CBOR_NULL);
}

static void put_embedded(struct writer *w, const struct embedded *e)
{
	struct writer count = { 0 };

	if (!e->schema) {
		put_head(w, CBOR_BINARY, 1);
		put_simple(w, CBOR_NULL);
		return;
	}
	put_struct(&count, e->schema, e->src);
	put_head(w, CBOR_BINARY, count.len);
	put_struct(w, e->schema, e->src);
}

static uint64_t load_uint(enum cbor_kind kind, const void *p)
{
	switch (kind) {
	case CBOR_U8:
		return *(const uint8_t *)p;
	case CBOR_U16:
		return *(const uint16_t *)p;
	case CBOR_U32:
		return *(const uint32_t *)p;
	default:
		return *(const uint64_t *)p;
	}
}

static void put_field(struct writer *w, const struct cbor_field *f, const void *p)
{
	const struct bytes *bytes = p;

	switch (f->kind) {
	case CBOR_U8:
	case CBOR_U16:
	case CBOR_U32:
	case CBOR_U64:
		put_head(w, CBOR_UNSIGNED, load_uint(f->kind, p));
		break;
	case CBOR_I32:
		put_int(w, *(const int32_t *)p);
		break;
	case CBOR_OPT_I32:
		put_opt_i32(w, p);
		break;
	case CBOR_BOOL:
		put_simple(w, *(const bool *)p ? CBOR_TRUE : CBOR_FALSE);
		break;
	case CBOR_TEXT:
	case CBOR_TEXT_REF:
		put_text(w, *(const struct text *)p);
		break;
	case CBOR_BYTES:
		put_head(w, CBOR_BINARY, bytes->len);
		put(w, bytes->data, bytes->len);
		break;
	case CBOR_U8S:
		put_u8s(w, bytes);
		break;
	case CBOR_TEXTS:
		put_texts(w, p);
		break;
	case CBOR_STRUCT:
		put_struct(w, f->sub, p);
		break;
	case CBOR_STRUCTS:
		put_structs(w, f->sub, p);
		break;
	case CBOR_EMBEDDED:
		put_embedded(w, p);
		break;
	case CBOR_PRESENT:
		break;
	}
}

static bool field_empty(const struct cbor_field *f, const void *p);

static bool struct_empty(const struct cbor_schema *schema, const void *src)
{
	for (size_t i = 0; i < schema->n; i++) {
		const struct cbor_field *f = &schema->fields[i];

		if (!field_empty(f, (const uint8_t *)src + f->offset))
			return false;
	}
	return true;
}

static bool field_empty(const struct cbor_field *f, const void *p)
{
	switch (f->kind) {
	case CBOR_U8:
	case CBOR_U16:
	case CBOR_U32:
	case CBOR_U64:
		return load_uint(f->kind, p) == 0;
	case CBOR_I32:
		return *(const int32_t *)p == 0;
	case CBOR_OPT_I32:
		return !((const struct opt_i32 *)p)->set;
	case CBOR_BOOL:
		return !*(const bool *)p;
	case CBOR_TEXT:
	case CBOR_TEXT_REF:
		return ((const struct text *)p)->len == 0;
	case CBOR_BYTES:
	case CBOR_U8S:
		return ((const struct bytes *)p)->len == 0;
	case CBOR_TEXTS:
		return ((const struct texts *)p)->n == 0;
	case CBOR_STRUCTS:
		return ((const struct list *)p)->n == 0;
	case CBOR_STRUCT:
		return struct_empty(f->sub, p);
	case CBOR_EMBEDDED:
		return false;
	case CBOR_PRESENT:
		return true;
	}
	return false;
}

static bool field_written(const struct cbor_field *f, const void *src)
{
	if (f->kind == CBOR_PRESENT)
		return false;
	return !(f->rules & CBOR_OMIT) || !field_empty(f, (const uint8_t *)src + f->offset);
}

static void put_struct(struct writer *w, const struct cbor_schema *schema, const void *src)
{
	size_t n = 0;

	for (size_t i = 0; i < schema->n; i++)
		n += field_written(&schema->fields[i], src);
	put_head(w, CBOR_MAP, n);
	for (size_t i = 0; i < schema->n; i++) {
		const struct cbor_field *f = &schema->fields[i];

		if (!field_written(f, src))
			continue;
		put_text(w, text_of(f->key));
		put_field(w, f, (const uint8_t *)src + f->offset);
	}
}

int cbor_encode(const struct cbor_schema *schema, const void *src, struct buf *out, size_t *ret_len)
{
	struct writer w = { .out = out };

	put_struct(&w, schema, src);
	if (w.ret == 0 && ret_len)
		*ret_len = w.len;
	return w.ret;
}
