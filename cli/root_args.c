/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/root_args.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/mount_args.h"
#include "lib/cleanup.h"
#include "lib/num.h"

static bool begins_with(const char *s, const char *start)
{
	return strncmp(s, start, strlen(start)) == 0;
}

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), n = strlen(end);

	return len > n && strcmp(s + len - n, end) == 0;
}

enum root_kind root_kind_of(const char *image)
{
	if (strcmp(image, ".") != 0 && strcmp(image, "..") != 0 && !begins_with(image, "/") &&
		!begins_with(image, "./") && !begins_with(image, "../"))
		return ROOT_REFERENCE;
	if (ends_with(image, ".raw") || ends_with(image, ".qcow2") || ends_with(image, ".vmdk"))
		return ROOT_DISK;
	return ROOT_FOLDER;
}

static bool is_path(const char *spec)
{
	return strchr("./~", spec[0]) || strchr(spec, '/');
}

static int disk_option(struct upper_arg *arg, const char *word, struct err *err)
{
	if (begins_with(word, "format=")) {
		if (block_format_parse(word + 7, &arg->format, err) < 0)
			return -EDOM;
		if (arg->format != BLOCK_VMDK)
			return 0;
		return err_msg(err, EDOM, "a vmdk image cannot be written");
	}
	if (begins_with(word, "fstype=")) {
		arg->fstype = word + 7;
		return fstype_check(arg->fstype, err);
	}
	if (begins_with(word, "backing="))
		return backing_arg_parse(word + 8, &arg->backing, err);
	return err_msg(
		err, EDOM, "unknown option '%s': there are format=, fstype= and backing=", word);
}

/* PATH[:OPTION,...]: a colon in the path is one that no option follows */
static int parse_disk(struct upper_arg *arg, struct err *err)
{
	char *options = strrchr(arg->text, ':'), *save = NULL;
	int rc = 0;

	arg->kind = UPPER_DISK;
	arg->path = arg->text;
	arg->fstype = "ext4";
	if (options && !strchr(options, '='))
		options = NULL;
	if (options)
		*options++ = '\0';
	arg->format = disk_format_of(arg->path);
	if (arg->format == BLOCK_VMDK)
		return err_msg(err, EDOM, "a vmdk image cannot be written: '%s'", arg->path);
	for (char *w = options ? strtok_r(options, ",", &save) : NULL; w && rc == 0;
		w = strtok_r(NULL, ",", &save))
		rc = disk_option(arg, w, err);
	return rc == 0 ? backing_arg_check(&arg->backing, arg->format, err) : rc;
}

static int set_clone(struct upper_arg *arg, const char *how, struct err *err)
{
	static const char *const names[] = {
		[CLONE_AUTO] = "auto",
		[CLONE_COPY] = "copy",
		[CLONE_REFLINK] = "reflink",
	};

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(how, names[i]) == 0) {
			arg->clone = (enum clone_how)i;
			return 0;
		}
	}
	return err_msg(err, EDOM, "unknown 'clone=%s': there are auto, copy and reflink", how);
}

/* @seen: a bit for each option */
static int flat_option(struct upper_arg *arg, const char *word, unsigned *seen, struct err *err)
{
	bool fstype = begins_with(word, "fstype="), clone = begins_with(word, "clone=");
	unsigned bit = fstype ? 1 : 2;

	if (!fstype && !clone)
		return err_msg(err, EDOM,
			"unknown option '%s' of a flat root disk: after the size there are fstype= "
			"and clone=",
			word);
	if (*seen & bit)
		return err_msg(err, EDOM, "'%s' is there twice", fstype ? "fstype=" : "clone=");
	*seen |= bit;
	if (clone)
		return set_clone(arg, word + 6, err);
	if (strcmp(word + 7, "ext4") == 0)
		return 0;
	return err_msg(err, EDOM, "a flat root disk is ext4, not '%s'", word + 7);
}

/* flat[:[SIZE][,OPTION]...] */
static int parse_flat(struct upper_arg *arg, struct err *err)
{
	char *word = arg->text + strlen("flat");
	bool first = true;
	unsigned seen = 0;
	int rc = 0;

	arg->kind = UPPER_FLAT;
	if (word[0] && !word[1])
		return err_msg(err, EDOM, "'flat:' is followed by a size or an option");
	for (char *rest = word[0] ? word + 1 : NULL; rc == 0 && rest; first = false) {
		word = strsep(&rest, ",");
		if (first && !strchr(word, '='))
			rc = *word ? size_parse_mib(word, "size", &arg->size_mib, err) : 0;
		else
			rc = flat_option(arg, word, &seen, err);
	}
	return rc;
}

static int parse(struct upper_arg *arg, struct err *err)
{
	if (strcmp(arg->text, "tmpfs") == 0 || begins_with(arg->text, "tmpfs:")) {
		arg->kind = UPPER_TMPFS;
		return arg->text[5] ? size_parse_mib(arg->text + 6, "size", &arg->size_mib, err)
				    : 0;
	}
	if (strcmp(arg->text, "flat") == 0 || begins_with(arg->text, "flat:"))
		return parse_flat(arg, err);
	if (!arg->text[0] || !is_path(arg->text) || isdigit((unsigned char)arg->text[0]) ||
		(arg->text[0] == '.' && isdigit((unsigned char)arg->text[1])))
		return size_parse_mib(arg->text, "size", &arg->size_mib, err);
	return parse_disk(arg, err);
}

int upper_arg_parse(const char *spec, struct upper_arg *ret, struct err *err)
{
	struct upper_arg arg = { .given = true, .kind = UPPER_MANAGED, .text = strdup(spec) };
	int rc;

	if (!arg.text)
		return err_set(err, ENOMEM, "copy root disk");
	rc = parse(&arg, err);
	if (rc < 0) {
		free(arg.text);
		return rc;
	}
	upper_arg_release(ret);
	*ret = arg;
	return 0;
}

void upper_arg_release(struct upper_arg *arg)
{
	free(arg->text);
	*arg = (struct upper_arg){ 0 };
}
