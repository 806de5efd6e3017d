/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver of the entropy device. The input is a list of steps: descriptors anywhere, ring
 * entries and indices, kicks, resets. The device writes wherever chains lead, so that a chain that
 * leads out of guest memory is found by the sanitizers.
 */
#include <stdlib.h>

#include "lib/buf.h"
#include "lib/log.h"
#include "virtio/fake_driver.h"
#include "virtio/rng.h"

#define MAX_STEPS 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum step {
	STEP_DESC,	/* slot, addr, len, flags, next: into the ring */
	STEP_TABLE,	/* the same, into an indirect table at TABLE */
	STEP_AVAIL,	/* slot, head */
	STEP_AVAIL_IDX, /* idx */
	STEP_POST,	/* head */
	STEP_FLAGS,	/* avail flags, used_event */
	STEP_KICK,
	STEP_RESTART, /* which features, queue size, where the rings are */
	STEP_MAX
};

#define TABLE  0x600000
#define TABLES 64

static void quiet(void *ctx, enum log_level level, const char *line)
{
}

/* some_addr() - mostly guest memory, its edges included */
static uint64_t some_addr(struct cursor *c)
{
	static const uint64_t base[] = { FAKE_LOW_GPA, TABLE, FAKE_LOW_SIZE - 64, FAKE_HIGH_GPA,
		FAKE_TOP_GPA - 64, FAKE_TOP_GPA + FAKE_TOP_SIZE - 64, UINT64_MAX - 63 };
	uint8_t kind = cursor_u8(c);

	if (kind % 8 == 7)
		return cursor_le64(c);
	return base[kind % 8] + cursor_le16(c);
}

static struct virtq_desc some_desc(struct cursor *c)
{
	struct virtq_desc d;

	d.addr = some_addr(c);
	d.len = cursor_le32(c);
	d.flags = cursor_u8(c);
	d.next = cursor_le16(c);
	return d;
}

static void restart(struct fake_driver *drv, struct cursor *c, const struct virtqueue_addr *good)
{
	uint8_t how = cursor_u8(c);

	fake_driver_stop(drv);
	drv->q[0].addr = *good;
	drv->q[0].size = 256 >> (how >> 5);
	if (how & 1)
		drv->q[0].addr.desc = some_addr(c);
	if (how & 2)
		drv->q[0].size = cursor_le16(c);
	(void)fake_driver_start(drv, (uint64_t)(how >> 2 & 3) << VIRTIO_F_INDIRECT_DESC, NULL);
	/* From here on the driver writes where there is memory, whatever it told the device. */
	drv->q[0].addr = *good;
	if (drv->q[0].size == 0 || drv->q[0].size > 256)
		drv->q[0].size = 256;
}

static void do_step(struct fake_driver *drv, struct cursor *c, const struct virtqueue_addr *good)
{
	switch (cursor_u8(c) % STEP_MAX) {
	case STEP_DESC:
		fake_write_desc(drv, 0, cursor_le16(c), some_desc(c));
		break;
	case STEP_TABLE:
		fake_write_desc_at(drv, TABLE + 16 * (cursor_u8(c) % TABLES), some_desc(c));
		break;
	case STEP_AVAIL:
		fake_write_avail(drv, 0, cursor_le16(c), cursor_le16(c));
		break;
	case STEP_AVAIL_IDX:
		drv->q[0].avail_idx = cursor_le16(c);
		fake_write_avail_idx(drv, 0, drv->q[0].avail_idx);
		break;
	case STEP_POST:
		fake_post_head(drv, 0, cursor_le16(c));
		break;
	case STEP_FLAGS:
		fake_write_avail_flags(drv, 0, cursor_u8(c));
		fake_write_used_event(drv, 0, cursor_le16(c));
		break;
	case STEP_KICK:
		fake_kick(drv, 0);
		(void)fake_settle(drv);
		while (fake_used(drv, 0, NULL, NULL))
			;
		break;
	default:
		restart(drv, c, good);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cursor c = cursor_init(data, len);
	struct fake_driver *drv = NULL;
	struct virtio_dev *dev = NULL;

	log_set_sink(quiet, NULL, LOG_OFF);
	if (virtio_rng_new(&dev, NULL) < 0 || fake_driver_new(dev, NULL, &drv, NULL) < 0)
		abort();
	struct virtqueue_addr good = drv->q[0].addr;

	if (fake_driver_start(drv, UINT64_MAX, NULL) < 0)
		abort();
	for (unsigned i = 0; i < MAX_STEPS && cursor_left(&c) > 0; i++)
		do_step(drv, &c, &good);
	fake_kick(drv, 0);
	fake_driver_free(drv);
	virtio_dev_free(dev);
	return 0;
}
