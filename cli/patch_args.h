/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes to the root file system before the command runs (images.md 5.9), and the frames that
 * carry them to the agent. Nothing is copied before the machine runs, and never more than a chunk
 * is held in memory.
 */
#ifndef CLI_PATCH_ARGS_H
#define CLI_PATCH_ARGS_H

#include <dirent.h>
#include <limits.h>
#include <stdint.h>

#include "lib/err.h"
#include "protocol/protocol.h"

#define PATCH_ARGS_MAX	64
#define PATCH_DEPTH_MAX 64

/* In the order in which they are applied. */
enum patch_kind { PATCH_COPY, PATCH_COPY_FILE, PATCH_COPY_DIR, PATCH_MKDIR, PATCH_REMOVE };

/* struct patch_arg - @source, @path are allocated; @source NULL for those without one */
struct patch_arg {
	enum patch_kind kind;
	char *source, *path;
};

/* struct patch_args - sorted; @rank: the kind that was asked for */
struct patch_args {
	struct patch_arg v[PATCH_ARGS_MAX];
	enum patch_kind rank[PATCH_ARGS_MAX];
	unsigned n;
};

/*
 * patch_args_add() - "SOURCE:PATH" or "PATH"; sources must exist and be of the right kind
 * Return: 0; -EDOM with the reason; -ENOMEM
 */
int patch_args_add(
	struct patch_args *args, enum patch_kind kind, const char *spec, struct err *err);
void patch_args_release(struct patch_args *args);

/* struct patch_source - zero-initialised but for @args is at the beginning */
struct patch_source {
	const struct patch_args *args;
	unsigned at;
	int fd; /* of the file under way, valid if @reading */
	bool reading;
	DIR *dir[PATCH_DEPTH_MAX];
	size_t path_len[PATCH_DEPTH_MAX]; /* of the folder in @path */
	unsigned depth;
	char path[PATH_MAX], target[PATH_MAX], source[PATH_MAX];
	uint8_t chunk[STREAM_CHUNK];
};

/* patch_source_next() - for struct session_cfg, with a struct patch_source as context */
int patch_source_next(void *ctx, struct patch *ret, struct err *err);
void patch_source_release(struct patch_source *src);

#endif
