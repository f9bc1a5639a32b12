/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned._fast.File - an open file of a zonefs: read, write and their positioned forms without cffi in between.
 *
 * A File has a position, which its lock serialises as the kernel's f_pos_lock does, and belongs to a Core: every
 * call counts as one inside the device, so that closing the device waits for it. Codes go to one Python callable,
 * which raises. As in fast.c, plain fields change under the GIL only.
 */
#include "fast.h"

typedef struct {
	Owner owner;        /* of the zd_fs_file; its parent is the Core */
	PyObject *on_error; /* callable(name, verb, code, raw): raises */
	PyObject *name;
	PyThread_type_lock moving; /* held while the position is in use */
	uint64_t position;
	int read_flags, write_flags; /* O_DIRECT, O_APPEND, O_DSYNC as zd_fs_read() and zd_fs_write() take them */
} File;

static PyObject *file_fail(File *self, const char *verb, int64_t code, const struct zd_error *err)
{
	PyObject *result;

	if (self->on_error == NULL) {
		PyErr_SetString(PyExc_ValueError, "I/O operation on closed file");
		return NULL;
	}
	result = PyObject_CallFunction(self->on_error, "OsLy#", self->name, verb, (long long)code, (const char *)err,
				       (Py_ssize_t)sizeof(*err));
	if (result != NULL) {
		Py_DECREF(result);
		PyErr_SetString(PyExc_SystemError, "the error function of the file did not raise");
	}
	return NULL;
}

static int file_enter(File *self)
{
	if (unlikely(self->owner.raw == NULL || self->owner.closing)) {
		PyErr_SetString(PyExc_ValueError, "I/O operation on closed file");
		return -1;
	}
	if (unlikely(zd_owner_enter(self->owner.parent) < 0))
		return -1;
	self->owner.inside++;
	return 0;
}

/* 1: a signal handler raised during the call; its exception is set and must go out. */
static int file_leave(File *self)
{
	Owner *core = self->owner.parent;

	zd_owner_leave(&self->owner);
	zd_owner_leave(core);
	return zd_owner_interrupt(core);
}

static inline zd_fs_file *handle_of(const File *self)
{
	return self->owner.raw;
}

/* Enter, with the position to oneself. Entering comes first: it refuses signal handlers that would wait for themselves. */
static int file_enter_moving(File *self)
{
	if (unlikely(file_enter(self) < 0))
		return -1;
	if (unlikely(!PyThread_acquire_lock(self->moving, NOWAIT_LOCK))) {
		Py_BEGIN_ALLOW_THREADS
		PyThread_acquire_lock(self->moving, WAIT_LOCK);
		Py_END_ALLOW_THREADS
	}
	return 0;
}

static int file_leave_moving(File *self)
{
	PyThread_release_lock(self->moving);
	return file_leave(self);
}

/* An int in 0 .. 2^63-1, or -1 with an exception set: OSError EINVAL out of this range, as the kernel has it. */
static int64_t to_offset(const char *name, PyObject *arg)
{
	PyObject *index = PyNumber_Index(arg), *text, *error;
	long long value;

	if (index == NULL)
		return -1;
	value = PyLong_AsLongLong(index);
	if (value >= 0 || (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError))) {
		Py_DECREF(index);
		return value;
	}
	PyErr_Clear();
	text = PyUnicode_FromFormat("%s is %S: it must be 0 to 2**63 - 1", name, index);
	Py_DECREF(index);
	error = text ? Py_BuildValue("(iN)", EINVAL, text) : NULL;
	if (error) {
		PyErr_SetObject(PyExc_OSError, error);
		Py_DECREF(error);
	}
	return -1;
}

/* A buffer that is filled from, or written to, the position, which moves on. */
static inline __attribute__((always_inline)) PyObject *at_position(PyObject *op, PyObject *buffer, bool writes)
{
	File *self = (File *)op;
	PyThreadState *ts;
	struct zd_error err;
	Py_buffer view;
	uint64_t landed;
	int64_t n;

	if (unlikely(zd_get_buffer(buffer, writes ? "data" : "buffer", writes ? PyBUF_SIMPLE : PyBUF_WRITABLE, &view) < 0))
		return NULL;
	if (unlikely(file_enter_moving(self) < 0)) {
		PyBuffer_Release(&view);
		return NULL;
	}
	err.code = 0;
	landed = self->position;
	ts = PyEval_SaveThread();
	if (writes)
		n = zd_fs_write(handle_of(self), view.buf, (uint64_t)view.len, self->position, self->write_flags, &landed,
				&err);
	else
		n = zd_fs_read(handle_of(self), view.buf, (uint64_t)view.len, self->position, self->read_flags, &err);
	PyEval_RestoreThread(ts);
	if (likely(n > 0))
		self->position = landed + (uint64_t)n;
	PyBuffer_Release(&view);
	if (unlikely(file_leave_moving(self)))
		return NULL;
	return likely(n >= 0) ? PyLong_FromLongLong(n) : file_fail(self, writes ? "write" : "read", n, &err);
}

PyDoc_STRVAR(write_doc,
	     "write($self, data, /)\n--\n\n"
	     "Write at the position, or with O_APPEND at the end; returns how many bytes went, fewer at the capacity.");

static PyObject *file_write(PyObject *op, PyObject *data)
{
	return at_position(op, data, true);
}

PyDoc_STRVAR(readinto_doc, "readinto($self, buffer, /)\n--\n\n"
			   "Read at the position; returns how many bytes came, 0 at the end of the file.");

static PyObject *file_readinto(PyObject *op, PyObject *buffer)
{
	return at_position(op, buffer, false);
}

PyDoc_STRVAR(pwrite_doc, "pwrite($self, data, offset)\n--\n\n"
			 "Write at an offset without moving the position; returns how many bytes went.");

static PyObject *file_pwrite(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "data", "offset" };
	File *self = (File *)op;
	PyObject *bound[2];
	PyThreadState *ts;
	struct zd_error err;
	Py_buffer view;
	int64_t n, offset;

	args = zd_two("pwrite", names, args, nargs, kwnames, bound);
	if (unlikely(args == NULL))
		return NULL;
	offset = to_offset(names[1], args[1]);
	if (unlikely(offset < 0 || zd_get_buffer(args[0], names[0], PyBUF_SIMPLE, &view) < 0))
		return NULL;
	if (unlikely(file_enter(self) < 0)) {
		PyBuffer_Release(&view);
		return NULL;
	}
	err.code = 0;
	ts = PyEval_SaveThread();
	n = zd_fs_write(handle_of(self), view.buf, (uint64_t)view.len, (uint64_t)offset, self->write_flags, NULL, &err);
	PyEval_RestoreThread(ts);
	PyBuffer_Release(&view);
	if (unlikely(file_leave(self)))
		return NULL;
	return likely(n >= 0) ? PyLong_FromLongLong(n) : file_fail(self, "write", n, &err);
}

PyDoc_STRVAR(pread_doc, "pread($self, length, offset)\n--\n\n"
			"Read up to length bytes at an offset without moving the position; b\"\" at the end of the file.");

static PyObject *file_pread(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "length", "offset" };
	File *self = (File *)op;
	PyObject *bound[2], *result, *cut;
	PyThreadState *ts;
	struct zd_error err;
	int64_t n, offset, length;
	char *to;

	args = zd_two("pread", names, args, nargs, kwnames, bound);
	if (unlikely(args == NULL))
		return NULL;
	length = to_offset(names[0], args[0]);
	if (unlikely(length < 0))
		return NULL;
	offset = to_offset(names[1], args[1]);
	if (unlikely(offset < 0))
		return NULL;
	if (length > INT_MAX)
		length = INT_MAX; /* no read gives more */
	result = zd_new_bytes((uint64_t)length, &to);
	if (unlikely(result == NULL))
		return NULL;
	if (unlikely(file_enter(self) < 0)) {
		Py_DECREF(result);
		return NULL;
	}
	err.code = 0;
	ts = PyEval_SaveThread();
	n = zd_fs_read(handle_of(self), to, (uint64_t)length, (uint64_t)offset, self->read_flags, &err);
	PyEval_RestoreThread(ts);
	if (unlikely(file_leave(self))) {
		Py_DECREF(result);
		return NULL;
	}
	if (likely(n == length))
		return result;
	if (n < 0) {
		Py_DECREF(result);
		return file_fail(self, "read", n, &err);
	}
	cut = PyBytes_FromStringAndSize(to, (Py_ssize_t)n);
	Py_DECREF(result);
	return cut;
}

PyDoc_STRVAR(truncate_doc, "truncate($self, size, /)\n--\n\n"
			   "ftruncate(2): 0 resets the zone of a sequential file, its capacity finishes it.");

static PyObject *file_truncate(PyObject *op, PyObject *arg)
{
	File *self = (File *)op;
	struct zd_error err;
	int64_t size = to_offset("size", arg);
	int code;

	if (size < 0 || file_enter(self) < 0)
		return NULL;
	err.code = 0;
	Py_BEGIN_ALLOW_THREADS
	code = zd_fs_ftruncate(handle_of(self), (uint64_t)size, &err);
	Py_END_ALLOW_THREADS
	if (file_leave(self))
		return NULL;
	if (code < 0)
		return file_fail(self, "truncate", code, &err);
	Py_RETURN_NONE;
}

static int file_release(Owner *owner, void *raw, struct zd_error *err)
{
	File *self = (File *)owner;
	Owner *core = owner->parent;
	int code = 0;

	err->code = 0;
	if (zd_owner_enter(core) < 0) {
		/* The device is closed (or this is a signal handler inside a call on it): the disk is out of reach. */
		PyErr_Clear();
		zd_fs_drop(raw);
		return 0;
	}
	Py_BEGIN_ALLOW_THREADS
	code = zd_fs_close(raw, err);
	Py_END_ALLOW_THREADS
	zd_owner_leave(core);
	if (zd_owner_interrupt(core))
		PyErr_WriteUnraisable((PyObject *)self);
	return code;
}

static PyObject *file_release_failed(Owner *owner, int code, const struct zd_error *err)
{
	return file_fail((File *)owner, "close", code, err);
}

/* In a forked child, whose thread is not the one that holds it: the lock is held for ever, and so cannot be freed. */
static void file_forked(Owner *owner)
{
	File *self = (File *)owner;

	if (self->moving == NULL)
		return;
	if (PyThread_acquire_lock(self->moving, NOWAIT_LOCK)) {
		PyThread_release_lock(self->moving);
	} else {
		PyThread_type_lock fresh = PyThread_allocate_lock();

		if (fresh != NULL)
			self->moving = fresh;
	}
}

static const struct zd_owner_kind file_kind = {
	.release = file_release,
	.fail = file_release_failed,
	.forked = file_forked,
};

PyDoc_STRVAR(file_close_doc, "close($self, /)\n--\n\n"
			     "Wait for calls under way, then close the file; later calls do nothing.");

static PyObject *file_close(PyObject *op, PyObject *unused)
{
	Owner *self = (Owner *)op;

	if (self->raw != NULL && self->inside > 0 && self->parent->handler_thread == PyThread_get_thread_ident()) {
		PyErr_SetString(PyExc_RuntimeError, "a signal handler cannot close a file while a call on it is "
						    "under way in its thread");
		return NULL;
	}
	return zd_owner_close(op, unused);
}

PyDoc_STRVAR(file_prepare_doc, "_prepare($self, core, on_error, name, read_flags, write_flags, position, /)\n--\n\n"
			       "Before the file is opened into _cell.");

static PyObject *file_prepare(PyObject *op, PyObject *args)
{
	File *self = (File *)op;
	PyObject *module = PyType_GetModule(Py_TYPE(op)), *core, *on_error, *name;
	unsigned long long position;
	int read_flags, write_flags, ok;

	if (module == NULL ||
	    !PyArg_ParseTuple(args, "OOOiiK:_prepare", &core, &on_error, &name, &read_flags, &write_flags, &position))
		return NULL;
	ok = PyObject_IsInstance(core, ((struct zd_fast_state *)PyModule_GetState(module))->core);
	if (ok < 0)
		return NULL;
	if (!ok || self->on_error != NULL) {
		PyErr_SetString(PyExc_TypeError, ok ? "a file is prepared once" : "a file belongs to a Core");
		return NULL;
	}
	self->moving = PyThread_allocate_lock();
	if (self->moving == NULL)
		return PyErr_NoMemory();
	self->on_error = Py_NewRef(on_error);
	self->name = Py_NewRef(name);
	self->read_flags = read_flags;
	self->write_flags = write_flags;
	self->position = position;
	zd_owner_begin(&self->owner, &file_kind, "the file", (Owner *)core);
	Py_RETURN_NONE;
}

static PyObject *file_position(PyObject *op, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLongLong(((File *)op)->position);
}

static int file_set_position(PyObject *op, PyObject *value, void *unused)
{
	File *self = (File *)op;
	int64_t position;

	(void)unused;
	if (value == NULL) {
		PyErr_SetString(PyExc_AttributeError, "the position cannot be deleted");
		return -1;
	}
	position = to_offset("position", value);
	if (position < 0 || file_enter_moving(self) < 0)
		return -1;
	self->position = (uint64_t)position;
	return file_leave_moving(self) ? -1 : 0;
}

static void file_dealloc(PyObject *op)
{
	File *self = (File *)op;
	PyTypeObject *type = Py_TYPE(op);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	zd_owner_end(&self->owner);
	if (self->moving != NULL)
		PyThread_free_lock(self->moving);
	Py_XDECREF(self->on_error);
	Py_XDECREF(self->name);
	release(op);
	Py_DECREF(type);
}

static PyMethodDef file_methods[] = {
	{ "write", file_write, METH_O, write_doc },
	{ "readinto", file_readinto, METH_O, readinto_doc },
	{ "pwrite", FAST(file_pwrite), pwrite_doc },
	{ "pread", FAST(file_pread), pread_doc },
	{ "truncate", file_truncate, METH_O, truncate_doc },
	{ "close", file_close, METH_NOARGS, file_close_doc },
	{ "_prepare", file_prepare, METH_VARARGS, file_prepare_doc },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef file_getset[] = {
	{ "position", file_position, file_set_position, "Where the next read or write begins, bytes.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

ZD_TYPE(file, File, PyType_GenericNew, 0, "An open file of a zonefs, with a position. zonefs makes io objects of it.");

int zd_file_add(PyObject *module, struct zd_fast_state *state)
{
	return zd_fast_add(module, "File", &file_spec, state->owner);
}
