/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where saved images go: save.c says which files there are, one after the other, and a sink makes
 * them members of a tar (save_tar.c) or files of a folder (save_folder.c).
 */
#ifndef IMAGE_SAVE_SINK_H
#define IMAGE_SAVE_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/image.h"
#include "image/tar_write.h"

/*
 * struct save_sink - the callbacks return 0, or -errno with @err filled, which ends the saving
 * @folder: a folder; its name ends with '/'
 * @begin:  a file of @size bytes; its folder has been there before
 * @write:  the next bytes of it
 * @end:    those were all
 * @tables_last: what makes it an OCI layout comes when all that it names is there
 */
struct save_sink {
	int (*folder)(void *ctx, const char *name, struct err *err);
	int (*begin)(void *ctx, const char *name, uint64_t size, struct err *err);
	tar_sink_fn *write;
	int (*end)(void *ctx, struct err *err);
	bool tables_last;
	void *ctx;
};

/* save_images() - all files of these images. Return: as image_save() */
int save_images(struct cache *cache, const char *const *references, size_t n,
	enum image_format format, const struct save_sink *sink, struct err *err);

/*
 * struct save_stream - small pieces on their way to a descriptor, gathered into large ones
 * @fd:   borrowed
 * @what: for the error: "write @what"
 */
struct save_stream {
	int fd;
	const char *what;
	uint8_t *buf;
	size_t len;
};

int save_stream_init(struct save_stream *s, int fd, const char *what, struct err *err);
void save_stream_release(struct save_stream *s);
int save_stream_put(struct save_stream *s, const void *data, size_t len, struct err *err);
int save_stream_flush(struct save_stream *s, struct err *err);

#define cleanup_save_stream __attribute__((cleanup(save_stream_release)))

#endif
