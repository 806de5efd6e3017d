/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user: the connection and its messages; see also vhost_user_{msg,mem,ring}.c. */
#include "virtio/vhost_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "lib/log.h"
#include "lib/num.h"
#include "virtio/vhost_user_internal.h"

/* Messages served per wake-up, so that a front end that never stops leaves room for rings. */
#define MESSAGES_PER_WAKE 32

#define STATUS_NEEDS_RESET 0x40

#define PROTOCOL_FEATURES                                                                          \
	(VIRTIO_BIT(VHOST_USER_PROTOCOL_F_MQ) | VIRTIO_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |      \
		VIRTIO_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |                                 \
		VIRTIO_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |                                   \
		VIRTIO_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |                            \
		VIRTIO_BIT(VHOST_USER_PROTOCOL_F_STATUS))

static int reply_u64(struct vhost_user *vu, const struct vu_msg *m, uint64_t v, struct err *err)
{
	uint8_t reply[8];

	store_le64(reply, v);
	return vu_msg_reply(m, vu->sock, reply, sizeof(reply), -1, err);
}

/* ---- features ---- */

static uint64_t offered(const struct vhost_user *vu)
{
	return vu->dev->features | VIRTIO_BIT(VHOST_USER_F_PROTOCOL_FEATURES);
}

static int get_features(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	return reply_u64(vu, m, offered(vu), err);
}

static int set_features(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	uint64_t features = load_le64(m->payload);

	if (features & ~offered(vu))
		return err_msg(err, EINVAL, "features 0x%llx were not offered",
			(unsigned long long)(features & ~offered(vu)));
	if (vu_any_running(vu) && features != vu->features)
		return err_msg(err, EBUSY, "features cannot change while rings run");
	vu->features = features;
	vu->features_set = true;
	return 0;
}

/*
 * offered_protocol() - CONFIG only where front ends want it: they warn about it for a device
 * without a config space, and those of fs (its tag) and net (MAC, MTU) are always the front end's
 * own.
 */
static uint64_t offered_protocol(const struct vhost_user *vu)
{
	uint32_t id = vu->dev->ops->id;
	bool config = vu->dev->config_len > 0 && id != VIRTIO_ID_FS && id != VIRTIO_ID_NET;

	return PROTOCOL_FEATURES | (config ? VIRTIO_BIT(VHOST_USER_PROTOCOL_F_CONFIG) : 0);
}

static int get_protocol_features(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	return reply_u64(vu, m, offered_protocol(vu), err);
}

static int set_protocol_features(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	uint64_t features = load_le64(m->payload);

	if (features & ~offered_protocol(vu))
		return err_msg(err, EINVAL, "protocol features 0x%llx were not offered",
			(unsigned long long)(features & ~offered_protocol(vu)));
	vu->protocol_features = features;
	return 0;
}

/* ---- device ---- */

static int set_owner(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	return 0;
}

static int reset_device(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	vu_stop_all(vu);
	vu->status = 0;
	return 0;
}

static int get_queue_num(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	return reply_u64(vu, m, vu->dev->n_queues, err);
}

static int get_max_mem_slots(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	return reply_u64(vu, m, VHOST_USER_MAX_MEM_SLOTS, err);
}

static int get_status(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	bool broken = __atomic_load_n(&vu->dev->broken, __ATOMIC_RELAXED);

	return reply_u64(vu, m, vu->status | (broken ? STATUS_NEEDS_RESET : 0), err);
}

static int set_status(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	uint64_t status = load_le64(m->payload);

	if (status > UINT8_MAX)
		return err_msg(err, EINVAL, "device status 0x%llx", (unsigned long long)status);
	if (status == 0)
		return reset_device(vu, m, err);
	vu->status = (uint8_t)(status & ~STATUS_NEEDS_RESET);
	return 0;
}

/* struct config_msg - {u32 offset, u32 size, u32 flags, bytes} */
struct config_msg {
	uint32_t off, len, flags;
	uint8_t *bytes;
};

#define CONFIG_HDR 12

static int parse_config(struct vu_msg *m, struct config_msg *cm, struct err *err)
{
	struct cursor c = cursor_init(m->payload, m->size);

	cm->off = cursor_le32(&c);
	cm->len = cursor_le32(&c);
	cm->flags = cursor_le32(&c);
	cm->bytes = m->payload + CONFIG_HDR;
	if (!range_ok(cm->off, cm->len, VHOST_USER_MAX_CONFIG) || cm->len != cursor_left(&c))
		return err_msg(err, EINVAL, "config access at %u of %u bytes in a message of %u",
			cm->off, cm->len, m->size);
	return 0;
}

static int get_config(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct virtio_dev *dev = vu->dev;
	struct config_msg cm;
	uint32_t part;

	if (parse_config(m, &cm, err) < 0)
		return vu_msg_reply(m, vu->sock, NULL, 0, -1, err); /* how the protocol says no */
	/* Front ends ask for the config struct they know; what ours does not have reads as zero. */
	part = cm.off < dev->config_len ? MIN_OF(cm.len, dev->config_len - cm.off) : 0;
	memset(cm.bytes, 0, cm.len);
	if (part > 0) {
		pthread_mutex_lock(&dev->lock);
		dev->ops->config_read(dev, cm.off, cm.bytes, part);
		pthread_mutex_unlock(&dev->lock);
	}
	return vu_msg_reply(m, vu->sock, m->payload, m->size, -1, err);
}

static int set_config(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct virtio_dev *dev = vu->dev;
	struct config_msg cm;
	int ret = parse_config(m, &cm, err);

	if (ret < 0)
		return ret;
	if (!range_ok(cm.off, cm.len, dev->config_len))
		return err_msg(err, EINVAL, "config write at %u of %u bytes: there are %u", cm.off,
			cm.len, dev->config_len);
	pthread_mutex_lock(&dev->lock);
	if (dev->ops->config_write)
		dev->ops->config_write(dev, cm.off, cm.bytes, cm.len);
	pthread_mutex_unlock(&dev->lock);
	return 0;
}

/* ---- dispatch ---- */

/*
 * struct request_row - what a request looks like
 * @min, @max: payload bytes; @fds: most descriptors that may come with it
 * @answers: has an answer of its own, which leaves no way to report a failure
 */
struct request_row {
	int (*handle)(struct vhost_user *vu, struct vu_msg *m, struct err *err);
	uint16_t min, max;
	uint8_t fds;
	bool answers;
};

static const struct request_row requests[VHOST_USER_REQUEST_MAX] = {
	[VHOST_USER_GET_FEATURES] = { get_features, 0, 0, 0, true },
	[VHOST_USER_SET_FEATURES] = { set_features, 8, 8, 0 },
	[VHOST_USER_SET_OWNER] = { set_owner, 0, 0, 0 },
	[VHOST_USER_RESET_OWNER] = { reset_device, 0, 0, 0 },
	[VHOST_USER_SET_MEM_TABLE] = { vu_set_mem_table, 40, 264, 8 },
	[VHOST_USER_SET_VRING_NUM] = { vu_set_vring_num, 8, 8, 0 },
	[VHOST_USER_SET_VRING_ADDR] = { vu_set_vring_addr, 40, 40, 0 },
	[VHOST_USER_SET_VRING_BASE] = { vu_set_vring_base, 8, 8, 0 },
	[VHOST_USER_GET_VRING_BASE] = { vu_get_vring_base, 8, 8, 0, true },
	[VHOST_USER_SET_VRING_KICK] = { vu_set_vring_kick, 8, 8, 1 },
	[VHOST_USER_SET_VRING_CALL] = { vu_set_vring_call, 8, 8, 1 },
	[VHOST_USER_SET_VRING_ERR] = { vu_set_vring_err, 8, 8, 1 },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { get_protocol_features, 0, 0, 0, true },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { set_protocol_features, 8, 8, 0 },
	[VHOST_USER_GET_QUEUE_NUM] = { get_queue_num, 0, 0, 0, true },
	[VHOST_USER_SET_VRING_ENABLE] = { vu_set_vring_enable, 8, 8, 0 },
	[VHOST_USER_GET_CONFIG] = { get_config, CONFIG_HDR, CONFIG_HDR + 256, 0, true },
	[VHOST_USER_SET_CONFIG] = { set_config, CONFIG_HDR, CONFIG_HDR + 256, 0 },
	/* 20 bytes, which compilers pad to 24 */
	[VHOST_USER_GET_INFLIGHT_FD] = { vu_get_inflight_fd, 20, 24, 0, true },
	[VHOST_USER_SET_INFLIGHT_FD] = { vu_set_inflight_fd, 20, 24, 1 },
	[VHOST_USER_RESET_DEVICE] = { reset_device, 0, 0, 0 },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { get_max_mem_slots, 0, 0, 0, true },
	[VHOST_USER_ADD_MEM_REG] = { vu_add_mem_reg, 40, 40, 1 },
	/* needs no descriptor, but front ends are known to send one */
	[VHOST_USER_REM_MEM_REG] = { vu_rem_mem_reg, 40, 40, 1 },
	[VHOST_USER_SET_STATUS] = { set_status, 8, 8, 0 },
	[VHOST_USER_GET_STATUS] = { get_status, 0, 0, 0, true },
};

static const struct request_row *find_row(const struct vu_msg *m)
{
	if (m->request < VHOST_USER_REQUEST_MAX && requests[m->request].handle)
		return &requests[m->request];
	return NULL;
}

static int handle(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	const struct request_row *row = find_row(m);
	int ret;

	if (!row)
		return err_msg(err, ENOSYS, "unknown request");
	if (m->size < row->min || m->size > row->max)
		return err_msg(err, EBADMSG, "%u bytes", m->size);
	if (m->n_fds > row->fds)
		return err_msg(err, EBADMSG, "%u descriptors", m->n_fds);
	ret = row->handle(vu, m, err);
	return ret == 0 ? vu_start_rings(vu, err) : ret;
}

/* acknowledge() - give the front end the result it asked for. Return: as vu_msg_reply(); a failure
 * nobody asked about is an error of the connection. */
static int acknowledge(struct vhost_user *vu, struct vu_msg *m, int ret, struct err *err)
{
	bool wanted = (m->flags & VHOST_USER_NEED_REPLY) &&
		      (vu->protocol_features & VIRTIO_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK));

	if (ret < 0)
		(void)err_wrap(err, "vhost-user request %u for the %s device", m->request,
			vu->dev->ops->name);
	if (ret > 0 || (ret == 0 && !wanted))
		return 0;
	if (!wanted)
		return ret;
	if (ret < 0)
		log_debug("%s", err->msg);
	err_clear(err);
	return reply_u64(vu, m, ret < 0, err);
}

/* ---- connection ---- */

static void close_rings(struct vhost_user *vu)
{
	for (unsigned i = 0; i < vu->dev->n_queues; i++) {
		close_fd(&vu->vring[i].call_fd);
		close_fd(&vu->vring[i].err_fd);
	}
}

/* disconnect() - give back everything of the front end's. */
static void disconnect(struct vhost_user *vu)
{
	loop_remove(&vu->sock_watch);
	close_fd(&vu->sock);
	vu_msg_clear(&vu->msg);
	loop_timer_disarm(vu->drain_timer);
	vu->draining = -1;
	vu_stop_all(vu);
	pthread_mutex_lock(&vu->dev->lock);
	virtio_dev_set_mem(vu->dev, NULL);
	pthread_mutex_unlock(&vu->dev->lock);
	guest_mem_unref(vu->mem);
	vu->mem = NULL;
	vu_drop_inflight(vu);
	close_rings(vu);
}

/* hang_up() - may free @vu. */
static void hang_up(struct vhost_user *vu, int ret, struct err *err)
{
	if (ret == -ENODATA)
		err_clear(err);
	disconnect(vu);
	vu->on_hangup(vu->ctx, err);
}

/* serve_one() - Return: 1 served one; 0 there is none, or it waits; -errno hang up */
static int serve_one(struct vhost_user *vu, struct err *err)
{
	struct vu_msg *m = &vu->msg;
	int ret = vu_msg_receive(m, vu->sock, err);

	if (ret <= 0)
		return ret;
	ret = acknowledge(vu, m, handle(vu, m, err), err);
	if (ret < 0)
		return ret;
	if (vu->draining >= 0) { /* m is kept: it is still to be answered */
		loop_modify(vu->sock_watch, 0);
		return 0;
	}
	vu_msg_clear(m);
	return 1;
}

static void on_socket(void *ctx, int fd, uint32_t events)
{
	struct vhost_user *vu = ctx;
	struct err err = ERR_INIT;
	int ret = 1;

	if (vu->draining >= 0) { /* only an end of the connection is waited for now */
		hang_up(vu, -ENODATA, &err);
		return;
	}
	for (unsigned i = 0; i < MESSAGES_PER_WAKE && ret > 0; i++)
		ret = serve_one(vu, &err);
	if (ret < 0)
		hang_up(vu, ret, &err);
}

void vu_answered_late(struct vhost_user *vu, int ret, struct err *err)
{
	if (ret < 0) {
		hang_up(vu, ret, err);
		return;
	}
	vu_msg_clear(&vu->msg);
	loop_modify(vu->sock_watch, EPOLLIN);
}

/* ---- life cycle ---- */

static struct vhost_user *new_connection(struct virtio_dev *dev, struct loop *loop)
{
	struct vhost_user *vu = calloc(1, sizeof(*vu));

	if (!vu)
		return NULL;
	vu->vring = calloc(dev->n_queues, sizeof(*vu->vring));
	if (!vu->vring) {
		free(vu);
		return NULL;
	}
	vu->dev = dev;
	vu->loop = loop;
	vu->sock = vu->wake_fd = vu->draining = -1;
	(void)pthread_mutex_init(&vu->call_lock, NULL);
	for (unsigned i = 0; i < dev->n_queues; i++) {
		struct vu_vring *v = &vu->vring[i];

		*v = (struct vu_vring){
			.vu = vu, .qi = i, .kick_fd = -1, .call_fd = -1, .err_fd = -1
		};
	}
	return vu;
}

static int watch_all(struct vhost_user *vu, int sock_fd, struct err *err)
{
	int ret;

	vu->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vu->wake_fd < 0)
		return err_set(err, errno, "create an eventfd");
	ret = loop_add(vu->loop, vu->wake_fd, EPOLLIN, vu_on_wake, vu, &vu->wake_watch, err);
	if (ret == 0)
		ret = loop_timer_new(vu->loop, vu_on_drain_timeout, vu, &vu->drain_timer, err);
	if (ret == 0)
		ret = loop_add(vu->loop, sock_fd, EPOLLIN, on_socket, vu, &vu->sock_watch, err);
	return ret;
}

static void free_connection(struct vhost_user *vu)
{
	loop_remove(&vu->sock_watch);
	loop_remove(&vu->wake_watch);
	loop_timer_remove(&vu->drain_timer);
	close_fd(&vu->wake_fd);
	(void)pthread_mutex_destroy(&vu->call_lock);
	free(vu->vring);
	free(vu);
}

int vhost_user_attach(struct virtio_dev *dev, int sock_fd, struct loop *loop,
	vhost_user_hangup_fn *on_hangup, void *ctx, struct vhost_user **ret_vu, struct err *err)
{
	struct vhost_user *vu = new_connection(dev, loop);
	int ret;

	if (!vu)
		return err_set(err, ENOMEM, "attach the %s device", dev->ops->name);
	ret = watch_all(vu, sock_fd, err);
	if (ret < 0) {
		free_connection(vu);
		return err_wrap(err, "attach the %s device", dev->ops->name);
	}
	vu->on_hangup = on_hangup;
	vu->ctx = ctx;
	vu->sock = sock_fd;
	virtio_dev_set_transport(dev, &vu_transport_ops, vu, loop);
	*ret_vu = vu;
	return 0;
}

void vhost_user_free(struct vhost_user *vu)
{
	if (!vu)
		return;
	if (vu->sock >= 0)
		disconnect(vu);
	virtio_dev_set_transport(vu->dev, NULL, NULL, NULL);
	free_connection(vu);
}
