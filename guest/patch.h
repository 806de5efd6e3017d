/* SPDX-License-Identifier: Apache-2.0 */
/* Changes to the root file system before anything runs in it (images.md 5.9; struct patch). */
#ifndef GUEST_PATCH_H
#define GUEST_PATCH_H

#include <stdbool.h>

#include "lib/err.h"
#include "protocol/protocol.h"

/*
 * struct patcher - @fd: the file that "data" goes to, -1: none
 * @ends_in_hole: nothing was written behind the last hole
 * @root: prefix of every path, for tests; "" in a machine
 */
struct patcher {
	const char *root;
	int fd;
	char path[4096];
	bool ended, ends_in_hole;
};

#define PATCHER_INIT(prefix) ((struct patcher){ .root = (prefix), .fd = -1 })

void patcher_release(struct patcher *p);

/*
 * patch_apply() - do what one frame says; p->ended after "end"
 * Return: 0; -EINVAL malformed; -EEXIST, -ENOENT and others of the file system. One line that names
 * what was to be done to which path
 */
int patch_apply(struct patcher *p, const struct patch *patch, struct err *err);

#endif
