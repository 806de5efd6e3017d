/* SPDX-License-Identifier: Apache-2.0 */
/* Opening paths that a guest, an image or an archive controls, without leaving their root. */
#ifndef LIB_PATH_H
#define LIB_PATH_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/err.h"

/*
 * path_name_ok() - may @name be one component below a guest-controlled root?
 * Refused: empty, ".", "..", a '/' inside, longer than 255 bytes.
 */
bool path_name_ok(const char *name);

/*
 * path_open_beneath() - open @path below @rootfd; no symlink, "..", or magic link leads outside it
 * @path:  relative or absolute (taken relative to @rootfd); symlinks inside are followed within the
 * root (as chroot would) unless O_NOFOLLOW forbids the last one
 * @flags: of openat(2); O_CLOEXEC is added
 * Return: 0 and *ret_fd (the caller's); -errno. Uses openat2(RESOLVE_IN_ROOT); where the kernel has
 * no openat2 a component walk with the same result.
 */
int path_open_beneath(
	int rootfd, const char *path, int flags, mode_t mode, int *ret_fd, struct err *err);

/*
 * path_open_beneath_walk() - the fallback of path_open_beneath(), callable by its tests. Same
 * contract.
 */
int path_open_beneath_walk(
	int rootfd, const char *path, int flags, mode_t mode, int *ret_fd, struct err *err);

/* path_mkdirs_beneath() - mkdir -p @path below @rootfd, same containment; 0 if it is a directory at
 * the end. */
int path_mkdirs_beneath(int rootfd, const char *path, mode_t mode, struct err *err);

#endif
