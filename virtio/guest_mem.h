/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: which guest physical ranges (gpa) are backed by which host mappings (hva). This
 * file and queue.c are the only code that turns guest addresses into pointers.
 *
 * A table is built by one thread, then shared read-only; it is reference counted so that a
 * vhost-user front end may replace it while requests that use the old one are still in flight.
 * Mappings are counted apart from tables, so that a new table may share most of the old one's.
 *
 * Whoever passes in a file descriptor can take the memory away by truncating the file: an access
 * then ends this process with SIGBUS. That is a trusted-enough party (the VM's own monitor), and
 * only that VM ends.
 */
#ifndef VIRTIO_GUEST_MEM_H
#define VIRTIO_GUEST_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/cleanup.h"
#include "lib/err.h"

#define GUEST_MEM_MAX_REGIONS 64

struct guest_mapping; /* an mmap of ours, counted; guest_mem.c */

/*
 * struct guest_region - [gpa, gpa + size) is at [hva, hva + size)
 * @user_addr: the same range in the vhost-user front end's address space; 0 when there is none
 * @map: the mapping that holds it; NULL when the memory is borrowed
 */
struct guest_region {
	uint64_t gpa, size;
	uint8_t *hva;
	uint64_t user_addr;
	struct guest_mapping *map;
};

struct guest_mem {
	unsigned refs; /* atomic */
	unsigned n;    /* regions, sorted by gpa, disjoint */
	struct guest_region region[GUEST_MEM_MAX_REGIONS];
};

/* guest_mem_new() - an empty table with one reference; NULL without memory. */
struct guest_mem *guest_mem_new(void);

/* guest_mem_copy() - a new table with the same regions and shared mappings; NULL without memory. */
struct guest_mem *guest_mem_copy(const struct guest_mem *mem);

/* guest_mem_ref() - one more reference; any thread. Return: @mem. */
struct guest_mem *guest_mem_ref(struct guest_mem *mem);

/* guest_mem_unref() - NULL is fine; the last one unmaps; any thread. */
void guest_mem_unref(struct guest_mem *mem);

static inline void cleanup_guest_mem_fn(struct guest_mem **mem)
{
	guest_mem_unref(*mem);
}
#define cleanup_guest_mem cleanup_(cleanup_guest_mem_fn)

/*
 * guest_mem_add_anon() - zeroed private anonymous memory at @gpa, kept out of core dumps
 * @gpa, @size: multiples of the page size
 * Return: 0; -EINVAL unaligned, empty or wrapping; -EEXIST overlap; -ENOSPC table full; -ENOMEM
 */
int guest_mem_add_anon(struct guest_mem *mem, uint64_t gpa, uint64_t size, struct err *err);

/* guest_mem_add_borrowed() - existing host memory that outlives the table (a bundled kernel). Any
 * alignment; errors as above. */
int guest_mem_add_borrowed(
	struct guest_mem *mem, uint64_t gpa, void *hva, uint64_t size, struct err *err);

/*
 * guest_mem_add_fd() - map [offset, offset + size) of @fd (shared) at @gpa; @fd stays the caller's
 * @user_addr: front end's address of the range (vhost-user); 0: none
 * Return: as above; -EINVAL also when the file ends before offset + size, or when @gpa and @offset
 * differ modulo the page size; -errno of mmap
 */
int guest_mem_add_fd(struct guest_mem *mem, uint64_t gpa, uint64_t size, uint64_t user_addr, int fd,
	uint64_t offset, struct err *err);

/* guest_mem_remove() - drop the region with exactly this place; 0, or -ENOENT. */
int guest_mem_remove(
	struct guest_mem *mem, uint64_t gpa, uint64_t size, uint64_t user_addr, struct err *err);

/* guest_mem_ptr() - host address of [gpa, gpa + len), or NULL unless one region holds all of it
 * (len >= 1). */
void *guest_mem_ptr(const struct guest_mem *mem, uint64_t gpa, uint64_t len);

/*
 * guest_mem_iov() - append [gpa, gpa + len) to an iovec list, split where regions meet
 * @n: entries used so far, advanced; untouched on failure
 * Return: 0 (len 0 appends nothing); -EFAULT if a byte is not guest memory; -E2BIG if @max entries
 * do not suffice
 */
int guest_mem_iov(const struct guest_mem *mem, uint64_t gpa, uint64_t len, struct iovec *iov,
	unsigned *n, unsigned max);

/* guest_mem_from_user() - gpa of a front end's address, 0 and *ret_gpa; -EFAULT unless one region
 * with a user_addr holds the range. */
int guest_mem_from_user(
	const struct guest_mem *mem, uint64_t user_addr, uint64_t len, uint64_t *ret_gpa);

/*
 * guest_mem_discard() - give whole pages of [gpa, gpa + len) back to the host (balloon); they read
 * as zero afterwards. Borrowed regions and partial pages are left alone.
 * Return: 0; -EFAULT a byte is not guest memory (nothing is discarded); -errno of madvise
 */
int guest_mem_discard(const struct guest_mem *mem, uint64_t gpa, uint64_t len);

/*
 * guest_mem_discard_iov() - the same for buffers of a chain, which are known by host address; parts
 * that are not guest memory of @mem are left alone. Return: 0, or the first -errno of the host.
 */
int guest_mem_discard_iov(const struct guest_mem *mem, const struct iovec *iov, unsigned n);

#endif
