/* SPDX-License-Identifier: Apache-2.0 */
/* What the root of a machine is to be made of: the IMAGE argument and --root-disk. */
#ifndef CLI_ROOT_ARGS_H
#define CLI_ROOT_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "cli/backing_args.h"
#include "lib/err.h"

/* images.md 1.1: ".", "..", and what begins with "/", "./" or "../" are paths */
enum root_kind { ROOT_REFERENCE, ROOT_FOLDER, ROOT_DISK };

enum root_kind root_kind_of(const char *image);

enum upper_kind { UPPER_MANAGED, UPPER_TMPFS, UPPER_DISK, UPPER_FLAT };

/* How a flat root gets its own copy: sharing blocks with the cache if its file system can; never;
 * or not at all where it cannot. */
enum clone_how { CLONE_AUTO, CLONE_COPY, CLONE_REFLINK };

#define UPPER_DEFAULT_MIB 4096

/*
 * struct upper_arg - where writes to an image go
 * @size_mib: 0: the default
 * @path, @format, @fstype, @backing: of UPPER_DISK; @text is allocated, they point into it
 * @clone: of UPPER_FLAT, where the image's files are on this disk too
 */
struct upper_arg {
	bool given;
	enum upper_kind kind;
	uint32_t size_mib;
	char *text;
	const char *path, *fstype;
	enum block_format format;
	struct backing_arg backing;
	enum clone_how clone;
};

/*
 * upper_arg_parse() - SIZE, tmpfs[:SIZE], flat[:[SIZE][,fstype=ext4][,clone=HOW]],
 * PATH[:format=F,fstype=T,backing=B]
 * Return: 0; -EDOM; -ENOMEM
 */
int upper_arg_parse(const char *spec, struct upper_arg *ret, struct err *err);
void upper_arg_release(struct upper_arg *arg);

#endif
