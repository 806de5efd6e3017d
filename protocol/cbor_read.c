/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader. Every step moves the cursor forward or fails, and a failure sticks, so the work is
 * bounded by the message's length; recursion is bounded by CBOR_DEPTH_MAX.
 */
#include <errno.h>
#include <string.h>

#include "lib/num.h"
#include "protocol/cbor.h"
#include "protocol/cbor_internal.h"

/* struct reader - @key: the innermost known key being read, for messages */
struct reader {
	struct cursor c;
	struct cbor_pool *pool;
	const char *key;
	struct err *err;
};

/* struct head - one item's head, tags in front of it skipped */
struct head {
	unsigned major;
	bool indefinite;
	uint8_t byte;
	uint64_t value;
	uint64_t tag;
};

/* struct items - what is left of an array or map */
struct items {
	bool indefinite;
	uint64_t left;
};

static int bad(struct reader *r, const char *what)
{
	return err_msg(r->err, EBADMSG, "key '%s': %s", r->key, what);
}

static int read_argument(struct reader *r, unsigned info, struct head *h)
{
	switch (info) {
	case 24:
		h->value = cursor_u8(&r->c);
		break;
	case 25:
		h->value = cursor_be16(&r->c);
		break;
	case 26:
		h->value = cursor_be32(&r->c);
		break;
	case 27:
		h->value = cursor_be64(&r->c);
		break;
	case 31:
		h->indefinite = true;
		break;
	default:
		if (info >= 24)
			return bad(r, "reserved CBOR head");
		h->value = info;
	}
	return r->c.failed ? bad(r, "message ends too early") : 0;
}

/* Majors 0, 1 and 6 have no indefinite form; 7 with it is a break, which is no item. */
static bool head_can_be_indefinite(unsigned major)
{
	return major >= CBOR_BINARY && major <= CBOR_MAP;
}

static int read_head(struct reader *r, struct head *h)
{
	int ret;

	*h = (struct head){ .tag = UINT64_MAX };
	for (;;) {
		h->byte = cursor_u8(&r->c);
		if (r->c.failed)
			return bad(r, "message ends too early");
		h->major = h->byte >> 5;
		ret = read_argument(r, h->byte & 31, h);
		if (ret < 0)
			return ret;
		if (h->indefinite && !head_can_be_indefinite(h->major))
			return bad(r, "break where an item is expected");
		if (h->major != CBOR_TAG)
			return 0;
		h->tag = h->value;
	}
}

static bool at_break(struct reader *r)
{
	return cursor_left(&r->c) > 0 && r->c.data[r->c.pos] == CBOR_BREAK;
}

/* True while another item follows; the break of an indefinite list is consumed. */
static bool items_next(struct reader *r, struct items *it)
{
	if (!it->indefinite)
		return it->left > 0 && it->left-- > 0;
	if (!at_break(r))
		return true;
	(void)cursor_u8(&r->c);
	return false;
}

static bool utf8_tail_ok(const uint8_t *s, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return false;
	}
	return true;
}

/* Length of the valid sequence at @s, or 0: no overlong forms, surrogates, or beyond U+10FFFF. */
static size_t utf8_sequence(const uint8_t *s, size_t left)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (n == 0 || s[0] > 0xf4 || n > left || !utf8_tail_ok(s, n))
		return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))
		return 0;
	if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static bool utf8_ok(const uint8_t *s, size_t len)
{
	size_t n;

	for (size_t i = 0; i < len; i += n) {
		n = utf8_sequence(s + i, len - i);
		if (n == 0)
			return false;
	}
	return true;
}

/* One pass over the chunks of an indefinite string; copies them if @dst, else only counts. */
static int read_chunks(struct reader *r, unsigned major, uint8_t *dst, size_t *ret_len)
{
	struct items it = { .indefinite = true };
	struct head h;
	const uint8_t *p;
	size_t len = 0;
	int ret;

	while (items_next(r, &it)) {
		ret = read_head(r, &h);
		if (ret < 0)
			return ret;
		if (h.major != major || h.indefinite || h.tag != UINT64_MAX)
			return bad(r, "malformed chunked string");
		p = h.value <= SIZE_MAX ? cursor_bytes(&r->c, h.value) : NULL;
		if (!p)
			return bad(r, "message ends too early");
		if (dst)
			memcpy(dst + len, p, h.value);
		len += h.value;
	}
	*ret_len = len;
	return 0;
}

bool text_valid(const struct text *t)
{
	return !t->s || utf8_ok((const uint8_t *)t->s, t->len);
}

/* The content of a text or byte string whose head was read; @copy asks for a NUL-ended copy. */
static int read_string(struct reader *r, const struct head *h, bool copy, struct bytes *ret)
{
	size_t start = r->c.pos, len = h->value;
	uint8_t *dst = NULL;
	int res;

	if (h->indefinite) {
		res = read_chunks(r, h->major, NULL, &len);
		if (res < 0)
			return res;
		copy = true;
	} else if (!cursor_bytes(&r->c, len)) {
		return bad(r, "message ends too early");
	}
	*ret = (struct bytes){ r->c.data + start, len };
	if (!copy)
		return 0;
	dst = cbor_pool_alloc(r->pool, len + 1);
	if (!dst)
		return err_set(r->err, ENOMEM, "decode a message");
	if (h->indefinite) {
		r->c.pos = start;
		(void)read_chunks(r, h->major, dst, &len);
	} else {
		memcpy(dst, ret->data, len);
	}
	ret->data = dst;
	return 0;
}

static int read_text(struct reader *r, const struct head *h, bool copy, struct text *ret)
{
	struct bytes b;
	int res;

	if (h->major != CBOR_STRING)
		return bad(r, "not a text");
	res = read_string(r, h, copy, &b);
	if (res < 0)
		return res;
	if (!utf8_ok(b.data, b.len))
		return bad(r, "invalid UTF-8");
	*ret = (struct text){ (const char *)b.data, b.len };
	return 0;
}

/* A number as sign and magnitude: the value is @mag, or -1 - @mag. */
static int read_number(struct reader *r, const struct head *h, bool *ret_negative, uint64_t *ret)
{
	struct bytes b;
	uint64_t v = 0;
	int res;

	*ret_negative = h->major == CBOR_NEGATIVE;
	*ret = h->value;
	if (h->major == CBOR_UNSIGNED || h->major == CBOR_NEGATIVE)
		return 0;
	if (h->major != CBOR_BINARY ||
		(h->tag != CBOR_TAG_POSITIVE_BIGNUM && h->tag != CBOR_TAG_NEGATIVE_BIGNUM))
		return bad(r, "not an integer");
	res = read_string(r, h, false, &b);
	if (res < 0)
		return res;
	for (size_t i = 0; i < b.len; i++) {
		if (v >> 56)
			return bad(r, "number out of range");
		v = v << 8 | b.data[i];
	}
	*ret_negative = h->tag == CBOR_TAG_NEGATIVE_BIGNUM;
	*ret = v;
	return 0;
}

static int read_unsigned(struct reader *r, const struct head *h, uint64_t max, uint64_t *ret)
{
	bool negative;
	int res = read_number(r, h, &negative, ret);

	if (res < 0)
		return res;
	return negative || *ret > max ? bad(r, "number out of range") : 0;
}

static int read_i32(struct reader *r, const struct head *h, int32_t *ret)
{
	uint64_t mag;
	bool negative;
	int res = read_number(r, h, &negative, &mag);

	if (res < 0)
		return res;
	if (mag > INT32_MAX)
		return bad(r, "number out of range");
	*ret = negative ? -1 - (int32_t)mag : (int32_t)mag;
	return 0;
}

/* Bytes given as an array of small integers: each takes at least a byte of the message. */
static int read_byte_array(struct reader *r, const struct head *h, struct bytes *ret)
{
	struct items it = { h->indefinite, h->value };
	size_t room = cursor_left(&r->c);
	uint8_t *dst = cbor_pool_alloc(r->pool, h->indefinite ? room : MIN_OF(room, h->value));
	struct head elem;
	uint64_t v;
	size_t len = 0;
	int res;

	if (!dst)
		return err_set(r->err, ENOMEM, "decode a message");
	while (items_next(r, &it)) {
		res = read_head(r, &elem);
		if (res < 0)
			return res;
		res = read_unsigned(r, &elem, UINT8_MAX, &v);
		if (res < 0)
			return res;
		if (len >= room)
			return bad(r, "message ends too early");
		dst[len++] = v;
	}
	*ret = (struct bytes){ dst, len };
	return 0;
}

static int read_bytes(struct reader *r, const struct head *h, struct bytes *ret)
{
	if (h->major == CBOR_ARRAY)
		return read_byte_array(r, h, ret);
	if (h->major != CBOR_BINARY)
		return bad(r, "not a byte string");
	return read_string(r, h, false, ret);
}

/* Skip the rest of an item whose head was read. */
static int skip_item(struct reader *r, const struct head *h, unsigned depth)
{
	struct items it = { h->indefinite, h->value };
	struct bytes ignored;
	struct head sub;
	size_t len;
	int res;

	if (h->major == CBOR_BINARY || h->major == CBOR_STRING) {
		if (h->indefinite)
			return read_chunks(r, h->major, NULL, &len);
		return read_string(r, h, false, &ignored);
	}
	if (h->major != CBOR_ARRAY && h->major != CBOR_MAP)
		return 0;
	if (depth >= CBOR_DEPTH_MAX)
		return bad(r, "nested too deeply");
	while (items_next(r, &it)) {
		for (int i = 0; i < (h->major == CBOR_MAP ? 2 : 1); i++) {
			res = read_head(r, &sub);
			if (res == 0)
				res = skip_item(r, &sub, depth + 1);
			if (res < 0)
				return res;
		}
	}
	return 0;
}

static int read_struct(struct reader *r, const struct head *h, const struct cbor_schema *schema,
	void *dst, unsigned depth);

/* Room for element @n of a list of @size-byte elements, doubling; old ones stay in the pool. */
static int list_grow(struct reader *r, void **v, size_t n, size_t size)
{
	void *bigger;

	if (n >= CBOR_LIST_MAX)
		return bad(r, "list too long");
	if (n > 0 && (n < 4 || (n & (n - 1))))
		return 0;
	bigger = cbor_pool_alloc(r->pool, (n < 4 ? 4 : n * 2) * size);
	if (!bigger)
		return err_set(r->err, ENOMEM, "decode a message");
	if (n > 0)
		memcpy(bigger, *v, n * size);
	*v = bigger;
	return 0;
}

static int read_texts(struct reader *r, const struct head *h, struct texts *ret)
{
	struct items it = { h->indefinite, h->value };
	struct texts list = { 0 };
	struct head elem;
	int res;

	if (h->major != CBOR_ARRAY)
		return bad(r, "not a list");
	while (items_next(r, &it)) {
		void *v = list.v;

		res = list_grow(r, &v, list.n, sizeof(*list.v));
		if (res < 0)
			return res;
		list.v = v;
		res = read_head(r, &elem);
		if (res == 0)
			res = read_text(r, &elem, true, &list.v[list.n]);
		if (res < 0)
			return res;
		list.n++;
	}
	*ret = list;
	return 0;
}

static int read_structs(struct reader *r, const struct head *h, const struct cbor_schema *sub,
	struct list *ret, unsigned depth)
{
	struct items it = { h->indefinite, h->value };
	struct list list = { 0 };
	struct head elem;
	int res;

	if (h->major != CBOR_ARRAY)
		return bad(r, "not a list");
	while (items_next(r, &it)) {
		res = list_grow(r, &list.v, list.n, sub->size);
		if (res == 0)
			res = read_head(r, &elem);
		if (res == 0)
			res = read_struct(
				r, &elem, sub, (uint8_t *)list.v + list.n * sub->size, depth + 1);
		if (res < 0)
			return res;
		list.n++;
	}
	*ret = list;
	return 0;
}

static int read_bool(struct reader *r, const struct head *h, bool *ret)
{
	if (h->byte != CBOR_TRUE && h->byte != CBOR_FALSE)
		return bad(r, "not a boolean");
	*ret = h->byte == CBOR_TRUE;
	return 0;
}

static int read_uint_field(struct reader *r, const struct head *h, enum cbor_kind kind, void *dst)
{
	uint64_t max = kind == CBOR_U8	  ? UINT8_MAX
		       : kind == CBOR_U16 ? UINT16_MAX
		       : kind == CBOR_U32 ? UINT32_MAX
					  : UINT64_MAX;
	uint64_t v;
	int res = read_unsigned(r, h, max, &v);

	if (res < 0)
		return res;
	switch (kind) {
	case CBOR_U8:
		*(uint8_t *)dst = v;
		break;
	case CBOR_U16:
		*(uint16_t *)dst = v;
		break;
	case CBOR_U32:
		*(uint32_t *)dst = v;
		break;
	default:
		*(uint64_t *)dst = v;
	}
	return 0;
}

static int read_value(struct reader *r, const struct head *h, const struct cbor_field *f, void *dst,
	unsigned depth)
{
	switch (f->kind) {
	case CBOR_U8:
	case CBOR_U16:
	case CBOR_U32:
	case CBOR_U64:
		return read_uint_field(r, h, f->kind, dst);
	case CBOR_I32:
		return read_i32(r, h, dst);
	case CBOR_OPT_I32:
		((struct opt_i32 *)dst)->set = true;
		return read_i32(r, h, &((struct opt_i32 *)dst)->v);
	case CBOR_BOOL:
		return read_bool(r, h, dst);
	case CBOR_TEXT:
	case CBOR_TEXT_REF:
		return read_text(r, h, f->kind == CBOR_TEXT, dst);
	case CBOR_BYTES:
	case CBOR_U8S:
		return read_bytes(r, h, dst);
	case CBOR_TEXTS:
		return read_texts(r, h, dst);
	case CBOR_STRUCT:
		return read_struct(r, h, f->sub, dst, depth + 1);
	case CBOR_STRUCTS:
		return read_structs(r, h, f->sub, dst, depth);
	case CBOR_PRESENT:
		*(bool *)dst = true;
		return skip_item(r, h, depth);
	case CBOR_EMBEDDED:
		break;
	}
	return bad(r, "cannot be read");
}

/* null stands for "absent" in an optional field, but never in a list. */
static bool null_is_absent(const struct cbor_field *f, const struct head *h)
{
	if (h->byte != CBOR_NULL && h->byte != CBOR_UNDEFINED)
		return false;
	return !(f->rules & CBOR_REQUIRED) && f->kind != CBOR_TEXTS && f->kind != CBOR_STRUCTS;
}

static const struct cbor_field *find_field(const struct cbor_schema *schema, struct text key)
{
	for (size_t i = 0; i < schema->n; i++) {
		if (text_is(key, schema->fields[i].key))
			return &schema->fields[i];
	}
	return NULL;
}

/* One key and its value; @seen has a bit per field of the schema. */
static int read_pair(struct reader *r, const struct cbor_schema *schema, void *dst, uint64_t *seen,
	unsigned depth)
{
	const struct cbor_field *f;
	struct text key;
	struct head h;
	uint64_t bit;
	int res = read_head(r, &h);

	if (res == 0)
		res = read_text(r, &h, false, &key);
	if (res < 0)
		return res;
	f = find_field(schema, key);
	if (f)
		r->key = f->key;
	res = read_head(r, &h);
	if (res < 0)
		return res;
	if (!f)
		return skip_item(r, &h, depth);
	bit = 1ULL << (f - schema->fields);
	if (*seen & bit)
		return bad(r, "given twice");
	*seen |= bit;
	if (null_is_absent(f, &h))
		return 0;
	return read_value(r, &h, f, (uint8_t *)dst + f->offset, depth);
}

static int read_struct(struct reader *r, const struct head *h, const struct cbor_schema *schema,
	void *dst, unsigned depth)
{
	struct items it = { h->indefinite, h->value };
	const char *outer = r->key;
	uint64_t seen = 0;
	int res;

	if (h->major != CBOR_MAP)
		return bad(r, "not a map");
	if (depth >= CBOR_DEPTH_MAX)
		return bad(r, "nested too deeply");
	while (items_next(r, &it)) {
		res = read_pair(r, schema, dst, &seen, depth);
		if (res < 0)
			return res;
		r->key = outer;
	}
	for (size_t i = 0; i < schema->n; i++) {
		r->key = schema->fields[i].key;
		if ((schema->fields[i].rules & CBOR_REQUIRED) && !(seen & 1ULL << i))
			return bad(r, "missing");
	}
	r->key = outer;
	return 0;
}

int cbor_decode(const struct cbor_schema *schema, const void *data, size_t len,
	struct cbor_pool *pool, void *dst, struct err *err)
{
	struct reader r = { cursor_init(data, len), pool, "(top)", err };
	struct head h;
	int ret = read_head(&r, &h);

	return ret < 0 ? ret : read_struct(&r, &h, schema, dst, 0);
}
