/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/etc_covers.h"
#include "lib/cleanup.h"

static void tells_what_is_missing(void **state)
{
	char dir[] = "/tmp/covers-XXXXXX";
	struct fs_extra extra[ETC_COVERS_MAX];
	cleanup_fd int root = -1, file = -1;

	assert_non_null(mkdtemp(dir));
	root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(etc_covers(root, false, extra), 0);
	assert_int_equal(mkdirat(root, "etc", 0755), 0);
	assert_int_equal(etc_covers(root, false, extra), 2);
	file = openat(root, "etc/hosts", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(symlinkat("../run/resolv.conf", root, "etc/resolv.conf"), 0);
	assert_int_equal(etc_covers(root, false, extra), 1);
	assert_string_equal(extra[0].name, "resolv.conf");
	assert_string_equal(extra[0].dir, "etc");
	/* The bundle: only if asked for, and only where there is a folder for it. */
	assert_int_equal(etc_covers(root, true, extra), 1);
	assert_false(etc_takes_cas(root));
	assert_int_equal(mkdirat(root, "etc/ssl", 0755) + mkdirat(root, "etc/ssl/certs", 0755), 0);
	assert_int_equal(etc_covers(root, false, extra), 1);
	assert_int_equal(etc_covers(root, true, extra), 2);
	assert_string_equal(extra[1].dir, "etc/ssl/certs");
	assert_true(etc_takes_cas(root));
	assert_int_equal(symlinkat("/nowhere", root, "etc/ssl/cert.pem"), 0);
	assert_int_equal(etc_covers(root, true, extra), 2);
	assert_int_equal(unlinkat(root, "etc/ssl/cert.pem", 0), 0);
	assert_int_equal(unlinkat(root, "etc/ssl/certs", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(root, "etc/ssl", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(root, "etc/hosts", 0) + unlinkat(root, "etc/resolv.conf", 0), 0);
	assert_int_equal(unlinkat(root, "etc", AT_REMOVEDIR) + rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(tells_what_is_missing) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
