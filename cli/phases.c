/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/phases.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"

#define PHASES_MAX   64
#define PHASES_BYTES 8192

struct phase {
	char name[48];
	uint64_t ns;
};

static int open_out(const char *file, int *ret_fd, struct err *err)
{
	const char *number = getenv("MSB_PHASE_FD");
	uint64_t fd;

	if (file) {
		*ret_fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
		return *ret_fd < 0 ? err_set(err, errno, "open '%s'", file) : 0;
	}
	if (!number)
		return 0;
	if (num_parse_u64(number, "MSB_PHASE_FD", 3, INT32_MAX, &fd, err) < 0)
		return -EINVAL;
	*ret_fd = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
	return *ret_fd < 0 ? err_set(err, errno, "MSB_PHASE_FD %s", number) : 0;
}

int phases_start(struct phases *p, bool table, const char *file, struct err *err)
{
	int rc;

	*p = (struct phases){ .fd = -1, .out_fd = -1, .table = table };
	rc = open_out(file, &p->out_fd, err);
	if (rc < 0 || (p->out_fd < 0 && !table))
		return rc;
	p->fd = memfd_create("phases", MFD_CLOEXEC);
	if (p->fd < 0)
		return err_set(err, errno, "collect timings");
	log_set_phase_fd(p->fd);
	dprintf(p->fd, "phase start %" PRIu64 "\n", cli_start_ns());
	return 0;
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = ((const struct phase *)a)->ns, y = ((const struct phase *)b)->ns;

	return (x > y) - (x < y);
}

static unsigned parse(char *text, struct phase *phase)
{
	unsigned n = 0;
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line && n < PHASES_MAX;
		line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "phase %47s %" SCNu64, phase[n].name, &phase[n].ns) == 2)
			n++;
	}
	qsort(phase, n, sizeof(phase[0]), by_time);
	return n;
}

static void print_table(char *text)
{
	struct phase phase[PHASES_MAX];
	unsigned n = parse(text, phase);

	fprintf(stderr, "%12s %12s\n", "since start", "step");
	for (unsigned i = 0; i < n; i++) {
		uint64_t last = i ? phase[i - 1].ns : phase[0].ns;

		fprintf(stderr, "%9.1f ms %9.1f ms  %s\n",
			(double)(phase[i].ns - phase[0].ns) / (double)NS_PER_MS,
			(double)(phase[i].ns - last) / (double)NS_PER_MS, phase[i].name);
	}
}

void phases_finish(struct phases *p)
{
	char text[PHASES_BYTES];
	ssize_t n;

	if (p->fd < 0)
		return;
	log_phase("end");
	log_set_phase_fd(-1);
	n = pread(p->fd, text, sizeof(text) - 1, 0);
	if (n > 0) {
		text[n] = '\0';
		if (p->out_fd >= 0)
			(void)!write(p->out_fd, text, (size_t)n);
		if (p->table)
			print_table(text);
	}
	close_fd(&p->fd);
	close_fd(&p->out_fd);
}
