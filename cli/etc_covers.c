/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/etc_covers.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/num.h"
#include "lib/path.h"

unsigned etc_covers(int root_fd, struct fs_extra ret[ETC_COVERS_MAX])
{
	static const char *const names[ETC_COVERS_MAX] = { "hosts", "resolv.conf" };
	cleanup_fd int etc = -1;
	unsigned n = 0;
	struct stat st;

	if (path_open_beneath(root_fd, "etc", O_PATH | O_DIRECTORY, 0, &etc, NULL) < 0)
		return 0;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (fstatat(etc, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			ret[n++] = (struct fs_extra){ names[i], "", 0, 0644, "etc" };
	}
	return n;
}
