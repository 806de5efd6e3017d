/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "vmm/kvm/layout.h"

#define LOAD 0x1000000ULL
#define SIZE 0x1450000ULL

static void expect_slot(const struct layout *l, unsigned i, uint64_t gpa, uint64_t size)
{
	assert_true(i < l->n_slots);
	assert_int_equal(l->slot[i].gpa, gpa);
	assert_int_equal(l->slot[i].size, size);
}

static void expect_e820(const struct layout *l, unsigned i, uint64_t addr, uint64_t end)
{
	assert_true(i < l->n_e820);
	assert_int_equal(l->e820[i].addr, addr);
	assert_int_equal(l->e820[i].addr + l->e820[i].size, end);
}

static void small_ram_follows_the_bundle(void **state)
{
	struct layout l;

	assert_int_equal(layout_plan(MIB(256), LOAD, SIZE, &l, NULL), 0);
	assert_int_equal(l.n_slots, 3);
	expect_slot(&l, 0, 0, LOAD);
	expect_slot(&l, 1, LOAD, SIZE);
	assert_true(l.slot[1].bundle);
	expect_slot(&l, 2, LOAD + SIZE, MIB(256));
	assert_int_equal(l.n_e820, 2);
	expect_e820(&l, 0, 0, 0x9fc00);
	expect_e820(&l, 1, 0x100000, LOAD + SIZE + MIB(256));
}

static void ram_is_clamped_at_the_hole(void **state)
{
	uint64_t room = LAYOUT_HOLE - LOAD - SIZE;
	struct layout l;

	/* Exactly full, one page more, and much more. */
	assert_int_equal(layout_plan(room, LOAD, SIZE, &l, NULL), 0);
	assert_int_equal(l.n_slots, 3);
	expect_e820(&l, 1, 0x100000, LAYOUT_HOLE);
	assert_int_equal(layout_plan(room + 4096, LOAD, SIZE, &l, NULL), 0);
	assert_int_equal(l.n_slots, 4);
	expect_slot(&l, 2, LOAD + SIZE, room);
	expect_slot(&l, 3, LAYOUT_HOLE_END, 4096);
	expect_e820(&l, 2, LAYOUT_HOLE_END, LAYOUT_HOLE_END + 4096);
	assert_int_equal(layout_plan(MIB(3500), LOAD, SIZE, &l, NULL), 0);
	expect_slot(&l, 3, LAYOUT_HOLE_END, MIB(3500) - room);
	assert_int_equal(layout_plan(GIB(64), LOAD, SIZE, &l, NULL), 0);
	expect_slot(&l, 3, LAYOUT_HOLE_END, GIB(64) - room);
}

static void without_a_bundle_ram_starts_at_zero(void **state)
{
	struct layout l;

	assert_int_equal(layout_plan(MIB(64), 0, 0, &l, NULL), 0);
	assert_int_equal(l.n_slots, 1);
	expect_slot(&l, 0, 0, MIB(64));
	expect_e820(&l, 1, 0x100000, MIB(64));
	assert_int_equal(layout_plan(GIB(4), 0, 0, &l, NULL), 0);
	assert_int_equal(l.n_slots, 2);
	expect_slot(&l, 1, LAYOUT_HOLE_END, GIB(4) - LAYOUT_HOLE);
}

static void nonsense_is_refused(void **state)
{
	struct layout l;

	assert_int_equal(layout_plan(0, LOAD, SIZE, &l, NULL), -EINVAL);
	assert_int_equal(layout_plan(UINT64_MAX, LOAD, SIZE, &l, NULL), -EINVAL);
	assert_int_equal(layout_plan(MIB(64), LAYOUT_HOLE, SIZE, &l, NULL), -EINVAL);
	assert_int_equal(layout_plan(MIB(64), UINT64_MAX, SIZE, &l, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_ram_follows_the_bundle),
		cmocka_unit_test(ram_is_clamped_at_the_hole),
		cmocka_unit_test(without_a_bundle_ram_starts_at_zero),
		cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
