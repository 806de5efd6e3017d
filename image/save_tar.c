/* SPDX-License-Identifier: Apache-2.0 */
/* image_save(): saved images as the members of a tar. */
#include "image/save_sink.h"

/* struct tar_out - @size: of the member being written */
struct tar_out {
	struct save_stream stream;
	uint64_t size;
};

static int put(void *ctx, const void *data, size_t len, struct err *err)
{
	return save_stream_put(&((struct tar_out *)ctx)->stream, data, len, err);
}

static int folder(void *ctx, const char *name, struct err *err)
{
	struct tar_member m = { .type = '5', .name = name, .mode = 0755 };

	return tar_write_header(&m, put, ctx, err);
}

static int begin(void *ctx, const char *name, uint64_t size, struct err *err)
{
	struct tar_member m = { .type = '0', .name = name, .mode = 0644, .size = size };

	((struct tar_out *)ctx)->size = size;
	return tar_write_header(&m, put, ctx, err);
}

static int end(void *ctx, struct err *err)
{
	return tar_write_padding(((struct tar_out *)ctx)->size, put, ctx, err);
}

static void tar_out_release(struct tar_out *t)
{
	save_stream_release(&t->stream);
}

int image_save(struct cache *cache, const char *const *references, size_t n,
	enum image_format format, int fd, struct err *err)
{
	__attribute__((cleanup(tar_out_release))) struct tar_out t = { .size = 0 };
	struct save_sink sink = {
		.folder = folder, .begin = begin, .write = put, .end = end, .ctx = &t
	};
	int rc = save_stream_init(&t.stream, fd, "the archive", err);

	rc = rc ? rc : save_images(cache, references, n, format, &sink, err);
	rc = rc ? rc : tar_write_end(put, &t, err);
	return rc ? rc : save_stream_flush(&t.stream, err);
}
