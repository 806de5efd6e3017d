/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/fs_file.h"
#include "lib/cleanup.h"
#include "lib/num.h"

static int parse(struct fs_file *f, const char *text, struct err *err)
{
	return fs_file_parse(f, "conf/fs.yaml", text, strlen(text), false, err);
}

static void accept(struct fs_file *f, const char *text)
{
	struct err err = ERR_INIT;

	if (parse(f, text, &err) < 0)
		fail_msg("%s", err.msg);
}

static void takes_mounts(void **state)
{
	struct fs_file f = { 0 };
	struct mount_arg *m = f.mounts.v;

	accept(&f, "mounts:\n"
		   "  - ./src:/src:ro,quota=none\n"
		   "  - {bind: 'a:/b,c', target: /bound, readonly: true, nodev: false,\n"
		   "     stat_virtualization: strict, host_permissions: mirror, uid: 7, gid: 0,\n"
		   "     quota: 2G, follow_root_symlinks: true}\n"
		   "  - {named: data, target: /data}\n"
		   "  - {named: more, target: /more, create: ensure-exists}\n"
		   "  - {tmpfs: {size: 64M}, target: /t, noexec: true, nosuid: true}\n"
		   "  - {tmpfs: {}, target: /u}\n"
		   "  - {disk: /img/x.img, target: /d, format: qcow2, fstype: xfs}\n");
	assert_int_equal(f.mounts.n, 7);
	assert_string_equal(m[0].source, "./conf/./src");
	assert_true(m[0].kind == MOUNT_HOST && m[0].flags.readonly && m[0].no_quota);
	assert_string_equal(m[1].source, "./conf/a:/b,c");
	assert_string_equal(m[1].guest, "/bound");
	assert_true(m[1].flags.readonly && !m[1].flags.nodev && m[1].follow_links);
	assert_true(m[1].stat == MOUNT_STAT_STRICT && m[1].perms == MOUNT_PERMS_MIRROR);
	assert_true(m[1].has_ids && m[1].uid == 7 && m[1].gid == 0 && m[1].quota == GIB(2));
	assert_true(m[2].kind == MOUNT_VOLUME && m[2].create == MOUNT_EXISTING);
	assert_string_equal(m[2].source, "data");
	assert_int_equal(m[3].create, MOUNT_ENSURE);
	assert_true(m[4].kind == MOUNT_TMPFS && m[4].size_mib == 64 && m[4].flags.noexec);
	assert_null(m[5].source);
	assert_true(m[6].kind == MOUNT_IMAGE && m[6].format == BLOCK_QCOW2);
	assert_string_equal(m[6].source, "/img/x.img");
	assert_string_equal(m[6].fstype, "xfs");
	/* Another file: this list anew, the others stay. */
	accept(&f, "mounts: ['/only:/one']\n");
	assert_int_equal(f.mounts.n, 1);
	fs_file_release(&f);
}

static void takes_patches_in_order(void **state)
{
	struct mount_args mounts = { 0 };
	struct patch_args patches = { 0 };
	struct fs_file f = { 0 };

	assert_int_equal(patch_args_add(&patches, PATCH_REMOVE, "/last", NULL), 0);
	assert_int_equal(patch_args_add(&patches, PATCH_MKDIR, "/before-last", NULL), 0);
	accept(&f, "patches:\n"
		   "  - remove: {path: /a}\n"
		   "  - text: {path: /b, content: \"x\\ny\", mode: \"0640\", replace: true}\n"
		   "  - file: {path: /c, content_base64: AP8=}\n"
		   "  - symlink: {target: ../../x, link: /d}\n"
		   "  - mkdir: {path: /e, mode: \"0000\"}\n"
		   "  - append: {path: /f, content: \"\"}\n"
		   "  - copy_file: {src: /etc/passwd, dst: /g, mode: \"0600\"}\n"
		   "  - copy_dir: {src: /proc/self/fd, dst: /h}\n");
	assert_int_equal(fs_file_finish(&f, &mounts, &patches, NULL), 0);
	assert_int_equal(patches.n, 10);
	assert_int_equal(patches.v[0].kind, PATCH_REMOVE);
	assert_true(patches.v[1].kind == PATCH_WRITE && patches.v[1].replace);
	assert_true(patches.v[1].has_mode && patches.v[1].mode == 0640 && patches.v[1].len == 3);
	assert_memory_equal(patches.v[1].content, "x\ny", 3);
	assert_memory_equal(patches.v[2].content, "\0\xff", 2);
	assert_true(patches.v[2].len == 2 && !patches.v[2].has_mode && !patches.v[2].replace);
	assert_string_equal(patches.v[3].source, "../../x");
	assert_string_equal(patches.v[3].path, "/d");
	assert_true(patches.v[4].has_mode && patches.v[4].mode == 0);
	assert_true(patches.v[5].kind == PATCH_APPEND && patches.v[5].len == 0);
	assert_string_equal(patches.v[6].source, "/etc/passwd");
	assert_int_equal(patches.v[7].kind, PATCH_COPY_DIR);
	assert_string_equal(patches.v[8].path, "/before-last");
	assert_string_equal(patches.v[9].path, "/last");
	patch_args_release(&patches);
	mount_args_release(&mounts);
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[128];
	cleanup_fd int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void reads_the_files_it_names(void **state)
{
	char dir[] = "/tmp/fs-file-XXXXXX", path[64], command[64];
	struct fs_file f = { 0 };
	struct err err = ERR_INIT;

	assert_non_null(mkdtemp(dir));
	put(dir, "one", "patches: [{copy_file: {src: two, dst: /x}}]\n");
	put(dir, "two", "patches: [{remove: {path: /y}}, {mkdir: {path: relative}}]\n");
	put(dir, "main", "patch_files: [./one]\npatches: [{remove: {path: /z}}]\n");
	put(dir, "wrong", "patch_files: [two]\n");
	(void)snprintf(path, sizeof(path), "%s/main", dir);
	if (fs_file_load(&f, path, &err) < 0)
		fail_msg("%s", err.msg);
	assert_true(f.listed.n == 1 && f.patches.n == 1);
	(void)snprintf(path, sizeof(path), "%s/wrong", dir);
	assert_true(fs_file_load(&f, path, &err) < 0);
	assert_non_null(strstr(err.msg, "/two: item 2 of patches: mkdir: guest path must"));
	assert_true(fs_file_load(&f, "/no/such", &err) < 0);
	fs_file_release(&f);
	(void)snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

static void refuses_what_is_not_clear(void **state)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{ "[]", "conf/fs.yaml: 'the file' is not a map" },
		{ "image: x\n", "unknown field 'image'" },
		{ "mounts: /a:/b\n", "'mounts' is not a list" },
		{ "mounts: ['data:/d']\n",
			"item 1 of mounts: 'data:/d' does not begin with a path" },
		{ "mounts: ['./a:b']\n", "absolute GUEST" },
		{ "mounts: ['/a:/b', '/c:/b/']\n", "item 2 of mounts: two mounts at '/b/'" },
		{ "mounts: [{bind: a}]\n", "'mount' lacks 'target'" },
		{ "mounts: [{target: /x}]\n", "one of bind, named" },
		{ "mounts: [{bind: a, named: b, target: /x}]\n", "'bind' and 'named'" },
		{ "mounts: [{bind: a, target: /x, readonly: yes}]\n", "true or false" },
		{ "mounts: [{bind: a, target: x}]\n", "absolute" },
		{ "mounts: [{bind: a, target: /x, fstype: ext4}]\n",
			"'fstype' does not go with 'bind'" },
		{ "mounts: [{disk: a, target: /x, fstype: 'ext4,ro'}]\n", "no file system type" },
		{ "mounts: [{disk: a.qcow2, target: /x, backing: ./b}]\n", "an absolute path" },
		{ "mounts: [{disk: a.raw, target: /x, backing: on}]\n", "not for raw" },
		{ "mounts: [{disk: a, target: /x, uid: 1}]\n", "'uid' does not go with 'disk'" },
		{ "mounts: [{bind: a, target: /x, uid: 1}]\n", "go together" },
		{ "mounts: [{bind: a, target: /x, stat_virtualization: on}]\n",
			"strict, relaxed, off" },
		{ "mounts: [{tmpfs: {size: 64}, target: /x}]\n", "quotes" },
		{ "mounts: [{tmpfs: {size: '64M,ro'}, target: /x}]\n", "size" },
		{ "mounts: [{tmpfs: 64M, target: /x}]\n", "'tmpfs' is not a map" },
		{ "mounts: [{named: ../x, target: /x}]\n", "not a path" },
		{ "patches: [{text: {path: /a}}]\n", "item 1 of patches: 'text' lacks 'content'" },
		{ "patches: [{text: {path: /a, content: 5}}]\n", "put it in quotes" },
		{ "patches: [{text: {path: /a, content: x, mode: 0644}}]\n", "four octal digits" },
		{ "patches: [{text: {path: /a, content: x, mode: '0888'}}]\n",
			"four octal digits" },
		{ "patches: [{file: {path: /a, content_base64: '!'}}]\n", "not Base64" },
		{ "patches: [{mkdir: {path: /a}, remove: {path: /a}}]\n", "one key" },
		{ "patches: [{remove: {path: /}}]\n", "remove: guest path must be absolute" },
		{ "patches: [{remove: {path: /a/../b}}]\n", "'..'" },
		{ "patches: [{copy_file: {src: /no/such, dst: /x}}]\n", "No such file" },
		{ "patches: [{copy_dir: {src: /etc/passwd, dst: /x}}]\n", "not a folder" },
		{ "patches: [{chmod: {path: /a}}]\n", "unknown field 'chmod'" },
		{ "patches: [remove]\n", "'patch' is not a map" },
		{ "patches: [{append: {path: /a, content: x, replace: true}}]\n",
			"unknown field 'replace'" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fs_file f = { 0 };
		struct err err = ERR_INIT;

		if (parse(&f, rows[i].text, &err) == 0)
			fail_msg("accepted: %s", rows[i].text);
		if (!strstr(err.msg, rows[i].words))
			fail_msg("%s: '%s' lacks '%s'", rows[i].text, err.msg, rows[i].words);
		fs_file_release(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_mounts),
		cmocka_unit_test(takes_patches_in_order),
		cmocka_unit_test(reads_the_files_it_names),
		cmocka_unit_test(refuses_what_is_not_clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
