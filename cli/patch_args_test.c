/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/patch_args.h"
#include "lib/cleanup.h"
#include "lib/num.h"

static char top[64];

static void put(const char *name, const char *text, mode_t mode)
{
	char path[128];
	cleanup_fd int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int set_up(void **state)
{
	char path[128];

	(void)snprintf(top, sizeof(top), "/tmp/patch-args-XXXXXX");
	if (!mkdtemp(top))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/dir", top);
	if (mkdir(path, 0750) < 0)
		return -1;
	put("file", "hello", 0640);
	put("dir/inner", "", 0755);
	(void)snprintf(path, sizeof(path), "%s/dir/link", top);
	return symlink("../../../etc/passwd", path);
}

static int tear_down(void **state)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static void add(struct patch_args *args, enum patch_kind kind, const char *fmt)
{
	char spec[256];
	struct err err = ERR_INIT;

	if (kind < PATCH_MKDIR)
		(void)snprintf(spec, sizeof(spec), "%s/%s", top, fmt);
	else
		(void)snprintf(spec, sizeof(spec), "%s", fmt);
	if (patch_args_add(args, kind, spec, &err) < 0)
		fail_msg("%s: %s", spec, err.msg);
}

/* All frames as text: "op path target mode more data;" */
static void collect(struct patch_source *src, char *dst, size_t max)
{
	struct err err = ERR_INIT;
	struct patch p;
	size_t len = 0;
	int rc;

	while ((rc = patch_source_next(src, &p, &err)) == 1)
		len += (size_t)snprintf(dst + len, max - len, "%s %s%s%s %o%s%.*s;", p.op.s,
			p.path.s ? p.path.s : "", p.target.s ? ">" : "",
			p.target.s ? p.target.s : "", p.mode, p.more ? "+" : "", (int)p.data.len,
			p.data.len ? (const char *)p.data.data : "");
	if (rc < 0)
		fail_msg("%s", err.msg);
}

static void gives_all_frames_in_order(void **state)
{
	struct patch_args args = { 0 };
	struct patch_source *src = calloc(1, sizeof(*src));
	char text[2048];
	bool link_first;

	add(&args, PATCH_REMOVE, "/gone");
	add(&args, PATCH_MKDIR, "/made");
	add(&args, PATCH_COPY_DIR, "dir:/to");
	add(&args, PATCH_COPY, "file:/f");
	src->args = &args;
	collect(src, text, sizeof(text));
	link_first = strstr(text, "symlink") < strstr(text, "/to/inner");
	assert_string_equal(text,
		link_first
			? "file /f 640+;data  0+hello;data  0;"
			  "dir /to 750;symlink /to/link>../../../etc/passwd 0;"
			  "file /to/inner 755+;data  0;mkdir /made 0;remove /gone 0;"
			: "file /f 640+;data  0+hello;data  0;"
			  "dir /to 750;file /to/inner 755+;data  0;"
			  "symlink /to/link>../../../etc/passwd 0;mkdir /made 0;remove /gone 0;");
	patch_source_release(src);
	patch_args_release(&args);
	free(src);
}

/* struct copied - what the frames of one file come to */
struct copied {
	uint64_t len, data, skip_last;
	char text[16]; /* the data, as far as it fits */
};

static struct copied copy_rest(struct patch_source *src)
{
	struct copied ret = { 0 };
	struct err err = ERR_INIT;
	struct patch p;
	int rc;

	while ((rc = patch_source_next(src, &p, &err)) == 1) {
		ret.len += p.skip + p.data.len;
		ret.skip_last = p.skip;
		for (size_t i = 0; i < p.data.len; i++) {
			if (p.data.data[i] && ret.data < sizeof(ret.text) - 1)
				ret.text[ret.data++] = (char)p.data.data[i];
		}
	}
	if (rc < 0)
		fail_msg("%s", err.msg);
	return ret;
}

static int open_source(const char *name)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

#define FAR (3LL << 30)

static void skips_holes(void **state)
{
	struct patch_args args = { 0 };
	struct patch_source *src = calloc(1, sizeof(*src));
	cleanup_fd int fd = open_source("file");
	struct copied copied;
	struct patch p;

	assert_int_equal(pwrite(fd, "far", 3, FAR), 3);
	add(&args, PATCH_COPY, "file:/f");
	src->args = &args;
	copied = copy_rest(src);
	assert_string_equal(copied.text, "hellofar");
	assert_int_equal(copied.len, FAR + 3);
	assert_int_equal(copied.skip_last, 0);
	assert_int_equal(ftruncate(fd, 2 * FAR), 0);
	*src = (struct patch_source){ .args = &args };
	copied = copy_rest(src);
	assert_string_equal(copied.text, "hellofar");
	assert_int_equal(copied.len, 2 * FAR);
	assert_true(copied.skip_last > FAR / 2);
	/* All of it has become a hole while it was read. */
	*src = (struct patch_source){ .args = &args };
	assert_int_equal(patch_source_next(src, &p, NULL), 1);
	assert_int_equal(ftruncate(fd, 0) | ftruncate(fd, 2 * FAR), 0);
	copied = copy_rest(src);
	assert_string_equal(copied.text, "");
	assert_int_equal(copied.skip_last, 2 * FAR);
	patch_source_release(src);
	patch_args_release(&args);
	free(src);
}

/* They are many, and sent as the zeros they are: a frame for each would take longer. */
static void sends_short_holes(void **state)
{
	struct patch_args args = { 0 };
	struct patch_source *src = calloc(1, sizeof(*src));
	cleanup_fd int fd = open_source("file");
	struct err err = ERR_INIT;
	struct patch p;
	size_t frames = 0, len = 0, found = 0;

	for (off_t at = 0; at < MIB(1); at += KIB(8))
		assert_int_equal(pwrite(fd, "x", 1, at), 1);
	add(&args, PATCH_COPY, "file:/f");
	src->args = &args;
	while (patch_source_next(src, &p, &err) == 1) {
		assert_int_equal(p.skip, 0);
		for (size_t i = 0; i < p.data.len; i++)
			found += p.data.data[i] == 'x' && (len + i) % KIB(8) == 0;
		len += p.data.len;
		frames++;
	}
	assert_true(len > MIB(1) - KIB(8) && found == 128 && frames < 32);
	patch_source_release(src);
	patch_args_release(&args);
	free(src);
}

/* It ends where it ended at first or ends now, and never waits for more. */
static void copies_what_changes(void **state)
{
	struct patch_args args = { 0 };
	struct patch_source *src = calloc(1, sizeof(*src));
	cleanup_fd int fd = open_source("file");
	struct copied copied;
	struct patch p;

	add(&args, PATCH_COPY, "file:/f");
	src->args = &args;
	assert_int_equal(patch_source_next(src, &p, NULL), 1);
	assert_int_equal(pwrite(fd, "more", 4, 5), 4);
	copied = copy_rest(src);
	assert_string_equal(copied.text, "hello");
	assert_int_equal(pwrite(fd, "x", 1, MIB(1)), 1);
	*src = (struct patch_source){ .args = &args };
	assert_int_equal(patch_source_next(src, &p, NULL), 1);
	assert_int_equal(patch_source_next(src, &p, NULL), 1);
	assert_true(p.data.len >= 9);
	assert_int_equal(ftruncate(fd, 2), 0);
	copied = copy_rest(src);
	assert_int_equal(copied.data, 0);
	patch_source_release(src);
	patch_args_release(&args);
	free(src);
}

/* Such a file has contents and yet no size. */
static void copies_files_of_proc(void **state)
{
	struct patch_args args = { 0 };
	struct patch_source *src = calloc(1, sizeof(*src));
	struct err err = ERR_INIT;
	char text[4096];

	assert_int_equal(patch_args_add(&args, PATCH_COPY, "/proc/self/status:/s", &err), 0);
	src->args = &args;
	collect(src, text, sizeof(text));
	assert_non_null(strstr(text, "VmRSS"));
	patch_source_release(src);
	patch_args_release(&args);
	free(src);
}

static void refuses(void **state)
{
	static const struct {
		enum patch_kind kind;
		const char *spec, *words;
	} bad[] = {
		{ PATCH_COPY, "/etc/hostname", "SOURCE:GUEST" },
		{ PATCH_COPY, "/no/such:/x", "No such file" },
		{ PATCH_COPY, "/dev/null:/x", "regular" },
		{ PATCH_COPY_DIR, "/dev/null:/x", "not a folder" },
		{ PATCH_COPY_FILE, "/tmp:/x", "not a regular file" },
		{ PATCH_COPY, "/tmp:x", "absolute" },
		{ PATCH_MKDIR, "relative", "absolute" },
		{ PATCH_REMOVE, "/", "absolute" },
		{ PATCH_REMOVE, "/a/../../b", "'..'" },
	};
	struct patch_args args = { 0 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = ERR_INIT;

		assert_int_equal(patch_args_add(&args, bad[i].kind, bad[i].spec, &err), -EDOM);
		if (!strstr(err.msg, bad[i].words))
			fail_msg("'%s': '%s' lacks '%s'", bad[i].spec, err.msg, bad[i].words);
	}
	assert_int_equal(args.n, 0);
}

static void reports_what_cannot_be_copied(void **state)
{
	struct patch_args args = { 0 };
	struct patch_source *src = calloc(1, sizeof(*src));
	struct err err = ERR_INIT;
	struct patch p;
	char path[128];
	int rc;

	(void)snprintf(path, sizeof(path), "%s/dir/fifo", top);
	assert_int_equal(mkfifo(path, 0600), 0);
	add(&args, PATCH_COPY, "dir:/to");
	src->args = &args;
	while ((rc = patch_source_next(src, &p, &err)) == 1)
		;
	assert_int_equal(rc, -EINVAL);
	assert_non_null(strstr(err.msg, "/to/fifo"));
	patch_source_release(src);
	patch_args_release(&args);
	free(src);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(gives_all_frames_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(skips_holes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(sends_short_holes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(copies_what_changes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(copies_files_of_proc, set_up, tear_down),
		cmocka_unit_test(refuses),
		cmocka_unit_test_setup_teardown(reports_what_cannot_be_copied, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
