/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX ACLs as archives write them (SCHILY.acl.access: the text of getfacl on one line, with a
 * numeric id as fourth field) into the bytes of the xattrs system.posix_acl_access and _default
 * (linux/posix_acl_xattr.h: le32 version 2, then le16 tag, le16 perm, le32 id each).
 */
#include <errno.h>
#include <string.h>

#include "image/tar_internal.h"
#include "lib/num.h"

enum {
	ACL_USER_OBJ = 0x01,
	ACL_USER = 0x02,
	ACL_GROUP_OBJ = 0x04,
	ACL_GROUP = 0x08,
	ACL_MASK = 0x10,
	ACL_OTHER = 0x20,
};

struct ace {
	uint16_t tag, perm;
	uint32_t id;
};

struct field {
	const char *s;
	size_t len;
};

static bool field_is(const struct field *f, const char *name)
{
	return f->len == strlen(name) && !memcmp(f->s, name, f->len);
}

static int parse_perm(const struct field *f, uint16_t *ret)
{
	uint16_t v = 0;

	for (size_t i = 0; i < f->len; i++) {
		switch (f->s[i]) {
		case 'r':
			v |= 4;
			break;
		case 'w':
			v |= 2;
			break;
		case 'x':
			v |= 1;
			break;
		case '-':
			break;
		default:
			return -EBADMSG;
		}
	}
	*ret = v;
	return 0;
}

static int parse_tag(const struct field *tag, bool named, uint16_t *ret)
{
	if (field_is(tag, "user") || field_is(tag, "u"))
		*ret = named ? ACL_USER : ACL_USER_OBJ;
	else if (field_is(tag, "group") || field_is(tag, "g"))
		*ret = named ? ACL_GROUP : ACL_GROUP_OBJ;
	else if (field_is(tag, "mask") || field_is(tag, "m"))
		*ret = ACL_MASK;
	else if (field_is(tag, "other") || field_is(tag, "o"))
		*ret = ACL_OTHER;
	else
		return -EBADMSG;
	return 0;
}

/* "tag:who:perm[:id]". A name without a number says nothing here: it is not this machine's. */
static int parse_ace(const char *s, size_t len, struct ace *ret)
{
	struct field f[4] = { 0 };
	unsigned n = 0;
	uint64_t id;
	int r;

	for (const char *end = s + len; n < 4; n++) {
		const char *colon = memchr(s, ':', (size_t)(end - s));

		f[n] = (struct field){ .s = s, .len = (size_t)((colon ? colon : end) - s) };
		if (!colon)
			break;
		s = colon + 1;
	}
	if (n == 1) { /* "other:r-x", as Solaris and libarchive may write it */
		f[2] = f[1];
		f[1].len = 0;
	}
	if (n < 1 || n > 3 || parse_perm(&f[2], &ret->perm) < 0)
		return -EBADMSG;
	r = parse_tag(&f[0], f[1].len > 0, &ret->tag);
	if (r < 0)
		return r;
	ret->id = UINT32_MAX;
	if (!f[1].len)
		return 0;
	if (ret->tag != ACL_USER && ret->tag != ACL_GROUP)
		return -EBADMSG;
	r = tar_decimal(f[3].len ? f[3].s : f[1].s, f[3].len ? f[3].len : f[1].len, "ACL id",
		UINT32_MAX - 1, &id, NULL);
	ret->id = (uint32_t)id;
	return r;
}

/* The kernel wants them by tag, then by id. */
static void insert_sorted(struct ace *v, unsigned n, struct ace e)
{
	while (n && (v[n - 1].tag > e.tag || (v[n - 1].tag == e.tag && v[n - 1].id > e.id))) {
		v[n] = v[n - 1];
		n--;
	}
	v[n] = e;
}

int acl_from_text(const char *s, size_t len, uint8_t *dst, size_t *ret_len)
{
	struct ace v[ACL_MAX_ENTRIES];
	const char *end = s + len;
	unsigned n = 0, tags = 0;

	while (s < end) {
		size_t piece = 0;
		struct ace e;

		while (s + piece < end && s[piece] != ',' && s[piece] != '\n')
			piece++;
		if (piece && (n >= ACL_MAX_ENTRIES || parse_ace(s, piece, &e) < 0))
			return -EBADMSG;
		if (piece) {
			tags |= e.tag;
			insert_sorted(v, n++, e);
		}
		s += piece + 1;
	}
	if (!n)
		return -EBADMSG;
	*ret_len = 0;
	if (!(tags & (ACL_USER | ACL_GROUP | ACL_MASK)))
		return 0;
	store_le32(dst, 2);
	for (unsigned i = 0; i < n; i++) {
		store_le16(dst + 4 + 8 * i, v[i].tag);
		store_le16(dst + 6 + 8 * i, v[i].perm);
		store_le32(dst + 8 + 8 * i, v[i].id);
	}
	*ret_len = 4 + 8 * n;
	return 0;
}

uint32_t acl_mode(uint32_t mode, const uint8_t *acl, size_t len)
{
	bool masked = false;

	if (len < 4 || len % 8 != 4 || load_le32(acl) != 2)
		return mode;
	for (size_t i = 4; i < len; i += 8) {
		uint32_t tag = load_le16(acl + i), perm = load_le16(acl + i + 2) & 7U;

		if (tag == ACL_USER_OBJ)
			mode = (mode & ~0700U) | perm << 6;
		else if (tag == ACL_MASK || (tag == ACL_GROUP_OBJ && !masked))
			mode = (mode & ~0070U) | perm << 3;
		else if (tag == ACL_OTHER)
			mode = (mode & ~0007U) | perm;
		masked |= tag == ACL_MASK;
	}
	return mode;
}
