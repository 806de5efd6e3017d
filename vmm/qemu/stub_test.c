/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <elf.h>
#include <string.h>

#include "vmm/kernel.h"
#include "vmm/qemu/stub.h"

/* Our own strict ELF parser is the judge; QEMU is the other one, end to end. */
static void is_a_kernel_with_a_pvh_entry(void **state)
{
	uint8_t page[QEMU_STUB_PAGE], stub[QEMU_STUB_SIZE];
	struct kernel_src src = { .fd = -1, .mem = stub, .size = sizeof(stub) };
	struct kernel k = { .fd = -1 };
	struct err err = ERR_INIT;

	memset(page, 0xa5, sizeof(page));
	qemu_stub_build(stub, 0x1000abc, 0x1000000, page);
	assert_int_equal(kernel_format_guess(&src), VM_KERNEL_ELF);
	if (kernel_parse_elf(&k, &src, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(k.pvh_entry, 0x1000abc);
	assert_int_equal(k.n_segments, 1);
	assert_int_equal(k.load_addr, 0x1000000);
	assert_int_equal(k.segment[0].file_len, QEMU_STUB_PAGE);
	assert_memory_equal(stub + k.segment[0].file_off, page, sizeof(page));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(is_a_kernel_with_a_pvh_entry) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
