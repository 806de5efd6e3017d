/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decompression of a blob as its bytes come: gzip with any number of members, zstd with any number
 * of frames, or nothing; told apart by the first bytes.
 */
#ifndef IMAGE_DECODE_H
#define IMAGE_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include "image/layer.h"
#include "lib/err.h"

struct decode;

/*
 * struct decode_sink - where the bytes go
 * @room: memory for the next piece of output, at least 4096 bytes, and its size; may wait
 * @put:  the piece is complete: @len bytes of what @room gave. A non-zero return ends the decoding
 * with it.
 */
struct decode_sink {
	uint8_t *(*room)(void *ctx, size_t *ret_size);
	int (*put)(void *ctx, const uint8_t *data, size_t len, struct err *err);
};

/* struct decode_limits - see struct layer_limits; all non-zero */
struct decode_limits {
	uint64_t max_out;
	uint32_t max_ratio;
};

/* decode_new() - @sink and @ctx are borrowed until decode_free(). Return: 0 and *ret; -ENOMEM */
int decode_new(const struct decode_limits *limits, const struct decode_sink *sink, void *ctx,
	struct decode **ret, struct err *err);

/* decode_feed() - Return: 0; -EBADMSG damaged, -E2BIG over a limit, or what the sink said */
int decode_feed(struct decode *d, const uint8_t *data, size_t len, struct err *err);

/* decode_finish() - the input has ended. Return: 0; -EBADMSG in the middle of something */
int decode_finish(struct decode *d, struct err *err);

void decode_free(struct decode *d);

/* decode_guess() - what a blob is that begins with @head; four bytes are enough */
enum layer_compression decode_guess(const uint8_t *head, size_t len);

/* decode_kind() - what it turned out to be; decode_total(): bytes given to the sink */
enum layer_compression decode_kind(const struct decode *d);
uint64_t decode_total(const struct decode *d);

#endif
