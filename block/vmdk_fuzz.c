/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile vmdk: as a descriptor, and as a file that is opened and read; and what is on a disk. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/block.h"
#include "block/probe.h"
#include "block/vmdk.h"
#include "lib/log.h"

#define READS 16
#define PIECE 5000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void parse(const uint8_t *data, size_t len)
{
	struct vmdk_desc desc;
	struct err err = ERR_INIT;

	if (vmdk_desc_parse((const char *)data, len, &desc, &err) < 0)
		return;
	for (unsigned i = 0; i < desc.n; i++) {
		if (!desc.extent[i].len ||
			(desc.extent[i].kind != VMDK_ZERO && !desc.extent[i].name[0]))
			abort();
	}
	vmdk_desc_release(&desc);
}

/* As a raw image, what is on it. */
static void probe(int fd)
{
	struct block_content content;
	struct err err = ERR_INIT;
	struct block *b = NULL;
	const char *type;

	if (block_raw_open(fd, true, &b, &err) < 0 || block_probe(b, &content, &err) < 0)
		abort();
	type = block_content_type(&content);
	if (type && !block_content_has(&content, type))
		abort();
	block_free(b);
}

static void use(const uint8_t *data, size_t len)
{
	struct block_config cfg = { .format = BLOCK_VMDK, .dir_fd = -1, .read_only = true };
	uint8_t out[PIECE];
	struct iovec iov = { out, PIECE };
	struct err err = ERR_INIT;
	struct block *b = NULL;

	cfg.fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (cfg.fd < 0 || write(cfg.fd, data, len) != (ssize_t)len)
		abort();
	if (block_open(&cfg, &b, &err) == 0) {
		for (unsigned i = 0; i < READS; i++)
			(void)block_read(b, &iov, 1, b->size / READS * i);
		block_free(b);
	}
	probe(cfg.fd);
	close(cfg.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	log_set_sink(NULL, NULL, LOG_OFF);
	parse(data, len);
	use(data, len);
	return 0;
}
