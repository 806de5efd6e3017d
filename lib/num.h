/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checked numbers: parsing, ranges that cannot wrap, unaligned wire integers. Hosts are
 * little-endian (x86-64, aarch64); lib/num.c asserts it.
 */
#ifndef LIB_NUM_H
#define LIB_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/err.h"

#define ARRAY_LEN(a)		      (sizeof(a) / sizeof((a)[0]))
#define ALIGN_UP(v, a)		      (((v) + ((a)-1)) & ~((__typeof__(v))(a)-1))
#define ALIGN_DOWN(v, a)	      ((v) & ~((__typeof__(v))(a)-1))
#define MIN_OF(a, b)		      ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b)		      ((a) > (b) ? (a) : (b))
#define KIB(n)			      ((uint64_t)(n) << 10)
#define MIB(n)			      ((uint64_t)(n) << 20)
#define GIB(n)			      ((uint64_t)(n) << 30)
#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

/* range_ok() - true if [off, off + len) lies within [0, size); never wraps. */
static inline bool range_ok(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/*
 * num_parse_u64() - a whole string as an unsigned decimal number
 * @s:    text; no sign, no blanks, no prefix
 * @what: what the number is, for the error: "vCPU count"
 * Return: 0; -EINVAL not a number; -ERANGE outside [min, max] (the message names both limits)
 */
int num_parse_u64(const char *s, const char *what, uint64_t min, uint64_t max, uint64_t *ret,
	struct err *err);

/*
 * num_parse_size() - "512", "512M", "2G", "1.5G", "64KiB": bytes
 * @unit: what a bare number counts, in bytes (MIB(1) for memory flags); suffixes K M G T
 * (case-blind, optional B or iB) are powers of 1024 Return: as num_parse_u64(); -ERANGE also when
 * the value does not fit
 */
int num_parse_size(const char *s, const char *what, uint64_t unit, uint64_t *ret, struct err *err);

static inline uint16_t load_le16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t load_le32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t load_le64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void store_le16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void store_le32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void store_le64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline uint16_t load_be16(const void *p)
{
	return __builtin_bswap16(load_le16(p));
}

static inline uint32_t load_be32(const void *p)
{
	return __builtin_bswap32(load_le32(p));
}

static inline uint64_t load_be64(const void *p)
{
	return __builtin_bswap64(load_le64(p));
}

static inline void store_be16(void *p, uint16_t v)
{
	store_le16(p, __builtin_bswap16(v));
}

static inline void store_be32(void *p, uint32_t v)
{
	store_le32(p, __builtin_bswap32(v));
}

static inline void store_be64(void *p, uint64_t v)
{
	store_le64(p, __builtin_bswap64(v));
}

#endif
