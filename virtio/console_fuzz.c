/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver of the console. The input is a list of steps: arbitrary chains and control
 * messages on every queue, kicks, host input and resets. Whatever comes, the device must neither
 * touch memory outside the guest's nor stop taking a reset.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/log.h"
#include "lib/num.h"
#include "virtio/console.h"
#include "virtio/fake_driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fuzz {
	struct loop *loop;
	struct virtio_dev *dev;
	struct fake_driver *drv;
	int host;
};

enum step {
	STEP_CONTROL,
	STEP_OFFER,
	STEP_OUTPUT,
	STEP_RAW,
	STEP_HOST,
	STEP_RESIZE,
	STEP_RESET,
	STEP_RUN,
	STEP_MAX
};

static void start(struct fuzz *f)
{
	static const struct virtio_console_port no_fd = { .in_fd = -1, .out_fd = -1 };
	struct virtio_console_port ports[3] = { no_fd, no_fd, no_fd };
	int pair[2];

	log_set_sink(NULL, NULL, LOG_OFF);
	(void)signal(SIGPIPE, SIG_IGN);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	f->host = pair[0];
	ports[0].console = true;
	ports[0].rows = ports[0].cols = 25;
	ports[1].name = "agent";
	ports[1].in_fd = ports[1].out_fd = pair[1];
	if (loop_new(&f->loop, NULL) < 0 ||
		virtio_console_new(ports, 3, VIRTIO_CONSOLE_COLS_ROWS, &f->dev, NULL) < 0 ||
		fake_driver_new(f->dev, f->loop, &f->drv, NULL) < 0 ||
		fake_driver_start(f->drv, UINT64_MAX, NULL) < 0)
		abort();
	close(pair[1]);
}

static void post(struct fuzz *f, unsigned qi, const uint8_t *bytes, uint32_t len, bool writable)
{
	struct fake_seg seg = { fake_alloc(f->drv, MAX_OF(len, 16U)), len, writable };

	if (!seg.gpa)
		return;
	if (bytes && len)
		memcpy(fake_ptr(f->drv, seg.gpa, len), bytes, len);
	(void)fake_post(f->drv, qi, &seg, 1);
	fake_kick(f->drv, qi);
}

static void raw_descriptor(struct fuzz *f, struct cursor *c)
{
	unsigned qi = cursor_u8(c) % f->dev->n_queues;
	uint8_t slot = cursor_u8(c);
	struct virtq_desc d = { cursor_le64(c), cursor_le32(c), cursor_le16(c), cursor_le16(c) };

	fake_write_desc(f->drv, qi, slot, d);
	fake_post_head(f->drv, qi, slot);
	fake_kick(f->drv, qi);
}

static void step(struct fuzz *f, struct cursor *c)
{
	enum step what = cursor_u8(c) % STEP_MAX;
	uint8_t arg = cursor_u8(c);
	bool has_bytes = what == STEP_CONTROL || what == STEP_OUTPUT;
	uint32_t len = has_bytes ? MIN_OF((size_t)arg >> 4, cursor_left(c)) : 0;
	const uint8_t *bytes = cursor_bytes(c, len);

	if (what == STEP_CONTROL)
		post(f, 3, bytes, len, false);
	else if (what == STEP_OUTPUT)
		post(f, (arg & 7) | 1, bytes, len, false);
	else if (what == STEP_OFFER)
		post(f, arg & 6, NULL, arg >> 3, true);
	else if (what == STEP_RAW)
		raw_descriptor(f, c);
	else if (what == STEP_HOST)
		(void)!write(f->host, "0123456789abcdef", arg & 15);
	else if (what == STEP_RESIZE)
		(void)virtio_console_resize(f->dev, arg & 3, arg, arg);
	else if (what == STEP_RUN)
		(void)loop_run_once(f->loop, 0, NULL);
	else
		fake_driver_stop(f->drv);
	(void)fake_settle(f->drv);
	if (what == STEP_RESET && fake_driver_start(f->drv, UINT64_MAX, NULL) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cursor c = cursor_init(data, len);
	struct fuzz f;

	start(&f);
	while (cursor_left(&c))
		step(&f, &c);
	(void)loop_run_once(f.loop, 0, NULL);
	fake_driver_free(f.drv);
	virtio_dev_free(f.dev);
	loop_free(f.loop);
	close(f.host);
	return 0;
}
