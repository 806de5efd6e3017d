/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blockbench IMAGE FORMAT read|write LEN COUNT seq|random FLUSH - requests of one thread over an
 * image, with a flush behind each FLUSH of them (0: none)
 * Prints wall and CPU seconds, without opening and with closing. The places of random requests are
 * the same in each run.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "block/block.h"
#include "lib/num.h"

static double wall(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static double cpu(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return seconds(&u.ru_utime) + seconds(&u.ru_stime);
}

static int run(
	struct block *b, bool writing, size_t len, uint64_t count, bool random, uint64_t flush)
{
	uint64_t slots = b->size / len, seed = 1;
	void *data = calloc(1, len);
	struct iovec iov = { data, len };
	int r = data && slots ? 0 : -1;

	if (data)
		memset(data, 7, len);
	for (uint64_t i = 0; r == 0 && i < count; i++) {
		uint64_t slot = i % slots;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
		if (random)
			slot = (seed >> 24) % slots;
		r = writing ? block_write(b, &iov, 1, slot * len)
			    : block_read(b, &iov, 1, slot * len);
		if (r == 0 && flush && i % flush == flush - 1)
			r = block_flush(b);
	}
	free(data);
	return r;
}

static int fail(const char *what)
{
	(void)fprintf(stderr, "blockbench: %s\n", what);
	return 1;
}

int main(int argc, char **argv)
{
	struct block_config cfg = { .dir_fd = -1 };
	struct block *b = NULL;
	struct err err = ERR_INIT;
	uint64_t len, count, flush;
	double wall0, cpu0;
	int r;

	if (argc != 8 || block_format_parse(argv[2], &cfg.format, &err) < 0 ||
		num_parse_size(argv[4], "length", 1, &len, &err) < 0 ||
		num_parse_u64(argv[5], "count", 1, UINT32_MAX, &count, &err) < 0 ||
		num_parse_u64(argv[7], "flush", 0, UINT32_MAX, &flush, &err) < 0)
		return fail(err.code
				    ? err.msg
				    : "IMAGE FORMAT read|write LEN COUNT seq|random FLUSH, please");
	cfg.fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (cfg.fd < 0 || block_open(&cfg, &b, &err) < 0)
		return fail(err.code ? err.msg : "cannot open the image");
	wall0 = wall();
	cpu0 = cpu();
	r = run(b, strcmp(argv[3], "write") == 0, len, count, strcmp(argv[6], "random") == 0,
		flush);
	block_free(b);
	(void)close(cfg.fd);
	(void)printf("%.3f %.3f\n", wall() - wall0, cpu() - cpu0);
	return r == 0 ? 0 : fail("a request failed");
}
