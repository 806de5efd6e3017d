/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that every guest gets: /etc/hosts, /etc/resolv.conf, and on request the host's
 * certificates. A root file system of the guest's own is written to. In one that is a shared folder
 * of the host these files are covered by copies in memory instead (bind mounts), so that the folder
 * stays as it is; there must be something to cover, which the host's file server sees to.
 */
#ifndef GUEST_NAMES_H
#define GUEST_NAMES_H

#include "lib/buf.h"
#include "lib/err.h"
#include "protocol/protocol.h"

/* struct etc_file - @path: absolute; @data: borrowed */
struct etc_file {
	const char *path;
	const void *data;
	size_t len;
};

/* The texts, appended to @out. Return: 0, -ENOMEM. */
int names_hosts(const struct bootstrap *boot, struct buf *out);
int names_resolv(const struct boot_network *net, struct buf *out);

/*
 * names_cover() - bind copies in memory over files; those that do not exist are left out
 * May hide /dev/shm meanwhile, so nothing else may run yet. Return: 0; -errno
 */
int names_cover(const struct etc_file *files, size_t n, struct err *err);

/* names_rewrite() - make @path this file, whatever was there. Return: 0, -errno. */
int names_rewrite(const struct etc_file *file, struct err *err);

/* names_apply() - all of it, as the bootstrap says. Return: 0, -errno. */
int names_apply(const struct bootstrap *boot, struct err *err);

#endif
