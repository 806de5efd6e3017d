/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests and fuzz targets: a server over a private temporary directory, and raw FUSE requests to
 * it. Nothing here checks what it sends; a test may send anything.
 */
#ifndef FS_FS_TEST_UTIL_H
#define FS_FS_TEST_UTIL_H

#include "fs/fs.h"
#include "fs/fuse_wire.h"

/*
 * struct tfs - a server under test
 * @root_fd: the served directory, for looking at it from the host's side
 * @cwd_fd, @proc_fd: the caller's working directory and the server's: it is in its own during a
 * request only, so that tests and fuzzers keep theirs
 * @uid, @gid: put in the next requests
 * @room: writable bytes offered for the next reply, header included
 * @reply, @reply_len: the last reply's payload; valid until the next request
 */
struct tfs {
	char path[64];
	int root_fd, cwd_fd, proc_fd;
	struct fs_server *fs;
	uint32_t uid, gid;
	size_t room;
	uint64_t unique;
	uint8_t *out;
	const uint8_t *reply;
	size_t reply_len;
};

/* One input part of a request. */
struct tfs_part {
	const void *data;
	size_t len;
};

#define TFS_ARG(v)    ((struct tfs_part){ &(v), sizeof(v) })
#define TFS_STR(s)    ((struct tfs_part){ (s), strlen(s) + 1 })
#define TFS_RAW(p, n) ((struct tfs_part){ (p), (n) })

/* tfs_new() - make the directory and the server (root_fd of @cfg is filled in; NULL: defaults),
 * thread and INIT included. Aborts on failure. */
void tfs_new(struct tfs *t, const struct fs_config *cfg);
/* tfs_restart() - the same directory behind another server */
void tfs_restart(struct tfs *t, const struct fs_config *cfg);
/* tfs_free() - removes the directory with all that is in it */
void tfs_free(struct tfs *t);

/* tfs_init() - send INIT. Return: as tfs_send() */
int tfs_init(struct tfs *t, uint32_t minor, uint64_t flags);

/*
 * tfs_send() - one request of any parts
 * Return: 0 or the server's -errno; asserts that the reply is well-formed: exact length, the
 * request's unique, inside the room. 1 if there was no reply.
 */
int tfs_send(struct tfs *t, uint32_t opcode, uint64_t nodeid, const struct tfs_part *part,
	unsigned n_parts);

#define tfs_do(t, opcode, nodeid, ...)                                                             \
	tfs_send(t, opcode, nodeid, (const struct tfs_part[]){ __VA_ARGS__ },                      \
		sizeof((const struct tfs_part[]){ __VA_ARGS__ }) / sizeof(struct tfs_part))

/* tfs_lookup() - Return: the nodeid, 0 on failure (*ret_err says why, may be NULL) */
uint64_t tfs_lookup(struct tfs *t, uint64_t parent, const char *name, int *ret_err);
/* tfs_open() - OPEN or OPENDIR. Return: 0 and *ret_fh; -errno */
int tfs_open(struct tfs *t, uint64_t nodeid, uint32_t flags, bool dir, uint64_t *ret_fh);
int tfs_mkdir(struct tfs *t, uint64_t parent, const char *name, uint32_t mode, uint64_t *ret_node);
/* tfs_create() - CREATE. @ret_fh may be NULL: closed again */
int tfs_create(struct tfs *t, uint64_t parent, const char *name, uint32_t flags, uint32_t mode,
	uint64_t *ret_node, uint64_t *ret_fh);
void tfs_release(struct tfs *t, uint64_t nodeid, uint64_t fh);
void tfs_forget(struct tfs *t, uint64_t nodeid, uint64_t n);
/* tfs_getattr() - Return: 0 and *ret; -errno */
int tfs_getattr(struct tfs *t, uint64_t nodeid, struct fuse_attr *ret);
/* tfs_host_write() - put a file there from the host's side; "" makes an empty one */
void tfs_host_write(struct tfs *t, const char *name, const char *content);
/* tfs_open_fds() - descriptors this process has open: leaks show as growth */
unsigned tfs_open_fds(void);

#endif
