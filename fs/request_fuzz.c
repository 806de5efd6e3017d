/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw FUSE requests against a writable server, a read-only one and one with owners in xattrs, over
 * a small private tree. An input is a list of requests: {opcode, nodeid, room, le16 length, bytes}.
 * What the server may not do: crash, answer beyond the room, or touch anything outside.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/fs_test_util.h"
#include "lib/buf.h"
#include "lib/num.h"

#define MAX_REQUESTS 24
#define TREE_ROUNDS  512 /* inputs before the tree is made anew */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct fs_extra extra = { "init.krun", "xyz", 3, 0755 };

/* Return: false if a guest before left something else in the file's place. */
static bool tree_fill(struct tfs *t)
{
	struct stat st;

	if (fstatat(t->root_fd, "a", &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
		return false;
	tfs_host_write(t, "a", "some content");
	(void)mkdirat(t->root_fd, "d", 0755);
	(void)symlinkat("/etc/passwd", t->root_fd, "s");
	return true;
}

static void server_make(struct tfs *t, unsigned kind)
{
	/* A guest may fill the disk up to its quota; a fuzzer may not. */
	struct rlimit small = { MIB(1), MIB(1) };
	struct fs_config cfg = {
		.extra = &extra,
		.n_extra = 1,
		.read_only = kind == 1,
		.owner = kind == 2 ? FS_OWNER_XATTR : FS_OWNER_HOST,
		.max_nodes = 64,
		.max_open = 16,
	};

	(void)signal(SIGXFSZ, SIG_IGN);
	(void)setrlimit(RLIMIT_FSIZE, &small);
	tfs_new(t, &cfg);
}

/* Synchronising the host's disk tests the host's disk. */
static bool is_slow(uint32_t opcode)
{
	return opcode == FUSE_SYNCFS || opcode == FUSE_FSYNC || opcode == FUSE_FSYNCDIR;
}

static void run(struct tfs *t, struct cursor *c)
{
	for (unsigned i = 0; i < MAX_REQUESTS && cursor_left(c) >= 5; i++) {
		uint32_t opcode = cursor_u8(c);
		uint64_t node = cursor_u8(c);
		t->room = (size_t)cursor_u8(c) * 5;
		size_t arg_len = cursor_le16(c);
		arg_len = MIN_OF(arg_len, cursor_left(c));
		const uint8_t *arg = cursor_bytes(c, arg_len);
		if (!is_slow(opcode))
			(void)tfs_do(t, opcode, node, TFS_RAW(arg, arg_len));
	}
}

static struct tfs *servers(void)
{
	static struct tfs t[3];

	return t;
}

static void servers_free(void)
{
	for (unsigned i = 0; i < 3; i++) {
		if (servers()[i].fs)
			tfs_free(&servers()[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static unsigned rounds[3];
	static bool registered;
	struct tfs *t = servers();
	unsigned kind = len ? data[0] % 3 : 0;
	struct cursor c = cursor_init(data, len);

	if (!registered)
		registered = atexit(servers_free) == 0;
	(void)cursor_u8(&c);
	if (t[kind].fs && rounds[kind]++ % TREE_ROUNDS == 0) {
		tfs_free(&t[kind]);
		t[kind].fs = NULL;
	}
	if (!t[kind].fs)
		server_make(&t[kind], kind);
	if (!tree_fill(&t[kind])) {
		tfs_free(&t[kind]);
		server_make(&t[kind], kind);
		(void)tree_fill(&t[kind]);
	}
	t[kind].room = 4096;
	(void)tfs_init(&t[kind], FUSE_MINOR_MAX, UINT64_MAX);
	(void)tfs_lookup(&t[kind], 1, "a", NULL); /* node 3 of a fresh server */
	(void)tfs_lookup(&t[kind], 1, "d", NULL);
	(void)tfs_lookup(&t[kind], 1, "s", NULL);
	run(&t[kind], &c);
	return 0;
}
