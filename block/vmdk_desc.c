/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "block/vmdk.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define LINE_MAX_LEN 1024
#define MAX_SECTORS  (UINT64_C(1) << 53)

/* struct parser - @line: the current one, terminated, which the words are cut out of */
struct parser {
	const char *text;
	size_t len, pos;
	unsigned line_no;
	char line[LINE_MAX_LEN];
	char *at;
	bool has_type;
	unsigned cap;
	struct vmdk_desc desc;
};

static int bad(const struct parser *p, const char *what, struct err *err)
{
	return err_msg(
		err, EINVAL, "the vmdk descriptor is malformed: %s in line %u", what, p->line_no);
}

/* Return: 1 with a line, 0 at the end, -EINVAL too long */
static int next_line(struct parser *p, struct err *err)
{
	size_t n = 0;

	if (p->pos >= p->len || !p->text[p->pos])
		return 0;
	p->line_no++;
	while (p->pos < p->len && p->text[p->pos] && p->text[p->pos] != '\n') {
		if (n >= sizeof(p->line) - 1)
			return bad(p, "too long a line", err);
		p->line[n++] = p->text[p->pos++];
	}
	if (p->pos < p->len && p->text[p->pos] == '\n')
		p->pos++;
	while (n && strchr(" \t\r", p->line[n - 1]))
		n--;
	p->line[n] = 0;
	p->at = p->line + strspn(p->line, " \t");
	return 1;
}

/* The next word of the line, "" at its end. */
static char *word(struct parser *p)
{
	char *start = p->at + strspn(p->at, " \t");

	p->at = start + strcspn(start, " \t");
	if (*p->at)
		*p->at++ = 0;
	return start;
}

/* Text in double quotes, NULL if there is none. */
static char *quoted(struct parser *p)
{
	char *start = p->at + strspn(p->at, " \t"), *end;

	if (*start != '"')
		return NULL;
	end = strchr(++start, '"');
	if (!end)
		return NULL;
	*end = 0;
	p->at = end + 1;
	return start;
}

static int sectors(struct parser *p, uint64_t *ret, struct err *err)
{
	uint64_t n;

	if (num_parse_u64(word(p), "sectors", 0, MAX_SECTORS, &n, NULL) < 0)
		return bad(p, "number of sectors", err);
	*ret = n * BLOCK_SECTOR;
	return 0;
}

static int extent_kind(struct parser *p, struct vmdk_extent *e, struct err *err)
{
	const char *kind = word(p);

	if (strcmp(kind, "FLAT") == 0)
		e->kind = VMDK_FLAT;
	else if (strcmp(kind, "SPARSE") == 0)
		e->kind = VMDK_SPARSE;
	else if (strcmp(kind, "ZERO") == 0)
		e->kind = VMDK_ZERO;
	else
		return err_msg(
			err, ENOTSUP, "vmdk extents of type '%.32s' are not supported", kind);
	return 0;
}

static int add_extent(struct parser *p, const struct vmdk_extent *e, struct err *err)
{
	if (p->desc.n == VMDK_EXTENTS_MAX)
		return bad(p, "too many extents", err);
	if (p->desc.n == p->cap) {
		unsigned cap = p->cap ? p->cap * 2 : 8;
		void *more = realloc(p->desc.extent, cap * sizeof(*e));

		if (!more)
			return err_set(err, ENOMEM, "read vmdk descriptor");
		p->desc.extent = more;
		p->cap = cap;
	}
	p->desc.extent[p->desc.n++] = *e;
	return 0;
}

/* RW 4192256 FLAT "disk-flat.vmdk" 0; access was read already */
static int parse_extent(struct parser *p, struct err *err)
{
	struct vmdk_extent e = { 0 };
	const char *name;
	int r = sectors(p, &e.len, err);

	if (r == 0)
		r = extent_kind(p, &e, err);
	if (r < 0)
		return r;
	if (!e.len)
		return bad(p, "an empty extent", err);
	if (e.kind != VMDK_ZERO) {
		name = quoted(p);
		if (!name || !*name || strlen(name) > VMDK_NAME_MAX)
			return bad(p, "name of an extent", err);
		memcpy(e.name, name, strlen(name) + 1);
	}
	p->at += strspn(p->at, " \t");
	if (e.kind == VMDK_FLAT && *p->at)
		r = sectors(p, &e.off, err);
	return r == 0 ? add_extent(p, &e, err) : r;
}

static int check_type(struct parser *p, char *value, struct err *err)
{
	static const char *const known[] = { "monolithicFlat", "monolithicSparse",
		"twoGbMaxExtentFlat", "twoGbMaxExtentSparse", "streamOptimized" };
	size_t len = strlen(value);

	if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
		value[len - 1] = 0;
		value++;
	}
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		p->has_type |= strcmp(value, known[i]) == 0;
	if (p->has_type)
		return 0;
	return err_msg(err, ENOTSUP, "vmdk images of type '%.32s' are not supported", value);
}

/* Lines of other meaning are none of our business. */
static int parse_line(struct parser *p, struct err *err)
{
	char *value = strchr(p->at, '='), *end = value;
	const char *first;

	if (!*p->at || *p->at == '#')
		return 0;
	if (value) {
		while (end > p->at && strchr(" \t", end[-1]))
			end--;
		*end = 0;
		value += 1 + strspn(value + 1, " \t");
		if (strcmp(p->at, "createType") == 0)
			return check_type(p, value, err);
		if (strcmp(p->at, "parentCID") == 0 && strcasecmp(value, "ffffffff") != 0)
			return err_msg(err, ENOTSUP,
				"vmdk images that build on a parent are not supported");
		return 0;
	}
	first = word(p);
	if (strcmp(first, "RW") == 0 || strcmp(first, "RDONLY") == 0)
		return parse_extent(p, err);
	return bad(p, "no extent and no value", err);
}

static int parse_all(struct parser *p, struct err *err)
{
	int r = next_line(p, err);

	if (r == 0 || (r > 0 && strcasecmp(p->line, "# Disk DescriptorFile") != 0))
		return err_msg(err, EINVAL, "not a vmdk image");
	while (r > 0) {
		r = next_line(p, err);
		if (r > 0) {
			int bad_line = parse_line(p, err);

			if (bad_line < 0)
				return bad_line;
		}
	}
	if (r < 0)
		return r;
	if (!p->has_type || !p->desc.n)
		return err_msg(err, EINVAL, "the vmdk descriptor names no %s",
			p->has_type ? "extents" : "type");
	return 0;
}

int vmdk_desc_parse(const char *text, size_t len, struct vmdk_desc *ret, struct err *err)
{
	cleanup_free struct parser *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(err, ENOMEM, "read vmdk descriptor");
	p->text = text;
	p->len = MIN_OF(len, VMDK_DESC_MAX);
	r = parse_all(p, err);
	if (r < 0) {
		vmdk_desc_release(&p->desc);
		return r;
	}
	*ret = p->desc;
	return 0;
}

void vmdk_desc_release(struct vmdk_desc *desc)
{
	free(desc->extent);
	*desc = (struct vmdk_desc){ 0 };
}
