/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Queues: 0 and 1 are port 0's (to guest, from guest), 2 and 3 the control queues, then a pair for
 * each further port. console_control.c does the control queues, console_io.c the others.
 *
 * Watches are touched in kicks and in the watches' own callbacks only, hence on the loop's thread;
 * activate and reset may come on a vCPU's. After a reset a watch may still be armed: its callback
 * finds the device inactive and pauses it.
 */
#include <errno.h>
#include <linux/virtio_console.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"
#include "virtio/console_internal.h"

static struct console *to_console(struct virtio_dev *dev)
{
	return container_of(dev, struct console, dev);
}

/* --- device ops --- */

static void console_kick(struct virtio_dev *dev, unsigned qi)
{
	struct console *con = to_console(dev);
	struct port *p;

	if (qi == QUEUE_CTL_IN) {
		console_send_due(con);
		return;
	}
	if (qi == QUEUE_CTL_OUT) {
		console_run_control(con);
		return;
	}
	p = &con->port[qi < 2 ? 0 : qi / 2 - 1];
	if (qi % 2)
		port_run_output(p);
	else
		port_run_input(p);
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
	if (dev->active && p->ready && port_has_size(p)) {
		p->due |= 1U << DUE_RESIZE;
		console_send_due(con);
	}
	(void)pthread_mutex_unlock(&dev->lock);
	return 0;
}

bool virtio_console_has_output(struct virtio_dev *dev)
{
	struct console *con = to_console(dev);
	bool any = false;

	(void)pthread_mutex_lock(&dev->lock);
	for (unsigned i = 0; dev->active && i < con->n_ports; i++) {
		struct port *p = &con->port[i];

		any |= p->out_held || virtqueue_has_avail(&dev->queue[port_queue_out(p)]);
	}
	(void)pthread_mutex_unlock(&dev->lock);
	return any;
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
	/* 4 and up: the ports behind the first; see console_kick() */
	for (unsigned i = 0; i < 2 + 2 * n; i++)
		sizes[i] = i < 4 || ports[i / 2 - 1].console ? QUEUE_SIZE : QUEUE_SIZE_CHANNEL;
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
