/* SPDX-License-Identifier: Apache-2.0 */
/* The small parts without a machine: MP table, command line, port I/O. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "lib/num.h"
#include "vmm/kvm/cmdline.h"
#include "vmm/kvm/layout.h"
#include "vmm/kvm/mptable.h"
#include "vmm/kvm/pio.h"

/* ---- MP table ---- */

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

static void mptable_sums_and_counts(void **state)
{
	for (unsigned n = 1; n <= 16; n += 5) {
		uint8_t t[1024];
		int len = mptable_build(t, sizeof(t), LAYOUT_EBDA, n, NULL);

		assert_int_equal(len, 16 + 44 + 20 * n + 8 + 8 + 18 * 8);
		assert_memory_equal(t, "_MP_", 4);
		assert_int_equal(load_le32(t + 4), LAYOUT_EBDA + 16);
		assert_int_equal(sum(t, 16), 0);
		assert_memory_equal(t + 16, "PCMP", 4);
		assert_int_equal(load_le16(t + 20), len - 16);
		assert_int_equal(sum(t + 16, (size_t)len - 16), 0);
		assert_int_equal(load_le16(t + 16 + 34), n + 1 + 1 + 18);
		assert_int_equal(load_le32(t + 16 + 36), 0xfee00000);
		assert_int_equal(t[60 + 3], 3); /* enabled, boot CPU */
		if (n > 1)
			assert_int_equal(t[80 + 3], 1);
	}
}

static void mptable_refuses(void **state)
{
	uint8_t t[256];

	assert_int_equal(mptable_build(t, sizeof(t), 0, 16, NULL), -E2BIG);
	assert_int_equal(mptable_build(t, sizeof(t), 0, 0, NULL), -EINVAL);
	assert_int_equal(mptable_build(t, sizeof(t), 0, 255, NULL), -EINVAL);
}

/* ---- Command line ---- */

static void cmdline_joins_and_stops_at_its_limit(void **state)
{
	struct cmdline c = { 0 };
	char big[CMDLINE_MAX + 10];

	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(cmdline_add(&c, NULL, "a=%d", 1), 0);
	assert_int_equal(cmdline_add(&c, NULL, "b"), 0);
	assert_string_equal(c.text, "a=1 b");
	assert_int_equal(cmdline_add(&c, NULL, "%s", big), -E2BIG);
	assert_int_equal(cmdline_add(&c, NULL, "c\td"), -EINVAL);
	assert_int_equal(cmdline_add(&c, NULL, "\xc3\xa4"), -EINVAL);
	assert_string_equal(c.text, "a=1 b");
	big[CMDLINE_MAX - 1 - 6] = '\0';
	assert_int_equal(cmdline_add(&c, NULL, "%s", big), 0);
	assert_int_equal(strlen(c.text), CMDLINE_MAX - 1);
	assert_int_equal(c.len, CMDLINE_MAX - 1);
	assert_int_equal(cmdline_add(&c, NULL, "y"), -E2BIG);
	assert_int_equal(cmdline_add(&c, NULL, "%s", ""), -E2BIG);
}

/* ---- Port I/O ---- */

static uint8_t in(struct pio *p, uint16_t port)
{
	uint8_t v = 0;

	pio_read(p, port, &v, 1);
	return v;
}

static enum pio_result out(struct pio *p, uint16_t port, uint8_t v)
{
	return pio_write(p, port, &v, 1);
}

static uint8_t cmos(struct pio *p, uint8_t index)
{
	assert_int_equal(out(p, 0x70, index), PIO_DONE);
	return in(p, 0x71);
}

static void unclaimed_ports_read_ones(void **state)
{
	uint8_t wide[4] = { 0 };
	struct pio p;

	pio_init(&p, MIB(64), 0);
	for (unsigned port = 0; port < 0x10000; port++)
		if (port != 0x60 && port != 0x64 && port != 0x71)
			assert_int_equal(in(&p, (uint16_t)port), 0xff);
	pio_read(&p, 0x64, wide, 4);
	assert_int_equal(load_le32(wide), 0xffffffff);
	memset(wide, 0xfe, sizeof(wide));
	assert_int_equal(pio_write(&p, 0x64, wide, 4), PIO_DONE);
	pio_release(&p);
}

static void i8042_resets_and_answers(void **state)
{
	struct pio p;

	pio_init(&p, MIB(64), 0);
	assert_int_equal(in(&p, 0x64) & 2, 0); /* never busy */
	assert_int_equal(out(&p, 0x64, 0x20), PIO_DONE);
	assert_int_equal(in(&p, 0x64) & 1, 1);
	assert_int_equal(in(&p, 0x60), 0);
	assert_int_equal(in(&p, 0x64) & 1, 0);
	assert_int_equal(out(&p, 0x64, 0x60), PIO_DONE);
	assert_int_equal(out(&p, 0x60, 0x45), PIO_DONE);
	assert_int_equal(out(&p, 0x64, 0x20), PIO_DONE);
	assert_int_equal(in(&p, 0x60), 0x45);
	assert_int_equal(out(&p, 0x60, 0xf4), PIO_DONE);
	assert_int_equal(in(&p, 0x60), 0xfa);
	assert_int_equal(out(&p, 0x64, 0xd1), PIO_DONE);
	assert_int_equal(out(&p, 0x60, 0x03), PIO_DONE);
	assert_int_equal(out(&p, 0x64, 0xfe), PIO_RESET);
	assert_int_equal(out(&p, 0x64, 0xd1), PIO_DONE);
	assert_int_equal(out(&p, 0x60, 0x02), PIO_RESET);
	pio_release(&p);
}

static void cmos_tells_memory_and_time(void **state)
{
	struct pio p;

	pio_init(&p, MIB(3072), GIB(5));
	assert_int_equal(cmos(&p, 0x34) | cmos(&p, 0x35) << 8, (3072 - 16) * 16);
	assert_int_equal(cmos(&p, 0x5b) | cmos(&p, 0x5c) << 8 | cmos(&p, 0x5d) << 16, 5 * 16384);
	assert_int_equal(cmos(&p, 0x0a) & 0x80, 0);
	assert_true(cmos(&p, 0x32) >= 0x20);
	assert_int_equal(cmos(&p, 0x8f), 0); /* bit 7 is the NMI mask, not part of the index */
	pio_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mptable_sums_and_counts),
		cmocka_unit_test(mptable_refuses),
		cmocka_unit_test(cmdline_joins_and_stops_at_its_limit),
		cmocka_unit_test(unclaimed_ports_read_ones),
		cmocka_unit_test(i8042_resets_and_answers),
		cmocka_unit_test(cmos_tells_memory_and_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
