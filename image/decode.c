/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip by ISA-L (twice to three times as fast as zlib, and inflating is what a pull waits for),
 * zstd by libzstd. Both check the checksums their formats carry.
 *
 * A bomb is stopped by what it has become, not by what it looks like: the total is capped, and so
 * is the ratio once the total is large enough to hurt.
 */
#include "image/decode.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "lib/num.h"

enum kind { UNKNOWN, PLAIN, GZIP, ZSTD };

/*
 * struct decode - a decoder
 * @head:   first bytes, until they are enough to tell the kind
 * @inside: in the middle of a member or frame
 * @header: of the gzip member, kept from piece to piece while @in_header
 */
struct decode {
	struct decode_limits limits;
	const struct decode_sink *sink;
	void *ctx;
	enum kind kind;
	uint8_t head[4];
	size_t n_head;
	bool inside, in_header;
	uint64_t in, out;
	struct inflate_state *gzip;
	struct isal_gzip_header header;
	ZSTD_DStream *zstd;
};

int decode_new(const struct decode_limits *limits, const struct decode_sink *sink, void *ctx,
	struct decode **ret, struct err *err)
{
	struct decode *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(err, ENOMEM, "decompress");
	d->limits = *limits;
	d->sink = sink;
	d->ctx = ctx;
	*ret = d;
	return 0;
}

void decode_free(struct decode *d)
{
	if (!d)
		return;
	free(d->gzip);
	(void)ZSTD_freeDStream(d->zstd);
	free(d);
}

static enum layer_compression public_kind(enum kind kind)
{
	if (kind == GZIP)
		return LAYER_GZIP;
	return kind == ZSTD ? LAYER_ZSTD : LAYER_PLAIN;
}

enum layer_compression decode_kind(const struct decode *d)
{
	return public_kind(d->kind);
}

uint64_t decode_total(const struct decode *d)
{
	return d->out;
}

static int put(struct decode *d, const uint8_t *data, size_t len, struct err *err)
{
	d->out += len;
	if (d->out > d->limits.max_out)
		return err_msg(err, E2BIG, "decompress: more than %llu bytes come out",
			(unsigned long long)d->limits.max_out);
	/* Little output is no harm at any ratio: a layer may well be one file of zeros. */
	if (d->out > d->limits.max_out / 8 && d->out / d->limits.max_ratio > d->in)
		return err_msg(err, E2BIG, "decompress: %llu bytes became %llu: a bomb",
			(unsigned long long)d->in, (unsigned long long)d->out);
	return len ? d->sink->put(d->ctx, data, len, err) : 0;
}

static void begin_gzip_member(struct decode *d)
{
	isal_inflate_init(d->gzip);
	isal_gzip_header_init(&d->header);
	d->gzip->crc_flag = ISAL_GZIP;
	d->inside = true;
	d->in_header = true;
}

static int gzip_error(int code, struct err *err)
{
	if (code == ISAL_INCORRECT_CHECKSUM)
		return err_msg(err, EBADMSG, "gunzip: wrong checksum");
	if (code == ISAL_INVALID_WRAPPER || code == ISAL_UNSUPPORTED_METHOD)
		return err_msg(
			err, EBADMSG, "gunzip: the data is followed by something that is not gzip");
	return err_msg(err, EBADMSG, "gunzip: the data is damaged");
}

/*
 * isal_inflate() would read it too, but forgets between two pieces which of the optional parts are
 * still to come. Return: 0: done, or all input is used up; -EBADMSG
 */
static int take_gzip_header(struct decode *d, struct err *err)
{
	int r = d->in_header ? isal_read_gzip_header(d->gzip, &d->header) : ISAL_DECOMP_OK;

	d->in_header = r == ISAL_END_INPUT;
	return r == ISAL_DECOMP_OK || r == ISAL_END_INPUT ? 0 : gzip_error(r, err);
}

static int feed_gzip(struct decode *d, const uint8_t *data, size_t len, struct err *err)
{
	struct inflate_state *s = d->gzip;
	bool more_out = false;

	s->next_in = (uint8_t *)(uintptr_t)data;
	s->avail_in = (uint32_t)len;
	while (s->avail_in || more_out) {
		size_t size;
		uint8_t *out = d->sink->room(d->ctx, &size);
		uint32_t in_before;
		int r;

		if (!d->inside) {
			const uint8_t *next_in = s->next_in;
			uint32_t avail = s->avail_in;

			begin_gzip_member(d);
			s->next_in = (uint8_t *)(uintptr_t)next_in;
			s->avail_in = avail;
		}
		r = take_gzip_header(d, err);
		if (r < 0)
			return r;
		if (d->in_header || (!s->avail_in && !more_out))
			break;
		s->next_out = out;
		s->avail_out = (uint32_t)MIN_OF(size, (size_t)UINT32_MAX);
		in_before = s->avail_in;
		r = isal_inflate(s);
		if (r < 0)
			return gzip_error(r, err);
		if (s->avail_in == in_before && s->next_out == out && d->inside && !more_out)
			return gzip_error(ISAL_INVALID_BLOCK, err);
		/* A full output buffer may leave more inside the decoder. */
		more_out = !s->avail_out && s->block_state != ISAL_BLOCK_FINISH;
		d->inside = s->block_state != ISAL_BLOCK_FINISH;
		r = put(d, out, (size_t)(s->next_out - out), err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int feed_zstd(struct decode *d, const uint8_t *data, size_t len, struct err *err)
{
	ZSTD_inBuffer in = { .src = data, .size = len };
	bool more_out = false;

	while (in.pos < in.size || more_out) {
		ZSTD_outBuffer out = { 0 };
		size_t n;
		int r;

		out.dst = d->sink->room(d->ctx, &out.size);
		n = ZSTD_decompressStream(d->zstd, &out, &in);
		if (ZSTD_isError(n))
			return err_msg(err, EBADMSG, "unzstd: %s", ZSTD_getErrorName(n));
		more_out = out.pos == out.size && n != 0;
		d->inside = n != 0;
		r = put(d, out.dst, out.pos, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int feed_plain(struct decode *d, const uint8_t *data, size_t len, struct err *err)
{
	while (len) {
		size_t size;
		uint8_t *out = d->sink->room(d->ctx, &size);
		size_t n = MIN_OF(size, len);
		int r;

		memcpy(out, data, n);
		r = put(d, out, n, err);
		if (r < 0)
			return r;
		data += n;
		len -= n;
	}
	return 0;
}

static int feed_known(struct decode *d, const uint8_t *data, size_t len, struct err *err)
{
	switch (d->kind) {
	case GZIP:
		return feed_gzip(d, data, len, err);
	case ZSTD:
		return feed_zstd(d, data, len, err);
	default:
		return feed_plain(d, data, len, err);
	}
}

static enum kind guess(const uint8_t *head, size_t n)
{
	uint32_t magic = n == 4 ? load_le32(head) : 0;

	if (n >= 2 && head[0] == 0x1f && head[1] == 0x8b)
		return GZIP;
	/* A frame, or one that decoders skip: seekable zstd may begin with such. */
	if (magic == ZSTD_MAGICNUMBER ||
		(magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START)
		return ZSTD;
	return PLAIN;
}

enum layer_compression decode_guess(const uint8_t *head, size_t len)
{
	return public_kind(guess(head, MIN_OF(len, (size_t)4)));
}

static int begin(struct decode *d, struct err *err)
{
	d->kind = guess(d->head, d->n_head);
	if (d->kind == GZIP) {
		d->gzip = calloc(1, sizeof(*d->gzip));
		if (!d->gzip)
			return err_set(err, ENOMEM, "gunzip");
	} else if (d->kind == ZSTD) {
		d->zstd = ZSTD_createDStream();
		if (!d->zstd)
			return err_set(err, ENOMEM, "unzstd");
	}
	return feed_known(d, d->head, d->n_head, err);
}

int decode_feed(struct decode *d, const uint8_t *data, size_t len, struct err *err)
{
	int r = 0;

	d->in += len;
	if (d->kind == UNKNOWN) {
		size_t n = MIN_OF(len, sizeof(d->head) - d->n_head);

		memcpy(d->head + d->n_head, data, n);
		d->n_head += n;
		data += n;
		len -= n;
		if (d->n_head == sizeof(d->head))
			r = begin(d, err);
	}
	while (r == 0 && len) {
		size_t n = MIN_OF(len, (size_t)1 << 30);

		r = feed_known(d, data, n, err);
		data += n;
		len -= n;
	}
	return r;
}

int decode_finish(struct decode *d, struct err *err)
{
	int r = d->kind == UNKNOWN && d->n_head ? begin(d, err) : 0;

	if (r == 0 && d->inside)
		return err_msg(err, EBADMSG, "decompress: the data ends too early");
	return r;
}
