/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the vhost_user*.c files only. */
#ifndef VIRTIO_VHOST_USER_INTERNAL_H
#define VIRTIO_VHOST_USER_INTERNAL_H

#include "lib/buf.h"
#include "virtio/inflight.h"
#include "virtio/vhost_user.h"

/* ---- the protocol; all integers in native byte order ---- */

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_REQUEST_MAX
};

#define VHOST_USER_F_PROTOCOL_FEATURES 30

#define VHOST_USER_PROTOCOL_F_MQ		  0
#define VHOST_USER_PROTOCOL_F_REPLY_ACK		  3
#define VHOST_USER_PROTOCOL_F_CONFIG		  9
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD	  12
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE	  13
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS 15
#define VHOST_USER_PROTOCOL_F_STATUS		  16

#define VHOST_USER_VERSION	1
#define VHOST_USER_VERSION_MASK 3
#define VHOST_USER_REPLY	4
#define VHOST_USER_NEED_REPLY	8

#define VHOST_USER_VRING_IDX_MASK 0xff
#define VHOST_USER_VRING_NOFD	  0x100

#define VHOST_USER_HDR_SIZE	   12
#define VHOST_USER_MAX_PAYLOAD	   512
#define VHOST_USER_MAX_FDS	   8
#define VHOST_USER_MAX_CONFIG	   256
#define VHOST_USER_MAX_TABLE	   8  /* regions in SET_MEM_TABLE */
#define VHOST_USER_MAX_MEM_SLOTS   32 /* regions added one by one */
#define VHOST_USER_DRAIN_TIMEOUT_S 5

/* ---- one message ---- */

/*
 * struct vu_msg - a message being received
 * @have: bytes of header and payload so far
 * @fd: descriptors that came with it; a handler that keeps one takes it out with take_fd(), the
 * rest are closed by vu_msg_clear()
 */
struct vu_msg {
	uint32_t request, flags, size;
	size_t have;
	unsigned n_fds;
	int fd[VHOST_USER_MAX_FDS];
	uint8_t hdr[VHOST_USER_HDR_SIZE];
	uint8_t payload[VHOST_USER_MAX_PAYLOAD];
};

void vu_msg_clear(struct vu_msg *m);

/* vu_msg_receive() - read what there is. Return: 1 complete; 0 more to come; -ENODATA the front end
 * closed; -errno malformed or broken. */
int vu_msg_receive(struct vu_msg *m, int sock, struct err *err);

/* vu_msg_reply() - answer @m. @fd: sent along, stays the caller's; -1: none. Never blocks: a front
 * end that does not read its answers is hung up on. */
int vu_msg_reply(const struct vu_msg *m, int sock, const void *payload, uint32_t size, int fd,
	struct err *err);

/* ---- the connection ---- */

/*
 * struct vu_vring - a ring as the front end describes it; it runs while dev->queue[].enabled
 * @kick_fd: ours to close; -1: not started
 * @call_fd, @err_fd: likewise; guarded by vu->call_lock, because workers signal
 */
struct vu_vring {
	struct vhost_user *vu;
	unsigned qi;
	uint64_t desc_user, avail_user, used_user;
	bool addr_set, enabled;
	uint16_t num, base;
	int kick_fd, call_fd, err_fd;
	struct loop_watch *kick_watch;
};

struct vhost_user {
	struct virtio_dev *dev;
	struct loop *loop;
	vhost_user_hangup_fn *on_hangup;
	void *ctx;
	int sock; /* -1 after the hang-up */
	struct loop_watch *sock_watch;
	struct vu_msg msg;

	uint64_t features, protocol_features; /* acked */
	bool features_set;
	uint8_t status;
	struct guest_mem *mem;	/* NULL until there is a table */
	struct vu_vring *vring; /* dev->n_queues of them */
	void *inflight_map;
	size_t inflight_map_len;
	uint16_t inflight_queue_size; /* no ring with a log may be larger */

	/* GET_VRING_BASE that waits for its ring to drain; -1: none. Meanwhile no message is read.
	 */
	int draining;
	struct loop_timer *drain_timer;

	/* Devices wake the loop: queues to kick again (atomic bitmap), or a drained one. */
	int wake_fd;
	struct loop_watch *wake_watch;
	uint64_t rekick[(VIRTIO_DEV_MAX_QUEUES + 63) / 64];

	pthread_mutex_t call_lock;
};

/* Handlers. Return: 0 done (acknowledged if asked for); 1 done, the answer is on its way; -errno */

/* vhost_user_mem.c */
int vu_set_mem_table(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_add_mem_reg(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_rem_mem_reg(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_get_inflight_fd(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_set_inflight_fd(struct vhost_user *vu, struct vu_msg *m, struct err *err);
void vu_drop_inflight(struct vhost_user *vu);

/* vhost_user_ring.c */
extern const struct virtio_transport_ops vu_transport_ops;
int vu_set_vring_num(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_set_vring_addr(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_set_vring_base(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_get_vring_base(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_set_vring_kick(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_set_vring_call(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_set_vring_err(struct vhost_user *vu, struct vu_msg *m, struct err *err);
int vu_set_vring_enable(struct vhost_user *vu, struct vu_msg *m, struct err *err);
/* vu_start_rings() - start what has become ready. 0, -errno */
int vu_start_rings(struct vhost_user *vu, struct err *err);
/* vu_any_running() - is at least one ring enabled in the device? */
bool vu_any_running(const struct vhost_user *vu);
/* vu_ring_addr() - where a ring lies in @mem. 0, or -EFAULT */
int vu_ring_addr(const struct guest_mem *mem, const struct vu_vring *v, uint16_t num,
	struct virtqueue_addr *ret, struct err *err);
/* vu_stop_all() - reset the device and forget kicks and enables; everything of the front end's that
 * concerns rings is dropped. */
void vu_stop_all(struct vhost_user *vu);
/* vu_on_wake() - loop callback of wake_fd. vu_on_drain_timeout() - of drain_timer. */
void vu_on_wake(void *ctx, int fd, uint32_t events);
void vu_on_drain_timeout(void *ctx);

/* vhost_user.c */
/* vu_answered_late() - @ret of the answer to the GET_VRING_BASE that waited: go on reading
 * messages, or hang up; may free @vu. */
void vu_answered_late(struct vhost_user *vu, int ret, struct err *err);

#endif
