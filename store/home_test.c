/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "store/home.h"
#include "store/test_util.h"

static void set_home(const struct scratch *s, const char *config)
{
	assert_int_equal(setenv("MSB_HOME", s->path, 1), 0);
	assert_int_equal(unsetenv("MSB_CONFIG_PATH"), 0);
	if (config)
		put_file(s->fd, "config.json", config, strlen(config));
}

static void refused(const struct scratch *s, const char *config, const char *words)
{
	struct home h = { 0 };
	struct err err = ERR_INIT;

	set_home(s, config);
	assert_int_equal(home_init(&h, &err), -EINVAL);
	if (!strstr(err.msg, words))
		fail_msg("'%s' is not in: %s", words, err.msg);
}

static void without_a_file_there_are_defaults(void **state)
{
	const struct scratch *s = *state;
	cleanup_home struct home h = { 0 };
	struct err err = ERR_INIT;
	char path[128];

	set_home(s, NULL);
	assert_int_equal(home_init(&h, &err), 0);
	assert_string_equal(h.root, s->path);
	(void)snprintf(path, sizeof(path), "%s/volumes", s->path);
	assert_string_equal(h.dir[HOME_VOLUMES], path);
	assert_int_equal(h.settings.busy_timeout_s, 5);
	assert_int_equal(h.settings.cpus, 1);
	assert_int_equal(h.settings.memory_mib, 512);
	assert_null(h.settings.shell);
	assert_null(h.config);
}

static void the_file_says_otherwise(void **state)
{
	const struct scratch *s = *state;
	cleanup_home struct home h = { 0 };
	struct err err = ERR_INIT;
	char cwd[PATH_MAX], path[PATH_MAX + 16];

	set_home(s, "{\"home\":\"/elsewhere\",\"paths\":{\"cache\":\"/big/cache\",\"volumes\":null,"
		    "\"logs\":\"rel\"},\"sandbox_defaults\":{\"cpus\":3,\"oci\":{\"upper_size_"
		    "mib\":9}},"
		    "\"database\":{\"busy_timeout_secs\":7},\"future\":{\"key\":[1]}}");
	assert_int_equal(home_init(&h, &err), 0);
	assert_string_equal(h.root, "/elsewhere");
	assert_string_equal(h.dir[HOME_CACHE], "/big/cache");
	assert_string_equal(h.dir[HOME_VOLUMES], "/elsewhere/volumes");
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	(void)snprintf(path, sizeof(path), "%s/rel", cwd);
	assert_string_equal(h.dir[HOME_LOGS], path);
	assert_int_equal(h.settings.cpus, 3);
	assert_int_equal(h.settings.upper_size_mib, 9);
	assert_int_equal(h.settings.busy_timeout_s, 7);
}

static void wrong_files_are_refused(void **state)
{
	const struct scratch *s = *state;

	refused(s, "{", "config.json: line 1");
	refused(s, "[]", "must be a JSON object");
	refused(s, "{\"home\":7}", "'home' must be a text");
	refused(s, "{\"home\":\"\"}", "'home' must be a text");
	refused(s, "{\"paths\":{\"cache\":[]}}", "'paths.cache' must be a text");
	refused(s, "{\"sandbox_defaults\":{\"cpus\":0}}", "a number from 1 to 255");
	refused(s, "{\"sandbox_defaults\":{\"cpus\":\"2\"}}", "'sandbox_defaults.cpus'");
	refused(s, "{\"database\":{\"busy_timeout_secs\":-1}}", "a number from 1 to 3600");
}

static void secrets_are_private(void **state)
{
	const struct scratch *s = *state;
	cleanup_home struct home h = { 0 };
	struct err err = ERR_INIT;
	cleanup_fd int fd = -1;
	struct stat st;

	set_home(s, NULL);
	assert_int_equal(home_init(&h, &err), 0);
	assert_int_equal(home_open_dir(&h, HOME_SECRETS, false, &fd, &err), -ENOENT);
	assert_int_equal(home_open_dir(&h, HOME_SECRETS, true, &fd, &err), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 077, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(without_a_file_there_are_defaults),
		scratch_test(the_file_says_otherwise),
		scratch_test(wrong_files_are_refused),
		scratch_test(secrets_are_private),
	};

	return cmocka_run_group_tests_name("store_home", tests, NULL, NULL);
}
