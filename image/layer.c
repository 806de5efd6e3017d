/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chain that a blob's bytes go through:
 *
 *	layer_feed() -> SHA-256 of the blob
 *		     -> decode -> SHA-256 of the archive (a thread of its own)
 *			       -> tar reader -> tree; data to the image file
 *	layer_finish() -> EROFS metadata behind the data
 */
#include "image/layer.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "image/decode.h"
#include "image/sha_ring.h"
#include "image/erofs_write.h"
#include "image/layer_internal.h"
#include "lib/cleanup.h"
#include "lib/num.h"

/* struct layer - @failed: the first error, which every later call repeats */
struct layer {
	struct layer_tree lt;
	struct tar *tar;
	struct decode *decode;
	struct sha_ring *tar_digest;
	EVP_MD_CTX *blob_digest;
	uint64_t blob_size;
	struct err failed;
};

static struct layer_limits limits_or_defaults(const struct layer_options *options)
{
	static const struct layer_limits defaults = {
		.max_tar_bytes = GIB(12),
		.max_total_bytes = GIB(10),
		.max_file_bytes = GIB(5),
		.max_meta_bytes = MIB(512),
		.max_entries = 1000000,
		.max_path = 4096,
		.max_depth = 128,
		.max_ratio = 256,
	};
	struct layer_limits l = options ? options->limits : defaults;

#define DEFAULT(field) l.field = l.field ? l.field : defaults.field
	DEFAULT(max_tar_bytes);
	DEFAULT(max_total_bytes);
	DEFAULT(max_file_bytes);
	DEFAULT(max_meta_bytes);
	DEFAULT(max_entries);
	DEFAULT(max_path);
	DEFAULT(max_depth);
	DEFAULT(max_ratio);
#undef DEFAULT
	/* Longer paths no kernel takes, and more depth no tree. */
	l.max_path = MIN_OF(l.max_path, 4096U);
	l.max_depth = MIN_OF(l.max_depth, (uint32_t)TREE_MAX_DEPTH);
	return l;
}

static uint8_t *room(void *ctx, size_t *ret_size)
{
	struct layer *l = ctx;

	*ret_size = SHA_RING_PIECE;
	return sha_ring_room(l->tar_digest);
}

static int put(void *ctx, const uint8_t *data, size_t len, struct err *err)
{
	struct layer *l = ctx;

	sha_ring_put(l->tar_digest, len);
	return tar_feed(l->tar, data, len, err);
}

static int build_chain(struct layer *l, struct err *err)
{
	static const struct decode_sink sink = { .room = room, .put = put };
	const struct layer_limits *limits = &l->lt.limits;
	struct decode_limits dl = { .max_out = limits->max_tar_bytes,
		.max_ratio = limits->max_ratio };
	struct tar_limits tl = { .max_file_bytes = limits->max_file_bytes,
		.max_entries = limits->max_entries,
		.max_path = limits->max_path };
	int r;

	if ((r = sha_ring_new(&l->tar_digest, err)) < 0 ||
		(r = tar_new(&tl, &layer_tree_ops, &l->lt, &l->tar, err)) < 0 ||
		(r = decode_new(&dl, &sink, l, &l->decode, err)) < 0)
		return r;
	l->blob_digest = EVP_MD_CTX_new();
	if (!l->blob_digest || EVP_DigestInit_ex(l->blob_digest, EVP_sha256(), NULL) != 1)
		return err_set(err, ENOMEM, "unpack layer");
	return 0;
}

int layer_new(int out_fd, const struct layer_options *options, struct layer **ret, struct err *err)
{
	struct layer_limits limits = limits_or_defaults(options);
	cleanup_layer struct layer *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(err, ENOMEM, "unpack layer");
	r = layer_tree_init(&l->lt, out_fd, &limits, err);
	if (r == 0 && options) {
		l->lt.tree.ask_at = options->own_meta_bytes ? options->own_meta_bytes : MIB(64);
		l->lt.tree.ask = options->more_memory;
		l->lt.tree.ask_ctx = options->ctx;
	}
	if (r == 0)
		r = build_chain(l, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&l);
	return 0;
}

void layer_free(struct layer *l)
{
	if (!l)
		return;
	decode_free(l->decode);
	tar_free(l->tar);
	sha_ring_free(l->tar_digest);
	EVP_MD_CTX_free(l->blob_digest);
	layer_tree_release(&l->lt);
	free(l);
}

/* The first error stays. Return: its negative code. */
static int report(struct layer *l, struct err *err)
{
	if (err)
		*err = l->failed;
	return -l->failed.code;
}

int layer_feed(struct layer *l, const void *data, size_t len, struct err *err)
{
	if (l->failed.code)
		return report(l, err);
	l->blob_size += len;
	if (EVP_DigestUpdate(l->blob_digest, data, len) != 1)
		(void)err_msg(&l->failed, EIO, "the SHA-256 implementation failed");
	else
		(void)decode_feed(l->decode, data, len, &l->failed);
	return l->failed.code ? report(l, err) : 0;
}

static int finish_digests(
	struct layer *l, struct layer_result *ret, uint8_t *diff_id, struct err *err)
{
	uint8_t blob[EVP_MAX_MD_SIZE];
	int r = sha_ring_finish(l->tar_digest, diff_id, err);

	if (r < 0)
		return r;
	if (EVP_DigestFinal_ex(l->blob_digest, blob, NULL) != 1)
		return err_msg(err, EIO, "the SHA-256 implementation failed");
	sha_ring_text(diff_id, ret->diff_id);
	sha_ring_text(blob, ret->blob_digest);
	return 0;
}

static int finish(struct layer *l, struct layer_result *ret, struct err *err)
{
	struct erofs_params params = { .compact = false };
	uint8_t diff_id[EVP_MAX_MD_SIZE];
	struct erofs_written written;
	int r;

	if ((r = decode_finish(l->decode, err)) < 0 || (r = tar_finish(l->tar, err)) < 0 ||
		(r = finish_digests(l, ret, diff_id, err)) < 0 ||
		(r = layer_tree_mark(&l->lt, err)) < 0)
		return r;
	memcpy(params.seed, diff_id, sizeof(params.seed));
	r = erofs_write(&l->lt.tree, &l->lt.out, &params, &written, err);
	if (r < 0)
		return r;
	ret->compression = decode_kind(l->decode);
	ret->blob_size = l->blob_size;
	ret->tar_size = decode_total(l->decode);
	ret->erofs_size = written.size;
	ret->inodes = written.inodes;
	ret->file_bytes = written.file_bytes;
	ret->entries = tar_entries(l->tar);
	ret->dropped = tar_dropped(l->tar) + l->lt.dropped;
	return 0;
}

int layer_finish(struct layer *l, struct layer_result *ret, struct err *err)
{
	struct layer_result result = { .compression = LAYER_PLAIN };

	if (l->failed.code)
		return report(l, err);
	if (finish(l, &result, &l->failed) < 0)
		return report(l, err);
	/* There is nothing more to do with it. */
	(void)err_msg(&l->failed, EINVAL, "the layer is finished");
	*ret = result;
	return 0;
}
