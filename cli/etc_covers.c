/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/etc_covers.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/path.h"

static bool access_beneath(int root_fd, const char *path)
{
	cleanup_fd int fd = -1;

	return path_open_beneath(root_fd, path, O_PATH, 0, &fd, NULL) == 0;
}

static bool has_file(int root_fd, const char *dir, const char *name)
{
	cleanup_fd int fd = -1;
	struct stat st;

	/* Where the folder is missing, nothing can be shown in it. */
	if (path_open_beneath(root_fd, dir, O_PATH | O_DIRECTORY, 0, &fd, NULL) < 0)
		return true;
	return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

/* The guest adds to the first bundle of this list that it finds. */
static bool has_bundle(int root_fd)
{
	return has_file(root_fd, "etc/ssl/certs", "ca-certificates.crt") ||
	       access_beneath(root_fd, "etc/pki/tls/certs/ca-bundle.crt") ||
	       access_beneath(root_fd, "etc/ssl/cert.pem");
}

unsigned etc_covers(int root_fd, bool cas, struct fs_extra ret[ETC_COVERS_MAX])
{
	unsigned n = 0;

	if (!has_file(root_fd, "etc", "hosts"))
		ret[n++] = (struct fs_extra){ "hosts", "", 0, 0644, "etc" };
	if (!has_file(root_fd, "etc", "resolv.conf"))
		ret[n++] = (struct fs_extra){ "resolv.conf", "", 0, 0644, "etc" };
	if (cas && !has_bundle(root_fd))
		ret[n++] = (struct fs_extra){ "ca-certificates.crt", "", 0, 0644, "etc/ssl/certs" };
	return n;
}

bool etc_takes_cas(int root_fd)
{
	return access_beneath(root_fd, "etc/ssl/certs") ||
	       access_beneath(root_fd, "etc/pki/tls/certs/ca-bundle.crt") ||
	       access_beneath(root_fd, "etc/ssl/cert.pem");
}
