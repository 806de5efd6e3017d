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

/* cli.md 3.8: absolute, not the root, no "..", none of ": ; ," */
static int check_guest_path(const char *path, struct err *err)
{
	const char *p = path;

	if (path[0] != '/' || path[strspn(path, "/")] == '\0')
		return err_msg(err, EDOM, "guest path must be absolute and not '/': '%s'", path);
	if (strpbrk(path, ":;,"))
		return err_msg(err, EDOM, "guest path may not hold ':', ';' or ',': '%s'", path);
	while (*p) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if ((len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return err_msg(
				err, EDOM, "guest path may not hold '.' or '..': '%s'", path);
		p += len;
	}
	return 0;
}

static int add_volume(
	struct run_args *args, char *host, const char *guest, bool read_only, struct err *err)
{
	int rc = check_guest_path(guest, err);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < args->n_volumes; i++) {
		if (strcmp(args->volume[i].guest, guest) == 0)
			return err_msg(err, EDOM, "two volumes at '%s'", guest);
	}
	args->volume[args->n_volumes++] = (struct run_volume){ host, guest, read_only };
	return 0;
}

static int set_volume(void *target, const char *value, struct err *err)
{
	struct run_args *args = target;
	cleanup_free char *spec = strdup(value);
	char *guest, *options;
	bool read_only = false;
	int rc;

	if (!spec)
		return err_set(err, ENOMEM, "copy volume");
	if (args->n_volumes == RUN_MAX_VOLUMES)
		return err_msg(err, EDOM, "more than %d volumes", RUN_MAX_VOLUMES);
	guest = strchr(spec, ':');
	if (!guest || guest == spec)
		return err_msg(err, EDOM, "expected HOST:GUEST[:ro], not '%s'", value);
	*guest++ = '\0';
	options = strchr(guest, ':');
	if (options) {
		*options++ = '\0';
		read_only = strcmp(options, "ro") == 0;
		if (!read_only && strcmp(options, "rw") != 0)
			return err_msg(err, EDOM, "unknown volume option '%s': there are ro and rw",
				options);
	}
	rc = add_volume(args, spec, guest, read_only, err);
	if (rc == 0)
		(void)take_ptr(&spec); /* the volume's now; guest points into it */
	return rc;
}

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
	{ 'v', "volume", "HOST:GUEST[:ro]", "share a folder with the guest; repeatable",
		set_volume },
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

static int parse(int argc, char **argv, struct run_args *args, struct err *err)
{
	static char shell[] = "/bin/sh", *default_command[] = { shell, NULL };
	int n = 0, rest = 0, rc;

	rc = options_parse(run_options, args, argc, argv, &args->rootfs, 1, &n, &rest, err);
	if (rc < 0)
		return rc;
	rc = net_args_finish(&args->net, err);
	if (rc < 0)
		return rc;
	if (n == 0 && !args->net.show)
		return err_msg(err, EINVAL, "which root file system? expected a folder");
	args->command = rest < argc ? argv + rest : default_command;
	return engine_from_environment(args, err);
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
	for (unsigned i = 0; i < args->n_volumes; i++)
		free(args->volume[i].host);
	net_args_release(&args->net);
	memset(args, 0, sizeof(*args));
}
