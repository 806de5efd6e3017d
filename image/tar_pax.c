/* SPDX-License-Identifier: Apache-2.0 */
/* PAX extended headers: "LENGTH KEY=VALUE\n", one after the other (POSIX pax, 4.1). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/tar_internal.h"
#include "lib/base64.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"

/* struct record - one of them; @value is @len bytes and followed by the newline */
struct record {
	const char *key, *value;
	size_t key_len, len;
};

void tar_over_clear(struct tar_over *o)
{
	free(o->path);
	free(o->link);
	free(o->sparse_name);
	for (size_t i = 0; i < o->n_xattrs; i++) {
		free(o->xattrs[i].name);
		free(o->xattrs[i].value);
	}
	free(o->xattrs);
	free(o->map.v);
	*o = (struct tar_over){ 0 };
}

int tar_decimal(
	const char *s, size_t len, const char *what, uint64_t max, uint64_t *ret, struct err *err)
{
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9' || v > (UINT64_MAX - 9) / 10)
			return err_msg(err, EBADMSG, "tar: the %s is not a valid number", what);
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	if (!len || v > max)
		return err_msg(err, EBADMSG, "tar: the %s is not a valid number", what);
	*ret = v;
	return 0;
}

/* Seconds, maybe negative, maybe with a fraction of which nine digits count. */
static int parse_time(const struct record *rec, struct tar_over *o, struct err *err)
{
	const char *s = rec->value, *dot = memchr(s, '.', rec->len);
	size_t len = dot ? (size_t)(dot - s) : rec->len, frac = dot ? rec->len - len - 1 : 0;
	bool negative = len && *s == '-';
	uint64_t secs, ns = 0;
	int r = tar_decimal(s + negative, len - negative, "time", INT64_MAX / 2, &secs, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < MAX_OF(frac, 9U); i++) {
		char c = i < frac ? dot[1 + i] : '0';

		if (c < '0' || c > '9')
			return err_msg(err, EBADMSG, "tar: the time is not a valid number");
		if (i < 9)
			ns = ns * 10 + (uint64_t)(c - '0');
	}
	o->mtime = negative ? -(int64_t)secs : (int64_t)secs;
	if (negative && ns) {
		o->mtime--;
		ns = NS_PER_S - ns;
	}
	o->mtime_ns = (uint32_t)ns;
	o->has |= OVER_MTIME;
	return 0;
}

int tar_over_xattr(struct tar_over *o, const char *name, size_t name_len, const void *value,
	size_t len, struct err *err)
{
	cleanup_free char *key = strndup(name, name_len);
	cleanup_free uint8_t *copy = malloc(len + 1);
	struct tar_xattr *v;

	if (!key || !copy)
		return err_set(err, ENOMEM, "tar: extended attribute");
	memcpy(copy, value, len);
	/* One header cannot have more, but many headers may speak about one member. */
	o->xattr_bytes += len;
	if (o->xattr_bytes > TAR_META_MAX)
		return err_msg(err, E2BIG,
			"tar: more than %u bytes of extended attributes on one file", TAR_META_MAX);
	for (size_t i = 0; i < o->n_xattrs; i++) {
		if (strcmp(o->xattrs[i].name, key) != 0)
			continue;
		free(o->xattrs[i].value);
		o->xattrs[i].value = take_ptr(&copy);
		o->xattrs[i].len = len;
		return 0;
	}
	if (o->n_xattrs >= TAR_XATTRS_MAX)
		return err_msg(err, E2BIG, "tar: more than %u extended attributes on one file",
			TAR_XATTRS_MAX);
	v = reallocarray(o->xattrs, o->n_xattrs + 1, sizeof(*v));
	if (!v)
		return err_set(err, ENOMEM, "tar: extended attribute");
	o->xattrs = v;
	v[o->n_xattrs++] =
		(struct tar_xattr){ .name = take_ptr(&key), .value = take_ptr(&copy), .len = len };
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decoding in place. Return: new length. */
static size_t url_decode(char *s, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int hi = i + 2 < len ? hex_digit(s[i + 1]) : -1;
		int lo = i + 2 < len ? hex_digit(s[i + 2]) : -1;

		if (s[i] == '%' && hi >= 0 && lo >= 0) {
			s[n++] = (char)(hi << 4 | lo);
			i += 2;
		} else {
			s[n++] = s[i];
		}
	}
	return n;
}

static int xattr_libarchive(const struct record *rec, const char *name, size_t name_len,
	struct tar_over *o, struct err *err)
{
	cleanup_free char *key = strndup(name, name_len);
	cleanup_free uint8_t *value = malloc(rec->len + 1);
	size_t len;

	if (!key || !value)
		return err_set(err, ENOMEM, "tar: extended attribute");
	name_len = url_decode(key, name_len);
	if (memchr(key, '\0', name_len) || base64_decode(rec->value, rec->len, value, &len) < 0)
		return err_msg(err, EBADMSG, "tar: LIBARCHIVE.xattr record is not valid");
	return tar_over_xattr(o, key, name_len, value, len, err);
}

static int xattr_acl(
	const struct record *rec, const char *name, struct tar_over *o, struct err *err)
{
	uint8_t bytes[ACL_MAX_BYTES];
	size_t len;

	/* Named users of another machine cannot be kept: the rest of the file can. */
	if (acl_from_text(rec->value, rec->len, bytes, &len) < 0) {
		o->dropped++;
		return 0;
	}
	return len ? tar_over_xattr(o, name, strlen(name), bytes, len, err) : 0;
}

static int replace_string(char **s, const struct record *rec, struct err *err)
{
	char *copy;

	if (!rec->len || memchr(rec->value, '\0', rec->len))
		return err_msg(err, EBADMSG, "tar: a PAX header holds an empty or broken name");
	copy = strndup(rec->value, rec->len);
	if (!copy)
		return err_set(err, ENOMEM, "tar: name");
	free(*s);
	*s = copy;
	return 0;
}

static int over_u32(const struct record *rec, const char *what, uint32_t *ret, struct err *err)
{
	uint64_t v;
	int r = tar_decimal(rec->value, rec->len, what, UINT32_MAX, &v, err);

	if (r == 0)
		*ret = (uint32_t)v;
	return r;
}

/* Sparse 0.0 gives its map as pairs of records, in order. */
static int sparse_pair(const struct record *rec, bool is_len, struct tar_over *o, struct err *err)
{
	uint64_t v;
	int r = tar_decimal(rec->value, rec->len, "sparse map", INT64_MAX, &v, err);

	if (r < 0)
		return r;
	if (is_len != !!(o->has & OVER_SPARSE_OFF))
		return err_msg(err, EBADMSG, "tar: a sparse map has an offset without a length");
	o->has ^= OVER_SPARSE_OFF;
	o->has |= OVER_SPARSE;
	if (!is_len) {
		o->sparse_off = v;
		return 0;
	}
	return tar_map_add(&o->map, o->sparse_off, v, err);
}

enum key {
	KEY_PATH,
	KEY_LINKPATH,
	KEY_SIZE,
	KEY_UID,
	KEY_GID,
	KEY_MTIME,
	KEY_MAJOR,
	KEY_MINOR,
	KEY_ACL_ACCESS,
	KEY_ACL_DEFAULT,
	KEY_SPARSE_NAME,
	KEY_SPARSE_REALSIZE,
	KEY_SPARSE_SIZE,
	KEY_SPARSE_MAJOR,
	KEY_SPARSE_MAP,
	KEY_SPARSE_OFFSET,
	KEY_SPARSE_NUMBYTES,
	KEY_COUNT,
};

static const char *const key_names[] = {
	[KEY_PATH] = "path",
	[KEY_LINKPATH] = "linkpath",
	[KEY_SIZE] = "size",
	[KEY_UID] = "uid",
	[KEY_GID] = "gid",
	[KEY_MTIME] = "mtime",
	[KEY_MAJOR] = "SCHILY.devmajor",
	[KEY_MINOR] = "SCHILY.devminor",
	[KEY_ACL_ACCESS] = "SCHILY.acl.access",
	[KEY_ACL_DEFAULT] = "SCHILY.acl.default",
	[KEY_SPARSE_NAME] = "GNU.sparse.name",
	[KEY_SPARSE_REALSIZE] = "GNU.sparse.realsize",
	[KEY_SPARSE_SIZE] = "GNU.sparse.size",
	[KEY_SPARSE_MAJOR] = "GNU.sparse.major",
	[KEY_SPARSE_MAP] = "GNU.sparse.map",
	[KEY_SPARSE_OFFSET] = "GNU.sparse.offset",
	[KEY_SPARSE_NUMBYTES] = "GNU.sparse.numbytes",
};
_Static_assert(ARRAY_LEN(key_names) == KEY_COUNT, "one name per key");

static int take_number(enum key key, const struct record *rec, struct tar_over *o, struct err *err)
{
	static const unsigned flags[] = { [KEY_SIZE] = OVER_SIZE,
		[KEY_UID] = OVER_UID,
		[KEY_GID] = OVER_GID,
		[KEY_MAJOR] = OVER_MAJOR,
		[KEY_MINOR] = OVER_MINOR,
		[KEY_SPARSE_REALSIZE] = OVER_REALSIZE,
		[KEY_SPARSE_SIZE] = OVER_REALSIZE | OVER_SPARSE };

	o->has |= flags[key];
	switch (key) {
	case KEY_SIZE:
		return tar_decimal(rec->value, rec->len, "size", INT64_MAX, &o->size, err);
	case KEY_UID:
		return over_u32(rec, "user id", &o->uid, err);
	case KEY_GID:
		return over_u32(rec, "group id", &o->gid, err);
	case KEY_MAJOR:
		return over_u32(rec, "device major", &o->major, err);
	case KEY_MINOR:
		return over_u32(rec, "device minor", &o->minor, err);
	default:
		return tar_decimal(rec->value, rec->len, "size", INT64_MAX, &o->realsize, err);
	}
}

static int take_key(enum key key, const struct record *rec, struct tar_over *o, struct err *err)
{
	int r;

	switch (key) {
	case KEY_PATH:
		return replace_string(&o->path, rec, err);
	case KEY_LINKPATH:
		return replace_string(&o->link, rec, err);
	case KEY_SPARSE_NAME:
		return replace_string(&o->sparse_name, rec, err);
	case KEY_MTIME:
		return parse_time(rec, o, err);
	case KEY_ACL_ACCESS:
		return xattr_acl(rec, "system.posix_acl_access", o, err);
	case KEY_ACL_DEFAULT:
		return xattr_acl(rec, "system.posix_acl_default", o, err);
	case KEY_SPARSE_MAJOR:
		r = over_u32(rec, "sparse version", &o->sparse_major, err);
		o->has |= OVER_SPARSE | (o->sparse_major ? OVER_SPARSE_1_0 : 0);
		return r;
	case KEY_SPARSE_MAP:
		o->has |= OVER_SPARSE;
		return tar_map_pax(&o->map, rec->value, rec->len, err);
	case KEY_SPARSE_OFFSET:
	case KEY_SPARSE_NUMBYTES:
		return sparse_pair(rec, key == KEY_SPARSE_NUMBYTES, o, err);
	default:
		return take_number(key, rec, o, err);
	}
}

/* The rest of a key after @prefix, or NULL. */
static const char *after(const struct record *rec, const char *prefix, size_t *ret_len)
{
	size_t n = strlen(prefix);

	if (rec->key_len <= n || memcmp(rec->key, prefix, n) != 0)
		return NULL;
	*ret_len = rec->key_len - n;
	return rec->key + n;
}

static int take_record(const struct record *rec, struct tar_over *o, struct err *err)
{
	const char *name;
	size_t n;

	for (unsigned k = 0; k < KEY_COUNT; k++) {
		if (rec->key_len != strlen(key_names[k]) ||
			memcmp(rec->key, key_names[k], rec->key_len) != 0)
			continue;
		/* An empty value takes back what a global header said; we do not listen to those.
		 */
		return rec->len ? take_key((enum key)k, rec, o, err) : 0;
	}
	if ((name = after(rec, "SCHILY.xattr.", &n)))
		return tar_over_xattr(o, name, n, rec->value, rec->len, err);
	if ((name = after(rec, "LIBARCHIVE.xattr.", &n)))
		return xattr_libarchive(rec, name, n, o, err);
	return 0; /* names of owners, other times, comments */
}

/* Return: bytes of the record at @s; -EBADMSG */
static int64_t parse_record(const char *s, size_t left, struct record *ret, struct err *err)
{
	const char *space = memchr(s, ' ', MIN_OF(left, 10U)), *eq;
	size_t head;
	uint64_t len;

	if (!space || tar_decimal(s, (size_t)(space - s), "record length", left, &len, NULL) < 0)
		goto bad;
	head = (size_t)(space - s) + 1;
	if (len < head + 2 || s[len - 1] != '\n')
		goto bad;
	eq = memchr(s + head, '=', len - head - 1);
	if (!eq || eq == s + head || memchr(s + head, '\0', (size_t)(eq - s) - head))
		goto bad;
	ret->key = s + head;
	ret->key_len = (size_t)(eq - ret->key);
	ret->value = eq + 1;
	ret->len = (size_t)(s + len - 1 - ret->value);
	return (int64_t)len;
bad:
	return err_msg(err, EBADMSG, "tar: a PAX header is damaged");
}

int tar_pax_parse(const uint8_t *data, size_t len, struct tar_over *over, struct err *err)
{
	const char *s = (const char *)data;

	while (len) {
		struct record rec = { 0 };
		int64_t n = parse_record(s, len, &rec, err);
		int r = n < 0 ? (int)n : take_record(&rec, over, err);

		if (r < 0)
			return r;
		s += n;
		len -= (size_t)n;
	}
	if (over->has & OVER_SPARSE_OFF)
		return err_msg(err, EBADMSG, "tar: a sparse map has an offset without a length");
	return 0;
}
