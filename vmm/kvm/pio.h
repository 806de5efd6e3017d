/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port I/O: the few legacy devices a guest without firmware still pokes at. Everything else reads
 * as all ones and swallows writes, like an empty bus.
 */
#ifndef VMM_KVM_PIO_H
#define VMM_KVM_PIO_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * struct pio - one per machine; every vCPU thread calls, hence the lock
 * @post_code: last byte written to port 0x80, -1: none. Reported when the machine ends.
 */
struct pio {
	pthread_mutex_t lock;
	uint8_t command, status, out, control; /* i8042 */
	uint8_t cmos_index;
	uint64_t ram_below_4g, ram_above_4g;
	int post_code;
};

enum pio_result { PIO_DONE, PIO_RESET /* the guest asked for a CPU reset */ };

/* pio_init() - @ram_*: bytes, what CMOS tells about memory (end of RAM below 4 GiB, RAM above). */
void pio_init(struct pio *pio, uint64_t ram_below_4g, uint64_t ram_above_4g);
void pio_release(struct pio *pio);

/* pio_write(), pio_read() - one access of @len (1, 2, 4) bytes; any thread. */
enum pio_result pio_write(struct pio *pio, uint16_t port, const uint8_t *data, unsigned len);
void pio_read(struct pio *pio, uint16_t port, uint8_t *data, unsigned len);

#endif
