/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run_args.h"

#define WORDS(...) ((char **)(const char *[]){ "cmd", __VA_ARGS__, NULL })

static int parse(char **argv, struct run_args *ret, struct err *err)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	return run_args_parse(argc, argv, ret, err);
}

static void fills_every_field(void **state)
{
	struct run_args a;

	assert_int_equal(setenv("FROM_HOST", "h", 1), 0);
	assert_int_equal(parse(WORDS("--engine", "qemu", "-c4", "-m", "1.5G", "-e", "A=b=c", "-e",
				       "FROM_HOST", "-w", "/w", "-v", "/h:/g:ro", "-v", "./d:/e/f",
				       "-t", "--log-level", "debug", "root", "--", "cmd", "-x"),
				 &a, NULL),
		0);
	assert_int_equal(a.engine, VM_ENGINE_QEMU);
	assert_int_equal(a.vcpus, 4);
	assert_int_equal(a.ram_mib, 1536);
	assert_int_equal(a.n_env, 2);
	assert_string_equal(a.env[0].s, "A=b=c");
	assert_string_equal(a.env[1].s, "FROM_HOST=h");
	assert_string_equal(a.workdir, "/w");
	assert_int_equal(a.mounts.n, 2);
	assert_string_equal(a.mounts.v[0].source, "/h");
	assert_string_equal(a.mounts.v[0].guest, "/g");
	assert_true(a.mounts.v[0].flags.readonly);
	assert_string_equal(a.mounts.v[1].guest, "/e/f");
	assert_false(a.mounts.v[1].flags.readonly);
	assert_int_equal(a.tty, RUN_TTY_YES);
	assert_int_equal(a.log_level, LOG_DEBUG);
	assert_string_equal(a.image, "root");
	assert_string_equal(a.command[0], "cmd");
	assert_string_equal(a.command[1], "-x");
	run_args_release(&a);
}

static void has_defaults(void **state)
{
	struct run_args a;

	assert_int_equal(unsetenv("MSB_ENGINE"), 0);
	assert_int_equal(parse(WORDS("r"), &a, NULL), 0);
	assert_int_equal(a.engine, VM_ENGINE_AUTO);
	assert_int_equal(a.vcpus, 1);
	assert_int_equal(a.ram_mib, 512);
	assert_null(a.command[0]);
	run_args_release(&a);

	assert_int_equal(setenv("MSB_ENGINE", "kvm", 1), 0);
	assert_int_equal(parse(WORDS("r", "--"), &a, NULL), 0);
	assert_int_equal(a.engine, VM_ENGINE_KVM);
	assert_null(a.command[0]);
	run_args_release(&a);
	assert_int_equal(parse(WORDS("r", "--engine", "qemu"), &a, NULL), 0);
	assert_int_equal(a.engine, VM_ENGINE_QEMU);
	run_args_release(&a);
	assert_int_equal(unsetenv("MSB_ENGINE"), 0);
}

static void expect_error(char **argv, int code, const char *words)
{
	struct run_args a;
	struct err err = ERR_INIT;

	assert_int_equal(parse(argv, &a, &err), -code);
	if (!strstr(err.msg, words))
		fail_msg("'%s' does not say '%s'", err.msg, words);
}

static void refuses_wrong_input(void **state)
{
	assert_int_equal(unsetenv("NOT_SET_HERE"), 0);
	expect_error(WORDS("--engine", "xen", "r"), EINVAL, "no engine 'xen'");
	expect_error(WORDS("-c", "999", "r"), EINVAL, "vCPUs");
	expect_error(WORDS("-c", "two", "r"), EINVAL, "vCPUs");
	expect_error(WORDS("-m", "10X", "r"), EDOM, "memory size");
	expect_error(WORDS("-e", "=x", "r"), EDOM, "expected NAME=VALUE");
	expect_error(WORDS("-e", "NOT_SET_HERE", "r"), EDOM, "'NOT_SET_HERE' not set");
	expect_error(WORDS("-e", "MSB_X=1", "r"), EDOM, "reserved");
	expect_error(WORDS("-w", "rel", "r"), EDOM, "absolute");
	expect_error(WORDS("-v", "nocolon", "r"), EDOM, "SOURCE:GUEST");
	expect_error(WORDS("-v", ":/g", "r"), EDOM, "SOURCE:GUEST");
	expect_error(WORDS("-v", "/h:g", "r"), EDOM, "SOURCE:GUEST");
	expect_error(WORDS("-v", "/h://", "r"), EDOM, "not '/'");
	expect_error(WORDS("-v", "/h:/a/../b", "r"), EDOM, "'..'");
	expect_error(WORDS("-v", "/h:/a,b", "r"), EDOM, "behind a colon");
	expect_error(WORDS("-v", "/h:/g:rx", "r"), EDOM, "'rx'");
	expect_error(WORDS("-v", "/h:/g", "-v", "/i:/g", "r"), EDOM, "two mounts");
	expect_error(WORDS("--log-level", "loud", "r"), EINVAL, "no level 'loud'");
	expect_error(WORDS("r", "cmd"), EINVAL, "behind '--'");
	expect_error(WORDS("--", "cmd"), EINVAL, "which image");
	assert_int_equal(setenv("MSB_ENGINE", "bochs", 1), 0);
	expect_error(WORDS("r"), EINVAL, "MSB_ENGINE: no engine 'bochs'");
	assert_int_equal(unsetenv("MSB_ENGINE"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_every_field),
		cmocka_unit_test(has_defaults),
		cmocka_unit_test(refuses_wrong_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
