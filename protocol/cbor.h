/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CBOR (RFC 8949) for agent messages. A message body is described by a table of fields; one encoder
 * and one decoder serve every table. The decoder is made for hostile input: bounded depth, bounded
 * lists, no allocation that a claimed length could inflate.
 *
 * Writer: definite lengths, shortest forms, keys in table order. Reader: also indefinite lengths,
 * longer-than-needed forms, tags (skipped), unknown text keys (skipped, at most CBOR_DEPTH_MAX
 * deep), byte strings given as arrays of small integers, bignums that fit. Refused: wrong types,
 * numbers out of range, floats for integers, duplicate or missing keys, keys that are no text,
 * invalid UTF-8, null for a list or a required field. Bytes after the first item are ignored.
 */
#ifndef PROTOCOL_CBOR_H
#define PROTOCOL_CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

#define CBOR_DEPTH_MAX 16
#define CBOR_LIST_MAX  65536

struct cbor_schema;

/* struct text - UTF-8; none if @s is NULL. Decoded ones have a NUL after @len bytes of their own */
struct text {
	const char *s;
	size_t len;
};

/* text_valid() - is it UTF-8, as the other side demands? None is. */
bool text_valid(const struct text *t);

/* struct bytes - binary data; decoded ones may point into the message they came from */
struct bytes {
	const uint8_t *data;
	size_t len;
};

/* struct texts, struct list - arrays; @v of a list points to elements of the field's sub-schema */
struct texts {
	struct text *v;
	size_t n;
};

struct list {
	void *v;
	size_t n;
};

/* struct opt_i32 - a number that may be null */
struct opt_i32 {
	bool set;
	int32_t v;
};

/* struct embedded - a map of its own, sent within a byte string; null if @schema is NULL */
struct embedded {
	const struct cbor_schema *schema;
	const void *src;
};

/* What a field holds: the C type at its offset, and its wire type */
enum cbor_kind {
	CBOR_U8,       /* uint8_t */
	CBOR_U16,      /* uint16_t */
	CBOR_U32,      /* uint32_t */
	CBOR_U64,      /* uint64_t */
	CBOR_I32,      /* int32_t */
	CBOR_OPT_I32,  /* struct opt_i32 */
	CBOR_BOOL,     /* bool */
	CBOR_TEXT,     /* struct text, copied to the pool */
	CBOR_TEXT_REF, /* struct text, in the message where possible: no NUL behind it */
	CBOR_BYTES,    /* struct bytes */
	CBOR_U8S,      /* as CBOR_BYTES, but written as an array of integers */
	CBOR_TEXTS,    /* struct texts */
	CBOR_STRUCT,   /* the sub-schema's struct, in place */
	CBOR_STRUCTS,  /* struct list of the sub-schema's struct */
	CBOR_EMBEDDED, /* struct embedded; written only, CBOR_BYTES reads it */
	CBOR_PRESENT,  /* bool: the key was there and not null; read only, never written */
};

#define CBOR_REQUIRED 1u /* decoding fails without it */
#define CBOR_OMIT     2u /* not written when empty: 0, false, none, no elements, empty fields */

/* struct cbor_field - one key of a map */
struct cbor_field {
	const char *key;
	enum cbor_kind kind;
	unsigned rules;
	size_t offset;
	const struct cbor_schema *sub;
};

/* struct cbor_schema - a map; at most 64 fields. @size is that of the C struct */
struct cbor_schema {
	const struct cbor_field *fields;
	size_t n;
	size_t size;
};

/* struct cbor_pool - what decoded texts and lists point into; zero-initialised is empty */
struct cbor_pool {
	struct cbor_pool_block *head;
};

#define cleanup_cbor_pool __attribute__((cleanup(cbor_pool_release)))

/* cbor_pool_release() - free everything decoded with @pool; it is empty and usable afterwards. */
void cbor_pool_release(struct cbor_pool *pool);

/* cbor_pool_alloc() - @len zeroed bytes that live until cbor_pool_release(), or NULL. */
void *cbor_pool_alloc(struct cbor_pool *pool, size_t len);

/*
 * cbor_encode() - append @src as a map
 * @out: NULL only counts
 * Return: 0 and *ret_len (may be NULL) the bytes it takes; -ENOMEM, -E2BIG of @out (which then may
 * hold a part)
 */
int cbor_encode(
	const struct cbor_schema *schema, const void *src, struct buf *out, size_t *ret_len);

/*
 * cbor_decode() - read one map
 * @data: CBOR_BYTES and CBOR_TEXT_REF fields point into it where they can
 * @pool: takes everything else; released by the caller, after failure too
 * @dst:  of schema->size bytes, set by the caller to the defaults of absent fields; undefined after
 *        failure
 * Return: 0; -EBADMSG with the reason in @err; -ENOMEM
 */
int cbor_decode(const struct cbor_schema *schema, const void *data, size_t len,
	struct cbor_pool *pool, void *dst, struct err *err);

/* text_of() - a C string, borrowed; NULL is no text. */
struct text text_of(const char *s);

/* text_is() - equal to the C string @s? */
bool text_is(struct text t, const char *s);

/* text_has_nul() - a decoded text that a C string cannot represent? */
bool text_has_nul(struct text t);

#endif
