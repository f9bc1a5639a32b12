/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe commands of a program that has no libc to stand before: rawnvme NAMESPACE CONTROLLER */
#include <errno.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#ifndef NVME_IOCTL_IO64_CMD_VEC
#define NVME_IOCTL_IO64_CMD_VEC _IOWR('N', 0x49, struct nvme_passthru_cmd64)
#endif

static char data[4096], got[4096], page[4096];

static int gives(int result)
{
	return result < 0 ? -errno : result;
}

int main(int argc, char **argv)
{
	int namespace = argc > 2 ? open(argv[1], O_RDONLY) : -1, controller = argc > 2 ? open(argv[2], O_RDONLY) : -1, r;
	struct nvme_passthru_cmd cmd = { .opcode = 0x06, .addr = (uintptr_t)page, .data_len = sizeof(page), .cdw10 = 1 };
	struct nvme_passthru_cmd64 wide = {
		.opcode = 0x7D, .nsid = 1, .addr = (uintptr_t)data, .data_len = sizeof(data), .cdw10 = 0x400
	};
	struct iovec pieces[] = { { got, 100 }, { got + 100, 0 }, { got + 100, sizeof(got) - 100 } };
	struct nvme_user_io io = { .opcode = 0x01, .slba = 7, .addr = (uintptr_t)data };

	printf("namespace %d\n", gives(ioctl(namespace, NVME_IOCTL_ID)));
	r = gives(ioctl(controller, NVME_IOCTL_ADMIN_CMD, &cmd));
	printf("identify %d %.15s\n", r, page + 24);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7);
	r = gives(ioctl(namespace, NVME_IOCTL_IO64_CMD, &wide));
	printf("append %d at %llx\n", r, (unsigned long long)wide.result);
	wide.opcode = 0x02;
	wide.addr = (uintptr_t)pieces;
	wide.vec_cnt = 3;
	r = gives(ioctl(namespace, NVME_IOCTL_IO64_CMD_VEC, &wide));
	printf("read in pieces %d %s\n", r, memcmp(data, got, sizeof(data)) ? "different" : "same");
	printf("write not at the pointer %x\n", (unsigned)gives(ioctl(namespace, NVME_IOCTL_SUBMIT_IO, &io)));
	io.addr = 1ull << 46;
	printf("from nowhere %d\n", gives(ioctl(namespace, NVME_IOCTL_SUBMIT_IO, &io)));
	printf("reset %d\n", gives(ioctl(controller, NVME_IOCTL_RESET)));
	return 0;
}
