/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu/version.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define ANSWER_MS 5000

int qemu_version_ask(int program_fd, struct qemu_child *ret_child, struct err *err)
{
	static const char *const argv[] = { QEMU_PROGRAM, "-version", NULL };

	return qemu_spawn(program_fd, (char *const *)argv, NULL, 0, -1, ret_child, err);
}

struct qemu_version qemu_version_parse(const char *text)
{
	struct qemu_version v = { 0, 0 };
	const char *word = strstr(text, "version ");

	if (!word || sscanf(word, "version %4u.%4u", &v.major, &v.minor) != 2)
		return (struct qemu_version){ 0, 0 };
	return v;
}

struct qemu_version qemu_version_take(struct qemu_child *child)
{
	struct pollfd ended = { .fd = child->pidfd, .events = POLLIN };
	struct qemu_version v = { 0, 0 };
	char text[1024]; /* warnings may come first */
	ssize_t n;

	if (child->pid <= 0)
		return v;
	/* What it says fits a pipe many times over, so it ends without a reader. */
	if (poll(&ended, 1, ANSWER_MS) == 1) {
		n = read(child->output_fd, text, sizeof(text) - 1);
		text[n > 0 ? n : 0] = '\0';
		v = qemu_version_parse(text);
	}
	qemu_child_end(child);
	return v;
}

bool qemu_version_runs_vcpus_in_parallel(struct qemu_version v)
{
	return v.major > 8 || (v.major == 8 && v.minor >= 1);
}
