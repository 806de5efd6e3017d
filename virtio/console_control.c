/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control queues of the console. Messages to the guest are not queued but kept as a few bits
 * per port ("a RESIZE is due"), and are built when the guest has offered a buffer: whatever the
 * guest asks for, host memory stays the same.
 */
#include <linux/virtio_console.h>
#include <string.h>

#include "lib/iov.h"
#include "lib/log.h"
#include "lib/num.h"
#include "virtio/console_internal.h"

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
void console_send_due(struct console *con)
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

bool port_has_size(const struct port *p)
{
	return p->console && p->rows && p->cols;
}

void port_say_open(struct port *p, bool open)
{
	p->open_value = open;
	p->due |= 1U << DUE_OPEN;
}

/* --- control messages from the guest --- */

static void port_ready(struct port *p)
{
	p->ready = true;
	if (p->console)
		p->due |= 1U << DUE_CONSOLE;
	if (p->name[0])
		p->due |= 1U << DUE_NAME;
	if (port_has_size(p))
		p->due |= 1U << DUE_RESIZE;
	port_say_open(p, p->console || !p->in_ended);
}

static void port_open(struct port *p, bool open)
{
	p->guest_open = open;
	port_run_input(p);
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

void console_run_control(struct console *con)
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
	console_send_due(con);
}
