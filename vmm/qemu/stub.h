/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel "file" that QEMU gets. The kernel itself is written into guest RAM by us, once; QEMU
 * only has to learn where to enter it. For that it wants an ELF with a PVH note
 * (XEN_ELFNOTE_PHYS32_ENTRY), so it gets one of two pages: headers and note, and the first page of
 * the kernel once more as the only loadable segment.
 */
#ifndef VMM_QEMU_STUB_H
#define VMM_QEMU_STUB_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define QEMU_STUB_PAGE 4096u
#define QEMU_STUB_SIZE (2 * QEMU_STUB_PAGE)

/*
 * qemu_stub_build() - fill @stub (QEMU_STUB_SIZE bytes)
 * @pvh_entry: gpa of the 32-bit PVH entry point
 * @first_page: the QEMU_STUB_PAGE bytes at gpa @load_addr
 */
void qemu_stub_build(
	uint8_t *stub, uint32_t pvh_entry, uint64_t load_addr, const uint8_t *first_page);

#endif
