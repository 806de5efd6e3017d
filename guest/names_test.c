/* SPDX-License-Identifier: Apache-2.0 */
/* The files every guest gets: their text, and that a shared folder is not written to. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest/names.h"
#include "lib/cleanup.h"

static const uint8_t addr4[] = { 10, 0, 0, 2 }, gateway4[] = { 10, 0, 0, 1 },
		     addr6[16] = { 0xfd, [15] = 2 }, gateway6[16] = { 0xfd, [15] = 1 };

static struct bootstrap boot_of(bool v4, bool v6)
{
	struct bootstrap boot = { .hostname = text_of("box"),
		.host_alias = text_of("host.internal") };

	boot.network.interface = text_of("eth0");
	if (v4)
		boot.network.ipv4 =
			(struct boot_family){ { addr4, 4 }, 30, { gateway4, 4 }, { gateway4, 4 } };
	if (v6)
		boot.network.ipv6 = (struct boot_family){ { addr6, 16 }, 64, { gateway6, 16 },
			{ gateway6, 16 } };
	return boot;
}

static void check_text(struct buf *got, const char *want)
{
	assert_int_equal(got->len, strlen(want));
	assert_memory_equal(buf_head(got), want, got->len);
	buf_release(got);
}

#define HOSTS_TAIL                                                                                 \
	"fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\n"                   \
	"ff02::2\tip6-allrouters\n"

static void test_hosts(void **state)
{
	struct bootstrap both = boot_of(true, true), none = { 0 };
	struct buf out = { 0 };

	assert_int_equal(names_hosts(&both, &out), 0);
	check_text(&out, "127.0.0.1\tlocalhost box\n"
			 "::1\tlocalhost ip6-localhost ip6-loopback box\n"
			 "10.0.0.1\thost.internal\nfd00::1\thost.internal\n" HOSTS_TAIL);
	assert_int_equal(names_hosts(&none, &out), 0);
	check_text(&out, "127.0.0.1\tlocalhost\n"
			 "::1\tlocalhost ip6-localhost ip6-loopback\n" HOSTS_TAIL);
}

static void test_resolv(void **state)
{
	struct bootstrap both = boot_of(true, true), v6 = boot_of(false, true), none = { 0 };
	struct buf out = { 0 };

	assert_int_equal(names_resolv(&both.network, &out), 0);
	check_text(&out, "nameserver 10.0.0.1\nnameserver fd00::1\n");
	assert_int_equal(names_resolv(&v6.network, &out), 0);
	check_text(&out, "nameserver fd00::1\n");
	assert_int_equal(names_resolv(&none.network, &out), 0);
	assert_int_equal(out.len, 0);
}

static void write_file(const char *path, const char *text)
{
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void check_file(const char *path, const char *want)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[64] = { 0 };

	assert_true(fd >= 0);
	assert_int_equal(read(fd, text, sizeof(text) - 1), strlen(want));
	assert_string_equal(text, want);
}

/* A link is replaced, not followed. */
static void test_rewrite(void **state)
{
	char dir[] = "/tmp/names-XXXXXX", path[64], other[64];
	struct etc_file file = { path, "new\n", 4 };
	struct stat st;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/file", dir);
	(void)snprintf(other, sizeof(other), "%s/other", dir);
	write_file(other, "old\n");
	assert_int_equal(symlink("other", path), 0);
	assert_int_equal(names_rewrite(&file, NULL), 0);
	check_file(path, "new\n");
	check_file(other, "old\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(unlink(path) + unlink(other) + rmdir(dir), 0);
}

static bool own_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return false;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void test_cover(void **state)
{
	char dir[] = "/tmp/names-XXXXXX", path[64], absent[64];
	struct etc_file files[] = { { absent, "x", 1 }, { path, "covered\n", 8 } };
	struct err err = ERR_INIT;

	if (!own_mounts()) {
		print_message("impossible here: no mount namespace\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/file", dir);
	(void)snprintf(absent, sizeof(absent), "%s/absent", dir);
	write_file(path, "host's\n");
	if (names_cover(files, 2, &err) < 0)
		fail_msg("%s", err.msg);
	check_file(path, "covered\n");
	write_file(path, "the guest's\n"); /* it may edit its copy */
	check_file(path, "the guest's\n");
	assert_int_equal(access(absent, F_OK), -1);
	assert_int_equal(umount(path), 0);
	check_file(path, "host's\n");
	/* No tmpfs where it looks for one: it takes one of its own, and leaves nothing. */
	assert_int_equal(mount(dir, "/dev/shm", NULL, MS_BIND, NULL), 0);
	assert_int_equal(names_cover(files, 2, NULL), 0);
	check_file(path, "covered\n");
	assert_int_equal(access("/dev/shm/file", F_OK), 0);
	assert_int_equal(umount(path) + umount("/dev/shm"), 0);
	assert_int_equal(unlink(path) + rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_resolv),
		cmocka_unit_test(test_rewrite),
		cmocka_unit_test(test_cover),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
