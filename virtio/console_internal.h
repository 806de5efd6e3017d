/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the console device share; nobody else includes this. */
#ifndef VIRTIO_CONSOLE_INTERNAL_H
#define VIRTIO_CONSOLE_INTERNAL_H

#include "lib/host_stream.h"
#include "virtio/console.h"

/*
 * The guest's driver fills a port's input queue with pages. A channel's holds more than the agent
 * protocol keeps in flight (its window): where the queue runs empty, the guest kicks for every
 * page.
 */
#define QUEUE_SIZE	   32
#define QUEUE_SIZE_CHANNEL 128
#define QUEUE_CTL_IN	   2 /* device to driver */
#define QUEUE_CTL_OUT	   3
#define CONTROL_LEN	   8
#define CHAINS_PER_RUN	   16	     /* work per kick or wake-up, then others have their turn */
#define BYTES_PER_RUN	   (1 << 20) /* the same in bytes; a chain may hold up to 4 GiB */
#define SEGS_MAX	   160 /* a queue's descriptors, some across a border of memory regions */

/* Messages due to the guest, in the order they are sent. */
enum due { DUE_ADD, DUE_CONSOLE, DUE_NAME, DUE_OPEN, DUE_RESIZE, DUE_MAX };

/*
 * struct port - @due: bits of enum due; @open_value: what DUE_OPEN will say
 * @ready: the driver has set the port up; @guest_open: somebody in the guest uses it
 * @in_ended: end of input was seen; @out_ended: output is dropped from now on
 * @out_held: @out_chain is popped and written up to @out_off; @out_blocked: waiting for EPOLLOUT
 */
struct port {
	struct console *con;
	unsigned id, due;
	char name[VIRTIO_CONSOLE_NAME_MAX + 1];
	bool console, ready, guest_open, open_value;
	uint16_t rows, cols;
	struct host_stream in, out;
	struct loop_watch *in_watch, *out_watch;
	bool in_ended, out_ended, out_held, out_blocked;
	uint64_t out_left; /* of out_limit; UINT64_MAX: no limit */
	size_t out_off;
	struct virtq_chain out_chain;
	struct iovec out_iov[SEGS_MAX];
};

struct console {
	struct virtio_dev dev;
	enum virtio_console_resize_order order;
	int warned_control, warned_output;
	unsigned n_ports;
	struct port port[];
};

static inline unsigned port_queue_in(const struct port *p)
{
	return p->id ? 2 + 2 * p->id : 0;
}

static inline unsigned port_queue_out(const struct port *p)
{
	return port_queue_in(p) + 1;
}

/* All of these: dev->lock held. Those marked "loop" touch watches: on the loop's thread only. */

/* console_control.c: send what is due to the guest as far as it offers buffers. */
void console_send_due(struct console *con);
/* Serve the guest's control messages (loop). */
void console_run_control(struct console *con);
bool port_has_size(const struct port *p);
/* The host side is there (or gone): PORT_OPEN becomes due. */
void port_say_open(struct port *p, bool open);

/* console_io.c: move bytes as far as both sides allow (loop). */
void port_run_input(struct port *p);
void port_run_output(struct port *p);

#endif
