/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/names.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define SCRATCH		 "/dev/shm"
#define FUSE_SUPER_MAGIC 0x65735546 /* virtiofs too; linux/magic.h */
#define TMPFS_MAGIC	 0x01021994
#define BUNDLE_MAX	 MIB(16)

/* ---- texts ---- */

static int add_line(struct buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int add_line(struct buf *out, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	return buf_append(out, line, MIN_OF((size_t)n, sizeof(line) - 1));
}

/* "A.B.C.D<TAB>name" or nothing */
static int add_alias(struct buf *out, const struct boot_family *f, struct text alias)
{
	char addr[INET6_ADDRSTRLEN];

	if (f->address.len == 0 || !alias.s)
		return 0;
	(void)inet_ntop(
		f->gateway.len == 4 ? AF_INET : AF_INET6, f->gateway.data, addr, sizeof(addr));
	return add_line(out, "%s\t%s\n", addr, alias.s);
}

int names_hosts(const struct bootstrap *boot, struct buf *out)
{
	const char *name = boot->hostname.s ? boot->hostname.s : "", *gap = *name ? " " : "";
	int ret = add_line(out,
		"127.0.0.1\tlocalhost%s%s\n::1\tlocalhost ip6-localhost ip6-loopback%s%s\n", gap,
		name, gap, name);

	if (ret == 0)
		ret = add_alias(out, &boot->network.ipv4, boot->host_alias);
	if (ret == 0)
		ret = add_alias(out, &boot->network.ipv6, boot->host_alias);
	if (ret == 0)
		ret = add_line(out, "fe00::\tip6-localnet\nff00::\tip6-mcastprefix\n"
				    "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
	return ret;
}

static int add_nameserver(struct buf *out, const struct boot_family *f)
{
	char addr[INET6_ADDRSTRLEN];

	if (f->address.len == 0 || f->dns.len == 0)
		return 0;
	(void)inet_ntop(f->dns.len == 4 ? AF_INET : AF_INET6, f->dns.data, addr, sizeof(addr));
	return add_line(out, "nameserver %s\n", addr);
}

int names_resolv(const struct boot_network *net, struct buf *out)
{
	int ret = add_nameserver(out, &net->ipv4);

	return ret < 0 ? ret : add_nameserver(out, &net->ipv6);
}

/* ---- files ---- */

static int write_new(const struct etc_file *file)
{
	cleanup_fd int fd =
		open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	const uint8_t *p = file->data;
	size_t left = file->len;

	if (fd < 0)
		return -errno;
	while (left > 0) {
		ssize_t n = write(fd, p, left);

		if (n < 0)
			return -errno;
		p += n;
		left -= (size_t)n;
	}
	return fchmod(fd, 0644) < 0 ? -errno : 0; /* whatever the umask is */
}

int names_rewrite(const struct etc_file *file, struct err *err)
{
	int ret = 0;

	/* Creating what is there already would fail with EEXIST, read-only or not. */
	if (unlink(file->path) < 0 && errno == EROFS)
		ret = -EROFS;
	if (ret == 0)
		ret = write_new(file);
	return ret < 0 ? err_set(err, ret, "write '%s'", file->path) : 0;
}

/* The copy loses its name: it lives as long as it covers something. */
static int cover_one(const struct etc_file *file, struct err *err)
{
	const struct etc_file copy = { SCRATCH "/.msb-etc", file->data, file->len };
	int ret = names_rewrite(&copy, err);

	if (ret == 0 && mount(copy.path, file->path, NULL, MS_BIND, NULL) < 0 && errno != ENOENT &&
		errno != ENOTDIR)
		ret = err_set(err, errno, "cover '%s'", file->path);
	(void)unlink(copy.path);
	return ret;
}

int names_cover(const struct etc_file *files, size_t n, struct err *err)
{
	struct statfs st;
	/* Something of the host's may be mounted there. */
	bool hide = statfs(SCRATCH, &st) < 0 || (unsigned long)st.f_type != TMPFS_MAGIC;
	int ret = 0;

	if (hide && mount("tmpfs", SCRATCH, "tmpfs", MS_NODEV | MS_NOEXEC | MS_NOSUID, NULL) < 0)
		return err_set(err, errno, "mount tmpfs on " SCRATCH);
	for (size_t i = 0; i < n && ret == 0; i++)
		ret = cover_one(&files[i], err);
	if (hide)
		(void)umount2(SCRATCH, MNT_DETACH);
	return ret;
}

/* Does @dir, or the next folder above it that exists, belong to the host? */
static bool is_shared(const char *dir)
{
	struct statfs st;

	if (statfs(dir, &st) < 0 && statfs("/", &st) < 0)
		return true;
	return (unsigned long)st.f_type == FUSE_SUPER_MAGIC;
}

static int put_files(const struct etc_file *files, size_t n, const char *dir, struct err *err)
{
	int ret = 0;

	if (n == 0)
		return 0;
	if (is_shared(dir))
		return names_cover(files, n, err);
	(void)mkdir(dir, 0755);
	for (size_t i = 0; i < n && ret == 0; i++)
		ret = names_rewrite(&files[i], err);
	if (ret != -EROFS)
		return ret;
	err_clear(err);
	return names_cover(files, n, err);
}

/* ---- certificates ---- */

static const char *const bundles[] = { "/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem" };

/* The first bundle there is, with the host's certificates behind its own. Return: 0, -errno. */
static int read_bundle(const char **ret_path, struct buf *out)
{
	cleanup_fd int fd = -1;
	uint8_t *room;
	ssize_t n = 1;

	for (size_t i = 0; i < ARRAY_LEN(bundles) && fd < 0; i++) {
		*ret_path = bundles[i];
		fd = open(bundles[i], O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0) {
		*ret_path = bundles[0];
		return 0;
	}
	while (n > 0 && out->len < BUNDLE_MAX) {
		if (buf_reserve(out, KIB(64), &room) < 0)
			return -ENOMEM;
		n = read(fd, room, KIB(64));
		if (n > 0)
			buf_commit(out, (size_t)n);
	}
	return n < 0 ? -errno : 0;
}

static int add_certificates(struct text pem, struct err *err)
{
	cleanup_buf struct buf bundle = { 0 };
	struct etc_file file = { 0 };
	const uint8_t *have;
	char dir[64];
	int ret;

	ret = read_bundle(&file.path, &bundle);
	have = buf_head(&bundle);
	/* A persistent root has them from the last time. */
	if (ret == 0 && have && memmem(have, bundle.len, pem.s, pem.len))
		return 0;
	if (ret == 0 && have && bundle.len && have[bundle.len - 1] != '\n')
		ret = buf_append(&bundle, "\n", 1);
	if (ret == 0)
		ret = buf_append(&bundle, pem.s, pem.len);
	if (ret < 0)
		return err_set(err, ret, "add the host's certificates to '%s'", file.path);
	file.data = buf_head(&bundle);
	file.len = bundle.len;
	(void)snprintf(
		dir, sizeof(dir), "%.*s", (int)(strrchr(file.path, '/') - file.path), file.path);
	if (!is_shared("/etc"))
		(void)mkdir("/etc/ssl", 0755);
	return put_files(&file, 1, dir, err);
}

int names_apply(const struct bootstrap *boot, struct err *err)
{
	cleanup_buf struct buf hosts = { 0 }, resolv = { 0 };
	struct etc_file files[2] = { { "/etc/hosts", NULL, 0 }, { "/etc/resolv.conf", NULL, 0 } };
	int ret = names_hosts(boot, &hosts);

	if (ret == 0)
		ret = names_resolv(&boot->network, &resolv);
	if (ret < 0)
		return err_set(err, ret, "write the hosts file");
	files[0].data = buf_head(&hosts);
	files[0].len = hosts.len;
	files[1].data = buf_head(&resolv);
	files[1].len = resolv.len;
	ret = put_files(files, resolv.len ? 2 : 1, "/etc", err);
	if (ret == 0 && boot->host_cas.len)
		ret = add_certificates(boot->host_cas, err);
	return ret;
}
