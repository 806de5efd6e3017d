/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A FUSE server (protocol 7.27 to 7.38) over a host directory. It knows nothing of virtio: a
 * request is a list of readable buffers, the reply goes into a list of writable ones, both possibly
 * guest memory. The virtio-fs device and the /dev/fuse test mount are its two callers.
 *
 * The directory may be changed by the host meanwhile. The client trusts names and attributes for
 * 5 s and checks file contents against size and times on every open, so it sees a change of the
 * host at the latest then. Permission checks are the client's (default_permissions).
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
 * struct fs_extra - a file that is in the served directory only for the client (krun-api.md 4.6)
 * @name: one component; hides a host entry of the same name; not listed by readdir
 * @data: read-only contents of @len bytes; borrowed, must outlive the server
 * @mode: permission bits
 * @bound: it is a regular file of the host, @fd, in place of @data: as writable as the rest of the
 *	   share, but nothing can be done to its name. O_PATH will do; borrowed during
 *	   fs_server_new() only
 */
struct fs_extra {
	const char *name;
	const void *data;
	size_t len;
	mode_t mode;	 /* permission bits */
	const char *dir; /* where: a path below the root, NULL: the root itself; borrowed likewise.
			  * Nowhere if there is no such folder when the server is made */
	bool bound;
	int fd;
};

/*
 * How guest-visible ownership is kept (krun-api.md 4.7).
 *
 * FS_OWNER_HOST: real uid, gid and mode. With a privileged server the guest's root is root below
 * the shared directory: it can leave setuid files there, so keep other host users out of it. Device
 * nodes are refused.
 *
 * FS_OWNER_XATTR: in the user.containers.override_stat xattr; host owner and mode stay as created,
 * without setuid and setgid. Devices, FIFOs and sockets are regular files on the host, the guest's
 * security.* and trusted.* xattrs are kept below user.containers.guest.
 */
enum fs_owner_mode { FS_OWNER_HOST, FS_OWNER_XATTR };

/* Where the host's file system keeps no user.* attributes: do without, refuse changes, refuse all.
 */
enum fs_record_need { FS_RECORD_IF_POSSIBLE, FS_RECORD_TO_WRITE, FS_RECORD_ALWAYS };

/*
 * The host's permission bits with FS_OWNER_XATTR; the owner may always read and write.
 * CREATED: those that the client created it with; PRIVATE: none for others; MIRROR: the client's
 */
enum fs_perms { FS_PERMS_CREATED, FS_PERMS_PRIVATE, FS_PERMS_MIRROR };

/*
 * struct fs_records - how FS_OWNER_XATTR keeps owner and mode (images.md 5.2); zero is what libkrun
 * does
 * @packed: write records of 20 bytes, as microsandbox does, not "uid:gid:mode". Both are
 *understood; so are regular files whose record says that they are symbolic links
 * @has_ids: what has no record belongs to @uid, @gid if it is the server's, else to 65534
 */
struct fs_records {
	enum fs_record_need need;
	enum fs_perms perms;
	bool packed, has_ids;
	uid_t uid;
	gid_t gid;
};

/*
 * struct fs_config - plain data
 * @root_fd: the served directory, O_PATH or O_RDONLY; borrowed during fs_server_new() only
 * (duplicated)
 * @read_only: every mutating opcode fails with EROFS
 * @quota: bytes that the client may add to what was there at its first write, 0: no limit; ENOSPC
 * beyond (images.md 5.6). Names, links and empty files are no bytes, but of them there may be one
 * more for every KiB of it, and 1024. An attribute counts its name and value, in steps of 1 KiB
 * @extra: borrowed, must outlive the server
 * @max_open: files and directories the client may have open; ENFILE beyond. 0: a quarter of
 * RLIMIT_NOFILE, at most 16384
 * @max_nodes: objects the client may remember (some 200 bytes each); ENFILE beyond. 0: 1048576
 * @max_fds: descriptors for remembered objects; those of unused ones are closed and opened again by
 * name when needed. 0: half of RLIMIT_NOFILE, at most 65536
 */
struct fs_config {
	int root_fd;
	bool read_only;
	enum fs_owner_mode owner;
	struct fs_records records; /* FS_OWNER_XATTR only */
	uint64_t quota;
	const struct fs_extra *extra;
	unsigned n_extra;
	unsigned max_open, max_nodes, max_fds;
};

/*
 * fs_takes_records() - does the file system of @fd (O_PATH will do) keep records, as
 * FS_RECORD_ALWAYS needs it? Unless @read_only that is tried.
 * Return: 0; -EOPNOTSUPP; -errno
 */
int fs_takes_records(int fd, bool read_only);

/*
 * fs_server_new() - Return: 0 and *ret (fs_server_free()); -ENOTDIR root is no directory; -ENOSYS
 * without openat2 (Linux 5.6); -errno. Raises the process's soft RLIMIT_NOFILE (and the hard one,
 * where allowed) up to 1048576: nodes hold descriptors. The process that calls it is the one that
 * serves: a forked child needs a server of its own.
 */
int fs_server_new(const struct fs_config *cfg, struct fs_server **ret, struct err *err);
void fs_server_free(struct fs_server *fs); /* NULL is fine; no request may be running */

/*
 * fs_thread_init() - to be called once by each thread before its first fs_server_handle(): gives
 * the thread a umask (0) and a working directory (/proc/self/fd) of its own, by
 * unshare(CLONE_FS). One call serves for any number of servers.
 * Return: 0; -errno
 */
int fs_thread_init(const struct fs_server *fs, struct err *err);

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
