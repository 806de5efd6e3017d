/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of the guest that a host names: for mounts and patches. */
#ifndef GUEST_PATHS_H
#define GUEST_PATHS_H

#include <stddef.h>

#include "lib/err.h"
#include "protocol/cbor.h"

/*
 * path_normalize() - "/a//b/./c/" to "/a/b/c"
 * @what: for the message: "mount on"
 * Return: 0; -EINVAL relative, the root, with "..", with a NUL, not shorter than @max
 */
int path_normalize(struct text path, const char *what, char *dst, size_t max, struct err *err);

/* path_make_dirs() - mkdir -p; existing ones are left as they are. Return: 0, -errno. */
int path_make_dirs(char *path);

/* path_make_parents() - the same for all but the last component. */
int path_make_parents(char *path);

#endif
