/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM of the qemu engine, and the kernel in it. Letting QEMU load the kernel would copy 20 MB
 * three times (our wrapper file, its ROM blob, guest RAM); here it is copied once.
 */
#ifndef VMM_QEMU_RAM_H
#define VMM_QEMU_RAM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "vmm/kernel.h"

/*
 * struct qemu_ram - @fd: memfd with all of guest RAM, offset is gpa below 3 GiB
 * @kernel_fd: memfd for -kernel: the stub of stub.h, or a bzImage as it is
 */
struct qemu_ram {
	int fd, kernel_fd;
	uint64_t size;
	bool loaded;
};

#define QEMU_RAM_INIT ((struct qemu_ram){ .fd = -1, .kernel_fd = -1 })

/*
 * qemu_ram_init() - create RAM and what -kernel reads
 * Return: 0; -ENOEXEC QEMU cannot enter this kernel; -ENOMEM it does not fit; -errno
 */
int qemu_ram_init(
	struct qemu_ram *ram, uint64_t ram_mib, const struct kernel *kernel, struct err *err);

/* qemu_ram_load() - put the kernel where it belongs, unless qemu_ram_init() had to. */
int qemu_ram_load(struct qemu_ram *ram, const struct kernel *kernel, struct err *err);

void qemu_ram_release(struct qemu_ram *ram);

#endif
