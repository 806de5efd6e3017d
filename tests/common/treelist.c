/* SPDX-License-Identifier: Apache-2.0 */
/*
 * treelist SOURCE... - everything that can be seen of a tree, one line per path, sorted
 *
 * SOURCE is a directory, whose file system is listed without what is mounted in it: what lies below
 * such a mount point is seen instead. Or it is a block device, which is mounted as EROFS. So in a
 * guest "/" is its root as its programs would see it had nothing been mounted there, and the disk
 *of an image is the image before anything was written.
 *
 * A line has words of the form NAME=VALUE, with %XX for bytes that are not printable ASCII:
 *
 *	path mode(octal) owner(UID:GID) mtime(SECONDS.NANOSECONDS) nlink
 *	same=PATH	the first path of the same inode, if this is another
 *	rdev(MAJOR:MINOR), link(target), size, data(SHA-512)
 *	x:NAME=HEX	an extended attribute
 *
 * SHA-512 is three times as fast as SHA-256 on an emulated CPU. The digest is over all 4 KiB blocks
 *that are not all zero, each with its number in front: holes are content like any other, but cost
 *nothing to sum up. In front of each tree stands "# SOURCE".
 */
#define OPENSSL_API_COMPAT                                                                         \
	0x10100000L /* the plain SHA512_*, which need nothing else of libcrypto */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <openssl/sha.h>
#include <search.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define BLOCK	 4096
#define CHUNK	 (256 * BLOCK)
#define HOLE_MIN (16 * CHUNK)
#define XATTRS	 65536

/* struct seen - the first path of an inode that has several */
struct seen {
	dev_t dev;
	ino_t ino;
	char *path;
};

/* struct lister - @path: from the root of the tree, without its leading slash */
struct lister {
	void *seen;
	char path[65536];
	size_t path_len;
	unsigned char chunk[CHUNK];
	char names[XATTRS], value[XATTRS];
};

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	int code = errno;
	va_list ap;

	fprintf(stderr, "treelist: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(code));
	exit(1);
}

/* ---- words ---- */

static void put_escaped(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p > ' ' && *p < 0x7f && *p != '%' && *p != '=')
			putchar_unlocked(*p);
		else
			printf("%%%02X", *p);
	}
}

static void put_text(const char *name, const char *text)
{
	printf(" %s=", name);
	put_escaped(text);
}

static void put_hex(const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		printf("%02x", ((const unsigned char *)data)[i]);
}

/* ---- contents ---- */

static size_t fill(int fd, unsigned char *data, const char *path)
{
	size_t have = 0;
	ssize_t n;

	do {
		n = read(fd, data + have, CHUNK - have);
		if (n < 0)
			die("read %s", path);
		have += (size_t)n;
	} while (n > 0 && have < CHUNK);
	return have;
}

static bool is_zero(const unsigned char *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Where there is data again; EROFS in kernels of today answers the one question, tmpfs the other.
 */
static off_t next_data(int fd, off_t at)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	} req = { .map = { .fm_start = (uint64_t)at,
			  .fm_length = FIEMAP_MAX_OFFSET - (uint64_t)at,
			  .fm_flags = FIEMAP_FLAG_SYNC,
			  .fm_extent_count = 1 } };
	off_t next;

	if (ioctl(fd, FS_IOC_FIEMAP, &req.map) < 0)
		next = lseek(fd, at, SEEK_DATA);
	else
		next = req.map.fm_mapped_extents ? (off_t)req.map.fm_extents[0].fe_logical : -1;
	return next < 0 ? lseek(fd, 0, SEEK_END) : next;
}

/* The length of a hole that is worth leaving out, in whole blocks. */
static off_t hole_at(int fd, off_t at)
{
	off_t len = (next_data(fd, at) - at) / BLOCK * BLOCK;

	return len < HOLE_MIN ? 0 : len;
}

static bool put_chunk(struct lister *l, SHA512_CTX *ctx, uint64_t block, size_t len)
{
	bool zero = true;

	for (size_t at = 0; at < len; at += BLOCK, block++) {
		size_t n = len - at < BLOCK ? len - at : BLOCK;

		if (is_zero(l->chunk + at, n))
			continue;
		SHA512_Update(ctx, &block, sizeof(block));
		SHA512_Update(ctx, l->chunk + at, n);
		zero = false;
	}
	return zero;
}

static void put_data(struct lister *l, const char *name)
{
	unsigned char sum[SHA512_DIGEST_LENGTH];
	SHA512_CTX ctx;
	size_t len;
	off_t at = 0;
	int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);

	if (fd < 0)
		die("open %s", l->path);
	SHA512_Init(&ctx);
	while ((len = fill(fd, l->chunk, l->path)) > 0) {
		bool zero = put_chunk(l, &ctx, (uint64_t)at / BLOCK, len);

		at += (off_t)len;
		if (zero && len == CHUNK)
			at += hole_at(fd, at);
		if (lseek(fd, at, SEEK_SET) < 0)
			die("read %s", l->path);
	}
	SHA512_Final(sum, &ctx);
	(void)close(fd);
	printf(" data=");
	put_hex(sum, sizeof(sum));
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void put_xattrs(struct lister *l, const char *name)
{
	ssize_t len = llistxattr(name, l->names, sizeof(l->names));
	char *list[XATTRS / 4]; /* the shortest name is "a.b" */
	size_t n = 0;

	if (len < 0 && errno == ENOTSUP)
		return;
	if (len < 0)
		die("list attributes of %s", l->path);
	for (char *p = l->names; p < l->names + len; p += strlen(p) + 1)
		list[n++] = p;
	qsort(list, n, sizeof(*list), compare_names);
	for (size_t i = 0; i < n; i++) {
		len = lgetxattr(name, list[i], l->value, sizeof(l->value));
		if (len < 0)
			die("read %s of %s", list[i], l->path);
		printf(" x:");
		put_escaped(list[i]);
		printf("=");
		put_hex(l->value, (size_t)len);
	}
}

static void put_link(struct lister *l, const char *name)
{
	char target[8192];
	ssize_t n = readlink(name, target, sizeof(target) - 1);

	if (n < 0)
		die("read link %s", l->path);
	target[n] = '\0';
	put_text("link", target);
}

/* ---- inodes ---- */

static int compare_seen(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Return: the inode's first path, NULL if this is it. */
static const char *first_path(struct lister *l, const struct stat *st)
{
	struct seen *entry, **found;

	if (st->st_nlink < 2)
		return NULL;
	entry = malloc(sizeof(*entry));
	if (!entry)
		die("remember %s", l->path);
	*entry = (struct seen){ st->st_dev, st->st_ino, NULL };
	found = tsearch(entry, &l->seen, compare_seen);
	if (!found)
		die("remember %s", l->path);
	if (*found != entry) {
		free(entry);
		return (*found)->path;
	}
	entry->path = strdup(l->path);
	return NULL;
}

static void list_one(struct lister *l, const char *name, const struct stat *st)
{
	const char *first = S_ISDIR(st->st_mode) ? NULL : first_path(l, st);

	put_text("path", l->path[0] ? l->path : ".");
	printf(" mode=%o owner=%u:%u mtime=%lld.%09ld nlink=%lu", st->st_mode, st->st_uid,
		st->st_gid, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
		(unsigned long)st->st_nlink);
	if (first)
		put_text("same", first);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf(" rdev=%u:%u", major(st->st_rdev), minor(st->st_rdev));
	if (S_ISLNK(st->st_mode))
		put_link(l, name);
	if (S_ISREG(st->st_mode))
		printf(" size=%lld", (long long)st->st_size);
	if (S_ISREG(st->st_mode) && !first)
		put_data(l, name);
	put_xattrs(l, name);
	printf("\n");
}

/* ---- directories ---- */

static char **read_names(struct lister *l, int fd, size_t *ret_n)
{
	DIR *dir = fdopendir(dup(fd));
	struct dirent *entry;
	char **names = NULL;
	size_t n = 0;

	if (!dir)
		die("open %s", l->path);
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if ((n & (n - 1)) == 0)
			names = realloc(names, (n ? 2 * n : 1) * sizeof(*names));
		if (!names || !(names[n++] = strdup(entry->d_name)))
			die("read %s", l->path);
	}
	(void)closedir(dir);
	if (n)
		qsort(names, n, sizeof(*names), compare_names);
	*ret_n = n;
	return names;
}

static void list_dir(struct lister *l, int fd);

/* In the current directory, to which it comes back; @fd is that. */
static void list_entry(struct lister *l, int fd, const char *name)
{
	size_t old_len = l->path_len;
	struct stat st;
	int sub;

	l->path_len += (size_t)snprintf(
		l->path + old_len, sizeof(l->path) - old_len, "%s%s", old_len ? "/" : "", name);
	if (l->path_len >= sizeof(l->path) || lstat(name, &st) < 0)
		die("look at %s", l->path);
	list_one(l, name, &st);
	if (S_ISDIR(st.st_mode)) {
		sub = open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0)
			die("open %s", l->path);
		list_dir(l, sub);
		(void)close(sub);
		if (fchdir(fd) < 0)
			die("leave %s", l->path);
	}
	l->path_len = old_len;
	l->path[old_len] = '\0';
}

static void list_dir(struct lister *l, int fd)
{
	size_t n;
	char **names = read_names(l, fd, &n);

	if (fchdir(fd) < 0)
		die("enter %s", l->path);
	for (size_t i = 0; i < n; i++) {
		list_entry(l, fd, names[i]);
		free(names[i]);
	}
	free(names);
}

/* ---- sources ---- */

static int mount_erofs(const char *device)
{
	int fs = fsopen("erofs", FSOPEN_CLOEXEC), fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
		fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
		fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		die("mount %s", device);
	fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
	(void)close(fs);
	return fd;
}

static void list_source(const char *source)
{
	struct lister *l = calloc(1, sizeof(*l));
	struct stat st;
	int tree, fd;

	if (!l || stat(source, &st) < 0)
		die("look at %s", source);
	tree = S_ISBLK(st.st_mode) ? mount_erofs(source)
				   : open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | O_CLOEXEC);
	fd = tree < 0 ? -1 : openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fchdir(fd) < 0 || fstat(fd, &st) < 0)
		die("open %s", source);
	printf("# %s\n", source);
	list_one(l, ".", &st);
	list_dir(l, fd);
	(void)close(fd);
	(void)close(tree);
	free(l); /* not what it has seen: we end soon */
}

int main(int argc, char **argv)
{
	static char buffer[1 << 20];

	(void)setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	for (int i = 1; i < argc; i++)
		list_source(argv[i]);
	return fflush(stdout) == 0 ? 0 : 1;
}
