/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest covers /etc/hosts and /etc/resolv.conf of a shared root with its own (guest/names.h),
 * and the bundle of certificates if it is to trust the host's. Covering takes a file to cover:
 * where the folder has none, or a link, the file server shows one.
 */
#ifndef CLI_ETC_COVERS_H
#define CLI_ETC_COVERS_H

#include <stdbool.h>

#include "fs/fs.h"

#define ETC_COVERS_MAX 3

/* etc_covers() - the entries that the root directory @root_fd lacks; @cas: the bundle among them.
 * Return: how many. */
unsigned etc_covers(int root_fd, bool cas, struct fs_extra ret[ETC_COVERS_MAX]);

/* etc_takes_cas() - is there a bundle of certificates to cover, or the folder to show one in? */
bool etc_takes_cas(int root_fd);

#endif
