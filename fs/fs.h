/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A FUSE server (protocol 7.x) over a host directory. It knows nothing of virtio: a request is a
 * list of readable buffers, the reply goes into a list of writable ones, both possibly guest
 * memory. The virtio-fs device and the /dev/fuse test mount are its two callers.
 */
#ifndef FS_FS_H
#define FS_FS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "lib/err.h"

struct fs_server;

/*
 * struct fs_extra - a read-only file that exists only in the served root directory
 * (krun-api.md 4.6)
 * @name: one component; hides a host entry of the same name; not listed by readdir
 * @data: borrowed, must outlive the server
 */
struct fs_extra {
	const char *name;
	const void *data;
	size_t len;
	mode_t mode; /* permission bits */
};

/* How guest-visible ownership is kept (krun-api.md 4.7). */
enum fs_owner_mode {
	FS_OWNER_HOST, /* real uid/gid/mode; changes need privilege on the host */
	FS_OWNER_XATTR /* user.containers.override_stat xattr; host owner and mode stay as created
			*/
};

/*
 * struct fs_config - plain data
 * @root_fd: the served directory, O_PATH or O_RDONLY; borrowed during fs_server_new() only
 * (duplicated)
 * @read_only: every mutating opcode fails with EROFS
 * @max_open, @max_nodes: caps on host descriptors; 0 picks defaults from RLIMIT_NOFILE
 */
struct fs_config {
	int root_fd;
	bool read_only;
	enum fs_owner_mode owner;
	const struct fs_extra *extra;
	unsigned n_extra;
	unsigned max_open, max_nodes;
};

/* fs_server_new() - Return: 0 and *ret (fs_server_free()); -ENOTDIR root is no directory; -errno.
 */
int fs_server_new(const struct fs_config *cfg, struct fs_server **ret, struct err *err);
void fs_server_free(struct fs_server *fs); /* NULL is fine; no request may be running */

/*
 * fs_server_handle() - serve one request; thread-safe, may block on host file I/O
 * Return: bytes of reply in @out (>= 16), 0 if the request has no reply (FORGET), or -EBADMSG if
 * not even an error reply could be written. Never writes beyond @out.
 */
ssize_t fs_server_handle(struct fs_server *fs, const struct iovec *in, unsigned n_in,
	const struct iovec *out, unsigned n_out);

/* fs_server_reset() - the client went away: forget all nodes and handles. No request may be
 * running. */
void fs_server_reset(struct fs_server *fs);

#endif
