/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile block requests: the input is a list of requests with a header, a split of the data and
 * directions of the fuzzer's choice, over a small image. Every chain must come back.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/log.h"
#include "lib/num.h"
#include "virtio/block.h"
#include "virtio/fake_driver.h"

#define IMAGE_SIZE (64 * 1024)
#define OUT_MAX	   1100
#define SEGS_MAX   6
#define WAIT_MS	   10000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void start(struct virtio_dev **dev, struct fake_driver **drv)
{
	struct virtio_block_config cfg = { .threads = 1 };
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	log_set_sink(NULL, NULL, LOG_OFF);
	if (fd < 0 || ftruncate(fd, IMAGE_SIZE) < 0 ||
		block_raw_open(fd, false, &cfg.image, NULL) < 0 ||
		virtio_block_new(&cfg, dev, NULL) < 0 ||
		fake_driver_new(*dev, NULL, drv, NULL) < 0 ||
		fake_driver_start(*drv, UINT64_MAX, NULL) < 0)
		abort();
	close(fd);
}

/* @out_len bytes cut into readable segments, then writable ones, as the fuzzer says. */
static unsigned cut(struct fake_driver *drv, struct cursor *c, const uint8_t *out, uint32_t out_len,
	struct fake_seg seg[SEGS_MAX])
{
	unsigned n = 0;

	while (out_len && n < SEGS_MAX - 2) {
		uint32_t want = 1 + 5 * (uint32_t)cursor_u8(c), len = MIN_OF(want, out_len);

		seg[n] = (struct fake_seg){ fake_alloc(drv, len), len, false };
		memcpy(fake_ptr(drv, seg[n].gpa, len), out, len);
		out += len;
		out_len -= len;
		n++;
	}
	for (unsigned i = 0; i < 2; i++) {
		uint32_t len = cursor_le16(c) % 2000;

		if (len || !n)
			seg[n++] = (struct fake_seg){ fake_alloc(drv, len + 1), len + 1, true };
	}
	return n;
}

static void one_request(struct fake_driver *drv, struct cursor *c)
{
	uint8_t out[OUT_MAX] = { 0 };
	struct fake_seg seg[SEGS_MAX];
	uint64_t mark = drv->brk;
	uint32_t out_len = cursor_le16(c) % (OUT_MAX + 1);
	unsigned n;

	store_le32(out, cursor_u8(c) % 16);
	store_le64(out + 8, cursor_u8(c) & 1 ? cursor_le64(c) : cursor_u8(c));
	store_le64(out + 16, cursor_u8(c));
	store_le32(out + 24, cursor_le32(c));
	store_le32(out + 28, cursor_u8(c));
	n = cut(drv, c, out, out_len, seg);
	if (fake_post(drv, 0, seg, n) < 0)
		abort();
	fake_kick(drv, 0);
	if (!fake_wait_used(drv, 0, NULL, NULL, WAIT_MS))
		abort(); /* lost */
	drv->brk = mark;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cursor c = cursor_init(data, len);
	struct virtio_dev *dev;
	struct fake_driver *drv;

	start(&dev, &drv);
	while (cursor_left(&c))
		one_request(drv, &c);
	fake_driver_free(drv);
	virtio_dev_free(dev);
	return 0;
}
