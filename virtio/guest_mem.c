/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/guest_mem.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "lib/num.h"

#define HUGE_PAGE MIB(2)

/*
 * struct guest_mapping - one mmap
 * @page: smallest unit the host can take back: the page size of the memory behind it
 */
struct guest_mapping {
	unsigned refs; /* atomic */
	void *addr;
	size_t len;
	uint64_t page;
	bool shared;
};

static uint64_t host_page(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static void mapping_unref(struct guest_mapping *map)
{
	/* ACQ_REL: every access made under another reference comes before the munmap. */
	if (!map || __atomic_sub_fetch(&map->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	(void)munmap(map->addr, map->len);
	free(map);
}

static int mapping_new(void *at, size_t len, uint64_t page, int flags, int fd, uint64_t offset,
	struct guest_mapping **ret, struct err *err)
{
	cleanup_free struct guest_mapping *map = calloc(1, sizeof(*map));

	if (!map)
		return err_set(err, ENOMEM, "map guest memory");
	map->addr = mmap(at, len, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);
	if (map->addr == MAP_FAILED)
		return err_set(err, errno, "map %zu bytes of guest memory", len);
	/* A guest's memory is no part of our core dumps. Advice only: a failure costs nothing. */
	(void)madvise(map->addr, len, MADV_DONTDUMP);
	map->refs = 1;
	map->len = len;
	map->page = page;
	map->shared = flags & MAP_SHARED;
	*ret = take_ptr(&map);
	return 0;
}

struct guest_mem *guest_mem_new(void)
{
	struct guest_mem *mem = calloc(1, sizeof(*mem));

	if (mem)
		mem->refs = 1;
	return mem;
}

struct guest_mem *guest_mem_copy(const struct guest_mem *mem)
{
	struct guest_mem *copy = guest_mem_new();

	if (!copy)
		return NULL;
	copy->n = mem->n;
	memcpy(copy->region, mem->region, sizeof(copy->region));
	for (unsigned i = 0; i < copy->n; i++) {
		if (copy->region[i].map)
			__atomic_add_fetch(&copy->region[i].map->refs, 1, __ATOMIC_RELAXED);
	}
	return copy;
}

struct guest_mem *guest_mem_ref(struct guest_mem *mem)
{
	__atomic_add_fetch(&mem->refs, 1, __ATOMIC_RELAXED);
	return mem;
}

void guest_mem_unref(struct guest_mem *mem)
{
	if (!mem || __atomic_sub_fetch(&mem->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (unsigned i = 0; i < mem->n; i++)
		mapping_unref(mem->region[i].map);
	free(mem);
}

static bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

static bool wraps(uint64_t addr, uint64_t size)
{
	return size > UINT64_MAX - addr;
}

/* check_place() - may a region lie here? Also what keeps every later sum from wrapping. */
static int check_place(const struct guest_mem *mem, uint64_t gpa, uint64_t size, uint64_t user_addr,
	struct err *err)
{
	if (size == 0 || wraps(gpa, size) || wraps(user_addr, size))
		return err_msg(err, EINVAL,
			"guest memory 0x%" PRIx64 "+0x%" PRIx64 " is empty or wraps", gpa, size);
	if (mem->n == GUEST_MEM_MAX_REGIONS)
		return err_msg(
			err, ENOSPC, "more than %d guest memory regions", GUEST_MEM_MAX_REGIONS);
	for (unsigned i = 0; i < mem->n; i++) {
		const struct guest_region *r = &mem->region[i];

		if (ranges_overlap(gpa, size, r->gpa, r->size) ||
			(user_addr && r->user_addr &&
				ranges_overlap(user_addr, size, r->user_addr, r->size)))
			return err_msg(err, EEXIST,
				"guest memory 0x%" PRIx64 "+0x%" PRIx64 " overlaps another region",
				gpa, size);
	}
	return 0;
}

/* insert() - keep regions sorted; check_place() said yes. Takes over the mapping in @new. */
static void insert(struct guest_mem *mem, const struct guest_region *new)
{
	unsigned i = mem->n;

	while (i > 0 && mem->region[i - 1].gpa > new->gpa)
		i--;
	memmove(&mem->region[i + 1], &mem->region[i], (mem->n - i) * sizeof(*new));
	mem->region[i] = *new;
	mem->n++;
}

/*
 * reserve() - address space for @size bytes at the same offset from a huge page boundary as @gpa
 * Only then can one huge page of the host back one of the guest, which saves 511 of 512 faults.
 */
static void *reserve(uint64_t gpa, uint64_t size)
{
	uint64_t room = size + HUGE_PAGE, skip;
	uint8_t *at;

	if (size < HUGE_PAGE || wraps(size, HUGE_PAGE))
		return NULL;
	at = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return NULL; /* it would only have been faster */
	skip = (gpa - (uintptr_t)at) & (HUGE_PAGE - 1);
	if (skip)
		(void)munmap(at, skip);
	(void)munmap(at + skip + size, HUGE_PAGE - skip);
	return at + skip;
}

static int add_anon_mapping(
	uint64_t gpa, uint64_t size, uint64_t page, struct guest_mapping **ret, struct err *err)
{
	void *at = reserve(gpa, size);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED : 0);
	int r = mapping_new(at, size, page, flags, -1, 0, ret, err);

	if (r < 0 && at)
		(void)munmap(at, size);
	return r;
}

int guest_mem_add_anon(struct guest_mem *mem, uint64_t gpa, uint64_t size, struct err *err)
{
	struct guest_region r = { .gpa = gpa, .size = size };
	uint64_t page = host_page();
	int ret = check_place(mem, gpa, size, 0, err);

	if (ret < 0)
		return ret;
	if ((gpa | size) & (page - 1))
		return err_msg(err, EINVAL,
			"guest memory 0x%" PRIx64 "+0x%" PRIx64 " is not page aligned", gpa, size);
	ret = add_anon_mapping(gpa, size, page, &r.map, err);
	if (ret < 0)
		return ret;
	r.hva = r.map->addr;
	insert(mem, &r);
	return 0;
}

int guest_mem_add_borrowed(
	struct guest_mem *mem, uint64_t gpa, void *hva, uint64_t size, struct err *err)
{
	int ret = check_place(mem, gpa, size, 0, err);

	if (ret < 0)
		return ret;
	insert(mem, &(struct guest_region){ .gpa = gpa, .size = size, .hva = hva });
	return 0;
}

/* file_page() - page size of the memory behind @fd; mmap of hugetlbfs wants its own alignment. */
static uint64_t file_page(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && is_pow2(fs.f_bsize))
		return MAX_OF((uint64_t)fs.f_bsize, host_page());
	return host_page();
}

static int check_file(int fd, uint64_t offset, uint64_t size, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at the file of guest memory");
	/* Anything but a plain file (memfd, shm, hugetlbfs) could hold other surprises. */
	if (!S_ISREG(st.st_mode))
		return err_msg(err, EINVAL, "the file of guest memory is not a regular file");
	if (!range_ok(offset, size, (uint64_t)st.st_size))
		return err_msg(err, EINVAL, "guest memory lies beyond the end of its file");
	return 0;
}

int guest_mem_add_fd(struct guest_mem *mem, uint64_t gpa, uint64_t size, uint64_t user_addr, int fd,
	uint64_t offset, struct err *err)
{
	struct guest_region r = { .gpa = gpa, .size = size, .user_addr = user_addr };
	uint64_t page = file_page(fd), start = ALIGN_DOWN(offset, page), delta = offset - start;
	int ret = check_place(mem, gpa, size, user_addr, err);

	if (ret < 0)
		return ret;
	ret = check_file(fd, offset, size, err);
	if (ret < 0)
		return ret;
	/* Alignment of a gpa must survive the translation: rings and atomics depend on it. */
	if ((gpa ^ offset) & (host_page() - 1))
		return err_msg(err, EINVAL,
			"guest memory 0x%" PRIx64 " at file offset 0x%" PRIx64
			": different page offsets",
			gpa, offset);
	ret = mapping_new(NULL, ALIGN_UP(delta + size, page), page, MAP_SHARED | MAP_NORESERVE, fd,
		start, &r.map, err);
	if (ret < 0)
		return ret;
	r.hva = (uint8_t *)r.map->addr + delta;
	insert(mem, &r);
	return 0;
}

int guest_mem_remove(
	struct guest_mem *mem, uint64_t gpa, uint64_t size, uint64_t user_addr, struct err *err)
{
	for (unsigned i = 0; i < mem->n; i++) {
		struct guest_region *r = &mem->region[i];

		if (r->gpa != gpa || r->size != size || r->user_addr != user_addr)
			continue;
		mapping_unref(r->map);
		memmove(r, r + 1, (mem->n - i - 1) * sizeof(*r));
		mem->n--;
		return 0;
	}
	return err_msg(err, ENOENT, "no guest memory region 0x%" PRIx64 "+0x%" PRIx64, gpa, size);
}

/* find() - the region that holds @gpa; regions are sorted and disjoint. */
static const struct guest_region *find(const struct guest_mem *mem, uint64_t gpa)
{
	unsigned lo = 0, hi = mem->n;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		const struct guest_region *r = &mem->region[mid];

		if (gpa < r->gpa)
			hi = mid;
		else if (gpa - r->gpa >= r->size)
			lo = mid + 1;
		else
			return r;
	}
	return NULL;
}

void *guest_mem_ptr(const struct guest_mem *mem, uint64_t gpa, uint64_t len)
{
	const struct guest_region *r = find(mem, gpa);

	if (!r || len == 0 || !range_ok(gpa - r->gpa, len, r->size))
		return NULL;
	return r->hva + (gpa - r->gpa);
}

int guest_mem_iov(const struct guest_mem *mem, uint64_t gpa, uint64_t len, struct iovec *iov,
	unsigned *n, unsigned max)
{
	unsigned used = *n;

	while (len > 0) {
		const struct guest_region *r = find(mem, gpa);

		if (!r)
			return -EFAULT;
		if (used == max)
			return -E2BIG;
		uint64_t off = gpa - r->gpa, part = MIN_OF(len, r->size - off);

		iov[used++] = (struct iovec){ .iov_base = r->hva + off, .iov_len = part };
		gpa += part; /* cannot wrap: no region ends beyond 2^64 - 1 */
		len -= part;
	}
	*n = used;
	return 0;
}

int guest_mem_from_user(
	const struct guest_mem *mem, uint64_t user_addr, uint64_t len, uint64_t *ret_gpa)
{
	for (unsigned i = 0; i < mem->n; i++) {
		const struct guest_region *r = &mem->region[i];

		if (!r->user_addr || user_addr < r->user_addr ||
			user_addr - r->user_addr >= r->size)
			continue;
		uint64_t off = user_addr - r->user_addr;

		if (!range_ok(off, len, r->size))
			return -EFAULT;
		*ret_gpa = r->gpa + off;
		return 0;
	}
	return -EFAULT;
}

/* discard_part() - whole pages of [off, off + len) of one region. */
static int discard_part(const struct guest_region *r, uint64_t off, uint64_t len)
{
	uintptr_t start, end;

	if (!r->map)
		return 0;
	start = ALIGN_UP((uintptr_t)r->hva + off, r->map->page);
	end = ALIGN_DOWN((uintptr_t)r->hva + off + len, r->map->page);
	if (start >= end)
		return 0;
	/* Shared pages belong to the file: DONTNEED would only unmap them. REMOVE punches a hole.
	 */
	if (madvise((void *)start, end - start, r->map->shared ? MADV_REMOVE : MADV_DONTNEED) < 0)
		return -errno;
	return 0;
}

static int covered(const struct guest_mem *mem, uint64_t gpa, uint64_t len)
{
	while (len > 0) {
		const struct guest_region *r = find(mem, gpa);

		if (!r)
			return -EFAULT;
		uint64_t part = MIN_OF(len, r->size - (gpa - r->gpa));

		gpa += part;
		len -= part;
	}
	return 0;
}

int guest_mem_discard(const struct guest_mem *mem, uint64_t gpa, uint64_t len)
{
	int ret = covered(mem, gpa, len);

	while (ret == 0 && len > 0) {
		const struct guest_region *r = find(mem, gpa);
		uint64_t off = gpa - r->gpa, part = MIN_OF(len, r->size - off);

		ret = discard_part(r, off, part);
		gpa += part;
		len -= part;
	}
	return ret;
}

static const struct guest_region *find_hva(const struct guest_mem *mem, uintptr_t hva, uint64_t len)
{
	for (unsigned i = 0; i < mem->n; i++) {
		const struct guest_region *r = &mem->region[i];

		if (hva >= (uintptr_t)r->hva && range_ok(hva - (uintptr_t)r->hva, len, r->size))
			return r;
	}
	return NULL;
}

int guest_mem_discard_iov(const struct guest_mem *mem, const struct iovec *iov, unsigned n)
{
	int ret = 0;

	for (unsigned i = 0; i < n && ret == 0; i++) {
		uintptr_t hva = (uintptr_t)iov[i].iov_base;
		const struct guest_region *r = find_hva(mem, hva, iov[i].iov_len);

		if (r)
			ret = discard_part(r, hva - (uintptr_t)r->hva, iov[i].iov_len);
	}
	return ret;
}
