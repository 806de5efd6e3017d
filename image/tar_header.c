/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "image/tar_internal.h"
#include "lib/num.h"

/* Offsets of the fields that v7, ustar and GNU agree on (POSIX pax, "ustar Interchange Format"). */
enum {
	F_NAME = 0,
	F_MODE = 100,
	F_UID = 108,
	F_GID = 116,
	F_SIZE = 124,
	F_MTIME = 136,
	F_CHKSUM = 148,
	F_TYPE = 156,
	F_LINK = 157,
	F_MAGIC = 257,
	F_MAJOR = 329,
	F_MINOR = 337,
	F_PREFIX = 345,
};

/* The first byte's top bit marks a big-endian two's complement number of the remaining bits. */
static int number_base256(const uint8_t *f, size_t len, int64_t *ret)
{
	uint8_t fill = f[0] & 0x40 ? 0xff : 0;
	uint64_t v = fill ? UINT64_MAX : 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t b = i ? f[i] : (uint8_t)((f[0] & 0x7f) | (fill & 0x80));

		if (len - i > 8 && b != fill)
			return -ERANGE;
		if (len - i == 8 && (b & 0x80) != (fill & 0x80))
			return -ERANGE;
		v = v << 8 | b;
	}
	*ret = (int64_t)v;
	return 0;
}

static int number_octal(const uint8_t *f, size_t len, int64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;

	while (i < len && f[i] == ' ')
		i++;
	for (; i < len && f[i] >= '0' && f[i] <= '7'; i++) {
		if (v >> 60)
			return -ERANGE;
		v = v << 3 | (uint64_t)(f[i] - '0');
	}
	for (; i < len; i++)
		if (f[i] != ' ' && f[i] != '\0')
			return -EINVAL;
	*ret = (int64_t)v;
	return 0;
}

int tar_number(const uint8_t *f, size_t len, const char *what, int64_t *ret, struct err *err)
{
	int r = f[0] & 0x80 ? number_base256(f, len, ret) : number_octal(f, len, ret);

	if (r < 0)
		return err_msg(err, EBADMSG, "tar header: the %s is not a valid number", what);
	return 0;
}

static int number_u32(
	const uint8_t *f, size_t len, const char *what, uint32_t *ret, struct err *err)
{
	int64_t v;
	int r = tar_number(f, len, what, &v, err);

	if (r < 0)
		return r;
	if (v < 0 || v > UINT32_MAX)
		return err_msg(err, EBADMSG, "tar header: the %s %lld is out of range", what,
			(long long)v);
	*ret = (uint32_t)v;
	return 0;
}

static bool is_zero(const uint8_t *block)
{
	for (unsigned i = 0; i < TAR_BLOCK_SIZE; i += 8)
		if (load_le64(block + i))
			return false;
	return true;
}

/* A loop of its own without a condition in it: the compiler makes vector instructions of that. */
static void sum_bytes(const uint8_t *p, size_t len, uint32_t *ret_plain, uint32_t *ret_negative)
{
	uint32_t plain = 0, negative = 0;

	for (size_t i = 0; i < len; i++) {
		plain += p[i];
		negative += p[i] >> 7;
	}
	*ret_plain = plain;
	*ret_negative = negative;
}

/* Old implementations summed signed characters: both sums are in use. */
static int check_sum(const uint8_t *block, struct err *err)
{
	static const uint32_t blanks = 8 * ' ';
	uint32_t plain, negative, field, field_negative;
	int64_t stored;
	int r = tar_number(block + F_CHKSUM, 8, "checksum", &stored, err);

	if (r < 0)
		return r;
	/* The field itself counts as blanks. */
	sum_bytes(block, TAR_BLOCK_SIZE, &plain, &negative);
	sum_bytes(block + F_CHKSUM, 8, &field, &field_negative);
	plain = plain - field + blanks;
	negative -= field_negative;
	if (stored != plain && stored != (int64_t)plain - 256 * (int64_t)negative)
		return err_msg(
			err, EBADMSG, "tar header: wrong checksum: damaged, or not a tar archive");
	return 0;
}

static void copy_field(char *dst, const uint8_t *src, size_t len)
{
	size_t n = strnlen((const char *)src, len);

	memcpy(dst, src, n);
	dst[n] = '\0';
}

static void copy_names(const uint8_t *block, struct tar_header *h)
{
	char prefix[156];
	size_t n = 0;

	copy_field(h->link, block + F_LINK, 100);
	/* The GNU format has other fields where ustar has its prefix. */
	if (!memcmp(block + F_MAGIC, "ustar\0", 6)) {
		copy_field(prefix, block + F_PREFIX, 155);
		n = strlen(prefix);
		memcpy(h->path, prefix, n);
		if (n)
			h->path[n++] = '/';
	}
	copy_field(h->path + n, block + F_NAME, 100);
}

/* Fields that only devices need may hold anything elsewhere. */
static int parse_device(const uint8_t *block, struct tar_header *h, struct err *err)
{
	int r;

	h->major = h->minor = 0;
	if (h->type != '3' && h->type != '4')
		return 0;
	r = number_u32(block + F_MAJOR, 8, "device major", &h->major, err);
	return r < 0 ? r : number_u32(block + F_MINOR, 8, "device minor", &h->minor, err);
}

static int parse_numbers(const uint8_t *block, struct tar_header *h, struct err *err)
{
	int64_t size, mode;
	int r;

	if ((r = tar_number(block + F_MODE, 8, "mode", &mode, err)) < 0 ||
		(r = number_u32(block + F_UID, 8, "user id", &h->uid, err)) < 0 ||
		(r = number_u32(block + F_GID, 8, "group id", &h->gid, err)) < 0 ||
		(r = tar_number(block + F_SIZE, 12, "size", &size, err)) < 0 ||
		(r = tar_number(block + F_MTIME, 12, "time", &h->mtime, err)) < 0)
		return r;
	if (size < 0)
		return err_msg(err, EBADMSG, "tar header: '%s' has the negative size %lld", h->path,
			(long long)size);
	h->size = (uint64_t)size;
	h->mode = (uint32_t)mode & 07777;
	return 0;
}

int tar_header_parse(const uint8_t *block, struct tar_header *h, struct err *err)
{
	int r;

	if (is_zero(block))
		return 1;
	r = check_sum(block, err);
	if (r < 0)
		return r;
	h->type = (char)block[F_TYPE];
	h->gnu = !memcmp(block + F_MAGIC, "ustar  ", 7);
	copy_names(block, h);
	r = parse_numbers(block, h, err);
	return r < 0 ? r : parse_device(block, h, err);
}
