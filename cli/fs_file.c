/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/fs_file.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/conf_fields.h"
#include "cli/yaml_file.h"
#include "lib/base64.h"
#include "lib/cleanup.h"
#include "lib/json.h"
#include "lib/num.h"

#define LISTED_MAX 256

/* ---- values ---- */

static int check_mode(const struct conf_field *f, const json_t *v, struct err *err)
{
	const char *s = json_string_value(v);

	if (s && strlen(s) == 4 && strspn(s, "01234567") == 4)
		return 0;
	return conf_bad(f, "four octal digits in quotes, such as \"0644\"", err);
}

static mode_t mode_of(const char *checked)
{
	mode_t mode = 0;

	for (; *checked; checked++)
		mode = mode << 3 | (mode_t)(*checked - '0');
	return mode;
}

/* A size is a text in these files: cli.md 3.3. */
static int check_size(const struct conf_field *f, const json_t *v, struct err *err)
{
	uint32_t mib;
	int rc = conf_check_word(f, v, err);

	if (rc == 0 && size_parse_mib(json_string_value(v), f->key, &mib, err) < 0)
		return -EINVAL;
	return rc;
}

static int check_quota(const struct conf_field *f, const json_t *v, struct err *err)
{
	const char *s = json_string_value(v);

	return s && strcmp(s, "none") == 0 ? 0 : check_size(f, v, err);
}

static int check_id(const struct conf_field *f, const json_t *v, struct err *err)
{
	if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < UINT32_MAX)
		return 0;
	return conf_bad(f, "the number of a user or group", err);
}

static int check_fstype(const struct conf_field *f, const json_t *v, struct err *err)
{
	int rc = conf_check_word(f, v, err);

	if (rc < 0)
		return rc;
	if (json_string_length(v) > 32)
		return conf_bad(f, "a file system type", err);
	return fstype_check(json_string_value(v), err) < 0 ? -EINVAL : 0;
}

static int check_backing(const struct conf_field *f, const json_t *v, struct err *err)
{
	struct backing_arg arg;
	int rc = conf_check_word(f, v, err);

	if (rc < 0)
		return rc;
	if (json_string_value(v)[0] == '.')
		return conf_bad(f, "on, off or an absolute path", err);
	return backing_arg_parse(json_string_value(v), &arg, err) < 0 ? -EINVAL : 0;
}

static int check_choice(
	const struct conf_field *f, const json_t *v, const char *const *words, struct err *err)
{
	char list[64] = "";
	size_t len = 0;

	for (; *words; words++) {
		if (json_is_string(v) && strcmp(json_string_value(v), *words) == 0)
			return 0;
		len += (size_t)snprintf(
			list + len, sizeof(list) - len, "%s%s", len ? ", " : "", *words);
	}
	return err_msg(err, EINVAL, "'%s' is none of: %s", f->key, list);
}

static int check_stat(const struct conf_field *f, const json_t *v, struct err *err)
{
	static const char *const words[] = { "strict", "relaxed", "off", NULL };

	return check_choice(f, v, words, err);
}

static int check_perms(const struct conf_field *f, const json_t *v, struct err *err)
{
	static const char *const words[] = { "private", "mirror", NULL };

	return check_choice(f, v, words, err);
}

static int check_create(const struct conf_field *f, const json_t *v, struct err *err)
{
	static const char *const words[] = { "existing", "create", "ensure-exists", NULL };

	return check_choice(f, v, words, err);
}

static int check_format(const struct conf_field *f, const json_t *v, struct err *err)
{
	static const char *const words[] = { "raw", "qcow2", "vmdk", NULL };

	return check_choice(f, v, words, err);
}

static int check_array(const struct conf_field *f, const json_t *v, struct err *err)
{
	return json_is_array(v) ? 0 : conf_bad(f, "a list", err);
}

/* ---- tables ---- */

static const struct conf_field tmpfs_fields[] = { { "size", check_size }, { 0 } };

static const struct conf_field mount_fields[] = {
	{ "bind", conf_check_word },
	{ "named", conf_check_word },
	{ "tmpfs", conf_check_map, .fields = tmpfs_fields },
	{ "disk", conf_check_word },
	{ "target", conf_check_word, .required = true },
	{ "create", check_create },
	{ "format", check_format },
	{ "fstype", check_fstype },
	{ "backing", check_backing },
	{ "readonly", conf_check_bool },
	{ "noexec", conf_check_bool },
	{ "nosuid", conf_check_bool },
	{ "nodev", conf_check_bool },
	{ "stat_virtualization", check_stat },
	{ "host_permissions", check_perms },
	{ "uid", check_id },
	{ "gid", check_id },
	{ "quota", check_quota },
	{ "follow_root_symlinks", conf_check_bool },
	{ 0 },
};

static const struct conf_field text_fields[] = {
	{ "path", conf_check_word, .required = true },
	{ "content", conf_check_text, .required = true },
	{ "mode", check_mode },
	{ "replace", conf_check_bool },
	{ 0 },
};

static const struct conf_field file_fields[] = {
	{ "path", conf_check_word, .required = true },
	{ "content_base64", conf_check_text, .required = true },
	{ "mode", check_mode },
	{ "replace", conf_check_bool },
	{ 0 },
};

static const struct conf_field copy_file_fields[] = {
	{ "src", conf_check_word, .required = true },
	{ "dst", conf_check_word, .required = true },
	{ "mode", check_mode },
	{ "replace", conf_check_bool },
	{ 0 },
};

static const struct conf_field copy_dir_fields[] = {
	{ "src", conf_check_word, .required = true },
	{ "dst", conf_check_word, .required = true },
	{ "replace", conf_check_bool },
	{ 0 },
};

static const struct conf_field symlink_fields[] = {
	{ "target", conf_check_word, .required = true },
	{ "link", conf_check_word, .required = true },
	{ "replace", conf_check_bool },
	{ 0 },
};

static const struct conf_field mkdir_fields[] = {
	{ "path", conf_check_word, .required = true },
	{ "mode", check_mode },
	{ 0 },
};

static const struct conf_field remove_fields[] = {
	{ "path", conf_check_word, .required = true },
	{ 0 },
};

static const struct conf_field append_fields[] = {
	{ "path", conf_check_word, .required = true },
	{ "content", conf_check_text, .required = true },
	{ 0 },
};

static const struct conf_field patch_fields[] = {
	{ "text", conf_check_map, .fields = text_fields },
	{ "file", conf_check_map, .fields = file_fields },
	{ "copy_file", conf_check_map, .fields = copy_file_fields },
	{ "copy_dir", conf_check_map, .fields = copy_dir_fields },
	{ "symlink", conf_check_map, .fields = symlink_fields },
	{ "mkdir", conf_check_map, .fields = mkdir_fields },
	{ "remove", conf_check_map, .fields = remove_fields },
	{ "append", conf_check_map, .fields = append_fields },
	{ 0 },
};

static const enum patch_kind patch_kinds[] = {
	PATCH_WRITE,
	PATCH_WRITE,
	PATCH_COPY_FILE,
	PATCH_COPY_DIR,
	PATCH_SYMLINK,
	PATCH_MKDIR,
	PATCH_REMOVE,
	PATCH_APPEND,
};

static_assert(ARRAY_LEN(patch_kinds) + 1 == ARRAY_LEN(patch_fields), "a kind for each");

static const struct conf_field root_fields[] = {
	{ "mounts", check_array },
	{ "patch_files", conf_check_list },
	{ "patches", check_array },
	{ 0 },
};

static const struct conf_field listed_fields[] = {
	{ "patches", check_array, .required = true },
	{ 0 },
};

/* ---- paths of the host ---- */

/* "a/b.yaml" and "c": "./a/c", so that it is a path to whoever looks at its beginning. */
static char *resolve(const char *file, const char *path)
{
	const char *slash = strrchr(file, '/');
	char *ret = NULL;

	if (path[0] == '/')
		return strdup(path);
	if (asprintf(&ret, "%s%.*s%s", file[0] == '/' ? "" : "./",
		    slash ? (int)(slash - file + 1) : 0, file, path) < 0)
		return NULL;
	return ret;
}

/* ---- mounts ---- */

/* struct words - options as they stand behind a mount on the command line */
struct words {
	char s[256];
	size_t len;
};

/* All values have been checked and are short. */
static void say(struct words *w, const char *option, const char *value)
{
	w->len += (size_t)snprintf(w->s + w->len, sizeof(w->s) - w->len, "%s%s%s%s",
		w->len ? "," : "", option, value ? "=" : "", value ? value : "");
}

/* struct mount_option_key - @kinds: the keys of the sources that it goes with */
struct mount_option_key {
	const char *key, *option, *kinds;
};

static const struct mount_option_key option_keys[] = {
	{ "readonly", "ro", "bind named tmpfs disk" },
	{ "noexec", "noexec", "bind named tmpfs disk" },
	{ "nosuid", "nosuid", "bind named tmpfs disk" },
	{ "nodev", "nodev", "bind named tmpfs disk" },
	{ "follow_root_symlinks", "follow-root-symlinks", "bind" },
	{ "stat_virtualization", "stat-virt", "bind named" },
	{ "host_permissions", "host-perms", "bind named" },
	{ "uid", "uid", "bind named" },
	{ "gid", "gid", "bind named" },
	{ "quota", "quota", "bind named" },
	{ "format", "format", "disk" },
	{ "fstype", "fstype", "disk" },
	{ "backing", "backing", "disk" },
	{ "create", NULL, "named" },
};

static void say_key(struct words *w, const struct mount_option_key *k, const json_t *v)
{
	char number[24];

	if (json_is_integer(v)) {
		(void)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
		say(w, k->option, number);
	} else if (json_is_string(v)) {
		say(w, k->option, json_string_value(v));
	} else if (json_is_true(v)) {
		say(w, k->option, NULL);
	}
}

static int take_options(const json_t *map, const char *kind, struct words *w, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(option_keys); i++) {
		const struct mount_option_key *k = &option_keys[i];
		const json_t *v = json_object_get(map, k->key);

		if (v && !strstr(k->kinds, kind))
			return err_msg(err, EINVAL, "'%s' does not go with '%s'", k->key, kind);
		if (v && k->option)
			say_key(w, k, v);
	}
	return 0;
}

/* struct mount_source - a key that says what is mounted */
struct mount_source {
	const char *key;
	enum mount_arg_kind kind;
};

/* The one source that the map has; NULL and the reason in @err. */
static const struct mount_source *source_of(const json_t *map, struct err *err)
{
	static const struct mount_source sources[] = {
		{ "bind", MOUNT_HOST },
		{ "named", MOUNT_VOLUME },
		{ "tmpfs", MOUNT_TMPFS },
		{ "disk", MOUNT_IMAGE },
	};
	const struct mount_source *found = NULL;

	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		if (!json_object_get(map, sources[i].key))
			continue;
		if (found) {
			(void)err_msg(err, EINVAL, "'%s' and '%s' in one mount", found->key,
				sources[i].key);
			return NULL;
		}
		found = &sources[i];
	}
	if (!found)
		(void)err_msg(err, EINVAL, "a mount has one of bind, named, tmpfs, disk");
	return found;
}

static enum mount_create create_of(const char *word)
{
	if (!word || strcmp(word, "existing") == 0)
		return MOUNT_EXISTING;
	return strcmp(word, "create") == 0 ? MOUNT_CREATE : MOUNT_ENSURE;
}

static int take_mount_map(
	struct mount_args *mounts, const char *file, const json_t *map, struct err *err)
{
	static const struct conf_field top = { "mount", conf_check_map, .fields = mount_fields };
	const struct mount_source *from = NULL;
	cleanup_free char *source = NULL;
	struct words w = { .len = 0 };
	const char *size;
	int rc = conf_check_map(&top, map, err);

	if (rc == 0)
		from = source_of(map, err);
	if (!from || take_options(map, from->key, &w, err) < 0)
		return -EINVAL;
	if (from->kind == MOUNT_VOLUME)
		source = strdup(conf_text(map, from->key));
	else if (from->kind != MOUNT_TMPFS)
		source = resolve(file, conf_text(map, from->key));
	if (!source && from->kind != MOUNT_TMPFS)
		return err_set(err, ENOMEM, "read '%s'", file);
	size = conf_text(json_object_get(map, "tmpfs"), "size");
	if (size)
		say(&w, "size", size);
	rc = mount_args_add_parts(mounts, from->kind, source, conf_text(map, "target"), w.s, err);
	if (rc == 0 && from->kind == MOUNT_VOLUME)
		mounts->v[mounts->n - 1].create = create_of(conf_text(map, "create"));
	return rc;
}

/* "SOURCE:GUEST[:OPTIONS]", as -v has it; but a name could as well be a folder beside the file. */
static int take_mount_text(
	struct mount_args *mounts, const char *file, const char *spec, struct err *err)
{
	cleanup_free char *whole = NULL;

	if (spec[0] != '/' && spec[0] != '.')
		return err_msg(err, EINVAL,
			"'%.60s' does not begin with a path: that is './...' or '/...'; a named "
			"volume "
			"is {named: NAME, target: PATH}",
			spec);
	whole = resolve(file, spec);
	if (!whole)
		return err_set(err, ENOMEM, "read '%s'", file);
	return mount_args_add(mounts, MOUNT_HOST, whole, err);
}

static int take_mounts(struct fs_file *f, const char *file, const json_t *list, struct err *err)
{
	size_t i;
	json_t *item;
	int rc = 0;

	mount_args_release(&f->mounts);
	json_array_foreach((json_t *)list, i, item)
	{
		if (json_is_string(item))
			rc = take_mount_text(&f->mounts, file, json_string_value(item), err);
		else
			rc = take_mount_map(&f->mounts, file, item, err);
		if (rc < 0)
			return err_wrap(err, "%s: item %zu of mounts", file, i + 1);
	}
	return 0;
}

/* ---- patches ---- */

static char *copy_or_null(const char *s)
{
	return s ? strdup(s) : NULL;
}

static int take_content(struct patch_arg *arg, const json_t *map, struct err *err)
{
	const json_t *text = json_object_get(map, "content");
	const json_t *coded = json_object_get(map, "content_base64");
	const json_t *v = text ? text : coded;

	arg->len = json_string_length(v);
	arg->content = malloc(arg->len + 1);
	if (!arg->content)
		return err_set(err, ENOMEM, "copy patch");
	if (text)
		memcpy(arg->content, json_string_value(text), arg->len);
	else if (base64_decode(json_string_value(coded), arg->len, (uint8_t *)arg->content,
			 &arg->len) < 0)
		return err_msg(err, EINVAL, "'content_base64' is not Base64");
	return 0;
}

/* Each kind has its own word for where it happens. */
static const char *guest_path_of(const json_t *map)
{
	const char *path = conf_text(map, "path");

	if (!path)
		path = conf_text(map, "dst");
	return path ? path : conf_text(map, "link");
}

static int fill_patch(struct patch_arg *arg, const char *file, const json_t *map, struct err *err)
{
	const char *src = conf_text(map, "src"), *mode = conf_text(map, "mode");
	bool content = arg->kind == PATCH_WRITE || arg->kind == PATCH_APPEND;

	arg->path = strdup(guest_path_of(map));
	arg->source = src ? resolve(file, src) : copy_or_null(conf_text(map, "target"));
	if (!arg->path || (!arg->source && (src || arg->kind == PATCH_SYMLINK)))
		return err_set(err, ENOMEM, "copy patch");
	arg->has_mode = mode != NULL;
	arg->mode = mode ? mode_of(mode) : 0;
	arg->replace = conf_is_true(map, "replace");
	return content ? take_content(arg, map, err) : 0;
}

/* A map with one key, the kind. */
static int take_patch(
	struct patch_args *patches, const char *file, const json_t *item, struct err *err)
{
	static const struct conf_field top = { "patch", conf_check_map, .fields = patch_fields };
	struct patch_arg arg = { 0 };
	int rc = conf_check_map(&top, item, err);
	size_t i = 0;

	if (rc == 0 && json_object_size(item) != 1)
		rc = err_msg(err, EINVAL, "a patch has one key, its kind");
	if (rc < 0)
		return rc;
	while (!json_object_get(item, patch_fields[i].key))
		i++;
	arg.kind = patch_kinds[i];
	rc = fill_patch(&arg, file, json_object_get(item, patch_fields[i].key), err);
	if (rc < 0)
		patch_arg_release(&arg);
	else
		rc = patch_args_append(patches, &arg, err);
	return rc < 0 ? err_wrap(err, "%s", patch_fields[i].key) : 0;
}

static int take_patches(
	struct patch_args *patches, const char *file, const json_t *list, struct err *err)
{
	size_t i;
	json_t *item;

	json_array_foreach((json_t *)list, i, item)
	{
		if (take_patch(patches, file, item, err) < 0)
			return err_wrap(err, "%s: item %zu of patches", file, i + 1);
	}
	return 0;
}

/* ---- files ---- */

static int parse_tree(const char *name, const char *text, size_t len,
	const struct conf_field *fields, json_t **ret, struct err *err)
{
	const struct conf_field top = { "the file", conf_check_map, .fields = fields };
	cleanup_json json_t *root = NULL;
	int rc = yaml_parse(name, text, len, &root, err);

	if (rc < 0)
		return rc;
	rc = conf_check_map(&top, root, err);
	if (rc < 0)
		return err_wrap(err, "%s", name);
	*ret = json_incref(root);
	return 0;
}

static int take_listed_file(struct fs_file *f, const char *path, struct err *err)
{
	cleanup_json json_t *root = NULL;
	cleanup_free char *text = NULL;
	size_t len = 0;
	int rc = yaml_read(path, &text, &len, err);

	if (rc == 0)
		rc = parse_tree(path, text, len, listed_fields, &root, err);
	return rc < 0 ? rc : take_patches(&f->listed, path, json_object_get(root, "patches"), err);
}

static int take_listed(struct fs_file *f, const char *file, const json_t *list, struct err *err)
{
	size_t i;
	json_t *item;
	int rc = 0;

	patch_args_release(&f->listed);
	if (json_array_size(list) > LISTED_MAX)
		return err_msg(err, EINVAL, "%s: more than %d patch_files", file, LISTED_MAX);
	json_array_foreach((json_t *)list, i, item)
	{
		cleanup_free char *path = resolve(file, json_string_value(item));

		if (!path)
			return err_set(err, ENOMEM, "read '%s'", file);
		rc = take_listed_file(f, path, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int fs_file_parse(struct fs_file *f, const char *name, const char *text, size_t len, bool follow,
	struct err *err)
{
	cleanup_json json_t *root = NULL;
	const json_t *mounts, *listed, *patches;
	int rc = parse_tree(name, text, len, root_fields, &root, err);

	if (rc < 0)
		return rc;
	mounts = json_object_get(root, "mounts");
	listed = json_object_get(root, "patch_files");
	patches = json_object_get(root, "patches");
	if (mounts)
		rc = take_mounts(f, name, mounts, err);
	if (rc == 0 && listed && follow)
		rc = take_listed(f, name, listed, err);
	if (rc == 0 && patches) {
		patch_args_release(&f->patches);
		rc = take_patches(&f->patches, name, patches, err);
	}
	return rc;
}

int fs_file_load(struct fs_file *f, const char *path, struct err *err)
{
	cleanup_free char *text = NULL;
	size_t len = 0;
	int rc = yaml_read(path, &text, &len, err);

	return rc < 0 ? rc : fs_file_parse(f, path, text, len, true, err);
}

int fs_file_finish(
	struct fs_file *f, struct mount_args *mounts, struct patch_args *patches, struct err *err)
{
	int rc = patch_args_move(&f->listed, &f->patches, err);

	if (rc == 0)
		rc = patch_args_move(&f->listed, patches, err);
	if (rc == 0) {
		*patches = f->listed;
		f->listed = (struct patch_args){ 0 };
		rc = mount_args_move(mounts, &f->mounts, err);
	}
	fs_file_release(f);
	return rc;
}

void fs_file_release(struct fs_file *f)
{
	mount_args_release(&f->mounts);
	patch_args_release(&f->listed);
	patch_args_release(&f->patches);
}
