/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzImage: Linux' compressed kernel, entered through its 64-bit entry (x86 boot protocol 2.12), so
 * that the kernel decompresses itself. Fields are at fixed offsets of the file's first sector.
 */
#include <errno.h>
#include <string.h>

#include "lib/num.h"
#include "vmm/kernel.h"

#define SETUP_START    0x1f1
#define SETUP_SECTS    0x1f1
#define BOOT_FLAG      0x1fe
#define JUMP_LEN       0x201 /* the header ends at 0x202 + this byte */
#define HEADER_MAGIC   0x202
#define PROTOCOL       0x206
#define LOADFLAGS      0x211
#define XLOADFLAGS     0x236
#define PREF_ADDRESS   0x258
#define INIT_SIZE      0x260
#define HEADER_MIN_END 0x264
#define HEADER_MAX     0x300
#define LOADED_HIGH    0x01
#define XLF_KERNEL_64  0x01
#define ENTRY_64       0x200
#define SECTOR	       512u
#define SETUP_SECTS_0  4 /* what 0 means, for historical reasons */
#define PROTOCOL_MIN   0x20c
#define LOAD_MIN       0x100000u

static bool is_bzimage(const uint8_t *h)
{
	return load_le16(h + BOOT_FLAG) == 0xaa55 && memcmp(h + HEADER_MAGIC, "HdrS", 4) == 0;
}

static int check_protocol(const uint8_t *h, struct err *err)
{
	unsigned version = load_le16(h + PROTOCOL);

	if (!is_bzimage(h))
		return err_msg(err, ENOEXEC, "not a bzImage");
	if (version < PROTOCOL_MIN)
		return err_msg(err, ENOEXEC, "boot protocol %u.%u is older than 2.12", version >> 8,
			version & 0xff);
	if (!(h[LOADFLAGS] & LOADED_HIGH) || !(load_le16(h + XLOADFLAGS) & XLF_KERNEL_64))
		return err_msg(err, ENOEXEC, "no 64-bit entry point");
	return 0;
}

int kernel_parse_bzimage(struct kernel *k, const struct kernel_src *src, struct err *err)
{
	uint8_t h[HEADER_MAX] = { 0 };
	int r;

	if (kernel_src_read(src, 0, h, sizeof(h)))
		return err_msg(err, ENOEXEC, "too short for a bzImage");
	r = check_protocol(h, err);
	if (r)
		return r;
	size_t end = HEADER_MAGIC + h[JUMP_LEN];
	if (end < HEADER_MIN_END || end > HEADER_MAX || end - SETUP_START > sizeof(k->setup))
		return err_msg(err, ENOEXEC, "bad setup header (ends at 0x%zx)", end);
	uint64_t body = ((h[SETUP_SECTS] ? h[SETUP_SECTS] : SETUP_SECTS_0) + 1u) * SECTOR;
	if (body >= src->size || src->size - body <= ENTRY_64)
		return err_msg(err, ENOEXEC, "no kernel behind the setup sectors");
	uint64_t load = load_le64(h + PREF_ADDRESS), len = src->size - body;
	uint64_t mem = MAX_OF(len, (uint64_t)load_le32(h + INIT_SIZE));
	if (load < LOAD_MIN || !range_ok(load, mem, KERNEL_ADDR_MAX))
		return err_msg(err, ENOEXEC, "wants 0x%llx bytes at 0x%llx: not within 1 GiB",
			(unsigned long long)mem, (unsigned long long)load);
	k->segment[0] = (struct kernel_segment){ load, mem, body, len };
	k->n_segments = 1;
	k->load_addr = load;
	k->size = mem;
	k->entry = load + ENTRY_64;
	k->setup_len = end - SETUP_START;
	memcpy(k->setup, h + SETUP_START, k->setup_len);
	return 0;
}

int kernel_parse_raw(struct kernel *k, const struct kernel_src *src, struct err *err)
{
	if (!src->size)
		return err_msg(err, ENOEXEC, "an empty file");
	if (!range_ok(KERNEL_RAW_ADDR, src->size, KERNEL_ADDR_MAX))
		return err_msg(err, ENOEXEC, "larger than the 1 GiB a kernel may reach");
	k->segment[0] = (struct kernel_segment){ KERNEL_RAW_ADDR, src->size, 0, src->size };
	k->n_segments = 1;
	k->load_addr = k->entry = KERNEL_RAW_ADDR;
	k->size = src->size;
	return 0;
}

enum vm_kernel_format kernel_format_guess(const struct kernel_src *src)
{
	uint8_t h[HEADER_MAX] = { 0 };

	if (kernel_src_read(src, 0, h, 4) == 0 && memcmp(h, "\177ELF", 4) == 0)
		return VM_KERNEL_ELF;
	if (kernel_src_read(src, 0, h, sizeof(h)) == 0 && is_bzimage(h))
		return VM_KERNEL_BZIMAGE;
	return VM_KERNEL_RAW;
}
