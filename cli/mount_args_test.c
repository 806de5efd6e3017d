/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "cli/mount_args.h"
#include "cli/root_args.h"
#include "lib/num.h"

static struct mount_arg parsed(struct mount_args *args, enum mount_arg_kind kind, const char *spec)
{
	struct err err = ERR_INIT;

	if (mount_args_add(args, kind, spec, &err) < 0)
		fail_msg("'%s': %s", spec, err.msg);
	return args->v[args->n - 1];
}

static void reads_every_kind(void **state)
{
	struct mount_args args = { 0 };
	struct mount_arg m;

	m = parsed(&args, MOUNT_HOST, "/a:b:/g:ro,nosuid,quota=2G");
	assert_int_equal(m.kind, MOUNT_HOST);
	assert_string_equal(m.source, "/a:b");
	assert_string_equal(m.guest, "/g");
	assert_true(m.flags.readonly && m.flags.nosuid && !m.flags.noexec);
	assert_true(m.quota == GIB(2));
	m = parsed(&args, MOUNT_HOST, "data:/d");
	assert_int_equal(m.kind, MOUNT_VOLUME);
	assert_string_equal(m.source, "data");
	m = parsed(&args, MOUNT_VOLUME, "pg:/pg:kind=disk,size=10G");
	assert_true(m.disk);
	assert_int_equal(m.size_mib, 10240);
	m = parsed(&args, MOUNT_IMAGE, "./x.raw:/f:backing=/images,format=qcow2");
	assert_true(m.backing.on);
	assert_string_equal(m.backing.folder, "/images");
	m = parsed(&args, MOUNT_IMAGE, "./x.qcow2:/off:backing=off");
	assert_false(m.backing.on);
	m = parsed(&args, MOUNT_IMAGE, "./x.qcow2:/q:fstype=xfs");
	assert_int_equal(m.format, BLOCK_QCOW2);
	assert_string_equal(m.fstype, "xfs");
	m = parsed(&args, MOUNT_IMAGE, "./x.img:/i:format=vmdk");
	assert_int_equal(m.format, BLOCK_VMDK);
	m = parsed(&args, MOUNT_HOST,
		"/o:/o:stat-virt=strict,host-perms=mirror,uid=7,gid=0,quota=none,,"
		"follow-root-symlinks");
	assert_true(m.stat == MOUNT_STAT_STRICT && m.perms == MOUNT_PERMS_MIRROR);
	assert_true(m.has_ids && m.uid == 7 && m.gid == 0 && m.no_quota && m.follow_links);
	m = parsed(&args, MOUNT_HOST_FILE, "/p:/p:stat-virt=relaxed,host-perms=private");
	assert_true(m.stat == MOUNT_STAT_RELAXED && m.perms == MOUNT_PERMS_PRIVATE && !m.has_ids);
	m = parsed(&args, MOUNT_TMPFS, "/t");
	assert_int_equal(m.size_mib, 0);
	m = parsed(&args, MOUNT_TMPFS, "/u:64M:noexec");
	assert_true(m.size_mib == 64 && m.flags.noexec);
	m = parsed(&args, MOUNT_TMPFS, "/v:ro,size=1G");
	assert_true(m.size_mib == 1024 && m.flags.readonly);
	assert_true(mount_args_has(&args, "//v/"));
	assert_false(mount_args_has(&args, "/v/w"));
	mount_args_release(&args);
}

static void refuses(void **state)
{
	static const struct {
		enum mount_arg_kind kind;
		const char *spec, *words;
	} bad[] = {
		{ MOUNT_HOST, "/a", "SOURCE:GUEST" },
		{ MOUNT_HOST, ":/g", "SOURCE:GUEST" },
		{ MOUNT_HOST, "/a:g", "SOURCE:GUEST" },
		{ MOUNT_HOST, "/a:/", "absolute" },
		{ MOUNT_HOST, "/a:/g/../h", "'..'" },
		{ MOUNT_HOST, "/a:/g:suid", "unsupported mount option" },
		{ MOUNT_HOST, "/a:/g:bogus", "unknown mount option 'bogus': there are ro, rw" },
		{ MOUNT_HOST, "/a:/g,ro", "options stand behind a colon: /g:ro" },
		{ MOUNT_HOST, "/a:/g:uid=1", "go together" },
		{ MOUNT_HOST, "/a:/g:uid=1,gid=4294967295", "gid" },
		{ MOUNT_HOST, "/a:/g:stat-virt=on", "strict, relaxed, off" },
		{ MOUNT_HOST, "/a:/g:host-perms=all", "private, mirror" },
		{ MOUNT_HOST, "/a:/g:stat-virt=off,host-perms=mirror", "host's already" },
		{ MOUNT_HOST, "/a:/g:stat-virt=off,uid=1,gid=1", "owners are the host's" },
		{ MOUNT_HOST, "a:/g:follow-root-symlinks", "is a named volume" },
		{ MOUNT_HOST, "a:/g:kind=disk,size=1G", "not valid here" },
		{ MOUNT_HOST_FILE, "/a:/g:quota=none", "not valid here" },
		{ MOUNT_IMAGE, "/a:/g:stat-virt=off", "not valid here" },
		{ MOUNT_TMPFS, "/t:uid=1,gid=1", "not valid here" },
		{ MOUNT_VOLUME, "a:/g:kind=disk,size=1G,quota=1G", "quota= is for folders" },
		{ MOUNT_VOLUME, "a:/g:kind=disk,size=1G,stat-virt=strict", "stat-virt= is for" },
		{ MOUNT_TMPFS, "/t:ro:ro", "PATH[:SIZE][:OPTIONS], not '/t:ro:ro'" },
		{ MOUNT_HOST, "/a:/g:ro,rw", "twice" },
		{ MOUNT_HOST, "/a:/g:quota", "takes a value" },
		{ MOUNT_HOST, "/a:/g:ro=1", "takes no value" },
		{ MOUNT_HOST, "/a:/g:quota=0", "at least" },
		{ MOUNT_HOST, "/a:/g:size=1G", "not valid here" },
		{ MOUNT_HOST_FILE, "/a:/g:quota=1G", "not valid here" },
		{ MOUNT_IMAGE, "/a:/g:format=iso", "format" },
		{ MOUNT_IMAGE, "/a:/g:fstype=a:b", "system type" },
		{ MOUNT_IMAGE, "/a:/g:backing=on", "not for raw" },
		{ MOUNT_IMAGE, "/a.qcow2:/g:backing=yes", "a folder that begins with" },
		{ MOUNT_HOST, "/a:/g:backing=on", "not valid here" },
		{ MOUNT_VOLUME, "./a:/g", "not a path" },
		{ MOUNT_VOLUME, "a:/g:size=1G", "kind=disk" },
		{ MOUNT_TMPFS, "t", "absolute" },
		{ MOUNT_TMPFS, "/t:1X", "size" },
		{ MOUNT_TMPFS, "/once//", "two mounts" },
	};
	struct mount_args args = { 0 };

	(void)parsed(&args, MOUNT_TMPFS, "/once");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = ERR_INIT;

		assert_true(mount_args_add(&args, bad[i].kind, bad[i].spec, &err) < 0);
		if (!strstr(err.msg, bad[i].words))
			fail_msg("'%s': '%s' lacks '%s'", bad[i].spec, err.msg, bad[i].words);
	}
	assert_int_equal(args.n, 1);
	mount_args_release(&args);
}

static void knows_what_is_below(void **state)
{
	assert_true(mount_is_below("/a/b", "/a"));
	assert_true(mount_is_below("//a///b/c", "/a/b/"));
	assert_false(mount_is_below("/a", "/a/"));
	assert_false(mount_is_below("/a", "/a/b"));
	assert_false(mount_is_below("/ab", "/a"));
}

static void knows_roots(void **state)
{
	assert_int_equal(root_kind_of("python"), ROOT_REFERENCE);
	assert_int_equal(root_kind_of(".cache/x"), ROOT_REFERENCE);
	assert_int_equal(root_kind_of("a.raw"), ROOT_REFERENCE);
	assert_int_equal(root_kind_of("."), ROOT_FOLDER);
	assert_int_equal(root_kind_of(".."), ROOT_FOLDER);
	assert_int_equal(root_kind_of("../x"), ROOT_FOLDER);
	assert_int_equal(root_kind_of("/a.iso"), ROOT_FOLDER);
	assert_int_equal(root_kind_of("/a.raw"), ROOT_DISK);
	assert_int_equal(root_kind_of("./a.qcow2"), ROOT_DISK);
}

static void reads_root_disks(void **state)
{
	struct upper_arg arg = { 0 };
	struct err err = ERR_INIT;

	assert_int_equal(upper_arg_parse("8G", &arg, NULL), 0);
	assert_true(arg.given && arg.kind == UPPER_MANAGED && arg.size_mib == 8192);
	assert_int_equal(upper_arg_parse("tmpfs:1.5G", &arg, NULL), 0);
	assert_true(arg.kind == UPPER_TMPFS && arg.size_mib == 1536);
	assert_int_equal(upper_arg_parse("a/b:c.qcow2", &arg, NULL), 0);
	assert_true(arg.kind == UPPER_DISK && arg.format == BLOCK_QCOW2);
	assert_string_equal(arg.path, "a/b:c.qcow2");
	assert_int_equal(upper_arg_parse("./d:format=raw,fstype=xfs", &arg, NULL), 0);
	assert_string_equal(arg.path, "./d");
	assert_string_equal(arg.fstype, "xfs");
	assert_false(arg.backing.on);
	assert_int_equal(upper_arg_parse("./d.qcow2:backing=on", &arg, NULL), 0);
	assert_true(arg.backing.on && !arg.backing.folder);
	assert_true(upper_arg_parse("./d.raw:backing=on", &arg, &err) < 0);
	assert_non_null(strstr(err.msg, "not for raw"));
	assert_true(upper_arg_parse("", &arg, &err) < 0);
	assert_true(upper_arg_parse("0", &arg, &err) < 0);
	assert_true(upper_arg_parse("./x.vmdk", &arg, &err) < 0);
	assert_true(upper_arg_parse("./x:size=1G", &arg, &err) < 0);
	upper_arg_release(&arg);
}

static void reads_flat_root_disks(void **state)
{
	static const char *const wrong[] = { "flat:", "flat:0", "flat:x", "flat:1G,", "flat:1G,2G",
		"flat:clone=copy,1G", "flat:fstype=xfs", "flat:clone=hard", "flat:size=1G",
		"flat:clone=copy,clone=copy", "flat:fstype=ext4,fstype=ext4", "flat:readonly" };
	struct upper_arg arg = { 0 };

	assert_int_equal(upper_arg_parse("flat", &arg, NULL), 0);
	assert_true(arg.kind == UPPER_FLAT && !arg.size_mib && arg.clone == CLONE_AUTO);
	assert_int_equal(upper_arg_parse("flat:6G", &arg, NULL), 0);
	assert_true(arg.kind == UPPER_FLAT && arg.size_mib == 6144);
	assert_int_equal(upper_arg_parse("flat:512M,fstype=ext4,clone=reflink", &arg, NULL), 0);
	assert_true(arg.size_mib == 512 && arg.clone == CLONE_REFLINK);
	assert_int_equal(upper_arg_parse("flat:clone=copy", &arg, NULL), 0);
	assert_true(!arg.size_mib && arg.clone == CLONE_COPY);
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
		struct err err = ERR_INIT;

		assert_int_equal(upper_arg_parse(wrong[i], &arg, &err), -EDOM);
		assert_true(err.msg[0]);
	}
	upper_arg_release(&arg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_kind),
		cmocka_unit_test(refuses),
		cmocka_unit_test(knows_what_is_below),
		cmocka_unit_test(knows_roots),
		cmocka_unit_test(reads_root_disks),
		cmocka_unit_test(reads_flat_root_disks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
