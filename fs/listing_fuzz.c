/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory listings with any offset, size and room: every reply must be a list of whole entries,
 * and after giving back exactly the references it handed out, the server knows no node any more.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fs_test_util.h"
#include "lib/buf.h"
#include "lib/num.h"

#define N_FILES	     40
#define MAX_LISTINGS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void tree_make(struct tfs *t)
{
	char name[256];

	tfs_new(t, NULL);
	for (unsigned i = 1; i <= N_FILES; i++) {
		memset(name, 'a' + (int)(i % 26), sizeof(name));
		name[i * 6] = 0;
		tfs_host_write(t, name, "");
	}
}

/* Walk one reply. Return: bytes of the entry at @c; references go to @nodes */
static void entry_check(struct cursor *c, bool plus, uint64_t *nodes, unsigned *n_nodes)
{
	struct fuse_entry_out entry = { 0 };
	struct fuse_dirent d;
	size_t start = c->pos;

	if (plus)
		check(cursor_copy(c, &entry, sizeof(entry)) == 0);
	check(cursor_copy(c, &d, sizeof(d)) == 0);
	check(d.namelen > 0 && d.namelen <= 255);
	const uint8_t *name = cursor_bytes(c, d.namelen);
	check(name && !memchr(name, 0, d.namelen) && !memchr(name, '/', d.namelen));
	check(cursor_bytes(c, ALIGN_UP(c->pos - start, 8) - (c->pos - start)) != NULL);
	if (entry.nodeid)
		nodes[(*n_nodes)++] = entry.nodeid;
}

static void listing_check(struct tfs *t, bool plus)
{
	uint64_t nodes[2 * N_FILES];
	struct fuse_attr attr;
	unsigned n = 0;
	struct cursor c = cursor_init(t->reply, t->reply_len);

	while (cursor_left(&c))
		entry_check(&c, plus, nodes, &n);
	for (unsigned i = 0; i < n; i++)
		tfs_forget(t, nodes[i], 1);
	t->room = 4096;
	for (unsigned i = 0; i < n; i++)
		check(tfs_getattr(t, nodes[i], &attr) < 0);
}

static void one_listing(struct tfs *t, uint64_t fh, struct cursor *c)
{
	struct fuse_read_in in = { .fh = fh };
	bool plus = cursor_u8(c) & 1;

	in.size = cursor_le16(c);
	in.offset = cursor_u8(c) & 1 ? cursor_le64(c) : 0;
	t->room = 16 + cursor_le16(c);
	if (tfs_do(t, plus ? FUSE_READDIRPLUS : FUSE_READDIR, 1, TFS_ARG(in)) == 0)
		listing_check(t, plus);
}

static struct tfs *server(void)
{
	static struct tfs t;

	return &t;
}

static void server_free(void)
{
	tfs_free(server());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct tfs *t = server();
	struct cursor c = cursor_init(data, len);
	uint64_t fh;

	if (!t->fs) {
		tree_make(t);
		(void)atexit(server_free);
	}
	t->room = 4096;
	check(tfs_open(t, 1, O_RDONLY, true, &fh) == 0);
	for (unsigned i = 0; i < MAX_LISTINGS && cursor_left(&c); i++)
		one_listing(t, fh, &c);
	t->room = 4096;
	tfs_release(t, 1, fh);
	return 0;
}
