/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/pio.h"

#include <string.h>
#include <time.h>

#include "lib/num.h"

#define PORT_I8042_DATA	   0x60
#define PORT_I8042_COMMAND 0x64
#define PORT_CMOS_INDEX	   0x70
#define PORT_CMOS_DATA	   0x71
#define PORT_POST	   0x80

#define I8042_OUT_FULL	   0x01
#define I8042_IS_COMMAND   0x08
#define I8042_READ_CONTROL 0x20
#define I8042_WRITE_CTRL   0x60
#define I8042_READ_OUT	   0xd0
#define I8042_WRITE_OUT	   0xd1
#define I8042_RESET	   0xfe
#define I8042_ACK	   0xfa
#define I8042_OUT_DEFAULT  0x03 /* A20 on, no reset */

void pio_init(struct pio *pio, uint64_t ram_below_4g, uint64_t ram_above_4g)
{
	*pio = (struct pio){
		.ram_below_4g = ram_below_4g,
		.ram_above_4g = ram_above_4g,
		.post_code = -1,
	};
	(void)pthread_mutex_init(&pio->lock, NULL);
}

void pio_release(struct pio *pio)
{
	(void)pthread_mutex_destroy(&pio->lock);
}

/* ---- i8042: enough for a driver to find nobody home, and for the reset line ---- */

static void i8042_answer(struct pio *pio, uint8_t value)
{
	pio->out = value;
	pio->status |= I8042_OUT_FULL;
}

static enum pio_result i8042_command(struct pio *pio, uint8_t cmd)
{
	pio->command = 0;
	pio->status |= I8042_IS_COMMAND;
	switch (cmd) {
	case I8042_RESET:
		return PIO_RESET;
	case I8042_READ_CONTROL:
		i8042_answer(pio, pio->control);
		break;
	case I8042_READ_OUT:
		i8042_answer(pio, I8042_OUT_DEFAULT);
		break;
	case I8042_WRITE_CTRL:
	case I8042_WRITE_OUT:
		pio->command = cmd;
		break;
	default:
		break;
	}
	return PIO_DONE;
}

static enum pio_result i8042_data(struct pio *pio, uint8_t value)
{
	uint8_t cmd = pio->command;

	pio->command = 0;
	pio->status &= (uint8_t)~I8042_IS_COMMAND;
	if (cmd == I8042_WRITE_CTRL)
		pio->control = value;
	else if (cmd == I8042_WRITE_OUT)
		return value & 1 ? PIO_DONE : PIO_RESET; /* bit 0 is the inverted reset line */
	else
		i8042_answer(pio, I8042_ACK);
	return PIO_DONE;
}

static uint8_t i8042_read(struct pio *pio)
{
	pio->status &= (uint8_t)~I8042_OUT_FULL;
	return pio->out;
}

/* ---- CMOS: clock and memory size ---- */

static uint8_t bcd(int v)
{
	return (uint8_t)(v / 10 * 16 + v % 10);
}

static uint8_t cmos_clock(uint8_t index)
{
	time_t now = time(NULL);
	struct tm tm = { 0 };

	(void)gmtime_r(&now, &tm);
	switch (index) {
	case 0x00:
		return bcd(tm.tm_sec);
	case 0x02:
		return bcd(tm.tm_min);
	case 0x04:
		return bcd(tm.tm_hour);
	case 0x06:
		return bcd(tm.tm_wday + 1);
	case 0x07:
		return bcd(tm.tm_mday);
	case 0x08:
		return bcd(tm.tm_mon + 1);
	case 0x09:
		return bcd(tm.tm_year % 100);
	default: /* 0x32 */
		return bcd(tm.tm_year / 100 + 19);
	}
}

static uint8_t cmos_read(const struct pio *pio)
{
	/* 0x34: 64 KiB units above 16 MiB; 0x5b: 64 KiB units above 4 GiB */
	uint64_t below = pio->ram_below_4g > MIB(16) ? (pio->ram_below_4g - MIB(16)) >> 16 : 0;
	uint64_t above = pio->ram_above_4g >> 16;

	switch (pio->cmos_index) {
	case 0x00:
	case 0x02:
	case 0x04:
	case 0x06 ... 0x09:
	case 0x32:
		return cmos_clock(pio->cmos_index);
	case 0x0a:
		return 0x26; /* 32768 Hz, no update in progress */
	case 0x0b:
		return 0x02; /* 24 hours, BCD */
	case 0x0d:
		return 0x80; /* the battery is fine */
	case 0x34 ... 0x35:
		return (uint8_t)(below >> (pio->cmos_index - 0x34) * 8);
	case 0x5b ... 0x5d:
		return (uint8_t)(above >> (pio->cmos_index - 0x5b) * 8);
	default:
		return 0;
	}
}

/* ---- The bus: these devices have byte ports only; wider accesses find nothing ---- */

static enum pio_result write_byte(struct pio *pio, uint16_t port, uint8_t value)
{
	switch (port) {
	case PORT_I8042_DATA:
		return i8042_data(pio, value);
	case PORT_I8042_COMMAND:
		return i8042_command(pio, value);
	case PORT_CMOS_INDEX:
		pio->cmos_index = value & 0x7f;
		return PIO_DONE;
	case PORT_POST:
		pio->post_code = value;
		return PIO_DONE;
	default:
		return PIO_DONE;
	}
}

enum pio_result pio_write(struct pio *pio, uint16_t port, const uint8_t *data, unsigned len)
{
	enum pio_result r;

	if (len != 1)
		return PIO_DONE;
	(void)pthread_mutex_lock(&pio->lock);
	r = write_byte(pio, port, data[0]);
	(void)pthread_mutex_unlock(&pio->lock);
	return r;
}

void pio_read(struct pio *pio, uint16_t port, uint8_t *data, unsigned len)
{
	memset(data, 0xff, len);
	if (len != 1)
		return;
	(void)pthread_mutex_lock(&pio->lock);
	if (port == PORT_I8042_DATA)
		data[0] = i8042_read(pio);
	else if (port == PORT_I8042_COMMAND)
		data[0] = pio->status;
	else if (port == PORT_CMOS_DATA)
		data[0] = cmos_read(pio);
	(void)pthread_mutex_unlock(&pio->lock);
}
