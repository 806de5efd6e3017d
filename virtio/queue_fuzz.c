/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver that writes what it likes into its rings while a device pops, pushes, signals and is
 * reset. Whatever comes: chains consist of guest memory alone, never more are in flight than the
 * queue has descriptors, and a reset makes everything well again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/log.h"
#include "lib/num.h"
#include "virtio/null_dev_test.h"

#define QSIZE	 8
#define SEGS_MAX 12 /* fewer than a chain over borders can have: -E2BIG happens */
#define TABLE	 0x100000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum step {
	STEP_DESC,
	STEP_TABLE,
	STEP_POST,
	STEP_AVAIL,
	STEP_USED_EVENT,
	STEP_POP,
	STEP_UNDO,
	STEP_PUSH,
	STEP_FLUSH,
	STEP_RESTART,
	STEP_MAX
};

struct fuzz {
	struct virtio_dev *dev;
	struct fake_driver *drv;
	unsigned in_flight;
	bool can_undo; /* nothing was popped or reset since the chain in @last */
	struct iovec iov[SEGS_MAX];
	struct virtq_chain last;
};

static void require(bool ok)
{
	if (!ok)
		abort();
}

static struct virtqueue *queue(struct fuzz *f)
{
	return &f->dev->queue[0];
}

static void start(struct fuzz *f, uint64_t features)
{
	require(fake_driver_start(f->drv, features, NULL) == 0);
	f->in_flight = 0;
	f->can_undo = false;
}

/* Addresses worth trying are few: most of a random 64-bit number would miss everything. */
static uint64_t address(struct cursor *c)
{
	static const uint64_t base[] = { 0, TABLE, FAKE_LOW_SIZE - 32, FAKE_HIGH_GPA,
		FAKE_TOP_GPA - 32, FAKE_TOP_GPA + FAKE_TOP_SIZE - 32, UINT64_MAX - 31, 1ULL << 63 };
	uint8_t b = cursor_u8(c);

	return b & 0x80 ? cursor_le64(c) : base[b & 7] + (b >> 3 & 15) * 4;
}

static struct virtq_desc descriptor(struct cursor *c)
{
	struct virtq_desc d = { .addr = address(c), .flags = cursor_u8(c) & 7 };

	d.len = d.flags & VIRTQ_DESC_F_INDIRECT ? cursor_u8(c) * 8U : cursor_le32(c);
	if (!(cursor_u8(c) & 1))
		d.len &= 0xff;
	d.next = cursor_u8(c) % (QSIZE + 2);
	return d;
}

static void check_chain(struct fuzz *f)
{
	const struct virtq_chain *c = &f->last;
	const uint8_t *low = fake_ptr(f->drv, FAKE_LOW_GPA, FAKE_LOW_SIZE);
	const uint8_t *high = fake_ptr(f->drv, FAKE_HIGH_GPA, FAKE_HIGH_SIZE);
	const uint8_t *top = fake_ptr(f->drv, FAKE_TOP_GPA, FAKE_TOP_SIZE);
	uint64_t sum = 0;

	require(c->head < QSIZE && c->n_readable + c->n_writable <= SEGS_MAX);
	for (unsigned i = 0; i < c->n_readable + c->n_writable; i++) {
		const uint8_t *p = c->iov[i].iov_base;
		size_t len = c->iov[i].iov_len;

		sum += len;
		require((p >= low && range_ok(p - low, len, FAKE_LOW_SIZE)) ||
			(p >= high && range_ok(p - high, len, FAKE_HIGH_SIZE)) ||
			(p >= top && range_ok(p - top, len, FAKE_TOP_SIZE)));
	}
	require(sum == c->readable_len + c->writable_len);
}

static void pop(struct fuzz *f)
{
	int r = virtqueue_pop(queue(f), &f->last);

	require(r == 1 || r == 0 || r == -E2BIG || r == -EBADMSG);
	f->can_undo = r == 1;
	if (r == 1 || r == -E2BIG) {
		check_chain(f);
		require(++f->in_flight <= QSIZE);
	}
	if (r == -E2BIG)
		require(f->last.n_readable + f->last.n_writable == 0);
}

static void undo(struct fuzz *f)
{
	if (!f->can_undo)
		return;
	virtqueue_pop_undo(queue(f), &f->last);
	f->in_flight--;
	f->can_undo = false;
}

static void push(struct fuzz *f, uint16_t head)
{
	uint16_t before = fake_used_idx(f->drv, 0);

	virtqueue_push(queue(f), head, 1);
	if (fake_used_idx(f->drv, 0) == before)
		return; /* not in flight, or broken */
	require(f->in_flight-- > 0);
	f->can_undo = f->can_undo && head != f->last.head;
}

static void step(struct fuzz *f, struct cursor *c)
{
	enum step what = cursor_u8(c) % STEP_MAX;
	uint8_t arg = cursor_u8(c);

	if (what == STEP_DESC)
		fake_write_desc(f->drv, 0, arg, descriptor(c));
	else if (what == STEP_TABLE)
		fake_write_desc_at(f->drv, TABLE + arg % (2 * QSIZE) * 16, descriptor(c));
	else if (what == STEP_POST)
		fake_post_head(f->drv, 0, arg % (QSIZE + 1));
	else if (what == STEP_AVAIL)
		fake_write_avail_idx(f->drv, 0, (uint16_t)(f->drv->q[0].avail_idx + (int8_t)arg));
	else if (what == STEP_USED_EVENT)
		fake_write_used_event(f->drv, 0, cursor_le16(c));
	else if (what == STEP_POP)
		pop(f);
	else if (what == STEP_UNDO)
		undo(f);
	else if (what == STEP_PUSH)
		push(f, arg % (QSIZE + 2));
	else if (what == STEP_FLUSH)
		virtio_dev_flush(f->dev, 0);
	if (what != STEP_RESTART)
		return;
	fake_driver_stop(f->drv);
	start(f, (uint64_t)arg << VIRTIO_F_INDIRECT_DESC | VIRTIO_BIT(VIRTIO_F_VERSION_1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cursor c = cursor_init(data, len);
	struct fuzz f = { 0 };

	log_set_sink(NULL, NULL, LOG_OFF);
	f.dev = &null_dev_new(QSIZE)->dev;
	f.last = (struct virtq_chain){ .iov = f.iov, .iov_max = SEGS_MAX };
	require(fake_driver_new(f.dev, NULL, &f.drv, NULL) == 0);
	start(&f, UINT64_MAX);
	while (cursor_left(&c))
		step(&f, &c);
	fake_driver_stop(f.drv);
	start(&f, UINT64_MAX);
	fake_write_desc(f.drv, 0, 0, (struct virtq_desc){ TABLE, 16, VIRTQ_DESC_F_WRITE, 0 });
	fake_post_head(f.drv, 0, 0);
	require(virtqueue_pop(queue(&f), &f.last) == 1);
	fake_driver_free(f.drv);
	virtio_dev_free(f.dev);
	return 0;
}
