/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the parts of the tar reader: tar.c, tar_header.c, tar_pax.c, tar_sparse.c. */
#ifndef IMAGE_TAR_INTERNAL_H
#define IMAGE_TAR_INTERNAL_H

#include "image/tar.h"
#include "lib/buf.h"

#define TAR_BLOCK_SIZE 512

/* PAX headers and GNU long names: what a member may say about itself beside its data. */
#define TAR_META_MAX (1U << 20)
/* Pieces of one sparse file. */
#define TAR_SPARSE_MAX (1U << 20)
#define TAR_XATTRS_MAX 1024

/*
 * struct tar_header - a header block, checked
 * @path, @link: NUL-terminated; @path with the ustar prefix in front
 */
struct tar_header {
	char path[257], link[101];
	uint32_t mode, uid, gid, major, minor;
	int64_t mtime;
	uint64_t size;
	char type;
	bool gnu;
};

/* struct tar_map - extents collected so far */
struct tar_map {
	struct tar_extent *v;
	size_t n, cap;
};

enum {
	OVER_SIZE = 1,
	OVER_UID = 2,
	OVER_GID = 4,
	OVER_MTIME = 8,
	OVER_MAJOR = 16,
	OVER_MINOR = 32,
	OVER_REALSIZE = 64,
	OVER_SPARSE = 128,     /* a sparse map or its version was given */
	OVER_SPARSE_OFF = 256, /* an offset waits for its length */
	OVER_SPARSE_1_0 = 512, /* the map is in the data */
	OVER_ANY = 1024,       /* there was a header: a member must follow */
};

/*
 * struct tar_over - what PAX and GNU headers said about the member that follows
 * @has: OVER_* that were given
 * @xattr_bytes: all values that came, of any number of headers
 */
struct tar_over {
	char *path, *link, *sparse_name;
	struct tar_xattr *xattrs;
	size_t n_xattrs, xattr_bytes;
	struct tar_map map;
	unsigned has;
	uint64_t size, realsize, sparse_off;
	uint32_t uid, gid, major, minor, sparse_major, mtime_ns;
	int64_t mtime;
	unsigned dropped;
};

void tar_over_clear(struct tar_over *o);

/*
 * tar_header_parse() - one block of 512 bytes
 * Return: 0 and *ret; 1 a block of zeros; -EBADMSG
 */
int tar_header_parse(const uint8_t *block, struct tar_header *ret, struct err *err);

/* tar_number() - an octal or base-256 field of @len bytes. Return: 0; -EBADMSG */
int tar_number(const uint8_t *field, size_t len, const char *what, int64_t *ret, struct err *err);

/* tar_pax_parse() - the records of a PAX header. Return: 0; -EBADMSG, -E2BIG, -ENOMEM */
int tar_pax_parse(const uint8_t *data, size_t len, struct tar_over *over, struct err *err);

/* tar_decimal() - digits only, up to @len bytes. Return: 0; -EBADMSG */
int tar_decimal(
	const char *s, size_t len, const char *what, uint64_t max, uint64_t *ret, struct err *err);

/* tar_over_xattr() - add or replace; @value is copied. Return: 0; -E2BIG, -ENOMEM */
int tar_over_xattr(struct tar_over *o, const char *name, size_t name_len, const void *value,
	size_t len, struct err *err);

/* tar_map_add() - append a piece; order and overlap are checked. Return: 0; -EBADMSG, -E2BIG */
int tar_map_add(struct tar_map *m, uint64_t off, uint64_t len, struct err *err);

/* tar_map_pax() - a map of PAX 0.1: "off,len,off,len" */
int tar_map_pax(struct tar_map *m, const char *s, size_t len, struct err *err);

/*
 * tar_map_gnu() - @n pairs of old GNU sparse fields
 * Return: 0; -EBADMSG
 */
int tar_map_gnu(struct tar_map *m, const uint8_t *fields, unsigned n, struct err *err);

/* struct tar_text - how far the map at the beginning of the data has been read; starts as zeros */
struct tar_text {
	uint64_t left, off, value;
	unsigned digits;
	bool counted, has_off, done;
};

/*
 * tar_map_text() - the next block of a PAX 1.0 map: a count, then offsets and lengths, one a line
 * Return: 1 the map is complete, 0 it goes on; -EBADMSG, -E2BIG
 */
int tar_map_text(struct tar_map *m, struct tar_text *t, const uint8_t *block, struct err *err);

/* tar_map_check() - all of the map within @realsize, and its data of @packed bytes in all */
int tar_map_check(struct tar_map *m, uint64_t realsize, uint64_t packed, struct err *err);

/*
 * acl_mode() - permission bits after setting system.posix_acl_access to @acl, as the kernel changes
 * them; @mode if it is no ACL
 */
uint32_t acl_mode(uint32_t mode, const uint8_t *acl, size_t len);

/* acl_from_text() - "user::rwx,group::r-x,...": the bytes of system.posix_acl_*. Return: 0 and
 * *ret_len, 0 if the ACL says no more than a mode does; -EBADMSG not understood; @dst has room for
 * ACL_MAX_BYTES */
#define ACL_MAX_ENTRIES 512
#define ACL_MAX_BYTES	(4 + 8 * ACL_MAX_ENTRIES)
int acl_from_text(const char *s, size_t len, uint8_t *dst, size_t *ret_len);

#endif
