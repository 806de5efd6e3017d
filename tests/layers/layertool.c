/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layer half of image/ as a command, for tests and benches:
 *
 *	layertool layer BLOB OUT	a layer's blob to an EROFS image
 *	layertool merge OUT LAYER...	layers to a merged metadata image
 *	layertool flat OUT LAYER...	layers to one ext4 image
 *
 * Prints one JSON object: what the result says, and wall and CPU milliseconds and peak memory in
 * KiB of this process. An error is one line on stderr and status 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "image/layer.h"
#include "image/merge.h"
#include "lib/cleanup.h"
#include "lib/clock.h"

static int open_out(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	return fd < 0 ? err_set(err, errno, "open '%s'", path) : fd;
}

static int open_in(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_set(err, errno, "open '%s'", path) : fd;
}

/* Not ru_maxrss: that remembers the process that forked us. */
static long peak_kib(void)
{
	cleanup_file FILE *f = fopen("/proc/self/status", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmHWM:", 6))
			return strtol(line + 6, NULL, 10);
	return 0;
}

static void print_cost(uint64_t start_ns)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	printf("\"wall_ms\": %.1f, \"user_ms\": %.1f, \"sys_ms\": %.1f, \"peak_kib\": %ld}\n",
		(double)(clock_mono_ns() - start_ns) / 1e6,
		(double)u.ru_utime.tv_sec * 1e3 + (double)u.ru_utime.tv_usec / 1e3,
		(double)u.ru_stime.tv_sec * 1e3 + (double)u.ru_stime.tv_usec / 1e3, peak_kib());
}

static int feed_file(struct layer *l, int fd, struct err *err)
{
	static uint8_t buf[65536];

	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));
		int r = n < 0 ? err_set(err, errno, "read layer") : 0;

		if (n > 0)
			r = layer_feed(l, buf, (size_t)n, err);
		if (n <= 0 || r < 0)
			return r;
	}
}

static int cmd_layer(char **argv, struct err *err)
{
	static const char *const kinds[] = { "plain", "gzip", "zstd" };
	cleanup_fd int in = open_in(argv[0], err);
	cleanup_fd int out = in < 0 ? in : open_out(argv[1], err);
	cleanup_layer struct layer *l = NULL;
	struct layer_result res;
	int r = out < 0 ? out : layer_new(out, NULL, &l, err);

	if (r == 0)
		r = feed_file(l, in, err);
	if (r == 0)
		r = layer_finish(l, &res, err);
	if (r < 0)
		return r;
	printf("{\"diff_id\": \"%s\", \"blob_digest\": \"%s\", \"compression\": \"%s\", ",
		res.diff_id, res.blob_digest, kinds[res.compression]);
	printf("\"blob_size\": %" PRIu64 ", \"tar_size\": %" PRIu64 ", \"erofs_size\": %" PRIu64
	       ", ",
		res.blob_size, res.tar_size, res.erofs_size);
	printf("\"entries\": %" PRIu64 ", \"inodes\": %" PRIu64 ", \"file_bytes\": %" PRIu64
	       ", \"dropped\": %" PRIu64 ", ",
		res.entries, res.inodes, res.file_bytes, res.dropped);
	return 0;
}

static int cmd_merge(char **argv, int n, bool flat, struct err *err)
{
	int fds[MERGE_MAX_LAYERS], count = 0, r = 0;
	cleanup_fd int out = open_out(argv[0], err);
	struct merge_result res;

	if (out < 0)
		return out;
	for (int i = 1; r >= 0 && i < n && count < MERGE_MAX_LAYERS; i++)
		if ((r = open_in(argv[i], err)) >= 0)
			fds[count++] = r;
	if (r >= 0)
		r = flat ? merge_flat(fds, (unsigned)count, out, &res, err)
			 : merge_layers(fds, (unsigned)count, out, &res, err);
	for (int i = 0; i < count; i++)
		(void)close(fds[i]);
	if (r < 0)
		return r;
	printf("{\"size\": %" PRIu64 ", \"total_size\": %" PRIu64 ", \"inodes\": %" PRIu64
	       ", \"file_bytes\": %" PRIu64 ", ",
		res.size, res.total_size, res.inodes, res.file_bytes);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t start = clock_mono_ns();
	struct err err = ERR_INIT;
	int r = -EINVAL;

	if (argc == 4 && !strcmp(argv[1], "layer"))
		r = cmd_layer(argv + 2, &err);
	else if (argc >= 4 && !strcmp(argv[1], "merge"))
		r = cmd_merge(argv + 2, argc - 2, false, &err);
	else if (argc >= 4 && !strcmp(argv[1], "flat"))
		r = cmd_merge(argv + 2, argc - 2, true, &err);
	else
		(void)err_msg(
			&err, EINVAL, "usage: layertool layer BLOB OUT | merge|flat OUT LAYER...");
	if (r < 0) {
		fprintf(stderr, "layertool: %s\n", err.msg);
		return 1;
	}
	print_cost(start);
	return 0;
}
