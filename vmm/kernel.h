/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest kernel, as both engines need it: the bundle inside libkrunfw (used in place), or a
 * file in ELF, bzImage or raw form. Opening parses and checks every header; nothing is copied until
 * kernel_load() reads a file's segments straight into guest memory.
 *
 * Kernel files are foreign bytes: every field is checked before it is used, and a file that shrinks
 * after it was opened is an error, not a crash.
 */
#ifndef VMM_KERNEL_H
#define VMM_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "virtio/guest_mem.h"
#include "vmm/vmm.h"

#define KERNEL_MAX_SEGMENTS 32
#define KERNEL_PAGE	    4096u
#define KERNEL_RAW_ADDR	    0x1000000u	/* a raw image is loaded, and entered, here */
#define KERNEL_ADDR_MAX	    0x40000000u /* images end below 1 GiB: the boot page table's reach */

/* What the environment may name the bundle with: a path or a name for dlopen(3). */
#define KERNEL_LIBRARY_ENV "MSB_LIBKRUNFW"
#define KERNEL_LIBRARY	   "libkrunfw.so.5"

/* struct kernel_segment - file bytes [file_off, +file_len) go to [gpa, +mem_len), rest zero */
struct kernel_segment {
	uint64_t gpa, mem_len;
	uint64_t file_off, file_len; /* file_len <= mem_len */
};

/*
 * struct kernel - an opened kernel
 * @format:  never VM_KERNEL_AUTO; meaningless for a bundle
 * @bundle:  the library's image: page aligned, @size bytes, to appear at @load_addr; NULL for files
 * @abi:     of the bundle: 4 or 5
 * @load_addr, @size: guest physical range the image needs (files: all segments)
 * @entry:   64-bit entry point (gpa), 0 if the file has none (then pvh_entry is not 0)
 * @pvh_entry: 32-bit PVH entry of a file; 0: none. For bundles see kernel_bundle_pvh().
 * @setup:   bzImage: its setup header, to be copied to offset 0x1f1 of the zero page
 */
struct kernel {
	enum vm_kernel_format format;
	uint8_t *bundle;
	unsigned abi;
	uint64_t load_addr, size;
	uint64_t entry;
	uint32_t pvh_entry;
	unsigned n_segments;
	struct kernel_segment segment[KERNEL_MAX_SEGMENTS];
	uint8_t setup[0x100];
	size_t setup_len;

	void *library;	/* of dlopen() */
	int fd;		/* of a file */
	char name[256]; /* what was opened, for messages */
};

/*
 * kernel_open() - find and parse the kernel that @cfg names
 *
 * The bundle's library is looked for in this order: cfg->library (no other is tried), the variable
 * MSB_LIBKRUNFW (likewise), the folder set at build time, ../lib beside the executable,
 * ~/.microsandbox/lib, and where dlopen() looks by itself.
 *
 * Return: 0 and *ret, freed by kernel_free(); -ENOENT no library, no file (the message says what to
 * do); -ENOEXEC not a kernel of that format; -errno
 */
int kernel_open(const struct vm_kernel *cfg, struct kernel **ret, struct err *err);

/* kernel_free() - NULL is fine. A bundle stays mapped: a machine may still be using it. */
void kernel_free(struct kernel *kernel);

/*
 * kernel_load() - read the segments of a kernel file into guest memory; nothing to do for a bundle
 * Return: 0; -EFAULT a segment is outside guest memory; -EIO the file changed; -errno
 */
int kernel_load(const struct kernel *kernel, const struct guest_mem *mem, struct err *err);

/*
 * kernel_bundle_pvh() - find the PVH entry point in the bundle (XEN_ELFNOTE_PHYS32_ENTRY)
 * Reads through the whole image (some 20 MB), so only who needs it should ask.
 * Return: 0 and *ret_entry; -ENOEXEC no such note
 */
int kernel_bundle_pvh(const struct kernel *kernel, uint32_t *ret_entry, struct err *err);

/* ---- The parsers, here for their tests ---- */

/* struct kernel_src - bytes of a file, @size of them: from memory, or from @fd if mem is NULL */
struct kernel_src {
	int fd;
	const uint8_t *mem;
	uint64_t size;
};

/* kernel_src_read() - exactly [off, off + len). Return: 0; -ENOEXEC beyond the end; -errno */
int kernel_src_read(const struct kernel_src *src, uint64_t off, void *dst, size_t len);

/* kernel_format_guess() - ELF, bzImage or raw, by the first bytes. */
enum vm_kernel_format kernel_format_guess(const struct kernel_src *src);

/* Fill segments, entries and range of @kernel. Return: 0; -ENOEXEC and the reason. */
int kernel_parse_elf(struct kernel *kernel, const struct kernel_src *src, struct err *err);
int kernel_parse_bzimage(struct kernel *kernel, const struct kernel_src *src, struct err *err);
int kernel_parse_raw(struct kernel *kernel, const struct kernel_src *src, struct err *err);

/*
 * kernel_find_pvh() - look for a PHYS32_ENTRY note at any 4-byte boundary of @data
 * Return: the entry, or 0 if there is none (or it is 0, or above 1 GiB)
 */
uint32_t kernel_find_pvh(const uint8_t *data, size_t len);

/*
 * kernel_find_version() - which Linux the parsed file @kernel says it is: by the header of a
 * bzImage, else by the banner in its segments (64 MiB at most are read)
 * @ret: zeros if it does not say, or says no version
 */
void kernel_find_version(
	const struct kernel *kernel, const struct kernel_src *src, struct vm_kernel_version *ret);

#endif
