/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upperbench FOLDER SIZE COUNT - make a writable layer of SIZE (as "4G") in FOLDER, COUNT times
 * Prints milliseconds: the least, the median, the most; and KiB that one takes on the disk.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/upper.h"
#include "lib/clock.h"
#include "lib/num.h"

#define NAME "upperbench"

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int make_one(int dir_fd, const struct upper_config *cfg, double *ret_ms, struct err *err)
{
	uint64_t start = clock_mono_ns();
	int rc = upper_create(dir_fd, NAME, cfg, err);

	*ret_ms = (double)(clock_mono_ns() - start) / 1e6;
	return rc;
}

static int fail(const char *what)
{
	(void)fprintf(stderr, "upperbench: %s\n", what);
	return 1;
}

int main(int argc, char **argv)
{
	static const char *const dirs[] = { "upper", "work", NULL };
	struct upper_config cfg = { .dirs = dirs };
	struct err err = ERR_INIT;
	uint64_t count = 0;
	struct stat st = { 0 };
	double *ms;
	int dir_fd;

	if (argc != 4 || num_parse_size(argv[2], "size", 1, &cfg.size, &err) < 0 ||
		num_parse_u64(argv[3], "count", 1, 100000, &count, &err) < 0)
		return fail(err.code ? err.msg : "FOLDER SIZE COUNT, please");
	dir_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ms = calloc(count, sizeof(*ms));
	if (dir_fd < 0 || !ms)
		return fail("cannot open the folder");
	for (uint64_t i = 0; i < count; i++) {
		if (make_one(dir_fd, &cfg, &ms[i], &err) < 0)
			return fail(err.msg);
		(void)fstatat(dir_fd, NAME, &st, 0);
		(void)unlinkat(dir_fd, NAME, 0);
	}
	qsort(ms, count, sizeof(*ms), compare);
	(void)printf("%.2f %.2f %.2f %llu\n", ms[0], ms[count / 2], ms[count - 1],
		(unsigned long long)st.st_blocks / 2);
	free(ms);
	return 0;
}
