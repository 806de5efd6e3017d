/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile qcow2 image under a hostile guest: the first bytes of the input are the requests, the
 * rest is the file. Nothing of the host is allowed to it.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/block.h"
#include "lib/buf.h"
#include "lib/log.h"
#include "lib/num.h"

#define REQUESTS 16
#define PIECE	 5000
#define RANGE	 (4U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void request(struct block *b, uint8_t what, uint8_t where)
{
	uint8_t data[PIECE] = { what, where };
	struct iovec iov[2] = { { data, 700 }, { data + 700, PIECE - 700 } };
	uint64_t off = b->size / 256 * where, range = MIN_OF(RANGE, b->size - off);

	if (what & 0x40)
		off = off / 3 * 2;
	switch (what % 8) {
	case 0:
		(void)block_flush(b);
		break;
	case 1:
		(void)block_discard(b, off, range);
		break;
	case 2:
		(void)block_write_zeroes(b, off, range, what & 0x80);
		break;
	case 3:
	case 4:
		(void)block_read(b, iov, 2, off);
		break;
	default:
		(void)block_write(b, iov, 2, off);
		break;
	}
}

static void use(const uint8_t *image, size_t len, const uint8_t *requests, bool read_only)
{
	struct block_config cfg = { .format = BLOCK_QCOW2, .dir_fd = -1, .read_only = read_only };
	struct err err = ERR_INIT;
	struct block *b = NULL;

	cfg.fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (cfg.fd < 0 || write(cfg.fd, image, len) != (ssize_t)len)
		abort();
	if (block_open(&cfg, &b, &err) == 0) {
		for (unsigned i = 0; i < REQUESTS; i++)
			request(b, requests[2 * i], requests[2 * i + 1]);
		block_free(b);
	}
	close(cfg.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len <= 2 * REQUESTS)
		return 0;
	log_set_sink(NULL, NULL, LOG_OFF);
	use(data + 2 * REQUESTS, len - 2 * REQUESTS, data, true);
	use(data + 2 * REQUESTS, len - 2 * REQUESTS, data, false);
	return 0;
}
