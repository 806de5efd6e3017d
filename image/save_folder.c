/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_save_folder(): saved images as an OCI layout in a folder.
 *
 * A folder that is not there is filled under another name beside, and gets its own when all is on
 * the disk. One that is there keeps what else it is (its mode, a mount point, a symbolic link to
 * it), so it is filled where it is; index.json and oci-layout, without which nobody takes it for a
 * layout, come last. Whatever was made is deleted again after a failure, and nothing else is: two
 * that fill the same folder must not delete each other's files.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/save_sink.h"
#include "lib/cleanup.h"

#define FOLDER_MODE 0755
#define FILE_MODE   0644

/*
 * struct folder_out
 * @fd:   the folder, which the user calls @path
 * @file: the one being written, or -1
 * @made: names below it, in order; a folder's ends with '/'
 */
struct folder_out {
	int fd, file;
	const char *path;
	struct save_stream stream;
	char **made;
	size_t made_count;
};

#define FOLDER_OUT_INIT ((struct folder_out){ .fd = -1, .file = -1 })

static void folder_out_release(struct folder_out *f)
{
	for (size_t i = 0; i < f->made_count; i++)
		free(f->made[i]);
	free(f->made);
	save_stream_release(&f->stream);
	close_fd(&f->file);
	close_fd(&f->fd);
}

static bool is_folder(const char *name)
{
	return name[0] && name[strlen(name) - 1] == '/';
}

static void undo(const struct folder_out *f)
{
	for (size_t i = f->made_count; i-- > 0;)
		(void)unlinkat(f->fd, f->made[i], is_folder(f->made[i]) ? AT_REMOVEDIR : 0);
}

/* Room to note @name, so that what is made next can be deleted again. */
static int prepare(struct folder_out *f, const char *name, struct err *err)
{
	char **more = realloc(f->made, (f->made_count + 1) * sizeof(*more));

	if (more) {
		f->made = more;
		more[f->made_count] = strdup(name);
	}
	return more && more[f->made_count] ? 0 : err_set(err, ENOMEM, "save images");
}

/* Return: 0; -errno, with nothing noted */
static int note(struct folder_out *f, const char *name, bool made, struct err *err)
{
	int code = errno;

	if (made) {
		f->made_count++;
		return 0;
	}
	free(f->made[f->made_count]);
	return err_set(err, code, "create '%s/%s'", f->path, name);
}

static int folder(void *ctx, const char *name, struct err *err)
{
	struct folder_out *f = ctx;
	int rc = prepare(f, name, err);

	return rc ? rc : note(f, name, mkdirat(f->fd, name, FOLDER_MODE) == 0, err);
}

/* Some file systems cannot, and then there is nothing to wait for. */
static int sync_to_disk(int fd, struct err *err)
{
	if (fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
		return err_set(err, errno, "write the layout");
	return 0;
}

/* The names too. */
static int sync_folders(const struct folder_out *f, struct err *err)
{
	int rc = sync_to_disk(f->fd, err);

	for (size_t i = 0; i < f->made_count && rc == 0; i++) {
		cleanup_fd int fd = -1;

		if (!is_folder(f->made[i]))
			continue;
		fd = openat(f->fd, f->made[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = fd < 0 ? err_set(err, errno, "open '%s'", f->made[i]) : sync_to_disk(fd, err);
	}
	return rc;
}

static int begin(void *ctx, const char *name, uint64_t size, struct err *err)
{
	struct folder_out *f = ctx;
	/* What makes it a layout must not be on the disk before what it names. */
	int rc = strchr(name, '/') ? 0 : sync_folders(f, err);

	rc = rc ? rc : prepare(f, name, err);
	if (rc < 0)
		return rc;
	f->file = openat(f->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
	f->stream.fd = f->file;
	return note(f, name, f->file >= 0, err);
}

static int put(void *ctx, const void *data, size_t len, struct err *err)
{
	return save_stream_put(&((struct folder_out *)ctx)->stream, data, len, err);
}

static int end(void *ctx, struct err *err)
{
	struct folder_out *f = ctx;
	int rc = save_stream_flush(&f->stream, err);

	rc = rc ? rc : sync_to_disk(f->file, err);
	close_fd(&f->file);
	return rc;
}

static int fill(struct folder_out *f, struct cache *cache, const char *const *references, size_t n,
	struct err *err)
{
	struct save_sink sink = { .folder = folder,
		.begin = begin,
		.write = put,
		.end = end,
		.tables_last = true,
		.ctx = f };
	int rc = save_stream_init(&f->stream, -1, "the layout", err);

	rc = rc ? rc : save_images(cache, references, n, IMAGE_OCI, &sink, err);
	return rc ? rc : sync_folders(f, err);
}

static int check_empty(int fd, const char *path, struct err *err)
{
	cleanup_dir DIR *dir = NULL;
	struct dirent *e;
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = again < 0 ? NULL : fdopendir(again);
	if (!dir) {
		close_fd(&again);
		return err_set(err, errno, "read '%s'", path);
	}
	while ((errno = 0, e = readdir(dir))) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return err_msg(err, ENOTEMPTY,
				"save into '%s': there is something in it ('%.100s'), and only an "
				"empty folder or a new one is taken",
				path, e->d_name);
	}
	return errno ? err_set(err, errno, "read '%s'", path) : 0;
}

static int fill_there(struct folder_out *f, struct cache *cache, const char *const *references,
	size_t n, struct err *err)
{
	int rc = check_empty(f->fd, f->path, err);

	if (rc < 0)
		return rc;
	rc = fill(f, cache, references, n, err);
	if (rc < 0)
		undo(f);
	return rc;
}

/* What holds the name of @path: made durable, as far as it can be. */
static void sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	cleanup_fd int fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0)
		(void)fsync(fd);
}

static int fill_new(struct folder_out *f, struct cache *cache, const char *const *references,
	size_t n, struct err *err)
{
	cleanup_free char *tmp = NULL;
	const char *path = f->path;
	uint32_t r = 0;
	int rc;

	(void)!getrandom(&r, sizeof(r), GRND_NONBLOCK);
	if (asprintf(&tmp, "%s.%08" PRIx32, path, r) < 0)
		return err_set(err, ENOMEM, "save images");
	if (mkdir(tmp, FOLDER_MODE) < 0)
		return err_set(err, errno, "create '%s'", path);
	f->fd = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = f->fd < 0 ? err_set(err, errno, "open '%s'", tmp) : fill(f, cache, references, n, err);
	if (rc == 0 && rename(tmp, path) < 0)
		rc = err_set(err, errno, "name '%s'", path);
	if (rc == 0) {
		sync_parent(path);
		return 0;
	}
	undo(f);
	(void)rmdir(tmp);
	return rc;
}

int image_save_folder(struct cache *cache, const char *const *references, size_t n,
	const char *path, struct err *err)
{
	__attribute__((cleanup(folder_out_release))) struct folder_out f = FOLDER_OUT_INIT;
	cleanup_free char *plain = strdup(path);
	size_t len = strlen(path);

	if (!plain)
		return err_set(err, ENOMEM, "save images");
	while (len > 1 && plain[len - 1] == '/')
		plain[--len] = '\0';
	f.path = plain;
	f.fd = open(plain, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f.fd < 0 && errno != ENOENT)
		return err_set(err, errno, "open '%s'", path);
	return f.fd < 0 ? fill_new(&f, cache, references, n, err)
			: fill_there(&f, cache, references, n, err);
}
