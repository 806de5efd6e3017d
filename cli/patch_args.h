/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes to the root file system before the command runs (images.md 5.9), and the frames that
 * carry them to the agent. Nothing is copied before the machine runs, and never more than a chunk
 * is held in memory of what lies on the host.
 */
#ifndef CLI_PATCH_ARGS_H
#define CLI_PATCH_ARGS_H

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"
#include "protocol/protocol.h"

#define PATCH_ARGS_MAX	4096
#define PATCH_DEPTH_MAX 64

/* Those of options are applied in this order; PATCH_WRITE and what follows come from files only. */
enum patch_kind {
	PATCH_COPY,
	PATCH_COPY_FILE,
	PATCH_COPY_DIR,
	PATCH_MKDIR,
	PATCH_REMOVE,
	PATCH_WRITE,
	PATCH_APPEND,
	PATCH_SYMLINK,
};

/*
 * struct patch_arg - all pointers are allocated, NULL where the kind has no such thing
 * @source:  what is copied; what PATCH_SYMLINK points to
 * @content: @len bytes for PATCH_WRITE and PATCH_APPEND
 * @mode:    if @has_mode; else that of the source, or the usual one
 * @replace: what is there already may go
 */
struct patch_arg {
	enum patch_kind kind, rank; /* @rank: the kind that was asked for */
	char *source, *path, *content;
	size_t len;
	bool has_mode, replace;
	mode_t mode;
};

/* struct patch_args - in the order in which they are applied; zero-initialised is none */
struct patch_args {
	struct patch_arg *v;
	size_t n;
};

/*
 * patch_args_add() - an option's "SOURCE:PATH" or "PATH", at its place by kind; sources must exist
 * and be of the right kind
 * Return: 0; -EDOM with the reason; -ENOMEM
 */
int patch_args_add(
	struct patch_args *args, enum patch_kind kind, const char *spec, struct err *err);

/* patch_args_append() - *@arg as the last one; it is taken over in any case. Return: likewise. */
int patch_args_append(struct patch_args *args, struct patch_arg *arg, struct err *err);

/* patch_args_move() - all of @from behind those of @to; @from is empty then. Return: likewise. */
int patch_args_move(struct patch_args *to, struct patch_args *from, struct err *err);

void patch_args_release(struct patch_args *args);
void patch_arg_release(struct patch_arg *arg);

/* struct patch_source - zero-initialised but for @args is at the beginning */
struct patch_source {
	const struct patch_args *args;
	const struct patch_arg *arg; /* under way */
	size_t at;
	int fd; /* of the file under way, valid if @reading */
	bool reading;
	uint64_t size, pos, data_end; /* of that file; what is at @pos is data up to @data_end */
	const char *content;	      /* NULL, or what is left of the text under way */
	size_t content_len;
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
