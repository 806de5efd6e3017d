/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/fs_test_util.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/num.h"

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);           \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#define TFS_ROOM (1u << 16)

static void server_start(struct tfs *t, const struct fs_config *cfg)
{
	struct fs_config c = cfg ? *cfg : (struct fs_config){ 0 };

	c.root_fd = t->root_fd;
	CHECK(fs_server_new(&c, &t->fs, NULL) == 0);
	CHECK(fs_thread_init(t->fs, NULL) == 0);
	CHECK(fchdir(t->cwd_fd) == 0);
	CHECK(tfs_init(t, FUSE_MINOR_MAX, UINT64_MAX) == 0);
}

void tfs_new(struct tfs *t, const struct fs_config *cfg)
{
	*t = (struct tfs){ .room = TFS_ROOM, .path = "/tmp/fs_test_XXXXXX" };
	CHECK(mkdtemp(t->path));
	t->cwd_fd = open(".", O_PATH | O_CLOEXEC);
	t->proc_fd = open("/proc/self/fd", O_PATH | O_CLOEXEC);
	CHECK(t->cwd_fd >= 0 && t->proc_fd >= 0);
	t->root_fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(t->root_fd >= 0);
	server_start(t, cfg);
}

void tfs_restart(struct tfs *t, const struct fs_config *cfg)
{
	fs_server_free(t->fs);
	server_start(t, cfg);
}

static void remove_tree(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	for (struct dirent *d; dir && (d = readdir(dir));) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (unlinkat(fd, d->d_name, 0) != 0)
			remove_tree(fd, d->d_name);
	}
	if (dir)
		(void)closedir(dir);
	(void)unlinkat(dirfd, name, AT_REMOVEDIR);
}

void tfs_free(struct tfs *t)
{
	fs_server_free(t->fs);
	(void)close(t->root_fd);
	(void)close(t->cwd_fd);
	(void)close(t->proc_fd);
	remove_tree(AT_FDCWD, t->path);
	free(t->out);
}

int tfs_init(struct tfs *t, uint32_t minor, uint64_t flags)
{
	struct fuse_init_in in = {
		.major = FUSE_KERNEL_VERSION,
		.minor = minor,
		.max_readahead = 65536,
		.flags = (uint32_t)flags,
		.flags2 = (uint32_t)(flags >> 32),
	};

	return tfs_do(t, FUSE_INIT, 0, TFS_ARG(in));
}

/* Each part a buffer of its own, of its exact size, so that ASan sees the first byte beyond. */
static unsigned request_build(struct tfs *t, uint32_t opcode, uint64_t nodeid,
	const struct tfs_part *part, unsigned n_parts, struct iovec *iov)
{
	struct fuse_in_header hdr = {
		.len = sizeof(hdr),
		.opcode = opcode,
		.unique = ++t->unique,
		.nodeid = nodeid,
		.uid = t->uid,
		.gid = t->gid,
	};

	for (unsigned i = 0; i < n_parts; i++) {
		iov[i + 1].iov_base = malloc(part[i].len ? part[i].len : 1);
		iov[i + 1].iov_len = part[i].len;
		CHECK(iov[i + 1].iov_base);
		if (part[i].len)
			memcpy(iov[i + 1].iov_base, part[i].data, part[i].len);
		hdr.len += (uint32_t)part[i].len;
	}
	iov[0].iov_base = malloc(sizeof(hdr));
	iov[0].iov_len = sizeof(hdr);
	CHECK(iov[0].iov_base);
	memcpy(iov[0].iov_base, &hdr, sizeof(hdr));
	return n_parts + 1;
}

static int reply_check(struct tfs *t, ssize_t len)
{
	struct fuse_out_header oh;

	if (len == 0)
		return 1;
	CHECK(len >= (ssize_t)sizeof(oh) && (size_t)len <= t->room);
	memcpy(&oh, t->out, sizeof(oh));
	CHECK(oh.len == (size_t)len);
	CHECK(oh.unique == t->unique);
	CHECK(oh.error <= 0 && oh.error > -512);
	CHECK(oh.error == 0 || len == sizeof(oh));
	t->reply = t->out + sizeof(oh);
	t->reply_len = (size_t)len - sizeof(oh);
	return oh.error;
}

int tfs_send(struct tfs *t, uint32_t opcode, uint64_t nodeid, const struct tfs_part *part,
	unsigned n_parts)
{
	struct iovec in[8], out[2];

	CHECK(n_parts + 1 <= ARRAY_LEN(in));
	unsigned n_in = request_build(t, opcode, nodeid, part, n_parts, in);
	free(t->out);
	t->out = malloc(t->room ? t->room : 1);
	CHECK(t->out);
	size_t first = MIN_OF(t->room, 5); /* the header straddles two buffers */
	out[0] = (struct iovec){ t->out, first };
	out[1] = (struct iovec){ t->out + first, t->room - first };
	CHECK(fchdir(t->proc_fd) == 0);
	ssize_t len = fs_server_handle(t->fs, in, n_in, out, 2);
	CHECK(fchdir(t->cwd_fd) == 0);
	for (unsigned i = 0; i < n_in; i++)
		free(in[i].iov_base);
	return len < 0 ? (int)len : reply_check(t, len);
}

uint64_t tfs_lookup(struct tfs *t, uint64_t parent, const char *name, int *ret_err)
{
	struct fuse_entry_out e;
	int rc = tfs_do(t, FUSE_LOOKUP, parent, TFS_STR(name));

	if (ret_err)
		*ret_err = rc;
	if (rc < 0)
		return 0;
	CHECK(t->reply_len == sizeof(e));
	memcpy(&e, t->reply, sizeof(e));
	return e.nodeid;
}

int tfs_open(struct tfs *t, uint64_t nodeid, uint32_t flags, bool dir, uint64_t *ret_fh)
{
	struct fuse_open_in in = { .flags = flags };
	struct fuse_open_out out;
	int rc = tfs_do(t, dir ? FUSE_OPENDIR : FUSE_OPEN, nodeid, TFS_ARG(in));

	if (rc < 0)
		return rc;
	CHECK(t->reply_len == sizeof(out));
	memcpy(&out, t->reply, sizeof(out));
	*ret_fh = out.fh;
	return 0;
}

int tfs_mkdir(struct tfs *t, uint64_t parent, const char *name, uint32_t mode, uint64_t *ret_node)
{
	struct fuse_mkdir_in in = { .mode = mode };
	struct fuse_entry_out e;
	int rc = tfs_do(t, FUSE_MKDIR, parent, TFS_ARG(in), TFS_STR(name));

	if (rc < 0)
		return rc;
	memcpy(&e, t->reply, sizeof(e));
	*ret_node = e.nodeid;
	return 0;
}

int tfs_create(struct tfs *t, uint64_t parent, const char *name, uint32_t flags, uint32_t mode,
	uint64_t *ret_node, uint64_t *ret_fh)
{
	struct fuse_create_in in = { .flags = flags, .mode = mode };
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	int rc = tfs_do(t, FUSE_CREATE, parent, TFS_ARG(in), TFS_STR(name));

	if (rc < 0)
		return rc;
	CHECK(t->reply_len == sizeof(out));
	memcpy(&out, t->reply, sizeof(out));
	*ret_node = out.entry.nodeid;
	if (ret_fh)
		*ret_fh = out.open.fh;
	else
		tfs_release(t, out.entry.nodeid, out.open.fh);
	return 0;
}

void tfs_release(struct tfs *t, uint64_t nodeid, uint64_t fh)
{
	struct fuse_release_in in = { .fh = fh };

	CHECK(tfs_do(t, FUSE_RELEASE, nodeid, TFS_ARG(in)) == 0);
}

void tfs_forget(struct tfs *t, uint64_t nodeid, uint64_t n)
{
	struct fuse_forget_in in = { .nlookup = n };

	CHECK(tfs_do(t, FUSE_FORGET, nodeid, TFS_ARG(in)) == 1);
}

int tfs_getattr(struct tfs *t, uint64_t nodeid, struct fuse_attr *ret)
{
	struct fuse_getattr_in in = { 0 };
	struct fuse_attr_out out;
	int rc = tfs_do(t, FUSE_GETATTR, nodeid, TFS_ARG(in));

	if (rc < 0)
		return rc;
	CHECK(t->reply_len == sizeof(out));
	memcpy(&out, t->reply, sizeof(out));
	*ret = out.attr;
	return 0;
}

void tfs_host_write(struct tfs *t, const char *name, const char *content)
{
	int fd = openat(t->root_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	CHECK(fd >= 0);
	CHECK(write(fd, content, strlen(content)) == (ssize_t)strlen(content));
	(void)close(fd);
}

unsigned tfs_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}
