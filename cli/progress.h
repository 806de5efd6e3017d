/* SPDX-License-Identifier: Apache-2.0 */
/* What a pull is doing, as lines on a terminal that are redrawn and finally removed. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "image/image.h"

struct progress_layer {
	char digest[24]; /* short */
	const char *doing;
	uint64_t done, total;
	bool started, complete;
};

/*
 * struct progress - @out: NULL when there is nobody to see it
 * @lines: on the screen now; @columns, @rows: what fits there
 * @trouble: why an attempt failed and when the next one comes, until something comes; or ""
 */
struct progress {
	FILE *out;
	const char *verb, *target;
	struct progress_layer layers[IMAGE_LAYERS_MAX];
	size_t n_layers;
	unsigned lines, columns, rows, frame;
	char trouble[256];
	uint64_t last_ns;
};

/*
 * progress_init() - on stderr, if that is a terminal and @quiet is not set
 * @verb, @target: "Pulling", the reference; borrowed
 */
void progress_init(struct progress *p, const char *verb, const char *target, bool quiet);

/* progress_event() - an image_progress_fn; @ctx is the struct progress */
void progress_event(void *ctx, const struct image_event *ev);

/* progress_end() - remove the lines. */
void progress_end(struct progress *p);

#endif
