/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "vmm/config.h"

#define HOST_MIB 4096

static struct vm_config good(void)
{
	return (struct vm_config){
		.vcpus = 1,
		.ram_mib = 512,
		.n_consoles = 2,
		.console = { { NULL, -1, -1, false }, { "agent", 3, 3, false } },
		.n_fs = 2,
		.fs = { { .tag = "/dev/root" }, { .tag = "v0" } },
	};
}

static void expect_bad(const struct vm_config *cfg, int code, const char *words)
{
	struct err err = ERR_INIT;

	assert_int_equal(vm_config_check(cfg, HOST_MIB, &err), -code);
	if (!strstr(err.msg, words))
		fail_msg("'%s' does not say '%s'", err.msg, words);
}

static void accepts_a_good_config(void **state)
{
	struct vm_config cfg = good();
	struct err err = ERR_INIT;

	assert_int_equal(vm_config_check(&cfg, HOST_MIB, &err), 0);
	cfg.vcpus = VM_MAX_VCPUS;
	cfg.ram_mib = HOST_MIB;
	assert_int_equal(vm_config_check(&cfg, HOST_MIB, &err), 0);
}

static void refuses_impossible_sizes(void **state)
{
	struct vm_config cfg = good();

	cfg.vcpus = 0;
	expect_bad(&cfg, EINVAL, "vCPUs must be 1 to 16, not 0");
	cfg.vcpus = 999;
	expect_bad(&cfg, EINVAL, "not 999");
	cfg = good();
	cfg.ram_mib = 0;
	expect_bad(&cfg, EINVAL, "at least 64 MiB, not 0");
	cfg.ram_mib = HOST_MIB + 1;
	expect_bad(&cfg, ENOMEM, "more than this host has (4096 MiB)");
}

static void refuses_bad_names(void **state)
{
	struct vm_config cfg = good();

	cfg.fs[1].tag = "/dev/root";
	expect_bad(&cfg, EINVAL, "tagged '/dev/root'");
	cfg.fs[1].tag = "0123456789012345678901234567890123456";
	expect_bad(&cfg, EINVAL, "1 to 36");
	cfg.fs[1].tag = "";
	expect_bad(&cfg, EINVAL, "1 to 36");
	cfg = good();
	cfg.console[0].name = "agent";
	expect_bad(&cfg, EINVAL, "two console ports named 'agent'");
	cfg.console[0].name = "a b";
	expect_bad(&cfg, EINVAL, "bad console port name 'a b'");
}

static void refuses_bad_disks_and_cmdline(void **state)
{
	struct vm_config cfg = good();

	cfg.n_disks = 1;
	cfg.disk[0].fd = -1;
	expect_bad(&cfg, EINVAL, "no image");
	cfg.disk[0] = (struct vm_disk){ .fd = 0, .id = "longer-than-twenty-by" };
	expect_bad(&cfg, EINVAL, "disk id");
	cfg = good();
	cfg.cmdline = "a\nb";
	expect_bad(&cfg, EINVAL, "printable ASCII");
}

static void copies_every_string(void **state)
{
	struct vm_config cfg = good(), copy;
	char name[] = "port";

	cfg.cmdline = "x=y";
	cfg.kernel.path = "/k";
	cfg.console[1].name = name;
	cfg.n_disks = 1;
	cfg.disk[0] = (struct vm_disk){ .id = "id", .label = name, .fstype = name };
	assert_int_equal(vm_config_copy(&copy, &cfg, NULL), 0);
	name[0] = 'X';
	assert_string_equal(copy.console[1].name, "port");
	assert_string_equal(copy.disk[0].id, "id");
	assert_string_equal(copy.disk[0].label, "port");
	assert_string_equal(copy.disk[0].fstype, "port");
	assert_string_equal(copy.cmdline, "x=y");
	assert_ptr_not_equal(copy.cmdline, cfg.cmdline);
	assert_int_equal(copy.fs[0].cfg.root_fd, -1);
	vm_config_release(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_a_good_config),
		cmocka_unit_test(refuses_impossible_sizes),
		cmocka_unit_test(refuses_bad_names),
		cmocka_unit_test(refuses_bad_disks_and_cmdline),
		cmocka_unit_test(copies_every_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
