/* SPDX-License-Identifier: Apache-2.0 */
#include "block/spans.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/file.h"
#include "lib/iov.h"
#include "lib/num.h"

struct spans {
	struct block block;
	unsigned n;
	uint64_t *start; /* of each span, on the disk */
	struct span span[];
};

/* The span that holds byte @off of the disk. */
static unsigned find(const struct spans *s, uint64_t off)
{
	unsigned low = 0, high = s->n;

	while (high - low > 1) {
		unsigned mid = low + (high - low) / 2;

		if (s->start[mid] <= off)
			low = mid;
		else
			high = mid;
	}
	return low;
}

/* What of a request lies in one span: bytes [skip, skip + len) of @iov. */
static int read_part(const struct span *sp, const struct iovec *iov, unsigned n, size_t skip,
	size_t len, uint64_t off)
{
	if (!sp->image) {
		(void)iov_fill(iov, n, skip, 0, len);
		return 0;
	}
	return block_read_part(sp->image, iov, n, skip, len, sp->off + off);
}

static int spans_read(struct block *b, const struct iovec *iov, unsigned n, uint64_t off)
{
	const struct spans *s = container_of(b, struct spans, block);
	size_t left = iov_len(iov, n), done = 0;

	for (unsigned i = left ? find(s, off) : s->n; left && i < s->n; i++) {
		uint64_t at = off - s->start[i];
		size_t now = MIN_OF(left, s->span[i].len - at);
		int r = now == left && !done && s->span[i].image
				? block_read(s->span[i].image, iov, n, s->span[i].off + at)
				: read_part(&s->span[i], iov, n, done, now, at);

		if (r < 0)
			return r;
		done += now;
		left -= now;
		off += now;
	}
	return 0;
}

static void spans_free(struct block *b)
{
	struct spans *s = container_of(b, struct spans, block);

	for (unsigned i = 0; i < s->n; i++) {
		if (i == 0 || s->span[i].image != s->span[i - 1].image)
			block_free(s->span[i].image);
	}
	free(s->start);
	free(s);
}

static const struct block_ops spans_ops = {
	.name = "spans",
	.read = spans_read,
	.free = spans_free,
};

static int add_up(struct spans *s, struct err *err)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < s->n; i++) {
		const struct span *sp = &s->span[i];

		if (!sp->len || sp->len > INT64_MAX - size)
			return err_msg(
				err, EINVAL, "part %u of the disk has an impossible size", i);
		if (sp->image && !range_ok(sp->off, sp->len, sp->image->size))
			return err_msg(err, EINVAL,
				"part %u of the disk is longer than the file it is in", i);
		s->start[i] = size;
		size += sp->len;
	}
	s->block.size = size;
	return 0;
}

int spans_new(const struct span *span, unsigned n, struct block **ret, struct err *err)
{
	struct spans *s;
	int r = -ENOMEM;

	if (n == 0 || n > SPANS_MAX)
		return err_msg(err, EINVAL, "a disk has 1 to %d parts, not %u", SPANS_MAX, n);
	s = calloc(1, sizeof(*s) + n * sizeof(*span));
	if (s)
		s->start = calloc(n, sizeof(*s->start));
	if (!s || !s->start) {
		free(s);
		return err_set(err, ENOMEM, "open disk image");
	}
	s->n = n;
	memcpy(s->span, span, n * sizeof(*span));
	s->block = (struct block){ .ops = &spans_ops, .read_only = true };
	if (span[0].image)
		memcpy(s->block.id, span[0].image->id, BLOCK_ID_LEN);
	r = add_up(s, err);
	if (r < 0) {
		free(s->start);
		free(s);
		return r;
	}
	*ret = &s->block;
	return 0;
}
