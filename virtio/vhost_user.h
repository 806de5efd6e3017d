/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user back end: puts a device behind a front end (QEMU, or any VMM that speaks the
 * protocol) over a connected unix stream socket. The front end owns the virtio transport that the
 * guest sees; it sends us guest memory, ring addresses and eventfds, and we serve the rings.
 *
 * Offered: VHOST_USER_F_PROTOCOL_FEATURES with MQ, REPLY_ACK, INFLIGHT_SHMFD, RESET_DEVICE,
 * CONFIGURE_MEM_SLOTS, STATUS, and CONFIG where the device has a config space (but not for fs and
 * net). There is no channel from back end to front end, so virtio_dev_config_changed() has no
 * effect here.
 *
 * Rings: a ring runs when features, memory, size, addresses and a kick descriptor are there, and,
 * if the front end acked PROTOCOL_FEATURES, SET_VRING_ENABLE said so. The device is activated when
 * the first ring runs and reset when the last one has stopped. GET_VRING_BASE stops a ring: no new
 * chains are taken, those in flight are finished, then comes the answer. A device that does not
 * finish within 5 s is reset as a whole.
 *
 * Errors: a message that cannot be understood (length, version, too many descriptors), or one that
 * fails and has no answer to say so, ends the connection. Descriptors that came with a message and
 * are not wanted are closed in every case.
 *
 * Threads: everything happens on the loop's thread, with dev->lock held around device ops. Devices
 * may complete on any thread. The process must ignore SIGPIPE.
 */
#ifndef VIRTIO_VHOST_USER_H
#define VIRTIO_VHOST_USER_H

#include "virtio/device.h"

struct vhost_user;

/*
 * vhost_user_hangup_fn - the connection ended; called once, on the loop's thread, with no lock held
 * @why: why->code is 0 when the front end closed it, else what was wrong; valid during the call
 * The device has been reset and no descriptor or memory of the front end is held any more.
 * vhost_user_free() may be called from here.
 */
typedef void vhost_user_hangup_fn(void *ctx, const struct err *why);

/*
 * vhost_user_attach() - serve @dev (stays the caller's, outlives the transport) on @sock_fd
 * @sock_fd: connected AF_UNIX stream socket; taken over on success, else still the caller's
 * @on_hangup: see above; not called by vhost_user_free()
 * Return: 0; -ENOMEM; -errno of eventfd or epoll
 */
int vhost_user_attach(struct virtio_dev *dev, int sock_fd, struct loop *loop,
	vhost_user_hangup_fn *on_hangup, void *ctx, struct vhost_user **ret_vu, struct err *err);

/* vhost_user_free() - hang up, reset and detach the device; NULL is fine. On the loop's thread, or
 * when it does not run. */
void vhost_user_free(struct vhost_user *vu);

#endif
