/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"

#define TAG_MAX	      36 /* virtio 1.2, 5.11.4 */
#define PORT_NAME_MAX 64
#define DISK_ID_MAX   20 /* virtio 1.2, 5.2.6: VIRTIO_BLK_T_GET_ID */

/* Printable and without blanks: such names reach kernel command lines and sysfs. */
static bool is_word(const char *s, size_t max)
{
	size_t len = strlen(s);

	if (len == 0 || len > max)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] <= 0x20 || s[i] >= 0x7f)
			return false;
	}
	return true;
}

static int check_size(const struct vm_config *cfg, uint64_t host_ram_mib, struct err *err)
{
	if (cfg->vcpus < 1 || cfg->vcpus > VM_MAX_VCPUS)
		return err_msg(err, EINVAL, "number of vCPUs must be 1 to %d, not %u", VM_MAX_VCPUS,
			cfg->vcpus);
	if (cfg->ram_mib < VM_MIN_RAM_MIB)
		return err_msg(err, EINVAL, "memory must be at least %d MiB, not %" PRIu64,
			VM_MIN_RAM_MIB, cfg->ram_mib);
	if (cfg->ram_mib > host_ram_mib)
		return err_msg(err, ENOMEM,
			"memory of %" PRIu64 " MiB is more than this host has (%" PRIu64 " MiB)",
			cfg->ram_mib, host_ram_mib);
	return 0;
}

static int check_consoles(const struct vm_config *cfg, struct err *err)
{
	if (cfg->n_consoles > VM_MAX_CONSOLES)
		return err_msg(err, EINVAL, "more than %d console ports", VM_MAX_CONSOLES);
	for (unsigned i = 0; i < cfg->n_consoles; i++) {
		const char *name = cfg->console[i].name;

		if (!name)
			continue;
		if (!is_word(name, PORT_NAME_MAX))
			return err_msg(err, EINVAL, "bad console port name '%s'", name);
		for (unsigned j = 0; j < i; j++) {
			if (cfg->console[j].name && strcmp(name, cfg->console[j].name) == 0)
				return err_msg(err, EINVAL, "two console ports named '%s'", name);
		}
	}
	return 0;
}

static int check_shares(const struct vm_config *cfg, struct err *err)
{
	if (cfg->n_fs > VM_MAX_FS)
		return err_msg(err, EINVAL, "more than %d shared directories", VM_MAX_FS);
	for (unsigned i = 0; i < cfg->n_fs; i++) {
		const char *tag = cfg->fs[i].tag;

		if (!tag || !is_word(tag, TAG_MAX))
			return err_msg(err, EINVAL,
				"tag of a shared directory must be 1 to %d printable characters, "
				"not '%s'",
				TAG_MAX, tag ? tag : "");
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(tag, cfg->fs[j].tag) == 0)
				return err_msg(
					err, EINVAL, "two shared directories tagged '%s'", tag);
		}
	}
	return 0;
}

static int check_disks(const struct vm_config *cfg, struct err *err)
{
	if (cfg->n_disks > VM_MAX_DISKS)
		return err_msg(err, EINVAL, "more than %d disks", VM_MAX_DISKS);
	for (unsigned i = 0; i < cfg->n_disks; i++) {
		const char *id = cfg->disk[i].id;

		if (cfg->disk[i].fd < 0 && !cfg->disk[i].n_parts)
			return err_msg(err, EINVAL, "disk %u has no image", i);
		if (cfg->disk[i].n_parts > VM_MAX_PARTS)
			return err_msg(
				err, EINVAL, "disk %u has more than %d parts", i, VM_MAX_PARTS);
		if (id && !is_word(id, DISK_ID_MAX))
			return err_msg(err, EINVAL,
				"disk id must be 1 to %d printable characters, not '%s'",
				DISK_ID_MAX, id);
	}
	return 0;
}

static int check_cmdline(const char *cmdline, struct err *err)
{
	for (const char *p = cmdline; p && *p; p++) {
		if (*p < 0x20 || *p >= 0x7f)
			return err_msg(
				err, EINVAL, "kernel command line may hold printable ASCII only");
	}
	return 0;
}

int vm_config_check(const struct vm_config *cfg, uint64_t host_ram_mib, struct err *err)
{
	int rc;

	rc = check_size(cfg, host_ram_mib, err);
	if (rc == 0)
		rc = check_consoles(cfg, err);
	if (rc == 0)
		rc = check_shares(cfg, err);
	if (rc == 0)
		rc = check_disks(cfg, err);
	if (rc == 0)
		rc = check_cmdline(cfg->cmdline, err);
	return rc;
}

/* Replace a borrowed string by an own copy; remembers a failure in *@failed. */
static void own(const char **s, bool *failed)
{
	if (!*s)
		return;
	*s = strdup(*s);
	if (!*s)
		*failed = true;
}

int vm_config_copy(struct vm_config *dst, const struct vm_config *src, struct err *err)
{
	bool failed = false;

	*dst = *src;
	dst->net = NULL; /* the network holds what it needs */
	own(&dst->kernel.path, &failed);
	own(&dst->kernel.library, &failed);
	own(&dst->cmdline, &failed);
	for (unsigned i = 0; i < dst->n_consoles; i++)
		own(&dst->console[i].name, &failed);
	for (unsigned i = 0; i < dst->n_fs; i++) {
		own(&dst->fs[i].tag, &failed);
		dst->fs[i].cfg.extra = NULL;
		dst->fs[i].cfg.n_extra = 0;
		dst->fs[i].cfg.root_fd = -1; /* the fs server holds its own */
	}
	for (unsigned i = 0; i < dst->n_disks; i++) {
		own(&dst->disk[i].id, &failed);
		own(&dst->disk[i].label, &failed);
		own(&dst->disk[i].fstype, &failed);
	}
	if (failed) {
		vm_config_release(dst);
		return err_set(err, ENOMEM, "copy machine configuration");
	}
	return 0;
}

void vm_config_release(struct vm_config *cfg)
{
	free((char *)cfg->kernel.path);
	free((char *)cfg->kernel.library);
	free((char *)cfg->cmdline);
	for (unsigned i = 0; i < cfg->n_consoles; i++)
		free((char *)cfg->console[i].name);
	for (unsigned i = 0; i < cfg->n_fs; i++)
		free((char *)cfg->fs[i].tag);
	for (unsigned i = 0; i < cfg->n_disks; i++) {
		free((char *)cfg->disk[i].id);
		free((char *)cfg->disk[i].label);
		free((char *)cfg->disk[i].fstype);
	}
	memset(cfg, 0, sizeof(*cfg));
}
