/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest at the registers of virtio-mmio. The input is a list of steps: reads and writes
 * of any offset and size, bytes written to guest memory, rounds of the loop.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/log.h"
#include "virtio/mmio.h"
#include "virtio/rng.h"

#define RAM	  0x20000
#define MAX_STEPS 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum step {
	STEP_WRITE,	/* register / 4, u32 */
	STEP_READ,	/* register / 4 */
	STEP_ODD_WRITE, /* u64 offset, length, 16 bytes */
	STEP_ODD_READ,	/* u64 offset, length */
	STEP_RAM,	/* u16 place / 2, length, bytes */
	STEP_RUN,
	STEP_MAX
};

struct fuzz {
	struct virtio_mmio *mmio;
	struct loop *loop;
	struct guest_mem *mem;
};

static void quiet(void *ctx, enum log_level level, const char *line)
{
}

static void write_ram(struct fuzz *f, struct cursor *c)
{
	uint32_t at = cursor_le16(c) * 2U;
	uint8_t len = cursor_u8(c) % 64;
	const uint8_t *bytes = cursor_bytes(c, len);

	if (bytes && len > 0)
		memcpy(guest_mem_ptr(f->mem, at % (RAM - 64), 64), bytes, len);
}

static void do_step(struct fuzz *f, struct cursor *c)
{
	uint8_t b[16] = { 0 };
	uint32_t v;
	uint64_t off;

	switch (cursor_u8(c) % STEP_MAX) {
	case STEP_WRITE:
		off = cursor_u8(c) * 4ULL;
		v = cursor_le32(c);
		virtio_mmio_write(f->mmio, off, &v, 4);
		break;
	case STEP_READ:
		virtio_mmio_read(f->mmio, cursor_u8(c) * 4ULL, &v, 4);
		break;
	case STEP_ODD_WRITE:
		off = cursor_le64(c);
		v = cursor_u8(c) % (sizeof(b) + 1);
		(void)cursor_copy(c, b, sizeof(b));
		virtio_mmio_write(f->mmio, off, b, v);
		break;
	case STEP_ODD_READ:
		off = cursor_le64(c);
		virtio_mmio_read(f->mmio, off, b, cursor_u8(c) % (sizeof(b) + 1));
		break;
	case STEP_RAM:
		write_ram(f, c);
		break;
	default:
		(void)loop_run_once(f->loop, 0, NULL);
		break;
	}
}

static void no_irq(void *ctx)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cursor c = cursor_init(data, len);
	const struct virtio_mmio_irq irq = { .fd = -1, .raise = no_irq };
	struct fuzz f = { .mem = guest_mem_new() };
	struct virtio_dev *dev = NULL;

	log_set_sink(quiet, NULL, LOG_OFF);
	if (!f.mem || guest_mem_add_anon(f.mem, 0, RAM, NULL) < 0 ||
		virtio_rng_new(&dev, NULL) < 0 || loop_new(&f.loop, NULL) < 0 ||
		virtio_mmio_new(dev, f.mem, f.loop, &irq, &f.mmio, NULL) < 0)
		abort();
	for (unsigned i = 0; i < MAX_STEPS && cursor_left(&c) > 0; i++)
		do_step(&f, &c);
	for (unsigned i = 0; i < 4; i++)
		(void)loop_run_once(f.loop, 0, NULL);
	virtio_mmio_free(f.mmio);
	virtio_dev_free(dev);
	loop_free(f.loop);
	guest_mem_unref(f.mem);
	return 0;
}
