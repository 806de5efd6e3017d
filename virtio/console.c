/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Queues: 0 and 1 are port 0's (to guest, from guest), 2 and 3 the control queues, then a pair for
 * each further port. Control messages to the guest are not queued but kept as a few bits per port
 * ("a RESIZE is due"), and are built when the guest has offered a buffer: whatever the guest asks
 * for, host memory stays the same.
 *
 * Output: a chain that did not fit stays popped (port->out_held) with the offset reached, and the
 * host descriptor is watched for EPOLLOUT. Nothing else of that queue is popped until it is done.
 *
 * Input: a chain is popped, read into, and put back if nothing was there. The watch is paused
 * whenever input could not be used, because EPOLLIN and EPOLLHUP would otherwise spin the loop.
 *
 * Watches are touched in kicks and in the watches' own callbacks only, hence on the loop's thread;
 * activate and reset may come on a vCPU's. After a reset a watch may still be armed: its callback
 * finds the device inactive and pauses it.
 */
#include "virtio/console.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/log.h"
#include "lib/num.h"
#include "virtio/host_stream.h"

#define QUEUE_SIZE     32
#define QUEUE_CTL_IN   2 /* device to driver */
#define QUEUE_CTL_OUT  3
#define CONTROL_LEN    8
#define CHAINS_PER_RUN 16	 /* work per kick or wake-up, then others have their turn */
#define BYTES_PER_RUN  (1 << 20) /* the same in bytes; a chain may hold up to 4 GiB */
#define SEGS_MAX       64 /* QUEUE_SIZE descriptors, some across a border of memory regions */

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

static struct console *to_console(struct virtio_dev *dev)
{
	return container_of(dev, struct console, dev);
}

static unsigned queue_in(const struct port *p)
{
	return p->id ? 2 + 2 * p->id : 0;
}

static unsigned queue_out(const struct port *p)
{
	return queue_in(p) + 1;
}

/* --- control messages to the guest --- */

static size_t put_control(uint8_t *msg, const struct port *p, uint16_t event, uint16_t value)
{
	store_le32(msg, p->id);
	store_le16(msg + 4, event);
	store_le16(msg + 6, value);
	return CONTROL_LEN;
}

static size_t put_resize(uint8_t *msg, const struct port *p)
{
	bool rows_first = p->con->order == VIRTIO_CONSOLE_ROWS_COLS;

	(void)put_control(msg, p, VIRTIO_CONSOLE_RESIZE, 0);
	store_le16(msg + CONTROL_LEN, rows_first ? p->rows : p->cols);
	store_le16(msg + CONTROL_LEN + 2, rows_first ? p->cols : p->rows);
	return CONTROL_LEN + 4;
}

static size_t put_name(uint8_t *msg, const struct port *p)
{
	size_t len = strlen(p->name);

	(void)put_control(msg, p, VIRTIO_CONSOLE_PORT_NAME, 1);
	memcpy(msg + CONTROL_LEN, p->name, len);
	return CONTROL_LEN + len;
}

static size_t put_message(
	uint8_t msg[CONTROL_LEN + VIRTIO_CONSOLE_NAME_MAX], const struct port *p, enum due due)
{
	switch (due) {
	case DUE_ADD:
		return put_control(msg, p, VIRTIO_CONSOLE_PORT_ADD, 1);
	case DUE_CONSOLE:
		return put_control(msg, p, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	case DUE_NAME:
		return put_name(msg, p);
	case DUE_OPEN:
		return put_control(msg, p, VIRTIO_CONSOLE_PORT_OPEN, p->open_value);
	case DUE_RESIZE:
		return put_resize(msg, p);
	case DUE_MAX:
		break;
	}
	return 0;
}

/* Return: false when the guest offers no buffer for it now. */
static bool send_message(struct console *con, const struct port *p, enum due due)
{
	uint8_t msg[CONTROL_LEN + VIRTIO_CONSOLE_NAME_MAX];
	struct iovec iov[SEGS_MAX];
	struct virtq_chain c = { .iov = iov, .iov_max = SEGS_MAX };
	size_t len = put_message(msg, p, due);
	int r = virtio_dev_pop(&con->dev, QUEUE_CTL_IN, &c);

	if (r == 0)
		return false;
	if (r < 0 || c.writable_len < len) {
		/* the message is lost, as half of one would be worth nothing */
		log_once(con->warned_control, LOG_WARN,
			"console: the guest offered a control buffer that is too small");
		len = 0;
	} else {
		(void)iov_write(chain_writable(&c), c.n_writable, 0, msg, len);
	}
	virtio_dev_complete(&con->dev, QUEUE_CTL_IN, c.head, (uint32_t)len);
	return true;
}

/* Any thread. Bounded: every message clears its bit. */
static void send_due(struct console *con)
{
	for (unsigned i = 0; i < con->n_ports; i++) {
		struct port *p = &con->port[i];

		for (unsigned due = 0; p->due && due < DUE_MAX; due++) {
			if (!(p->due & 1U << due))
				continue;
			if (!send_message(con, p, due))
				goto out; /* no buffer: the next kick of the queue goes on */
			p->due &= ~(1U << due);
		}
	}
out:
	virtio_dev_flush(&con->dev, QUEUE_CTL_IN);
}

static bool has_size(const struct port *p)
{
	return p->console && p->rows && p->cols;
}

static void say_open(struct port *p, bool open)
{
	p->open_value = open;
	p->due |= 1U << DUE_OPEN;
}

/* --- input: host to guest --- */

static void on_host_input(void *ctx, int fd, uint32_t events);

static void watch_input(struct port *p)
{
	struct virtio_dev *dev = &p->con->dev;
	int r;

	if (p->in_watch) {
		loop_modify(p->in_watch, EPOLLIN);
		return;
	}
	r = loop_add(dev->loop, p->in.fd, EPOLLIN, on_host_input, p, &p->in_watch, NULL);
	if (r < 0)
		virtio_dev_fail(dev, "cannot watch the host side of a port");
}

static void pause_input(struct port *p)
{
	if (p->in_watch)
		loop_pause(p->in_watch);
}

static void end_input(struct port *p)
{
	p->in_ended = true;
	pause_input(p);
	if (p->console)
		return; /* a terminal has no end of file, and its output goes on */
	say_open(p, false);
	send_due(p->con);
}

/* Return: 1 go on; 0 stop for now (no buffer or no input). */
static int input_chain(struct port *p)
{
	struct iovec iov[SEGS_MAX];
	struct virtq_chain c = { .iov = iov, .iov_max = SEGS_MAX };
	unsigned qi = queue_in(p);
	ssize_t n;
	int r = virtio_dev_pop(&p->con->dev, qi, &c);

	if (r == 0) {
		pause_input(p);
		return 0;
	}
	if (r < 0 || c.writable_len == 0) {
		virtio_dev_complete(&p->con->dev, qi, c.head, 0);
		return 1;
	}
	n = host_stream_readv(&p->in, chain_writable(&c), c.n_writable);
	if (n > 0) {
		virtio_dev_complete(&p->con->dev, qi, c.head, (uint32_t)n);
		return 1;
	}
	virtqueue_pop_undo(&p->con->dev.queue[qi], &c);
	if (n == -EAGAIN)
		watch_input(p);
	else
		end_input(p);
	return 0;
}

static void run_input(struct port *p)
{
	unsigned qi = queue_in(p), i;

	/* an unopened port: Linux would throw the bytes away, so they stay with the host */
	if (!p->guest_open || p->in_ended || p->in.fd < 0) {
		pause_input(p);
		return;
	}
	for (i = 0; i < CHAINS_PER_RUN; i++) {
		if (!input_chain(p))
			break;
	}
	virtio_dev_flush(&p->con->dev, qi);
	if (i == CHAINS_PER_RUN)
		virtio_dev_rekick(&p->con->dev, qi);
}

static void on_host_input(void *ctx, int fd, uint32_t events)
{
	struct port *p = ctx;
	struct virtio_dev *dev = &p->con->dev;

	(void)pthread_mutex_lock(&dev->lock);
	if (dev->active && !dev->broken)
		run_input(p);
	else
		pause_input(p);
	(void)pthread_mutex_unlock(&dev->lock);
}

/* --- output: guest to host --- */

static void on_host_room(void *ctx, int fd, uint32_t events);

static void watch_output(struct port *p)
{
	struct virtio_dev *dev = &p->con->dev;
	int r;

	p->out_blocked = true;
	if (p->out_watch) {
		loop_modify(p->out_watch, EPOLLOUT);
		return;
	}
	r = loop_add(dev->loop, p->out.fd, EPOLLOUT, on_host_room, p, &p->out_watch, NULL);
	if (r < 0)
		virtio_dev_fail(dev, "cannot watch the host side of a port");
}

static void end_output(struct port *p, const char *why)
{
	p->out_ended = true;
	log_once(p->con->warned_output, LOG_WARN, "console: output of port %u (%s) is dropped: %s",
		p->id, p->name, why);
}

static void finish_output(struct port *p)
{
	virtio_dev_complete(&p->con->dev, queue_out(p), p->out_chain.head, 0);
	p->out_held = false;
}

/* Write more of the held chain. Return: bytes gone (0: the chain is finished) or -EAGAIN. */
static ssize_t output_some(struct port *p)
{
	const struct virtq_chain *c = &p->out_chain;
	size_t left = c->readable_len - p->out_off;
	struct iovec iov[SEGS_MAX];
	unsigned n;
	ssize_t r;

	if (!left || p->out_ended || p->out.fd < 0) {
		finish_output(p);
		return 0;
	}
	if (!p->out_left) {
		end_output(p, "it has reached its limit");
		return 0;
	}
	left = MIN_OF(left, (uint64_t)BYTES_PER_RUN);
	left = MIN_OF(left, p->out_left);
	n = iov_slice(chain_readable(c), c->n_readable, p->out_off, left, iov, SEGS_MAX);
	r = host_stream_writev(&p->out, iov, n);
	if (r < 0 && r != -EAGAIN)
		end_output(p, strerror((int)-r));
	if (r <= 0)
		return r == -EAGAIN ? r : 0;
	p->out_off += (size_t)r;
	if (p->out_left != UINT64_MAX)
		p->out_left -= (uint64_t)r;
	return r;
}

/* Return: false when there is nothing to write. */
static bool hold_output(struct port *p)
{
	int r;

	if (p->out_held)
		return true;
	p->out_chain.iov = p->out_iov;
	p->out_chain.iov_max = SEGS_MAX;
	r = virtio_dev_pop(&p->con->dev, queue_out(p), &p->out_chain);
	if (r == 0)
		return false;
	p->out_held = true; /* one with too many segments counts as empty */
	p->out_off = 0;
	return true;
}

static void run_output(struct port *p)
{
	size_t bytes = 0;
	unsigned steps = 0;

	while (!p->out_blocked && bytes < BYTES_PER_RUN && steps < 2 * CHAINS_PER_RUN) {
		ssize_t r;

		if (!hold_output(p))
			break;
		r = output_some(p);
		if (r == -EAGAIN)
			watch_output(p);
		else
			bytes += (size_t)r;
		steps++;
	}
	virtio_dev_flush(&p->con->dev, queue_out(p));
	if (bytes >= BYTES_PER_RUN || steps == 2 * CHAINS_PER_RUN)
		virtio_dev_rekick(&p->con->dev, queue_out(p));
}

static void on_host_room(void *ctx, int fd, uint32_t events)
{
	struct port *p = ctx;
	struct virtio_dev *dev = &p->con->dev;

	(void)pthread_mutex_lock(&dev->lock);
	loop_pause(p->out_watch);
	p->out_blocked = false;
	if (dev->active && !dev->broken)
		run_output(p);
	(void)pthread_mutex_unlock(&dev->lock);
}

/* --- control messages from the guest --- */

static void port_ready(struct port *p)
{
	p->ready = true;
	if (p->console)
		p->due |= 1U << DUE_CONSOLE;
	if (p->name[0])
		p->due |= 1U << DUE_NAME;
	if (has_size(p))
		p->due |= 1U << DUE_RESIZE;
	say_open(p, p->console || !p->in_ended);
}

static void port_open(struct port *p, bool open)
{
	p->guest_open = open;
	run_input(p);
}

static void handle_control(struct console *con, uint32_t id, uint16_t event, uint16_t value)
{
	if (event == VIRTIO_CONSOLE_DEVICE_READY) {
		for (unsigned i = 0; value && i < con->n_ports; i++)
			con->port[i].due |= 1U << DUE_ADD;
		return;
	}
	if (id >= con->n_ports) {
		log_once(con->warned_control, LOG_WARN,
			"console: the guest sent a control message for port %u of %u", id,
			con->n_ports);
		return;
	}
	if (event == VIRTIO_CONSOLE_PORT_READY && value)
		port_ready(&con->port[id]);
	else if (event == VIRTIO_CONSOLE_PORT_OPEN)
		port_open(&con->port[id], value);
}

static void control_chain(struct console *con, const struct virtq_chain *c)
{
	uint8_t msg[CONTROL_LEN];
	size_t n = iov_read(chain_readable(c), c->n_readable, 0, msg, sizeof(msg));

	if (n < sizeof(msg)) {
		log_once(con->warned_control, LOG_WARN,
			"console: the guest sent a control message of %zu bytes", n);
		return;
	}
	handle_control(con, load_le32(msg), load_le16(msg + 4), load_le16(msg + 6));
}

static void run_control(struct console *con)
{
	struct iovec iov[SEGS_MAX];
	struct virtq_chain c = { .iov = iov, .iov_max = SEGS_MAX };
	unsigned i;
	int r = 1;

	for (i = 0; i < CHAINS_PER_RUN; i++) {
		r = virtio_dev_pop(&con->dev, QUEUE_CTL_OUT, &c);
		if (r == 0)
			break;
		if (r > 0)
			control_chain(con, &c);
		virtio_dev_complete(&con->dev, QUEUE_CTL_OUT, c.head, 0);
	}
	virtio_dev_flush(&con->dev, QUEUE_CTL_OUT);
	if (i == CHAINS_PER_RUN)
		virtio_dev_rekick(&con->dev, QUEUE_CTL_OUT);
	send_due(con);
}

/* --- device ops --- */

static void console_kick(struct virtio_dev *dev, unsigned qi)
{
	struct console *con = to_console(dev);
	struct port *p;

	if (qi == QUEUE_CTL_IN) {
		send_due(con);
		return;
	}
	if (qi == QUEUE_CTL_OUT) {
		run_control(con);
		return;
	}
	p = &con->port[qi < 2 ? 0 : qi / 2 - 1];
	if (qi % 2)
		run_output(p);
	else
		run_input(p);
}

static int console_activate(struct virtio_dev *dev, struct err *err)
{
	/* a driver without MULTIPORT knows port 0 alone and never says that it opens it */
	to_console(dev)->port[0].guest_open = !virtio_dev_has(dev, VIRTIO_CONSOLE_F_MULTIPORT);
	return 0;
}

static void console_reset(struct virtio_dev *dev)
{
	struct console *con = to_console(dev);

	for (unsigned i = 0; i < con->n_ports; i++) {
		struct port *p = &con->port[i];

		p->due = 0;
		p->ready = p->guest_open = p->out_held = false;
		/* with a watch armed, its callback clears this too; without, nobody else would */
		p->out_blocked = false;
	}
}

static void console_config_read(struct virtio_dev *dev, uint32_t off, void *dst, uint32_t len)
{
	const struct console *con = to_console(dev);
	uint8_t config[sizeof(struct virtio_console_config)] = { 0 };

	store_le16(config, con->port[0].cols);
	store_le16(config + 2, con->port[0].rows);
	store_le32(config + 4, con->n_ports);
	memcpy(dst, config + off, len);
}

static void console_free(struct virtio_dev *dev)
{
	struct console *con = to_console(dev);

	for (unsigned i = 0; i < con->n_ports; i++) {
		struct port *p = &con->port[i];

		loop_remove(&p->in_watch);
		loop_remove(&p->out_watch);
		host_stream_release(&p->in);
		host_stream_release(&p->out);
	}
	virtio_dev_release(dev);
	free(con);
}

static const struct virtio_dev_ops console_ops = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.config_read = console_config_read,
	.activate = console_activate,
	.kick = console_kick,
	.reset = console_reset,
	.free = console_free,
};

int virtio_console_resize(struct virtio_dev *dev, unsigned port, uint16_t rows, uint16_t cols)
{
	struct console *con = to_console(dev);
	struct port *p;

	if (port >= con->n_ports || !con->port[port].console)
		return -EINVAL;
	p = &con->port[port];
	(void)pthread_mutex_lock(&dev->lock);
	p->rows = rows;
	p->cols = cols;
	if (dev->active && port == 0)
		virtio_dev_config_changed(dev);
	/* before PORT_READY there is nothing to resize: the size goes along with the answer to it
	 */
	if (dev->active && p->ready && has_size(p)) {
		p->due |= 1U << DUE_RESIZE;
		send_due(con);
	}
	(void)pthread_mutex_unlock(&dev->lock);
	return 0;
}

/* --- constructor --- */

static int port_init(struct port *p, const struct virtio_console_port *cfg, struct err *err)
{
	const char *name = cfg->name ? cfg->name : "";
	int r;

	if (strlen(name) > VIRTIO_CONSOLE_NAME_MAX)
		return err_msg(err, EINVAL, "console port name '%s' is longer than %d bytes", name,
			VIRTIO_CONSOLE_NAME_MAX);
	memcpy(p->name, name, strlen(name));
	p->console = cfg->console;
	p->rows = cfg->rows;
	p->cols = cfg->cols;
	p->out_left = cfg->out_limit ? cfg->out_limit : UINT64_MAX;
	r = host_stream_open(&p->in, cfg->in_fd, false, err);
	return r < 0 ? r : host_stream_open(&p->out, cfg->out_fd, true, err);
}

static int console_init(
	struct console *con, const struct virtio_console_port *ports, unsigned n, struct err *err)
{
	uint16_t sizes[2 + 2 * VIRTIO_CONSOLE_MAX_PORTS];
	int r;

	con->n_ports = n;
	for (unsigned i = 0; i < n; i++) {
		con->port[i].con = con;
		con->port[i].id = i;
		con->port[i].in = con->port[i].out = HOST_STREAM_INIT;
	}
	for (unsigned i = 0; i < n; i++) {
		r = port_init(&con->port[i], &ports[i], err);
		if (r < 0)
			return err_wrap(err, "console port %u", i);
	}
	for (unsigned i = 0; i < 2 + 2 * n; i++)
		sizes[i] = QUEUE_SIZE;
	return virtio_dev_init(&con->dev, &console_ops,
		VIRTIO_BIT(VIRTIO_CONSOLE_F_SIZE) | VIRTIO_BIT(VIRTIO_CONSOLE_F_MULTIPORT), sizes,
		2 + 2 * n, sizeof(struct virtio_console_config), err);
}

int virtio_console_new(const struct virtio_console_port *ports, unsigned n,
	enum virtio_console_resize_order order, struct virtio_dev **ret_dev, struct err *err)
{
	struct console *con;
	int r;

	if (n < 1 || n > VIRTIO_CONSOLE_MAX_PORTS)
		return err_msg(err, EINVAL, "a console has 1 to %d ports, not %u",
			VIRTIO_CONSOLE_MAX_PORTS, n);
	con = calloc(1, sizeof(*con) + n * sizeof(con->port[0]));
	if (!con)
		return err_set(err, ENOMEM, "create the console device");
	con->order = order;
	r = console_init(con, ports, n, err);
	if (r < 0) {
		console_free(&con->dev);
		return r;
	}
	*ret_dev = &con->dev;
	return 0;
}
