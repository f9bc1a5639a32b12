/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program is told of the run's names: a line a call. Linked statically it must print what it prints when it is not.
 * Arguments: the name of a disk in /dev, and anything where it shall only look.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *error(void)
{
	return strerrorname_np(errno);
}

static void tell(const char *what, const char *name, long result)
{
	printf("%s %s: %ld %s\n", what, name, result, result < 0 ? error() : "");
}

static void tell_stat(const char *what, int dirfd, const char *name, int flags)
{
	struct statx more;
	struct stat st;

	if (fstatat(dirfd, name, &st, flags))
		printf("%s %s: stat %s\n", what, name, error());
	else
		printf("%s %s: stat %o %ld %lx\n", what, name, st.st_mode, (long)st.st_size, (long)st.st_rdev);
	if (statx(dirfd, name, flags, STATX_BASIC_STATS, &more))
		printf("%s %s: statx %s\n", what, name, error());
	else
		printf("%s %s: statx %o %ld %x:%x\n", what, name, more.stx_mode, (long)more.stx_size, more.stx_rdev_major,
		       more.stx_rdev_minor);
}

static void tell_link(int dirfd, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dirfd, name, target, sizeof(target) - 1);

	target[n > 0 ? n : 0] = '\0';
	printf("link %s: %ld %s\n", name, (long)n, n < 0 ? error() : target);
	n = readlinkat(dirfd, name, target, 4); /* less room than it needs */
	printf("link %s: %ld %.*s\n", name, (long)n, n > 0 ? (int)n : 0, target);
}

static void tell_file(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY);
	char text[64] = "";
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	printf("file %s: %ld %s\n", name, (long)n, n < 0 ? error() : text);
	close(fd);
}

static void tell_size(const char *name)
{
	uint64_t size = 0;
	int fd = open(name, O_RDWR), r;
	char byte = 0;

	r = fd < 0 ? -1 : ioctl(fd, BLKGETSIZE64, &size);
	printf("size by %s: %d %lu %s\n", name, r, (unsigned long)size, r < 0 ? error() : "");
	if (fd >= 0) {
		tell("read by", name, pread(fd, &byte, 1, 0));
		close(fd);
	}
}

static void look(const char *node, const char *sys)
{
	char name[PATH_MAX];
	int folder;

	tell_stat("node", AT_FDCWD, node, 0);
	tell_stat("node", AT_FDCWD, node, AT_SYMLINK_NOFOLLOW);
	tell_stat("class", AT_FDCWD, sys, 0);
	tell_stat("class", AT_FDCWD, sys, AT_SYMLINK_NOFOLLOW);
	snprintf(name, sizeof(name), "%s/queue/zoned", sys);
	tell_stat("attribute", AT_FDCWD, name, 0);
	tell_file(AT_FDCWD, name);
	tell("may read", name, access(name, R_OK));
	tell("may run", node, access(node, X_OK));
	tell_link(AT_FDCWD, sys);
	tell_link(AT_FDCWD, name);
	tell_link(AT_FDCWD, node);
	snprintf(name, sizeof(name), "%s/subsystem", sys);
	tell_link(AT_FDCWD, name);
	snprintf(name, sizeof(name), "%s/size", sys);
	tell_stat("partitions", AT_FDCWD, "/proc/partitions", AT_SYMLINK_NOFOLLOW);

	folder = open(sys, O_RDONLY | O_DIRECTORY);
	tell_stat("below", folder, "queue/zoned", 0);
	tell_stat("itself", folder, "", AT_EMPTY_PATH);
	tell_file(folder, "queue/nr_zones");
	tell_link(folder, "subsystem");
	tell("may", "queue", faccessat(folder, "queue", R_OK | X_OK, 0));
	close(folder);
	folder = open("/sys/class", O_RDONLY | O_DIRECTORY); /* the host's own */
	tell_file(folder, strstr(name, "block/"));
	tell_link(folder, strstr(sys, "block/"));
	tell_stat("by folder", folder, strstr(sys, "block/"), 0);
	close(folder);
	folder = open("/dev", O_RDONLY | O_DIRECTORY); /* a low number */
	tell_stat("by folder", folder, strrchr(node, '/') + 1, 0);
	close(folder);
}

static void through_numbers(const char *node)
{
	int fd = open(node, O_RDWR);
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	dup2(fd, 77);
	tell_size("/proc/self/fd/77");
	tell_size("/dev/fd/77");
	tell_link(AT_FDCWD, "/proc/self/fd/77");
	tell_stat("number", AT_FDCWD, "/proc/self/fd/77", 0);
	tell_stat("number", 77, "", AT_EMPTY_PATH);
	close(fd);
	close(77);
	dup2(open(node, O_RDWR), 0);
	tell("read of the standard input", "", read(0, name, 16));
	tell_size("/dev/stdin");
}

static void change(const char *node)
{
	struct statfs fs;
	char name[PATH_MAX], value[16];

	snprintf(name, sizeof(name), "%s/x", node);
	tell("open below", "", open(name, O_RDONLY));
	tell_stat("below", AT_FDCWD, name, 0);
	tell("may below", "", access(name, R_OK));
	tell("chdir", "", chdir(node));
	tell("unlink", "", unlink(node));
	tell("unlinkat", "", unlinkat(AT_FDCWD, node, AT_REMOVEDIR));
	tell("rmdir", "", rmdir(node));
	tell("mkdir", "", mkdir(node, 0700));
	tell("mknod", "", mknod(node, S_IFREG | 0600, 0));
	tell("symlink", "", symlink("x", node));
	tell("link from", "", link(node, "/tmp/pathcalls"));
	tell("link to", "", link("/dev/null", node));
	tell("rename", "", rename(node, "/tmp/pathcalls"));
	tell("rename to", "", rename("/tmp/pathcalls-none", node));
	tell("truncate", "", truncate(node, 5));
	tell("chmod", "", chmod(node, 0600));
	tell("chown", "", chown(node, 0, 0));
	tell("lchown", "", lchown(node, 0, 0));
	tell("utimensat", "", utimensat(AT_FDCWD, node, NULL, 0));
	tell("getxattr", "", getxattr(node, "user.x", value, sizeof(value)));
	tell("lgetxattr", "", lgetxattr(node, "user.x", value, sizeof(value)));
	tell("listxattr", "", listxattr(node, value, sizeof(value)));
	tell("llistxattr", "", llistxattr(node, value, sizeof(value)));
	tell("statfs", "", statfs(node, &fs));
}

/* What programs try before they read and write. */
static void carry(const char *node)
{
	int disk = open(node, O_RDWR), other = open("/tmp", O_RDWR | O_TMPFILE, 0600), ends[2];
	char bytes[16];

	tell("pipe", "", pipe(ends));
	tell("mmap", "", mmap(NULL, 4096, PROT_READ, MAP_SHARED, disk, 0) == MAP_FAILED ? -1 : 0);
	tell("copy_file_range from", "", copy_file_range(disk, NULL, other, NULL, 4096, 0));
	tell("copy_file_range to", "", copy_file_range(other, NULL, disk, NULL, 4096, 0));
	tell("splice", "", splice(disk, NULL, ends[1], NULL, 4096, 0));
	tell("write", "", write(other, "0123456789abcdef", 16));
	tell("others' splice", "", splice(other, (off_t[]){ 0 }, ends[1], NULL, 16, 0));
	tell("others' sendfile", "", sendfile(ends[1], other, (off_t[]){ 0 }, 16));
	tell("read", "", read(ends[0], bytes, 16));
	tell("others' mmap", "", mmap(NULL, 4096, PROT_READ, MAP_SHARED, other, 0) == MAP_FAILED ? -1 : 0);
	close(disk);
	close(other);
}

/* Of the generic node alone: a static program's buffers are not carried over. */
static void command(const char *node)
{
	uint8_t head[88] = { 'S' };
	int fd = open(node, O_RDWR);

	tell("SG_IO", node, ioctl(fd, 0x2285, head));
	close(fd);
}

int main(int argc, char **argv)
{
	char sys[64];

	if (argc < 2)
		return 2;
	snprintf(sys, sizeof(sys), "/sys/class/block/%s", strrchr(argv[1], '/') + 1);
	look(argv[1], sys);
	if (argc > 2) /* all that changes nothing, whoever answers */
		return 0;
	if (strstr(argv[1], "zsg")) {
		command(argv[1]);
		return 0;
	}
	change(argv[1]);
	carry(argv[1]);
	through_numbers(argv[1]);
	return 0;
}
