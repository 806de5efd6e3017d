/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <linux/virtio_balloon.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/num.h"
#include "virtio/balloon.h"
#include "virtio/fake_driver.h"

enum { INFLATE, DEFLATE, STATS, HINT, REPORTING };

#define PAGE	  4096ULL
#define HIGH_PFN  (uint32_t)(FAKE_HIGH_GPA / PAGE)
#define HOLE_PFN  (uint32_t)(FAKE_LOW_SIZE / PAGE)
#define RAM_BYTES (FAKE_LOW_SIZE + FAKE_HIGH_SIZE + FAKE_TOP_SIZE)
#define ALL	  UINT64_MAX

struct rig {
	struct virtio_dev *dev;
	struct fake_driver *drv;
};

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	assert_int_equal(virtio_balloon_new(RAM_BYTES, &r->dev, NULL), 0);
	assert_int_equal(fake_driver_new(r->dev, NULL, &r->drv, NULL), 0);
	assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
	memset(fake_ptr(r->drv, FAKE_HIGH_GPA, FAKE_HIGH_SIZE), 'h', FAKE_HIGH_SIZE);
	memset(fake_ptr(r->drv, FAKE_TOP_GPA, FAKE_TOP_SIZE), 't', FAKE_TOP_SIZE);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	fake_driver_free(r->drv);
	virtio_dev_free(r->dev);
	free(r);
	return 0;
}

static uint8_t byte_at(struct rig *r, uint64_t gpa)
{
	return *(uint8_t *)fake_ptr(r->drv, gpa, 1);
}

static bool page_is(struct rig *r, uint64_t gpa, uint8_t byte)
{
	const uint8_t *p = fake_ptr(r->drv, gpa, PAGE);

	for (size_t i = 0; i < PAGE; i++) {
		if (p[i] != byte)
			return false;
	}
	return true;
}

static void test_inflate(void **state)
{
	struct rig *r = *state;
	uint32_t pfn[] = { HIGH_PFN + 1, HIGH_PFN + 2, HIGH_PFN + 9, HIGH_PFN + 4 };

	assert_int_equal(fake_request(r->drv, INFLATE, pfn, sizeof(pfn), NULL, 0), 0);
	assert_true(page_is(r, FAKE_HIGH_GPA, 'h'));
	assert_true(page_is(r, FAKE_HIGH_GPA + PAGE, 0));
	assert_true(page_is(r, FAKE_HIGH_GPA + 2 * PAGE, 0));
	assert_true(page_is(r, FAKE_HIGH_GPA + 3 * PAGE, 'h'));
	assert_true(page_is(r, FAKE_HIGH_GPA + 4 * PAGE, 0));
	assert_true(page_is(r, FAKE_HIGH_GPA + 9 * PAGE, 0));
	assert_int_equal(fake_request(r->drv, DEFLATE, pfn, sizeof(pfn), NULL, 0), 0);
	assert_true(page_is(r, FAKE_HIGH_GPA + 8 * PAGE, 'h'));
}

static void test_inflate_with_junk(void **state)
{
	struct rig *r = *state;
	uint32_t pfn[] = { HOLE_PFN, UINT32_MAX, UINT32_MAX - 1, 0x80000000, HIGH_PFN,
		(uint32_t)((FAKE_TOP_GPA + FAKE_TOP_SIZE) / PAGE), HIGH_PFN, HIGH_PFN + 3 };
	static uint32_t many[3000];
	uint8_t out[16];

	/* the ones that exist are honoured, the others are nobody's business */
	assert_int_equal(fake_request(r->drv, INFLATE, pfn, sizeof(pfn), NULL, 0), 0);
	assert_true(page_is(r, FAKE_HIGH_GPA, 0));
	assert_true(page_is(r, FAKE_HIGH_GPA + 3 * PAGE, 0));
	assert_true(page_is(r, FAKE_HIGH_GPA + PAGE, 'h'));
	/* a length that is no multiple of four, the wrong direction, more than one request may */
	assert_int_equal(fake_request(r->drv, INFLATE, pfn, 3, NULL, 0), 0);
	assert_int_equal(fake_request(r->drv, INFLATE, NULL, 0, out, sizeof(out)), 0);
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = HIGH_PFN + 16;
	many[2999] = HIGH_PFN + 17;
	assert_int_equal(fake_request(r->drv, INFLATE, many, sizeof(many), NULL, 0), 0);
	assert_true(page_is(r, FAKE_HIGH_GPA + 16 * PAGE, 0));
	assert_true(page_is(r, FAKE_HIGH_GPA + 17 * PAGE, 'h'));
	assert_false(fake_is_broken(r->drv));
}

/* A guest that gives up the pages its rings are in finds them empty, and that is all. */
static void test_inflate_its_own_rings(void **state)
{
	struct rig *r = *state;
	uint32_t pfn[16];
	struct fake_seg seg = { fake_alloc(r->drv, sizeof(pfn)), sizeof(pfn), false };

	for (uint32_t i = 0; i < ARRAY_LEN(pfn); i++)
		pfn[i] = (uint32_t)(r->drv->q[INFLATE].addr.desc / PAGE) + i;
	memcpy(fake_ptr(r->drv, seg.gpa, sizeof(pfn)), pfn, sizeof(pfn));
	assert_true(fake_post(r->drv, INFLATE, &seg, 1) >= 0);
	fake_kick(r->drv, INFLATE);
	(void)fake_settle(r->drv);
	for (unsigned qi = 0; qi < 5; qi++)
		fake_kick(r->drv, qi);
	(void)fake_settle(r->drv);
	fake_driver_stop(r->drv);
	assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
	assert_int_equal(fake_request(r->drv, INFLATE, pfn, 1, NULL, 0), 0);
}

static void report(struct rig *r, uint64_t gpa, uint32_t len, bool writable)
{
	struct fake_seg seg = { gpa, len, writable };

	assert_true(fake_post(r->drv, REPORTING, &seg, 1) >= 0);
	fake_kick(r->drv, REPORTING);
	(void)fake_settle(r->drv);
	assert_true(fake_used(r->drv, REPORTING, NULL, NULL));
}

static void test_reporting(void **state)
{
	struct rig *r = *state;
	uint64_t edge = FAKE_TOP_GPA - 2 * PAGE;

	report(r, edge, 4 * PAGE, true); /* across the border of two regions */
	assert_true(page_is(r, edge - PAGE, 'h'));
	assert_true(page_is(r, edge, 0) && page_is(r, edge + PAGE, 0));
	assert_true(page_is(r, FAKE_TOP_GPA, 0) && page_is(r, FAKE_TOP_GPA + PAGE, 0));
	assert_true(page_is(r, FAKE_TOP_GPA + 2 * PAGE, 't'));
}

static void test_reporting_keeps_what_is_not_whole(void **state)
{
	struct rig *r = *state;

	report(r, FAKE_HIGH_GPA + 100, 2 * PAGE, true);
	assert_int_equal(byte_at(r, FAKE_HIGH_GPA + 200), 'h');
	assert_true(page_is(r, FAKE_HIGH_GPA + PAGE, 0));
	assert_int_equal(byte_at(r, FAKE_HIGH_GPA + 2 * PAGE + 10), 'h');
	report(r, FAKE_HIGH_GPA + 4 * PAGE + 1, PAGE, true);
	assert_true(page_is(r, FAKE_HIGH_GPA + 4 * PAGE, 'h'));
	report(r, FAKE_HIGH_GPA + 8 * PAGE, PAGE, false); /* readable: not offered */
	assert_true(page_is(r, FAKE_HIGH_GPA + 8 * PAGE, 'h'));
}

static void test_reporting_not_negotiated(void **state)
{
	struct rig *r = *state;

	fake_driver_stop(r->drv);
	assert_int_equal(
		fake_driver_start(r->drv, ALL & ~VIRTIO_BIT(VIRTIO_BALLOON_F_REPORTING), NULL), 0);
	report(r, FAKE_HIGH_GPA, PAGE, true);
	assert_true(page_is(r, FAKE_HIGH_GPA, 'h'));
}

static void test_hints_are_returned(void **state)
{
	struct rig *r = *state;
	uint8_t page[64];

	assert_int_equal(fake_request(r->drv, HINT, "1234", 4, NULL, 0), 0);
	assert_int_equal(fake_request(r->drv, HINT, NULL, 0, page, sizeof(page)), 0);
}

/* --- statistics --- */

static void put_stat(uint8_t *p, uint16_t tag, uint64_t value)
{
	store_le16(p, tag);
	store_le64(p + 2, value);
}

static int send_stats(struct rig *r, const void *raw, uint32_t len)
{
	struct fake_seg seg = { fake_alloc(r->drv, len), len, false };
	int head;

	memcpy(fake_ptr(r->drv, seg.gpa, len), raw, len);
	head = fake_post(r->drv, STATS, &seg, 1);
	assert_true(head >= 0);
	fake_kick(r->drv, STATS);
	(void)fake_settle(r->drv);
	return head;
}

static void test_stats(void **state)
{
	struct rig *r = *state;
	struct virtio_balloon_stats s;
	uint8_t raw[34];
	uint32_t used;
	int head;

	virtio_balloon_stats(r->dev, &s);
	assert_true(s.rounds == 0 && s.have == 0);
	assert_int_equal(virtio_balloon_ask_stats(r->dev), -EAGAIN);
	put_stat(raw, VIRTIO_BALLOON_S_MEMFREE, 12345);
	put_stat(raw + 10, 0xffff, 666);
	put_stat(raw + 20, VIRTIO_BALLOON_S_MEMTOT, UINT64_MAX);
	head = send_stats(r, raw, 34); /* the last four bytes are half a record */
	virtio_balloon_stats(r->dev, &s);
	assert_int_equal(s.rounds, 1);
	assert_int_equal(s.have, 1 << VIRTIO_BALLOON_S_MEMFREE | 1 << VIRTIO_BALLOON_S_MEMTOT);
	assert_int_equal(s.value[VIRTIO_BALLOON_S_MEMFREE], 12345);
	assert_false(fake_used(r->drv, STATS, NULL, NULL)); /* kept until somebody asks */
	assert_int_equal(virtio_balloon_ask_stats(r->dev), 0);
	assert_true(fake_used(r->drv, STATS, &used, NULL));
	assert_int_equal(used, head);
	assert_int_equal(virtio_balloon_ask_stats(r->dev), -EAGAIN);
}

static void test_stats_flood(void **state)
{
	static uint8_t raw[8000];
	struct rig *r = *state;
	struct virtio_balloon_stats s;

	for (unsigned i = 0; i < 800; i++)
		put_stat(raw + i * 10, (uint16_t)i, i);
	for (unsigned i = 0; i < 100; i++) {
		(void)send_stats(r, raw, i < 50 ? 8000 : 1);
		/* the one before comes back at once: never more than one is kept */
		assert_int_equal(fake_used(r->drv, STATS, NULL, NULL), i > 0);
	}
	virtio_balloon_stats(r->dev, &s);
	assert_int_equal(s.rounds, 100);
	assert_int_equal(s.have, 0); /* the last ones said nothing */
	fake_driver_stop(r->drv);
	assert_int_equal(virtio_balloon_ask_stats(r->dev), -EAGAIN);
}

static void test_target_and_actual(void **state)
{
	struct rig *r = *state;
	uint8_t config[16];
	uint32_t huge = UINT32_MAX;

	assert_int_equal(virtio_balloon_set_target(r->dev, RAM_BYTES + PAGE), -EINVAL);
	assert_int_equal(virtio_balloon_set_target(r->dev, UINT64_MAX), -EINVAL);
	assert_int_equal(virtio_balloon_set_target(r->dev, 10 * PAGE + 1), 0);
	assert_int_equal(__atomic_load_n(&r->drv->config_signals, __ATOMIC_ACQUIRE), 1);
	fake_config_read(r->drv, 0, config, sizeof(config));
	assert_int_equal(load_le32(config), 10);
	assert_int_equal(load_le32(config + 8), VIRTIO_BALLOON_CMD_ID_STOP);
	store_le32(config, 7);
	fake_config_write(r->drv, 4, config, 4);
	assert_int_equal(virtio_balloon_actual(r->dev), 7 * PAGE);
	/* lies are cut to what is possible; the target is ours alone; no partial writes */
	fake_config_write(r->drv, 4, &huge, 4);
	assert_int_equal(virtio_balloon_actual(r->dev), RAM_BYTES);
	fake_config_write(r->drv, 0, &huge, 4);
	fake_config_write(r->drv, 5, &huge, 1);
	fake_config_write(r->drv, 12, &huge, 4);
	fake_config_read(r->drv, 0, config, sizeof(config));
	assert_int_equal(load_le32(config), 10);
	fake_driver_stop(r->drv);
	assert_int_equal(virtio_balloon_actual(r->dev), 0);
	assert_int_equal(virtio_balloon_set_target(r->dev, 0), 0);
}

static void test_work_per_kick_is_bounded(void **state)
{
	struct rig *r = *state;
	struct fake_seg seg = { FAKE_HIGH_GPA, PAGE, true };
	unsigned n = 0;

	for (int i = 0; i < 200; i++)
		assert_true(fake_post(r->drv, REPORTING, &seg, 1) >= 0);
	fake_kick(r->drv, REPORTING);
	while (fake_used(r->drv, REPORTING, NULL, NULL))
		n++;
	assert_int_equal(n, 16);
	(void)fake_settle(r->drv);
	while (fake_used(r->drv, REPORTING, NULL, NULL))
		n++;
	assert_int_equal(n, 200);
}

static void test_broken_rings(void **state)
{
	for (unsigned qi = 0; qi < 5; qi++) {
		struct rig *r;

		assert_int_equal(setup((void **)&r), 0);
		fake_write_desc(r->drv, qi, 3,
			(struct virtq_desc){ FAKE_LOW_SIZE, 16, VIRTQ_DESC_F_WRITE, 0 });
		fake_post_head(r->drv, qi, 3);
		fake_kick(r->drv, qi);
		assert_true(fake_is_broken(r->drv));
		assert_int_equal(virtio_balloon_ask_stats(r->dev), -EAGAIN);
		fake_driver_stop(r->drv);
		assert_int_equal(fake_driver_start(r->drv, ALL, NULL), 0);
		report(r, FAKE_HIGH_GPA, PAGE, true);
		assert_true(page_is(r, FAKE_HIGH_GPA, 0));
		assert_int_equal(teardown((void **)&r), 0);
	}
}

#define rig_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rig_test(test_inflate),
		rig_test(test_inflate_with_junk),
		rig_test(test_inflate_its_own_rings),
		rig_test(test_reporting),
		rig_test(test_reporting_keeps_what_is_not_whole),
		rig_test(test_reporting_not_negotiated),
		rig_test(test_hints_are_returned),
		rig_test(test_stats),
		rig_test(test_stats_flood),
		rig_test(test_target_and_actual),
		rig_test(test_work_per_kick_is_bounded),
		cmocka_unit_test(test_broken_rings),
	};

	log_set_sink(NULL, NULL, LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
