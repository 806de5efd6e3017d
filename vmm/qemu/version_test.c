/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "vmm/qemu/version.h"

static void reads_what_programs_say(void **state)
{
	static const struct {
		const char *text;
		unsigned major, minor;
	} cases[] = {
		{ "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright", 7, 2 },
		{ "QEMU emulator version 10.1.50 (v10.1.0-rc1)\n", 10, 1 },
		{ "warning: something\nQEMU emulator version 8.1.0\n", 8, 1 },
		{ "", 0, 0 },
		{ "version", 0, 0 },
		{ "version seven.two", 0, 0 },
		{ "version 8", 0, 0 },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct qemu_version v = qemu_version_parse(cases[i].text);

		assert_int_equal(v.major, cases[i].major);
		assert_int_equal(v.minor, cases[i].minor);
	}
}

static void knows_from_when_on_vcpus_may_run_in_parallel(void **state)
{
	static const struct qemu_version one_by_one[] = { { 0, 0 }, { 7, 2 }, { 8, 0 } };
	static const struct qemu_version parallel[] = { { 8, 1 }, { 9, 0 }, { 11, 0 } };

	for (unsigned i = 0; i < 3; i++) {
		assert_false(qemu_version_runs_vcpus_in_parallel(one_by_one[i]));
		assert_true(qemu_version_runs_vcpus_in_parallel(parallel[i]));
	}
}

/* A shell in QEMU's place. */
static struct qemu_version answer(const char *script)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)script, NULL };
	int program = open("/bin/sh", O_PATH | O_CLOEXEC);
	struct qemu_child child = { 0 };
	struct err err = ERR_INIT;
	struct qemu_version v;

	assert_true(program >= 0);
	if (qemu_spawn(program, argv, NULL, 0, -1, &child, &err) < 0)
		fail_msg("%s", err.msg);
	v = qemu_version_take(&child);
	assert_int_equal(child.pid, 0);
	(void)close(program);
	return v;
}

static void takes_the_answer(void **state)
{
	struct qemu_child none = { 0 };

	assert_int_equal(answer("echo 'QEMU emulator version 9.2.1'").major, 9);
	assert_int_equal(answer("exit 1").major, 0);
	assert_int_equal(qemu_version_take(&none).major, 0);
}

/* echo(1) knows no version, and says so by repeating the question. */
static void asks_the_program(void **state)
{
	int program = open("/bin/echo", O_PATH | O_CLOEXEC);
	struct qemu_child child = { 0 };
	struct err err = ERR_INIT;

	assert_true(program >= 0);
	assert_int_equal(qemu_version_ask(program, &child, &err), 0);
	assert_int_equal(qemu_version_take(&child).major, 0);
	(void)close(program);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_programs_say),
		cmocka_unit_test(knows_from_when_on_vcpus_may_run_in_parallel),
		cmocka_unit_test(takes_the_answer),
		cmocka_unit_test(asks_the_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
