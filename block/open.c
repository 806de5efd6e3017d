/* SPDX-License-Identifier: Apache-2.0 */
/* Which format: said by the user or by the extension, never guessed (block.h). */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "block/block.h"
#include "block/open.h"
#include "block/qcow2.h"
#include "block/vmdk.h"
#include "lib/num.h"

static const char *const names[] = {
	[BLOCK_RAW] = "raw",
	[BLOCK_QCOW2] = "qcow2",
	[BLOCK_VMDK] = "vmdk",
};

const char *block_format_name(enum block_format format)
{
	return names[format];
}

int block_format_parse(const char *name, enum block_format *ret, struct err *err)
{
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum block_format)i;
			return 0;
		}
	}
	return err_msg(err, EINVAL, "no disk image format '%s': use raw, qcow2 or vmdk", name);
}

int block_format_of_path(const char *path, enum block_format *ret, struct err *err)
{
	const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');

	if (dot && strcasecmp(dot, ".img") == 0) {
		*ret = BLOCK_RAW;
		return 0;
	}
	for (unsigned i = 0; dot && i < ARRAY_LEN(names); i++) {
		if (strcasecmp(dot + 1, names[i]) == 0) {
			*ret = (enum block_format)i;
			return 0;
		}
	}
	return err_msg(err, EINVAL,
		"the name of disk image '%s' does not tell its format: say raw, qcow2 or vmdk",
		path);
}

int block_open_nested(const struct block_config *cfg, const struct backing_chain *chain,
	struct block **ret, struct err *err)
{
	switch (cfg->format) {
	case BLOCK_RAW:
		return block_raw_open(cfg->fd, cfg->read_only, ret, err);
	case BLOCK_QCOW2:
		return qcow2_open(cfg, chain, ret, err);
	case BLOCK_VMDK:
		return vmdk_open(cfg, ret, err);
	}
	return err_msg(err, EINVAL, "no such disk image format");
}

int block_open(const struct block_config *cfg, struct block **ret, struct err *err)
{
	struct backing_chain chain;
	int r = backing_start(cfg, &chain, err);

	return r < 0 ? r : block_open_nested(cfg, &chain, ret, err);
}
