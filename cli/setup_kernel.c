/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the user's own kernel can have as root. The merged image and its layers are one disk to the
 * guest; EROFS addresses a table of devices so ("flattened block device") since Linux 6.4: commit
 * 8b465fecc35a "erofs: support flattened block device for multi-blob images", 2023-04, in the
 * changes of 6.4 for EROFS. Older kernels get the image as one ext4 file system.
 */
#include <errno.h>

#include "cli/run_setup.h"
#include "lib/log.h"

#define LAYERS_MAJOR 6
#define LAYERS_MINOR 4

static bool reads_layers(const struct vm_kernel_version *v)
{
	return v->major > LAYERS_MAJOR || (v->major == LAYERS_MAJOR && v->minor >= LAYERS_MINOR);
}

int setup_suit_kernel(struct run_args *args, struct err *err)
{
	const struct vm_kernel kernel = { .path = args->kernel };
	struct vm_kernel_version v;

	if (!args->kernel || root_kind_of(args->image) != ROOT_REFERENCE ||
		args->upper.kind == UPPER_FLAT)
		return 0;
	/*
	 * Unknown: the guest's agent says what to do if the kernel cannot. What is no kernel is
	 * told by who is to boot it.
	 */
	if (vm_kernel_version(&kernel, &v, NULL) < 0 || !v.major || reads_layers(&v))
		return 0;
	if (args->upper.given)
		return err_msg(err, EINVAL,
			"--root-disk: kernel '%.200s' is Linux %u.%u, which cannot read the layers "
			"of an image as one disk (%d.%d can); use --root-disk flat or a newer "
			"kernel",
			args->kernel, v.major, v.minor, LAYERS_MAJOR, LAYERS_MINOR);
	log_info("kernel '%s' is Linux %u.%u, which cannot read the layers of an image as one disk "
		 "(%d.%d can): the root is a flat one, as with --root-disk flat",
		args->kernel, v.major, v.minor, LAYERS_MAJOR, LAYERS_MINOR);
	args->upper.kind = UPPER_FLAT;
	return 0;
}
