/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/num.h"
#include "vmm/kvm/kvm_internal.h"

#define DEV_KVM "/dev/kvm"

int kvm_ioctl(int fd, unsigned long request, void *arg, const char *name, struct err *err)
{
	int r;

	do
		r = ioctl(fd, request, arg);
	while (r < 0 && errno == EINTR);
	return r < 0 ? err_set(err, errno, "%s", name) : r;
}

static const struct {
	unsigned cap;
	const char *name;
} required[] = {
	{ KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
	{ KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
	{ KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
#ifdef __x86_64__
	{ KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR" },
	{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
	{ KVM_CAP_PIT2, "KVM_CAP_PIT2" },
#endif
};

static int check_caps(int fd, struct err *err)
{
	int version = KVM_IOCTL(fd, KVM_GET_API_VERSION, 0, err);

	if (version < 0)
		return err_wrap(err, DEV_KVM);
	if (version != KVM_API_VERSION)
		return err_msg(
			err, ENOTSUP, DEV_KVM ": API version %d, not %d", version, KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_LEN(required); i++)
		if (ioctl(fd, KVM_CHECK_EXTENSION, required[i].cap) <= 0)
			return err_msg(
				err, ENOTSUP, DEV_KVM ": this KVM lacks %s", required[i].name);
	return 0;
}

int kvm_open(int *ret_fd, struct err *err)
{
	cleanup_fd int fd = open(DEV_KVM, O_RDWR | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set(err, errno, "open " DEV_KVM);
	r = check_caps(fd, err);
	if (r)
		return r;
	*ret_fd = take_fd(&fd);
	return 0;
}
