/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors of zoned._fast: each comes out as a file object, which closes it, or not at all. No exception between a
 * system call and the object can leave one without an owner.
 */
#include "fast.h"

#include <sys/socket.h>

/* A file object for a descriptor, which it closes; the descriptor is closed here if there can be none. */
static PyObject *file_of(int fd, const char *mode)
{
	PyObject *io, *file;

	if (fd < 0)
		return PyErr_SetFromErrno(PyExc_OSError);
	io = PyImport_ImportModule("_io");
	file = io != NULL ? PyObject_CallMethod(io, "FileIO", "is", fd, mode) : NULL;
	Py_XDECREF(io);
	if (file == NULL)
		close(fd);
	return file;
}

PyDoc_STRVAR(open_file_doc,
	     "open_file(path, flags, mode=0o666, /)\n--\n\n"
	     "As os.open(), but the descriptor comes in a file object, for its fileno(): never without an owner.");

static PyObject *open_file(PyObject *module, PyObject *args)
{
	PyObject *path = NULL, *file;
	int flags, mode = 0666, fd, saved;

	(void)module;
	if (!PyArg_ParseTuple(args, "O&i|i:open_file", PyUnicode_FSConverter, &path, &flags, &mode))
		return NULL;
	do {
		Py_BEGIN_ALLOW_THREADS
		fd = open(PyBytes_AsString(path), flags | O_CLOEXEC, mode);
		saved = fd < 0 ? errno : 0;
		Py_END_ALLOW_THREADS
	} while (saved == EINTR && PyErr_CheckSignals() == 0);
	if (fd < 0) {
		PyObject *name = saved != EINTR ? PyUnicode_DecodeFSDefault(PyBytes_AsString(path)) : NULL;

		errno = saved;
		if (name != NULL)
			PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, name);
		Py_XDECREF(name);
		file = NULL;
	} else {
		file = file_of(fd, (flags & O_ACCMODE) == O_RDONLY ? "rb" : (flags & O_ACCMODE) == O_RDWR ? "r+b" : "wb");
	}
	Py_DECREF(path);
	return file;
}

PyDoc_STRVAR(dup_file_doc, "dup_file(fd, /)\n--\n\n"
			   "As os.dup(), in a file object.");

static PyObject *dup_file(PyObject *module, PyObject *arg)
{
	long fd = PyLong_AsLong(arg);

	(void)module;
	if (fd == -1 && PyErr_Occurred())
		return NULL;
	return file_of(fcntl((int)fd, F_DUPFD_CLOEXEC, 0), "rb");
}

PyDoc_STRVAR(receive_file_doc,
	     "receive_file(fd, /)\n--\n\n"
	     "A descriptor that comes over the socket fd with one byte (SCM_RIGHTS), in a file object; None if none comes.");

static PyObject *receive_file(PyObject *module, PyObject *arg)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	long socket = PyLong_AsLong(arg);
	struct cmsghdr *c;
	ssize_t n;
	int fd, saved;

	(void)module;
	if (socket == -1 && PyErr_Occurred())
		return NULL;
	do {
		Py_BEGIN_ALLOW_THREADS
		n = recvmsg((int)socket, &message, MSG_CMSG_CLOEXEC);
		saved = n < 0 ? errno : 0;
		Py_END_ALLOW_THREADS
	} while (saved == EINTR && PyErr_CheckSignals() == 0);
	if (n < 0) {
		errno = saved;
		return saved == EINTR ? NULL : PyErr_SetFromErrno(PyExc_OSError);
	}
	c = CMSG_FIRSTHDR(&message);
	if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(fd)))
		Py_RETURN_NONE;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return file_of(fd, "r+b");
}

static PyMethodDef functions[] = {
	{ "receive_file", receive_file, METH_O, receive_file_doc },
	{ "open_file", open_file, METH_VARARGS, open_file_doc },
	{ "dup_file", dup_file, METH_O, dup_file_doc },
	{ NULL, NULL, 0, NULL },
};

int zd_fd_add(PyObject *module)
{
	return PyModule_AddFunctions(module, functions);
}
