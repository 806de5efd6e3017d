/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"
#include "net/packet.h"

#define VNET_LEN	 ((int)sizeof(struct virtio_net_hdr))
#define FRAMES_PER_ROUND 256

#define HELD_FRAMES_MAX 4096

/* struct held - a frame on its way through a bad cable, in order of arrival */
struct held {
	struct held *next;
	uint64_t due_ns;
	bool to_guest;
	struct net_offload off;
	size_t len;
	uint8_t data[];
};

struct tap {
	struct loop *loop;
	struct tap_faults faults;
	bool faulty;
	struct held *held, **held_tail;
	unsigned n_held;
	struct loop_timer *timer;
	uint64_t rng;
	struct net *net;
	struct loop_watch *watch;
	int fd;
	bool pending; /* in_buf holds a frame that was refused for its rate */
	size_t in_len;
	struct net_offload in_off;
	uint8_t in_buf[FRAME_MAX_LEN + IP6_HDR_LEN];
	uint8_t out_buf[FRAME_MAX_LEN + IP6_HDR_LEN];
};

int tap_open(const char *name, bool offload, int *ret_fd, struct err *err)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	unsigned features = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	int hdr_len = VNET_LEN;
	cleanup_fd int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return err_set(err, errno, "open /dev/net/tun");
	(void)strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &hdr_len) < 0)
		return err_set(err, errno, "create TAP device '%s'", name);
	/* what we take; what the device side takes is for it to say (ethtool) */
	if (ioctl(fd, TUNSETOFFLOAD, offload ? features : 0u) < 0)
		return err_set(err, errno, "set offloads of TAP device '%s'", name);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* --- to the guest --- */

static unsigned tap_reserve(void *ctx, size_t len, struct iovec *iov, unsigned max)
{
	struct tap *t = ctx;

	if (len > sizeof(t->out_buf))
		return 0;
	iov[0] = (struct iovec){ t->out_buf, len };
	return 1;
}

static void tap_write(
	struct tap *t, const struct net_offload *off, const uint8_t *frame, size_t len)
{
	struct virtio_net_hdr h = { .flags = off->flags,
		.gso_type = off->gso_type,
		.hdr_len = off->hdr_len,
		.gso_size = off->gso_size,
		.csum_start = off->csum_start,
		.csum_offset = off->csum_offset };
	struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)frame, len } };

	(void)!writev(t->fd, iov, 2); /* a full device queue drops, as a cable would */
}

/* --- the bad cable --- */

static bool chance(struct tap *t, unsigned percent)
{
	t->rng = t->rng * 6364136223846793005ULL + 1442695040888963407ULL;
	return (t->rng >> 33) % 100 < percent;
}

static void hold_one(struct tap *t, bool to_guest, const struct net_offload *off,
	const uint8_t *frame, size_t len)
{
	struct held *h;

	if (chance(t, t->faults.loss) || t->n_held >= HELD_FRAMES_MAX)
		return;
	h = malloc(sizeof(*h) + len);
	if (!h)
		return;
	*h = (struct held){ .to_guest = to_guest, .off = *off, .len = len };
	h->due_ns = clock_mono_ns() + t->faults.delay_ms * NS_PER_MS;
	memcpy(h->data, frame, len);
	t->n_held++;
	if (t->held && chance(t, t->faults.reorder)) { /* overtakes all that wait */
		h->next = t->held;
		h->due_ns = t->held->due_ns;
		t->held = h;
		return;
	}
	*t->held_tail = h;
	t->held_tail = &h->next;
}

static void hold(struct tap *t, bool to_guest, const struct net_offload *off, const uint8_t *frame,
	size_t len)
{
	hold_one(t, to_guest, off, frame, len);
	if (chance(t, t->faults.duplicate))
		hold_one(t, to_guest, off, frame, len);
	if (t->held)
		loop_timer_arm(t->timer, t->held->due_ns);
}

static void deliver(struct tap *t, struct held *h)
{
	struct iovec iov = { h->data, h->len };

	if (h->to_guest)
		tap_write(t, &h->off, h->data, h->len);
	else
		(void)net_from_guest(t->net, &h->off, &iov, 1);
}

static void tap_deliver(void *ctx)
{
	struct tap *t = ctx;
	uint64_t now = clock_mono_ns();

	while (t->held && t->held->due_ns <= now) {
		struct held *h = t->held;

		t->held = h->next;
		if (!t->held)
			t->held_tail = &t->held;
		t->n_held--;
		deliver(t, h);
		free(h);
	}
	net_from_guest_done(t->net);
	if (t->held)
		loop_timer_arm(t->timer, t->held->due_ns);
}

static void tap_commit(void *ctx, const struct net_offload *off, size_t len)
{
	struct tap *t = ctx;

	if (t->faulty)
		hold(t, true, off, t->out_buf, len);
	else
		tap_write(t, off, t->out_buf, len);
}

static void tap_nothing(void *ctx)
{
}

/* --- from the guest --- */

static bool tap_read(struct tap *t)
{
	struct virtio_net_hdr h;
	struct iovec iov[2] = { { &h, sizeof(h) }, { t->in_buf, sizeof(t->in_buf) } };
	ssize_t n = readv(t->fd, iov, 2);

	if (n < VNET_LEN)
		return false;
	t->in_len = (size_t)n - sizeof(h);
	t->in_off = (struct net_offload){ .flags = h.flags,
		.gso_type = h.gso_type,
		.hdr_len = h.hdr_len,
		.gso_size = h.gso_size,
		.csum_start = h.csum_start,
		.csum_offset = h.csum_offset };
	return true;
}

static void tap_pump(struct tap *t)
{
	for (unsigned i = 0; i < FRAMES_PER_ROUND; i++) {
		struct iovec iov = { t->in_buf, 0 };

		if (!t->pending && !tap_read(t))
			break;
		iov.iov_len = t->in_len;
		if (t->faulty) {
			hold(t, false, &t->in_off, t->in_buf, t->in_len);
			continue;
		}
		t->pending = net_from_guest(t->net, &t->in_off, &iov, 1) == -EAGAIN;
		if (t->pending) {
			loop_pause(t->watch);
			break;
		}
	}
	net_from_guest_done(t->net);
}

static void tap_resume(void *ctx)
{
	struct tap *t = ctx;

	loop_modify(t->watch, EPOLLIN);
	tap_pump(t);
}

static void tap_ready(void *ctx, int fd, uint32_t events)
{
	tap_pump(ctx);
}

static const struct net_link_ops tap_ops = {
	.reserve = tap_reserve,
	.commit = tap_commit,
	.cancel = tap_nothing,
	.flush = tap_nothing,
	.resume = tap_resume,
};

int tap_new(struct loop *loop, int fd, bool offload, const struct tap_faults *faults,
	struct net *net, struct tap **ret_tap, struct err *err)
{
	struct tap *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return err_set(err, ENOMEM, "attach TAP device");
	t->loop = loop;
	t->net = net;
	t->fd = fd;
	t->rng = 88172645463325252ULL;
	t->held_tail = &t->held;
	if (faults) {
		t->faults = *faults;
		t->faulty =
			faults->loss || faults->duplicate || faults->reorder || faults->delay_ms;
	}
	rc = loop_timer_new(loop, tap_deliver, t, &t->timer, err);
	if (rc == 0)
		rc = loop_add(loop, fd, EPOLLIN, tap_ready, t, &t->watch, err);
	if (rc < 0) {
		loop_timer_remove(&t->timer);
		free(t);
		return rc;
	}
	net_attach(
		net, &tap_ops, t, offload ? NET_TAKES_CSUM | NET_TAKES_TSO4 | NET_TAKES_TSO6 : 0);
	*ret_tap = t;
	return 0;
}

void tap_free(struct tap *t)
{
	if (!t)
		return;
	net_detach(t->net);
	loop_remove(&t->watch);
	loop_timer_remove(&t->timer);
	while (t->held) {
		struct held *h = t->held;

		t->held = h->next;
		free(h);
	}
	free(t);
}
