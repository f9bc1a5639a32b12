/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that no library can be put before: linked statically, or Go's.
 *
 * Whoever starts one by exec() first leaves a process behind that answers for it, and asks the kernel to hand that one all
 * calls on paths, and those on descriptors from ZP_STATIC_BASE on and up to ZP_STATIC_COPIED (seccomp, user notification: no privilege is needed, but set-uid programs
 * that it starts in turn stay without theirs). A disk's descriptors get numbers from there on; one that is copied to a number
 * in between meets O_PATH's EBADF. io_uring is ENOSYS, as on a kernel without it: such programs go on by read
 * and write. The process that answers ends when the last that has the filter has ended (answer.c).
 */
#include "preload/preload.h"
#include "preload/real.h"
#include "preload/static.h"

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* As cap_bprm_creds_from_file() decides: a user or group other than the real one's, or capabilities. */
bool zp_is_privileged(const char *path)
{
	struct statvfs fs;
	struct stat st;

	if (zp_real.stat(path, &st) || zp_real.statvfs(path, &fs) || (fs.f_flag & ST_NOSUID) ||
	    prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return false;
	if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
		return true;
	if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())
		return true;
	return getuid() != 0 && zp_real.getxattr(path, "security.capability", NULL, 0) > 0;
}

#ifdef __x86_64__

/* An executable of this machine without an interpreter; scripts are judged by theirs. */
static bool is_static_at(const char *path, int depth)
{
	unsigned char head[4096];
	const Elf64_Ehdr *elf = (const Elf64_Ehdr *)head;
	int fd = zp_real.open(path, O_RDONLY | O_CLOEXEC), i;
	char *end;
	ssize_t n;

	if (fd < 0)
		return false;
	n = zp_real.pread(fd, head, sizeof(head) - 1, 0);
	zp_real.close(fd);
	if (n > 2 && head[0] == '#' && head[1] == '!' && depth < 4) {
		head[n] = '\0';
		path = (char *)head + 2 + strspn((char *)head + 2, " \t");
		end = strpbrk(path, " \t\n");
		if (end)
			*end = '\0';
		return is_static_at(path, depth + 1);
	}
	if (n < (ssize_t)sizeof(*elf) || memcmp(elf->e_ident, ELFMAG, SELFMAG) || elf->e_ident[EI_CLASS] != ELFCLASS64 ||
	    elf->e_machine != EM_X86_64 || elf->e_phoff > sizeof(head))
		return false;
	for (i = 0; i < elf->e_phnum; i++) {
		size_t at = elf->e_phoff + (size_t)i * sizeof(Elf64_Phdr);

		if (at + sizeof(Elf64_Phdr) > (size_t)n)
			return false;
		if (((const Elf64_Phdr *)(head + at))->p_type == PT_INTERP)
			return false;
	}
	return true;
}

bool zp_is_static(const char *path)
{
	return is_static_at(path, 0);
}

/* ---------------------------------------------------------------- the filter */

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define GIVE(action) BPF_STMT(BPF_RET | BPF_K, action)
/* Of this call, whatever it concerns. */
#define ALWAYS(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), GIVE(SECCOMP_RET_USER_NOTIF)
/* Of this one where its first argument can be a number of ours: from the lowest on, or a copy of one. */
#define OF_OURS(name)                                                                                      \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 5), LOAD(args[0]),                             \
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, ZP_STATIC_BASE, 1, 0),                                 \
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, ZP_STATIC_COPIED, 1, 0), GIVE(SECCOMP_RET_USER_NOTIF), \
		GIVE(SECCOMP_RET_ALLOW)
/* Memory that would be of a disk; other maps are not held up. */
#define OF_OUR_MEMORY                                                                                                     \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mmap, 0, 5), LOAD(args[4]),                                              \
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, ZP_STATIC_BASE, 0, 2),                                                \
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, ZP_STATIC_BASE + ZP_STATIC_MOST, 1, 0), GIVE(SECCOMP_RET_USER_NOTIF), \
		GIVE(SECCOMP_RET_ALLOW)
#define NOT_HERE(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), GIVE(SECCOMP_RET_ERRNO | ENOSYS)

static struct sock_filter program[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
	GIVE(SECCOMP_RET_ALLOW),
	LOAD(nr),
	OF_OURS(read),
	OF_OURS(write),
	OF_OURS(pread64),
	OF_OURS(pwrite64),
	OF_OURS(readv),
	OF_OURS(writev),
	OF_OURS(preadv),
	OF_OURS(pwritev),
	OF_OURS(preadv2),
	OF_OURS(pwritev2),
	OF_OURS(lseek),
	OF_OURS(fstat),
	OF_OURS(ioctl),
	OF_OURS(fsync),
	OF_OURS(fdatasync),
	OF_OURS(fallocate),
	OF_OURS(ftruncate),
	OF_OURS(dup),
	OF_OURS(fcntl),
	OF_OURS(fadvise64),
	OF_OURS(fchmod),
	OF_OURS(fchown),
	OF_OURS(fgetxattr),
	OF_OURS(flistxattr),
	OF_OURS(fstatfs),
	OF_OUR_MEMORY,
	ALWAYS(sendfile),
	ALWAYS(splice),
	ALWAYS(copy_file_range),
	ALWAYS(open),
	ALWAYS(openat),
	ALWAYS(creat),
	ALWAYS(stat),
	ALWAYS(lstat),
	ALWAYS(newfstatat),
	ALWAYS(statx),
	ALWAYS(access),
	ALWAYS(faccessat),
	ALWAYS(faccessat2),
	ALWAYS(readlink),
	ALWAYS(readlinkat),
	ALWAYS(statfs),
	ALWAYS(getcwd),
	ALWAYS(utimensat),
	ALWAYS(chdir),
	ALWAYS(unlink),
	ALWAYS(unlinkat),
	ALWAYS(rmdir),
	ALWAYS(rename),
	ALWAYS(renameat),
	ALWAYS(renameat2),
	ALWAYS(mkdir),
	ALWAYS(mkdirat),
	ALWAYS(mknod),
	ALWAYS(mknodat),
	ALWAYS(symlink),
	ALWAYS(symlinkat),
	ALWAYS(link),
	ALWAYS(linkat),
	ALWAYS(truncate),
	ALWAYS(chmod),
	ALWAYS(fchmodat),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ZP_SYS_FCHMODAT2, 0, 1),
	GIVE(SECCOMP_RET_USER_NOTIF),
	ALWAYS(chown),
	ALWAYS(lchown),
	ALWAYS(fchownat),
	ALWAYS(getxattr),
	ALWAYS(lgetxattr),
	ALWAYS(listxattr),
	ALWAYS(llistxattr),
	NOT_HERE(io_uring_setup),
	NOT_HERE(openat2),
	GIVE(SECCOMP_RET_ALLOW),
};

static int install(void)
{
	struct sock_fprog whole = { sizeof(program) / sizeof(program[0]), program };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return (int)zp_real.syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &whole);
}

/* ---------------------------------------------------------------- handing over */

static int send_number(int to, int fd)
{
	char room[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 'l';
	struct iovec one = { &byte, 1 };
	struct msghdr message = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	return sendmsg(to, &message, 0) == 1 ? 0 : -errno;
}

static int receive_number(int from)
{
	char room[CMSG_SPACE(sizeof(int))], byte;
	struct iovec one = { &byte, 1 };
	struct msghdr message = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *head;
	int fd = -1;

	if (recvmsg(from, &message, 0) != 1)
		return -1;
	head = CMSG_FIRSTHDR(&message);
	if (head && head->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	return fd;
}

/* In the process that stays behind: nothing of the program's is held open, and nothing of it is its child. */
static void stay(int from)
{
	int kept = dup3(from, 200, O_CLOEXEC), listener;

	if (setsid() < 0 || kept < 0)
		_exit(1);
	zp_real.close_range(3, 199, 0);
	zp_real.close_range(201, ~0u, 0);
	zp_table_forget_all();
	listener = receive_number(kept);
	zp_real.close_range(0, 1, 0);
	if (listener >= 0) {
		ssize_t told = zp_real.write(kept, "r", 1);

		(void)told;
		zp_real.close(kept);
		zp_answer(listener);
	}
	_exit(0);
}

static int leave_one_behind(int from, int to)
{
	pid_t first = zp_real.fork();
	int status;

	if (first == 0) {
		zp_real.close(to);
		if (zp_real.fork() == 0)
			stay(from);
		_exit(0);
	}
	return first > 0 && waitpid(first, &status, 0) == first ? 0 : -errno;
}

int zp_static_prepare(void)
{
	int ends[2], listener, r;
	char answer;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	r = leave_one_behind(ends[1], ends[0]);
	zp_real.close(ends[1]);
	listener = r ? -1 : install();
	if (!r && listener >= 0)
		r = send_number(ends[0], listener);
	if (!r && listener >= 0 && zp_real.read(ends[0], &answer, 1) != 1)
		r = -EPIPE;
	if (listener >= 0)
		zp_real.close(listener);
	else if (!r)
		dprintf(2, "zonedctl run: a program without libc cannot see the disks here: seccomp is not to be had (%s)\n",
			strerror(errno));
	zp_real.close(ends[0]);
	return r;
}

#else

bool zp_is_static(const char *path)
{
	(void)path;
	return false;
}

int zp_static_prepare(void)
{
	return 0;
}

#endif
