/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a process: while the file named by ZONED_TEST_HOLD exists, a sync to the host's disk takes as long. That
 * it has begun is told by a file of that name with ".held" behind it.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	const char *name = getenv("ZONED_TEST_HOLD");
	char held[PATH_MAX];

	if (name && access(name, F_OK) == 0) {
		snprintf(held, sizeof(held), "%s.held", name);
		close(open(held, O_WRONLY | O_CREAT, 0666));
		while (access(name, F_OK) == 0)
			usleep(1000);
	}
	return real(fd);
}
