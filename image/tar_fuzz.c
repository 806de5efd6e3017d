/* SPDX-License-Identifier: Apache-2.0 */
/* An archive in two pieces, cut where the first byte says. */
#include <stdlib.h>

#include "image/tar.h"
#include "lib/num.h"

/* struct seen - what the reader promised about the member at hand */
struct seen {
	uint64_t left;
	uint8_t sum;
};

static void touch(struct seen *s, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		s->sum ^= p[i];
}

static int on_entry(void *ctx, const struct tar_entry *e, struct err *err)
{
	struct seen *s = ctx;
	uint64_t end = 0;

	s->left = e->size;
	if (!e->path[0] || e->mode > 07777 || e->mtime_ns >= 1000000000)
		abort();
	for (size_t i = 0; i < e->n_xattrs; i++)
		touch(s, e->xattrs[i].value, e->xattrs[i].len);
	for (size_t i = 0; i < e->n_map; i++) {
		if (e->map[i].off < end || !range_ok(e->map[i].off, e->map[i].len, e->size))
			abort();
		end = e->map[i].off + e->map[i].len;
	}
	return 0;
}

static int on_data(void *ctx, const uint8_t *data, size_t len, struct err *err)
{
	struct seen *s = ctx;

	if (len > s->left)
		abort();
	s->left -= len;
	touch(s, data, len);
	return 0;
}

static int on_end(void *ctx, struct err *err)
{
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct tar_ops ops = { on_entry, on_data, on_end };
	static const struct tar_limits limits = { 1U << 20, 1000, 4096 };
	struct seen seen = { 0 };
	struct tar *t;
	size_t cut;

	if (!size || tar_new(&limits, &ops, &seen, &t, NULL) < 0)
		return 0;
	cut = (size - 1) * data[0] / 256;
	if (tar_feed(t, data + 1, cut, NULL) == 0 &&
		tar_feed(t, data + 1 + cut, size - 1 - cut, NULL) == 0)
		(void)tar_finish(t, NULL);
	tar_free(t);
	return 0;
}
