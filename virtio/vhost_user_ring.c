/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user: rings, from the front end's description to the device's queue and back. */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"
#include "virtio/vhost_user_internal.h"

/* ---- device to front end; any thread ---- */

static void on_signal_queue(struct virtio_dev *dev, unsigned qi)
{
	struct vhost_user *vu = dev->transport_ctx;

	pthread_mutex_lock(&vu->call_lock);
	if (vu->vring[qi].call_fd >= 0)
		(void)eventfd_write(vu->vring[qi].call_fd, 1);
	pthread_mutex_unlock(&vu->call_lock);
}

static void on_signal_config(struct virtio_dev *dev)
{
	/* There is no channel to say so; the driver sees the new config when it reads it. */
}

static void on_needs_reset(struct virtio_dev *dev)
{
	struct vhost_user *vu = dev->transport_ctx;

	pthread_mutex_lock(&vu->call_lock);
	for (unsigned i = 0; i < dev->n_queues; i++) {
		if (vu->vring[i].err_fd >= 0)
			(void)eventfd_write(vu->vring[i].err_fd, 1);
	}
	pthread_mutex_unlock(&vu->call_lock);
}

static void on_rekick(struct virtio_dev *dev, unsigned qi)
{
	struct vhost_user *vu = dev->transport_ctx;

	/* RELEASE: pairs with the exchange in vu_on_wake(), which the write below brings about. */
	__atomic_fetch_or(&vu->rekick[qi / 64], 1ULL << qi % 64, __ATOMIC_RELEASE);
	(void)eventfd_write(vu->wake_fd, 1);
}

static void on_drained(struct virtio_dev *dev, unsigned qi)
{
	struct vhost_user *vu = dev->transport_ctx;

	(void)eventfd_write(vu->wake_fd, 1);
}

const struct virtio_transport_ops vu_transport_ops = {
	.signal_queue = on_signal_queue,
	.signal_config = on_signal_config,
	.needs_reset = on_needs_reset,
	.rekick = on_rekick,
	.drained = on_drained,
};

/* ---- kicks ---- */

static void kick(struct vhost_user *vu, unsigned qi)
{
	pthread_mutex_lock(&vu->dev->lock);
	virtio_dev_kick(vu->dev, qi);
	pthread_mutex_unlock(&vu->dev->lock);
}

static void drop_kick(struct vu_vring *v)
{
	loop_remove(&v->kick_watch);
	close_fd(&v->kick_fd);
}

static void on_kick(void *ctx, int fd, uint32_t events)
{
	struct vu_vring *v = ctx;
	uint64_t n;
	ssize_t got = read(fd, &n, sizeof(n));

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0 || (events & (EPOLLERR | EPOLLHUP))) {
		/* No eventfd, or no longer: it would be readable for ever. */
		drop_kick(v);
		return;
	}
	kick(v->vu, v->qi);
}

static int watch_kick(struct vu_vring *v, struct err *err)
{
	if (v->kick_watch)
		return 0;
	return loop_add(v->vu->loop, v->kick_fd, EPOLLIN, on_kick, v, &v->kick_watch, err);
}

/* ---- start ---- */

static int ring_gpa(
	const struct guest_mem *mem, uint64_t user, uint64_t len, uint64_t *ret, struct err *err)
{
	if (guest_mem_from_user(mem, user, len, ret) < 0)
		return err_msg(err, EFAULT, "a ring lies outside the memory table");
	return 0;
}

int vu_ring_addr(const struct guest_mem *mem, const struct vu_vring *v, uint16_t num,
	struct virtqueue_addr *ret, struct err *err)
{
	struct virtqueue_addr a;

	if (ring_gpa(mem, v->desc_user, 16 * (uint64_t)num, &a.desc, err) < 0 ||
		ring_gpa(mem, v->avail_user, 6 + 2 * (uint64_t)num, &a.avail, err) < 0 ||
		ring_gpa(mem, v->used_user, 6 + 8 * (uint64_t)num, &a.used, err) < 0)
		return -EFAULT;
	*ret = a;
	return 0;
}

static bool has_protocol_features(const struct vhost_user *vu)
{
	return vu->features & VIRTIO_BIT(VHOST_USER_F_PROTOCOL_FEATURES);
}

/* is_ready() - did the front end say all that a running ring needs? */
static bool is_ready(const struct vu_vring *v)
{
	const struct vhost_user *vu = v->vu;

	return v->kick_fd >= 0 && v->addr_set && v->num && vu->mem && vu->features_set &&
	       (v->enabled || !has_protocol_features(vu));
}

/* enable_queue() - with dev->lock held */
static int enable_queue(struct vu_vring *v, struct err *err)
{
	struct vhost_user *vu = v->vu;
	struct virtio_dev *dev = vu->dev;
	struct virtqueue *q = &dev->queue[v->qi];
	int ret;

	if (q->inflight && v->num > vu->inflight_queue_size)
		return err_msg(err, EINVAL, "the ring is larger than its in-flight log");
	ret = vu_ring_addr(vu->mem, v, v->num, &q->addr, err);
	if (ret < 0)
		return ret;
	q->size = v->num;
	if (!dev->active)
		dev->acked = vu->features & dev->features;
	ret = virtqueue_enable(q, vu->mem, dev->acked, v->base, err);
	if (ret < 0)
		return ret;
	if (!dev->active)
		(void)virtio_dev_activate(dev, NULL); /* a failure shows as NEEDS_RESET */
	return 0;
}

/* update_ring() - start, pause or go on, as the front end's description now has it. */
static int update_ring(struct vu_vring *v, struct err *err)
{
	struct virtio_dev *dev = v->vu->dev;
	struct virtqueue *q = &dev->queue[v->qi];
	bool ready = is_ready(v);
	int ret = 0;

	pthread_mutex_lock(&dev->lock);
	if (q->enabled)
		(void)virtqueue_pause(q, !ready);
	else if (ready)
		ret = enable_queue(v, err);
	pthread_mutex_unlock(&dev->lock);
	if (ret < 0) {
		v->addr_set = false; /* no further attempts until the front end says more */
		return err_wrap(err, "start queue %u of the %s device", v->qi, dev->ops->name);
	}
	if (!ready)
		return 0;
	ret = watch_kick(v, err);
	if (ret == 0)
		kick(v->vu, v->qi); /* for what was posted before, and after an interruption */
	return ret;
}

int vu_start_rings(struct vhost_user *vu, struct err *err)
{
	for (unsigned i = 0; i < vu->dev->n_queues; i++) {
		if (vu->dev->queue[i].enabled || !is_ready(&vu->vring[i]))
			continue;
		int ret = update_ring(&vu->vring[i], err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* ---- stop ---- */

bool vu_any_running(const struct vhost_user *vu)
{
	for (unsigned i = 0; i < vu->dev->n_queues; i++) {
		if (vu->dev->queue[i].enabled)
			return true;
	}
	return false;
}

static void forget_rings(struct vhost_user *vu)
{
	for (unsigned i = 0; i < vu->dev->n_queues; i++) {
		drop_kick(&vu->vring[i]);
		vu->vring[i].enabled = false;
	}
}

void vu_stop_all(struct vhost_user *vu)
{
	pthread_mutex_lock(&vu->dev->lock);
	for (unsigned i = 0; i < vu->dev->n_queues; i++) {
		if (!vu->dev->queue[i].enabled)
			continue;
		(void)virtqueue_pause(&vu->dev->queue[i], true);
		vu->vring[i].base = virtqueue_next_avail(&vu->dev->queue[i]);
	}
	virtio_dev_reset(vu->dev);
	pthread_mutex_unlock(&vu->dev->lock);
	forget_rings(vu);
}

/* stop_ring() - nothing of it is in flight any more. The device ends with its last ring. */
static void stop_ring(struct vu_vring *v)
{
	struct virtio_dev *dev = v->vu->dev;

	pthread_mutex_lock(&dev->lock);
	v->base = virtqueue_next_avail(&dev->queue[v->qi]);
	virtqueue_reset(&dev->queue[v->qi]);
	if (!vu_any_running(v->vu))
		virtio_dev_reset(dev);
	pthread_mutex_unlock(&dev->lock);
}

static int send_base(struct vu_vring *v, struct err *err)
{
	uint8_t reply[8];

	store_le32(reply, v->qi);
	store_le32(reply + 4, v->base);
	return vu_msg_reply(&v->vu->msg, v->vu->sock, reply, sizeof(reply), -1, err);
}

/* drain_done() - the ring that GET_VRING_BASE waits for has nothing in flight. */
static void drain_done(struct vhost_user *vu)
{
	struct vu_vring *v = &vu->vring[vu->draining];
	struct err err = ERR_INIT;

	vu->draining = -1;
	loop_timer_disarm(vu->drain_timer);
	if (vu->dev->queue[v->qi].enabled)
		stop_ring(v);
	vu_answered_late(vu, send_base(v, &err), &err);
}

void vu_on_drain_timeout(void *ctx)
{
	struct vhost_user *vu = ctx;
	struct vu_vring *v = &vu->vring[vu->draining];

	log_warn("%s device did not finish its requests on queue %u in %d s: resetting it",
		vu->dev->ops->name, v->qi, VHOST_USER_DRAIN_TIMEOUT_S);
	vu_stop_all(vu);
	drain_done(vu);
}

static void rekick_all(struct vhost_user *vu)
{
	for (unsigned w = 0; w < ARRAY_LEN(vu->rekick); w++) {
		uint64_t bits = __atomic_exchange_n(&vu->rekick[w], 0, __ATOMIC_ACQ_REL);

		for (; bits; bits &= bits - 1)
			kick(vu, w * 64 + (unsigned)__builtin_ctzll(bits));
	}
}

void vu_on_wake(void *ctx, int fd, uint32_t events)
{
	struct vhost_user *vu = ctx;
	eventfd_t n;

	(void)eventfd_read(fd, &n);
	rekick_all(vu);
	if (vu->draining >= 0 && virtqueue_pause(&vu->dev->queue[vu->draining], true) == 0)
		drain_done(vu); /* may free vu */
}

/* ---- messages ---- */

static int find_vring(
	struct vhost_user *vu, uint64_t qi, struct vu_vring **ret_vring, struct err *err)
{
	if (qi >= vu->dev->n_queues)
		return err_msg(
			err, EINVAL, "queue %llu of %u", (unsigned long long)qi, vu->dev->n_queues);
	*ret_vring = &vu->vring[qi];
	return 0;
}

static int check_stopped(const struct vu_vring *v, struct err *err)
{
	if (v->vu->dev->queue[v->qi].enabled)
		return err_msg(err, EBUSY, "queue %u cannot change while it runs", v->qi);
	return 0;
}

/* parse_state() - {u32 index, u32 num} */
static int parse_state(struct vhost_user *vu, const struct vu_msg *m, struct vu_vring **ret_vring,
	uint32_t *ret_num, struct err *err)
{
	struct cursor c = cursor_init(m->payload, m->size);
	uint32_t qi = cursor_le32(&c);

	*ret_num = cursor_le32(&c);
	return find_vring(vu, qi, ret_vring, err);
}

int vu_set_vring_num(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct vu_vring *v;
	uint32_t num;
	int ret = parse_state(vu, m, &v, &num, err);

	if (ret == 0)
		ret = check_stopped(v, err);
	if (ret < 0)
		return ret;
	if (!is_pow2(num) || num > vu->dev->queue[v->qi].max_size)
		return err_msg(err, EINVAL, "queue size %u: not a power of two up to %u", num,
			vu->dev->queue[v->qi].max_size);
	v->num = (uint16_t)num;
	return 0;
}

int vu_set_vring_base(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct vu_vring *v;
	uint32_t num;
	int ret = parse_state(vu, m, &v, &num, err);

	if (ret == 0)
		ret = check_stopped(v, err);
	if (ret < 0)
		return ret;
	if (num > UINT16_MAX)
		return err_msg(err, EINVAL, "ring index %u", num);
	v->base = (uint16_t)num;
	return 0;
}

int vu_set_vring_addr(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct cursor c = cursor_init(m->payload, m->size);
	uint32_t qi = cursor_le32(&c), flags = cursor_le32(&c);
	struct vu_vring *v = NULL;
	int ret = find_vring(vu, qi, &v, err);

	if (ret == 0)
		ret = check_stopped(v, err);
	if (ret < 0)
		return ret;
	if (flags)
		return err_msg(err, ENOTSUP, "vring flags 0x%x", flags);
	v->desc_user = cursor_le64(&c);
	v->used_user = cursor_le64(&c);
	v->avail_user = cursor_le64(&c);
	v->addr_set = true;
	return 0;
}

int vu_get_vring_base(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct vu_vring *v;
	uint32_t num;
	int ret = parse_state(vu, m, &v, &num, err);

	if (ret < 0)
		return ret;
	drop_kick(v);
	if (!vu->dev->queue[v->qi].enabled)
		return send_base(v, err);
	if (virtqueue_pause(&vu->dev->queue[v->qi], true) == 0) {
		stop_ring(v);
		return send_base(v, err);
	}
	vu->draining = (int)v->qi;
	loop_timer_arm(vu->drain_timer, clock_mono_ns() + VHOST_USER_DRAIN_TIMEOUT_S * NS_PER_S);
	return 1;
}

/* parse_file() - the u64 and the descriptor of KICK, CALL and ERR; *ret_fd is the caller's, -1: the
 * message says that there is none. */
static int parse_file(struct vhost_user *vu, struct vu_msg *m, struct vu_vring **ret_vring,
	int *ret_fd, struct err *err)
{
	struct cursor c = cursor_init(m->payload, m->size);
	uint64_t v = cursor_le64(&c);
	unsigned want = v & VHOST_USER_VRING_NOFD ? 0 : 1;
	int flags;

	if (v & ~(uint64_t)(VHOST_USER_VRING_IDX_MASK | VHOST_USER_VRING_NOFD) || m->n_fds != want)
		return err_msg(err, EINVAL, "vring descriptor message 0x%llx with %u descriptors",
			(unsigned long long)v, m->n_fds);
	if (want == 1) {
		/* What stands behind it is the front end's choice; it must not make us wait. */
		flags = fcntl(m->fd[0], F_GETFL);
		if (flags < 0 || fcntl(m->fd[0], F_SETFL, flags | O_NONBLOCK) < 0)
			return err_set(err, errno, "prepare a vring descriptor");
	}
	int ret = find_vring(vu, v & VHOST_USER_VRING_IDX_MASK, ret_vring, err);

	if (ret == 0)
		*ret_fd = want == 1 ? take_fd(&m->fd[0]) : -1;
	return ret;
}

int vu_set_vring_kick(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct vu_vring *v;
	int fd;
	int ret = parse_file(vu, m, &v, &fd, err);

	if (ret < 0)
		return ret;
	if (fd < 0)
		return err_msg(err, ENOTSUP, "polling a ring without kicks is not supported");
	drop_kick(v);
	v->kick_fd = fd;
	return update_ring(v, err);
}

static void replace_fd(struct vhost_user *vu, int *slot, int fd)
{
	pthread_mutex_lock(&vu->call_lock);
	close_fd(slot);
	*slot = fd;
	pthread_mutex_unlock(&vu->call_lock);
}

int vu_set_vring_call(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct vu_vring *v;
	int fd;
	int ret = parse_file(vu, m, &v, &fd, err);

	if (ret < 0)
		return ret;
	replace_fd(vu, &v->call_fd, fd);
	/* What was signalled on the old one may be lost: an interrupt too many does no harm. */
	if (fd >= 0 && vu->dev->queue[v->qi].enabled)
		(void)eventfd_write(fd, 1);
	return 0;
}

int vu_set_vring_err(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct vu_vring *v;
	int fd;
	int ret = parse_file(vu, m, &v, &fd, err);

	if (ret == 0)
		replace_fd(vu, &v->err_fd, fd);
	return ret;
}

int vu_set_vring_enable(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct vu_vring *v;
	uint32_t num;
	int ret = parse_state(vu, m, &v, &num, err);

	if (ret < 0)
		return ret;
	/* QEMU sends it for net devices before the driver has accepted any features. */
	if (vu->features_set && !has_protocol_features(vu))
		return err_msg(err, EINVAL, "SET_VRING_ENABLE without protocol features");
	if (num > 1)
		return err_msg(err, EINVAL, "SET_VRING_ENABLE %u", num);
	v->enabled = num;
	return update_ring(v, err);
}
