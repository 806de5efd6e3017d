/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on one file, checked against a copy in memory: reads, writes, truncation,
 * shared mappings, holes, copies within the file, re-opening. Deterministic for a seed.
 *
 *	io_exerciser FILE SEED OPERATIONS
 *
 * Exits 0, or 1 after saying which operation found which difference, with the last operations.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/num.h"

#define MAX_SIZE (768u << 10)
#define MAX_OP	 (160u << 10)
#define HISTORY	 24

struct exerciser {
	const char *path;
	int fd;
	uint64_t rng;
	unsigned long op;
	size_t size;
	unsigned char model[MAX_SIZE], buf[MAX_SIZE];
	char history[HISTORY][80];
};

static uint32_t rnd(struct exerciser *x)
{
	x->rng ^= x->rng << 13;
	x->rng ^= x->rng >> 7;
	x->rng ^= x->rng << 17;
	return (uint32_t)(x->rng >> 16);
}

__attribute__((format(printf, 2, 3))) static void note(struct exerciser *x, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(x->history[x->op % HISTORY], sizeof(x->history[0]), fmt, ap);
	va_end(ap);
}

__attribute__((noreturn)) static void fail(struct exerciser *x, const char *what, size_t at)
{
	printf("operation %lu: %s at %zu (%s)\n", x->op, what, at, strerror(errno));
	for (unsigned long i = x->op < HISTORY ? 0 : x->op - HISTORY + 1; i <= x->op; i++)
		printf("  %lu %s\n", i, x->history[i % HISTORY]);
	exit(1);
}

/* A range: mostly anywhere, sometimes on page boundaries. */
static void range(struct exerciser *x, size_t limit, size_t *off, size_t *len)
{
	*off = limit ? rnd(x) % limit : 0;
	if (rnd(x) % 4 == 0)
		*off &= ~4095UL;
	*len = 1 + rnd(x) % (rnd(x) % 3 ? 9000 : MAX_OP);
	*len = MIN_OF(*len, limit - *off);
}

static void compare(struct exerciser *x, const unsigned char *got, size_t off, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (got[i] != x->model[off + i]) {
			errno = 0;
			printf("read 0x%02x, expected 0x%02x\n", got[i], x->model[off + i]);
			fail(x, "wrong data", off + i);
		}
	}
}

static void op_read(struct exerciser *x)
{
	size_t off, len;

	range(x, x->size + 5000, &off, &len);
	note(x, "read %zu+%zu", off, len);
	ssize_t n = pread(x->fd, x->buf, len, (off_t)off);
	size_t want = off < x->size ? MIN_OF(len, x->size - off) : 0;
	if (n != (ssize_t)want)
		fail(x, "read length", off);
	compare(x, x->buf, off, want);
}

static void fill(struct exerciser *x, unsigned char *p, size_t len)
{
	unsigned char c = (unsigned char)rnd(x);

	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(c + i * 7);
}

static void grow(struct exerciser *x, size_t end)
{
	if (end > x->size) {
		memset(x->model + x->size, 0, end - x->size);
		x->size = end;
	}
}

static void op_write(struct exerciser *x)
{
	size_t off, len;

	range(x, MIN_OF(x->size + 20000, MAX_SIZE), &off, &len);
	note(x, "write %zu+%zu", off, len);
	fill(x, x->buf, len);
	if (pwrite(x->fd, x->buf, len, (off_t)off) != (ssize_t)len)
		fail(x, "write", off);
	grow(x, off + len);
	memcpy(x->model + off, x->buf, len);
}

static void op_append(struct exerciser *x)
{
	size_t len = rnd(x) % 20000, off = x->size;
	int fd = open(x->path, O_WRONLY | O_APPEND | O_CLOEXEC);

	len = MIN_OF(len, MAX_SIZE - off);
	note(x, "append %zu+%zu", off, len);
	fill(x, x->buf, len);
	if (fd < 0 || write(fd, x->buf, len) != (ssize_t)len || close(fd) != 0)
		fail(x, "append", off);
	grow(x, off + len);
	memcpy(x->model + off, x->buf, len);
}

static void op_truncate(struct exerciser *x)
{
	size_t size = rnd(x) % (rnd(x) % 4 ? x->size + 1 : MAX_SIZE);

	note(x, "truncate %zu (was %zu)", size, x->size);
	if ((rnd(x) & 1 ? ftruncate(x->fd, (off_t)size) : truncate(x->path, (off_t)size)) != 0)
		fail(x, "truncate", size);
	grow(x, size);
	x->size = size;
}

static void op_map(struct exerciser *x)
{
	size_t off, len;
	bool write = rnd(x) & 1;

	if (x->size == 0)
		return;
	range(x, x->size, &off, &len);
	note(x, "map %s %zu+%zu", write ? "write" : "read", off, len);
	size_t base = off & ~4095UL;
	unsigned char *p = mmap(NULL, len + off - base, PROT_READ | (write ? PROT_WRITE : 0),
		MAP_SHARED, x->fd, (off_t)base);
	if (p == MAP_FAILED)
		fail(x, "mmap", off);
	if (write) {
		fill(x, x->model + off, len);
		memcpy(p + off - base, x->model + off, len);
		if (rnd(x) & 1 && msync(p, len + off - base, MS_SYNC) != 0)
			fail(x, "msync", off);
	} else {
		compare(x, p + off - base, off, len);
	}
	(void)munmap(p, len + off - base);
}

static void op_fallocate(struct exerciser *x)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	int mode = modes[rnd(x) % ARRAY_LEN(modes)];
	size_t off, len;

	range(x, MIN_OF(x->size + 20000, MAX_SIZE), &off, &len);
	note(x, "fallocate mode %d %zu+%zu", mode, off, len);
	if (fallocate(x->fd, mode, (off_t)off, (off_t)len) != 0) {
		if (errno == EOPNOTSUPP)
			return;
		fail(x, "fallocate", off);
	}
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		grow(x, off + len);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && off < x->size)
		memset(x->model + off, 0, MIN_OF(len, x->size - off));
}

static void op_copy(struct exerciser *x)
{
	size_t from, to, len;

	range(x, x->size, &from, &len);
	to = from + len + (MAX_SIZE > from + len ? rnd(x) % (MAX_SIZE - from - len) : 0);
	len = MIN_OF(len, MAX_SIZE - to);
	note(x, "copy %zu+%zu to %zu", from, len, to);
	if (len == 0)
		return;
	off_t in = (off_t)from, out = (off_t)to;
	ssize_t n = copy_file_range(x->fd, &in, x->fd, &out, len, 0);
	if (n < 0)
		fail(x, "copy_file_range", from);
	if (n > 0) {
		grow(x, to + (size_t)n);
		memcpy(x->model + to, x->model + from, (size_t)n);
	}
}

static void op_reopen(struct exerciser *x)
{
	note(x, "reopen");
	(void)close(x->fd);
	x->fd = open(x->path, O_RDWR | O_CLOEXEC);
	if (x->fd < 0)
		fail(x, "open", 0);
}

static void op_check(struct exerciser *x)
{
	struct stat st;

	note(x, "check all of %zu", x->size);
	if (fstat(x->fd, &st) != 0 || (size_t)st.st_size != x->size)
		fail(x, "size", (size_t)st.st_size);
	if (pread(x->fd, x->buf, MAX_SIZE, 0) != (ssize_t)x->size)
		fail(x, "read length", x->size);
	compare(x, x->buf, 0, x->size);
}

static void op_sync(struct exerciser *x)
{
	note(x, "fdatasync");
	if (fdatasync(x->fd) != 0)
		fail(x, "fdatasync", 0);
}

static void step(struct exerciser *x)
{
	static void (*const ops[])(struct exerciser *) = { op_read, op_read, op_read, op_write,
		op_write, op_write, op_append, op_truncate, op_map, op_map, op_map, op_fallocate,
		op_fallocate, op_copy, op_reopen, op_check };
	uint32_t n = rnd(x) % (16 * 16);

	if (n == 0)
		op_sync(x);
	else
		ops[n % ARRAY_LEN(ops)](x);
	x->op++;
}

int main(int argc, char **argv)
{
	struct exerciser *x = calloc(1, sizeof(*x));
	uint64_t seed, n;

	if (!x || argc != 4 || num_parse_u64(argv[2], "seed", 0, UINT32_MAX, &seed, NULL) < 0 ||
		num_parse_u64(argv[3], "operations", 1, UINT32_MAX, &n, NULL) < 0)
		errx(2, "usage: io_exerciser FILE SEED OPERATIONS");
	x->path = argv[1];
	x->rng = seed * 0x9e3779b97f4a7c15ULL + 1;
	x->fd = open(x->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (x->fd < 0)
		err(1, "open '%s'", x->path);
	while (x->op < n)
		step(x);
	op_check(x);
	op_reopen(x);
	op_check(x);
	printf("%lu operations, %zu bytes at the end\n", x->op, x->size);
	(void)close(x->fd);
	(void)unlink(x->path);
	free(x);
	return 0;
}
