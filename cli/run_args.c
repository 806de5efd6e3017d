/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/run_args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define DEFAULT_RAM_MIB 512

static int set_engine(void *target, const char *value, struct err *err)
{
	static const char *const names[] = {
		[VM_ENGINE_AUTO] = "auto",
		[VM_ENGINE_KVM] = "kvm",
		[VM_ENGINE_QEMU] = "qemu",
	};
	struct run_args *args = target;

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			args->engine = (enum vm_engine)i;
			args->engine_given = true;
			return 0;
		}
	}
	return err_msg(err, EINVAL, "no engine '%s': there are auto, kvm and qemu", value);
}

/* Numbers that no machine can have are left to vm_new(), which knows the limits. */
static int set_cpus(void *target, const char *value, struct err *err)
{
	struct run_args *args = target;
	uint64_t n;

	if (num_parse_u64(value, "number of vCPUs", 0, UINT8_MAX, &n, err) < 0)
		return -EINVAL;
	args->vcpus = (unsigned)n;
	return 0;
}

static int set_memory(void *target, const char *value, struct err *err)
{
	struct run_args *args = target;
	uint64_t bytes;
	int rc;

	rc = num_parse_size(value, "memory size", MIB(1), &bytes, err);
	if (rc < 0)
		return rc == -EINVAL ? -EDOM : rc;
	args->ram_mib = bytes / MIB(1);
	return 0;
}

static int set_env(void *target, const char *value, struct err *err)
{
	struct run_args *args = target;
	const char *eq = strchr(value, '='), *host;
	char *pair = NULL;
	void *grown;

	if (eq == value || !*value)
		return err_msg(err, EDOM, "expected NAME=VALUE or NAME, not '%s'", value);
	if (strncmp(value, "MSB_", 4) == 0)
		return err_msg(err, EDOM, "names that begin with MSB_ are reserved: '%s'", value);
	if (!eq) {
		host = getenv(value);
		if (!host)
			return err_msg(err, EDOM, "environment variable '%s' not set", value);
		if (asprintf(&pair, "%s=%s", value, host) < 0)
			return err_set(err, ENOMEM, "copy environment");
	} else {
		pair = strdup(value);
	}
	grown = realloc(args->env, (args->n_env + 1) * sizeof(*args->env));
	if (!pair || !grown) {
		args->env = grown ? grown : args->env;
		free(pair);
		return err_set(err, ENOMEM, "copy environment");
	}
	args->env = grown;
	args->env[args->n_env++] = text_of(pair);
	return 0;
}

static int set_workdir(void *target, const char *value, struct err *err)
{
	if (value[0] != '/')
		return err_msg(err, EDOM, "'%s' is not an absolute path", value);
	((struct run_args *)target)->workdir = value;
	return 0;
}

static int set_user(void *target, const char *value, struct err *err)
{
	if (!*value)
		return err_msg(err, EDOM, "expected USER[:GROUP]");
	((struct run_args *)target)->user = value;
	return 0;
}

static int set_entrypoint(void *target, const char *value, struct err *err)
{
	((struct run_args *)target)->entrypoint = value;
	return 0;
}

static int set_pull(void *target, const char *value, struct err *err)
{
	static const char *const names[] = {
		[IMAGE_IF_MISSING] = "if-missing",
		[IMAGE_ALWAYS] = "always",
		[IMAGE_NEVER] = "never",
	};

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			((struct run_args *)target)->pull = (enum image_policy)i;
			return 0;
		}
	}
	return err_msg(
		err, EINVAL, "no policy '%s': there are always, if-missing and never", value);
}

static int set_root_disk(void *target, const char *value, struct err *err)
{
	return upper_arg_parse(value, &((struct run_args *)target)->upper, err);
}

static int set_fstype(void *target, const char *value, struct err *err)
{
	((struct run_args *)target)->fstype = value;
	return fstype_check(value, err);
}

static int set_backing(void *target, const char *value, struct err *err)
{
	return backing_arg_parse(value, &((struct run_args *)target)->backing, err);
}

/* ---- mounts and patches ---- */

static int add_mount(void *target, enum mount_arg_kind kind, const char *value, struct err *err)
{
	return mount_args_add(&((struct run_args *)target)->mounts, kind, value, err);
}

static int set_volume(void *target, const char *value, struct err *err)
{
	return add_mount(target, MOUNT_HOST, value, err);
}

static int set_mount_dir(void *target, const char *value, struct err *err)
{
	return add_mount(target, MOUNT_HOST_DIR, value, err);
}

static int set_mount_file(void *target, const char *value, struct err *err)
{
	return add_mount(target, MOUNT_HOST_FILE, value, err);
}

static int set_mount_disk(void *target, const char *value, struct err *err)
{
	return add_mount(target, MOUNT_IMAGE, value, err);
}

static int set_mount_named(void *target, const char *value, struct err *err)
{
	return add_mount(target, MOUNT_VOLUME, value, err);
}

static int set_tmpfs(void *target, const char *value, struct err *err)
{
	return add_mount(target, MOUNT_TMPFS, value, err);
}

static int add_patch(void *target, enum patch_kind kind, const char *value, struct err *err)
{
	return patch_args_add(&((struct run_args *)target)->patches, kind, value, err);
}

static int set_copy(void *target, const char *value, struct err *err)
{
	return add_patch(target, PATCH_COPY, value, err);
}

static int set_copy_file(void *target, const char *value, struct err *err)
{
	return add_patch(target, PATCH_COPY_FILE, value, err);
}

static int set_copy_dir(void *target, const char *value, struct err *err)
{
	return add_patch(target, PATCH_COPY_DIR, value, err);
}

static int set_mkdir(void *target, const char *value, struct err *err)
{
	return add_patch(target, PATCH_MKDIR, value, err);
}

static int set_rm(void *target, const char *value, struct err *err)
{
	return add_patch(target, PATCH_REMOVE, value, err);
}

static int set_fs_conf(void *target, const char *value, struct err *err)
{
	int rc = fs_file_load(&((struct run_args *)target)->fs_file, value, err);

	return rc == -EINVAL ? -EDOM : rc; /* the options are right, the file is not */
}

/* ---- the rest ---- */

static int set_tty(void *target, const char *value, struct err *err)
{
	((struct run_args *)target)->tty = RUN_TTY_YES;
	return 0;
}

static int set_no_tty(void *target, const char *value, struct err *err)
{
	((struct run_args *)target)->tty = RUN_TTY_NO;
	return 0;
}

static int set_kernel(void *target, const char *value, struct err *err)
{
	((struct run_args *)target)->kernel = value;
	return 0;
}

static int set_timings(void *target, const char *value, struct err *err)
{
	((struct run_args *)target)->timings = true;
	return 0;
}

static int set_phases(void *target, const char *value, struct err *err)
{
	((struct run_args *)target)->phases = value;
	return 0;
}

static int set_log_level(void *target, const char *value, struct err *err)
{
	static const char *const names[] = { "off", "error", "warn", "info", "debug", "trace" };

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			((struct run_args *)target)->log_level = (enum log_level)i;
			return 0;
		}
	}
	return err_msg(
		err, EINVAL, "no level '%s': there are error, warn, info, debug and trace", value);
}

const struct option_row run_options[] = {
	{ 'c', "cpus", "N", "virtual CPUs, 1 to 16 (default 1)", set_cpus },
	{ 'm', "memory", "SIZE", "memory, such as 512M or 2G (default 512M)", set_memory },
	{ 'e', "env", "NAME[=VALUE]", "set an environment variable, or pass one on; repeatable",
		set_env },
	{ 'w', "workdir", "DIR", "working directory of the command", set_workdir },
	{ 'u', "user", "USER[:GROUP]", "who the command runs as (default: as the image says)",
		set_user },
	{ 0, "entrypoint", "PROGRAM", "run this in place of the image's entrypoint",
		set_entrypoint },
	{ 0, "pull", "POLICY", "always, if-missing (default) or never", set_pull },
	{ 0, "root-disk", "SPEC",
		"where writes to an image go: a size (default 4G), tmpfs[:SIZE], or a disk image",
		set_root_disk },
	{ 0, "fstype", "TYPE", "file system of a root that is a disk image", set_fstype },
	{ 0, "backing", "on|off|FOLDER",
		"let a root that is a qcow2 image build on files beside it, or in FOLDER",
		set_backing },
	{ 'v', "volume", "HOST:GUEST[:OPTIONS]",
		"share a folder or a file with the guest; repeatable", set_volume },
	{ 0, "mount-dir", "HOST:GUEST[:OPTIONS]", "a folder only", set_mount_dir },
	{ 0, "mount-file", "HOST:GUEST[:OPTIONS]", "a file only", set_mount_file },
	{ 0, "mount-disk", "IMAGE:GUEST[:OPTIONS]", "mount a disk image", set_mount_disk },
	{ 0, "mount-named", "NAME:GUEST[:OPTIONS]", "mount a named volume", set_mount_named },
	{ 0, "tmpfs", "GUEST[:SIZE][:OPTIONS]", "a file system in memory; repeatable", set_tmpfs },
	{ 0, "copy", "HOST:GUEST", "put a file or a folder into the root first; repeatable",
		set_copy },
	{ 0, "copy-file", "HOST:GUEST", "a file only", set_copy_file },
	{ 0, "copy-dir", "HOST:GUEST", "a folder only", set_copy_dir },
	{ 0, "mkdir", "GUEST", "make a folder in the root first; repeatable", set_mkdir },
	{ 0, "rm", "GUEST", "remove something from the root first; repeatable", set_rm },
	{ 0, "fs-conf", "FILE", "take mounts and changes to the root from a YAML file; repeatable",
		set_fs_conf },
	{ 't', "tty", NULL, "give the command a terminal (default if msb has one)", set_tty },
	{ 0, "no-tty", NULL, "give it none", set_no_tty },
	{ 0, "engine", "ENGINE", "auto, kvm or qemu (default: MSB_ENGINE, else auto)", set_engine },
	{ 0, "kernel", "FILE", "boot this kernel: ELF, bzImage or raw", set_kernel },
	{ 0, "timings", NULL, "say at the end how long each step took", set_timings },
	{ 0, "phases", "FILE", "append the time of each step to a file, for benchmarks",
		set_phases },
	{ 0, "log-level", "LEVEL", "off, error, warn (default), info, debug or trace",
		set_log_level },
	{ .help = "Network", .more = net_options, .offset = offsetof(struct run_args, net) },
};

static int engine_from_environment(struct run_args *args, struct err *err)
{
	const char *value = getenv("MSB_ENGINE");
	struct err why = ERR_INIT;

	if (args->engine_given || !value || !*value)
		return 0;
	if (set_engine(args, value, &why) < 0)
		return err_msg(err, EINVAL, "MSB_ENGINE: %s", why.msg);
	return 0;
}

/* What one kind of root has and another has not. */
static int check_root(const struct run_args *args, struct err *err)
{
	enum root_kind kind = root_kind_of(args->image);
	bool image = kind == ROOT_REFERENCE ||
		     (kind == ROOT_DISK && args->fstype && strcmp(args->fstype, "erofs") == 0);

	if (args->fstype && kind != ROOT_DISK)
		return err_msg(err, EDOM, "--fstype is for roots that are disk images");
	if (args->backing.on && kind != ROOT_DISK)
		return err_msg(err, EDOM, "--backing is for roots that are disk images");
	if (args->upper.given && !image)
		return err_msg(err, EDOM, "--root-disk is for images: '%s' is written in place",
			args->image);
	if (args->upper.kind == UPPER_FLAT && kind != ROOT_REFERENCE)
		return err_msg(err, EDOM,
			"--root-disk flat is for images by reference: '%s' is a disk", args->image);
	if (args->patches.n && kind == ROOT_DISK && !image)
		return err_msg(err, EDOM,
			"changes to the root (--copy, --mkdir, --rm, patches of --fs-conf) are for "
			"images and folders: '%s' is a disk image",
			args->image);
	return backing_arg_check(&args->backing, disk_format_of(args->image), err);
}

static int parse(int argc, char **argv, struct run_args *args, struct err *err)
{
	int n = 0, rest = 0, rc;

	rc = options_parse(run_options, args, argc, argv, &args->image, 1, &n, &rest, err);
	if (rc < 0)
		return rc;
	if (n > 1)
		return err_msg(err, EINVAL,
			"unexpected argument '%s'; the command goes behind '--'", argv[rest]);
	rc = fs_file_finish(&args->fs_file, &args->mounts, &args->patches, err);
	if (rc == 0)
		rc = net_args_finish(&args->net, err);
	if (rc < 0)
		return rc;
	if (n == 0 && !args->net.show)
		return err_msg(
			err, EINVAL, "which image? expected a reference, a folder or a disk image");
	args->command = argv + rest; /* argv[argc] is NULL */
	rc = n == 0 ? 0 : check_root(args, err);
	return rc < 0 ? rc : engine_from_environment(args, err);
}

int run_args_parse(int argc, char **argv, struct run_args *ret, struct err *err)
{
	struct run_args args = {
		.vcpus = 1,
		.ram_mib = DEFAULT_RAM_MIB,
		.log_level = LOG_WARN,
	};
	int rc = net_args_init(&args.net, err);

	if (rc == 0)
		rc = parse(argc, argv, &args, err);
	if (rc < 0)
		run_args_release(&args);
	else
		*ret = args;
	return rc;
}

void run_args_release(struct run_args *args)
{
	for (size_t i = 0; i < args->n_env; i++)
		free((char *)args->env[i].s);
	free(args->env);
	mount_args_release(&args->mounts);
	patch_args_release(&args->patches);
	fs_file_release(&args->fs_file);
	upper_arg_release(&args->upper);
	net_args_release(&args->net);
	memset(args, 0, sizeof(*args));
}
