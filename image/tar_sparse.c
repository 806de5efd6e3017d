/* SPDX-License-Identifier: Apache-2.0 */
/* Maps of sparse members: GNU tar's old format and the three it invented for PAX. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/tar_internal.h"
#include "lib/num.h"

int tar_map_add(struct tar_map *m, uint64_t off, uint64_t len, struct err *err)
{
	uint64_t end = m->n ? m->v[m->n - 1].off + m->v[m->n - 1].len : 0;

	if (off < end || off > INT64_MAX || len > INT64_MAX - off)
		return err_msg(
			err, EBADMSG, "tar: a sparse map is out of order or overlaps itself");
	if (m->n >= TAR_SPARSE_MAX)
		return err_msg(
			err, E2BIG, "tar: a sparse map has more than %u pieces", TAR_SPARSE_MAX);
	if (m->n == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 16;
		struct tar_extent *v = reallocarray(m->v, cap, sizeof(*v));

		if (!v)
			return err_set(err, ENOMEM, "tar: sparse map");
		m->v = v;
		m->cap = cap;
	}
	m->v[m->n++] = (struct tar_extent){ .off = off, .len = len };
	return 0;
}

int tar_map_gnu(struct tar_map *m, const uint8_t *fields, unsigned n, struct err *err)
{
	for (unsigned i = 0; i < n; i++, fields += 24) {
		int64_t off, len;
		int r;

		/* Unused slots are zero. */
		if (!fields[0] && !fields[12])
			continue;
		if ((r = tar_number(fields, 12, "sparse offset", &off, err)) < 0 ||
			(r = tar_number(fields + 12, 12, "sparse length", &len, err)) < 0)
			return r;
		if (off < 0 || len < 0)
			return err_msg(err, EBADMSG, "tar: a sparse map has negative numbers");
		r = tar_map_add(m, (uint64_t)off, (uint64_t)len, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int tar_map_pax(struct tar_map *m, const char *s, size_t len, struct err *err)
{
	const char *end = s + len;
	uint64_t v[2];

	while (s < end) {
		for (unsigned i = 0; i < 2; i++) {
			const char *comma = memchr(s, ',', (size_t)(end - s));
			const char *stop = comma ? comma : end;
			int r = tar_decimal(
				s, (size_t)(stop - s), "sparse map", INT64_MAX, &v[i], err);

			if (r < 0)
				return r;
			s = comma ? comma + 1 : end;
		}
		int r = tar_map_add(m, v[0], v[1], err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* A number is complete: the count first, then pairs. */
static int text_commit(struct tar_map *m, struct tar_text *t, struct err *err)
{
	uint64_t v = t->value;
	int r = 0;

	t->value = 0;
	t->digits = 0;
	if (!t->counted) {
		if (v > TAR_SPARSE_MAX)
			return err_msg(err, E2BIG, "tar: a sparse map has more than %u pieces",
				TAR_SPARSE_MAX);
		t->counted = true;
		t->left = v;
	} else if (!t->has_off) {
		t->has_off = true;
		t->off = v;
	} else {
		t->has_off = false;
		t->left--;
		r = tar_map_add(m, t->off, v, err);
	}
	t->done = !t->left;
	return r;
}

int tar_map_text(struct tar_map *m, struct tar_text *t, const uint8_t *block, struct err *err)
{
	for (unsigned i = 0; i < TAR_BLOCK_SIZE && !t->done; i++) {
		uint8_t b = block[i];
		int r = 0;

		if (b >= '0' && b <= '9' && t->digits < 19) {
			t->value = t->value * 10 + (uint64_t)(b - '0');
			t->digits++;
		} else if (b == '\n' && t->digits) {
			r = text_commit(m, t, err);
		} else {
			r = err_msg(err, EBADMSG,
				"tar: a sparse map holds something else than numbers");
		}
		if (r < 0)
			return r;
	}
	return t->done;
}

int tar_map_check(struct tar_map *m, uint64_t realsize, uint64_t packed, struct err *err)
{
	uint64_t sum = 0;
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++) {
		if (!range_ok(m->v[i].off, m->v[i].len, realsize))
			return err_msg(
				err, EBADMSG, "tar: a sparse map reaches beyond the file's end");
		sum += m->v[i].len;
		if (m->v[i].len)
			m->v[n++] = m->v[i];
	}
	m->n = n;
	if (sum != packed)
		return err_msg(err, EBADMSG, "tar: a sparse map does not match the member's size");
	return 0;
}
