/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compressed clusters. What comes out is one cluster, never more, and what goes in is not much
 * longer than one: no bomb fits. The cluster read last is kept, since guests read in smaller
 * pieces.
 */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "block/file.h"
#include "block/qcow2.h"
#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/num.h"

#define WINDOW_BITS (-12) /* raw deflate */

static int inflate_zlib(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	z_stream z = { .next_in = (uint8_t *)in,
		.avail_in = (unsigned)in_len,
		.next_out = out,
		.avail_out = (unsigned)out_len };

	if (inflateInit2(&z, WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	(void)inflate(&z, Z_FINISH); /* what counts is a whole cluster */
	(void)inflateEnd(&z);
	return z.avail_out ? -EIO : 0;
}

/* One frame; what follows it in its sectors is not ours. The output is the window: a header that
 * claims a huge one costs nothing. */
static int inflate_zstd(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	size_t frame = ZSTD_findFrameCompressedSize(in, in_len), got;

	if (ZSTD_isError(frame))
		return -EIO;
	got = ZSTD_decompress(out, out_len, in, frame);
	return ZSTD_isError(got) || got != out_len ? -EIO : 0;
}

/* Into q->inflated. */
static int load(struct qcow2 *q, uint64_t entry)
{
	cleanup_free uint8_t *in = NULL;
	uint64_t off, len;
	int r;

	qcow2_deflated_span(q, entry, &off, &len);
	if (off >= q->file_end)
		return -EIO;
	len = MIN_OF(len, q->file_end - off); /* the last sector of a file may be cut short */
	if (!q->inflated)
		q->inflated = malloc(qcow2_cluster_len(q));
	in = malloc(len);
	if (!in || !q->inflated)
		return -ENOMEM;
	r = file_read(q->fd, in, len, off);
	if (r < 0)
		return r;
	q->inflated_entry = 0;
	r = q->h.zstd ? inflate_zstd(in, len, q->inflated, qcow2_cluster_len(q))
		      : inflate_zlib(in, len, q->inflated, qcow2_cluster_len(q));
	if (r == 0)
		q->inflated_entry = entry;
	return r;
}

int qcow2_inflate(struct qcow2 *q, uint64_t entry, uint64_t in, const struct iovec *iov, unsigned n,
	size_t skip, size_t len)
{
	struct iovec part[64];
	int r = 0;

	(void)pthread_mutex_lock(&q->inflate_lock);
	if (q->inflated_entry != entry)
		r = load(q, entry);
	for (size_t done = 0; r == 0 && done < len;) {
		unsigned m = iov_slice(iov, n, skip + done, len - done, part, ARRAY_LEN(part));
		size_t now = iov_len(part, m);

		(void)iov_write(part, m, 0, q->inflated + in + done, now);
		done += now;
	}
	(void)pthread_mutex_unlock(&q->inflate_lock);
	return r;
}
