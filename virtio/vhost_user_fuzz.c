/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile vhost-user front end. The input is a list of steps: messages with any header, payload
 * and descriptors (memory, eventfds, a pipe), loose bytes, bytes written to the shared memory,
 * kicks, rounds of the loop.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"
#include "virtio/rng.h"
#include "virtio/vhost_user.h"

#define RAM	  0x20000
#define MAX_STEPS 100
#define MAX_FDS	  10

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum step {
	STEP_MESSAGE, /* request, flags, number and kind of descriptors, length, payload */
	STEP_BYTES,   /* length, bytes */
	STEP_RAM,     /* u16 place / 2, length, bytes */
	STEP_KICK,
	STEP_RUN,
	STEP_MAX
};

struct fuzz {
	struct vhost_user *vu;
	struct loop *loop;
	int sock, ram_fd, event_fd, pipe_fd[2];
	uint8_t *ram;
};

static void quiet(void *ctx, enum log_level level, const char *line)
{
}

static void on_hangup(void *ctx, const struct err *why)
{
	struct fuzz *f = ctx;

	vhost_user_free(f->vu);
	f->vu = NULL;
}

static void send_with_fds(struct fuzz *f, uint8_t *data, size_t len, const int *fds, unsigned n)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { data, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n > 0) {
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, n * sizeof(int));
	}
	(void)sendmsg(f->sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void send_message(struct fuzz *f, struct cursor *c)
{
	const int kinds[] = { f->ram_fd, f->event_fd, f->ram_fd, f->pipe_fd[0] };
	uint8_t msg[12 + 512] = { 0 };
	int fds[MAX_FDS];
	uint8_t request = cursor_u8(c), flags = cursor_u8(c), how = cursor_u8(c);
	uint16_t len = cursor_le16(c) % 513;
	size_t have = MIN_OF((size_t)len, cursor_left(c));

	for (unsigned i = 0; i < MAX_FDS; i++)
		fds[i] = kinds[how >> 6];
	store_le32(msg, request);
	store_le32(msg + 4, flags ^ 1U); /* the version, unless the input flips it */
	store_le32(msg + 8, len);
	(void)cursor_copy(c, msg + 12, have);
	send_with_fds(f, msg, 12 + len, fds, (how & 63) % (MAX_FDS + 1));
}

static void send_bytes(struct fuzz *f, struct cursor *c)
{
	uint8_t buf[64], len = cursor_u8(c) % sizeof(buf);

	if (len > 0 && cursor_copy(c, buf, len) == 0)
		send_with_fds(f, buf, len, NULL, 0);
}

static void write_ram(struct fuzz *f, struct cursor *c)
{
	uint32_t at = cursor_le16(c) * 2U;
	uint8_t len = cursor_u8(c) % 64;

	(void)cursor_copy(c, f->ram + at % (RAM - 64), len);
}

static void run(struct fuzz *f)
{
	uint8_t answers[4096];

	for (unsigned i = 0; i < 3; i++)
		(void)loop_run_once(f->loop, 0, NULL);
	while (recv(f->sock, answers, sizeof(answers), MSG_DONTWAIT) > 0)
		;
}

static void do_step(struct fuzz *f, struct cursor *c)
{
	switch (cursor_u8(c) % STEP_MAX) {
	case STEP_MESSAGE:
		send_message(f, c);
		run(f);
		break;
	case STEP_BYTES:
		send_bytes(f, c);
		run(f);
		break;
	case STEP_RAM:
		write_ram(f, c);
		break;
	case STEP_KICK:
		(void)eventfd_write(f->event_fd, 1);
		run(f);
		break;
	default:
		run(f);
		break;
	}
}

static void open_all(struct fuzz *f, struct virtio_dev *dev)
{
	int sv[2];

	f->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	f->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->ram_fd < 0 || f->event_fd < 0 || ftruncate(f->ram_fd, RAM) < 0 ||
		pipe(f->pipe_fd) < 0 || loop_new(&f->loop, NULL) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		abort();
	f->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED, f->ram_fd, 0);
	f->sock = sv[0];
	if (f->ram == MAP_FAILED ||
		vhost_user_attach(dev, sv[1], f->loop, on_hangup, f, &f->vu, NULL) < 0)
		abort();
}

static void close_all(struct fuzz *f)
{
	vhost_user_free(f->vu);
	loop_free(f->loop);
	munmap(f->ram, RAM);
	close_fd(&f->ram_fd);
	close_fd(&f->event_fd);
	close_fd(&f->pipe_fd[0]);
	close_fd(&f->pipe_fd[1]);
	close_fd(&f->sock);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cursor c = cursor_init(data, len);
	struct virtio_dev *dev = NULL;
	struct fuzz f = { 0 };

	log_set_sink(quiet, NULL, LOG_OFF);
	if (virtio_rng_new(&dev, NULL) < 0)
		abort();
	open_all(&f, dev);
	for (unsigned i = 0; i < MAX_STEPS && f.vu && cursor_left(&c) > 0; i++)
		do_step(&f, &c);
	close_all(&f);
	virtio_dev_free(dev);
	return 0;
}
