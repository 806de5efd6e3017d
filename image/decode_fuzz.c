/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip and zstd framing. The first byte says how the data is cut into pieces and how much room
 * there is for output; cut otherwise, the same must come out.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/decode.h"
#include "lib/num.h"

#define OUT_MAX KIB(256)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* struct seen - what came out: how much, and a sum that its order matters for */
struct seen {
	uint8_t room[8192];
	size_t size;
	uint64_t len, sum;
};

static uint8_t *give_room(void *ctx, size_t *ret_size)
{
	struct seen *s = ctx;

	*ret_size = s->size;
	return s->room;
}

static int take(void *ctx, const uint8_t *data, size_t len, struct err *err)
{
	struct seen *s = ctx;

	if (len > s->size || data != s->room)
		abort();
	for (size_t i = 0; i < len; i++)
		s->sum = s->sum * 31 + data[i];
	s->len += len;
	if (s->len > OUT_MAX)
		abort();
	return 0;
}

static int decode(const uint8_t *data, size_t len, size_t piece, struct seen *s)
{
	static const struct decode_limits limits = { OUT_MAX, 64 };
	static const struct decode_sink sink = { give_room, take };
	struct decode *d;
	int rc = decode_new(&limits, &sink, s, &d, NULL);

	if (rc < 0)
		return rc;
	for (size_t at = 0; at < len && rc == 0; at += piece)
		rc = decode_feed(d, data + at, MIN_OF(piece, len - at), NULL);
	rc = rc ? rc : decode_finish(d, NULL);
	if (rc == 0 && decode_total(d) != s->len)
		abort();
	decode_free(d);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct seen whole = { .size = sizeof(whole.room) }, cut = { .size = 4096 };
	int rc, again;

	if (len == 0)
		return 0;
	rc = decode(data + 1, len - 1, len, &whole);
	again = decode(data + 1, len - 1, 1 + data[0], &cut);
	/* What is too much depends on how much of the input has been seen. */
	if (rc == -E2BIG || again == -E2BIG)
		return 0;
	/*
	 * libzstd looks for a whole frame behind those bytes of it that it has taken before, so cut
	 * in one place damaged data may pass. A layer's digest tells.
	 */
	if ((rc < 0 || again < 0) && decode_guess(data + 1, len - 1) == LAYER_ZSTD)
		return 0;
	if (rc != again || (rc == 0 && (whole.len != cut.len || whole.sum != cut.sum)))
		abort();
	return 0;
}
