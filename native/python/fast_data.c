/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data calls of a Core: pread, preadinto, pwrite, pwritev, append, without cffi in between; and how they, and those
 * of a File, take arguments.
 */
#include "fast.h"

static PyObject *fail_range(Core *self, const char *name, PyObject *value)
{
	PyObject *result;

	if (self->on_range == NULL) {
		PyErr_Format(PyExc_ValueError, "%s is out of range", name);
		return NULL;
	}
	result = PyObject_CallFunction(self->on_range, "OsO", self, name, value);
	if (result != NULL) {
		Py_DECREF(result);
		PyErr_SetString(PyExc_SystemError, "the range function of the device did not raise");
	}
	return NULL;
}

static inline int enter(Core *self)
{
	return zd_owner_enter(&self->owner);
}

/* After the C call. 1: a signal handler raised during it, its exception is set and must go out. */
static inline int leave_interrupted(Core *self)
{
	zd_owner_leave(&self->owner);
	return zd_owner_interrupt(&self->owner);
}

/* A call with a buffer begins: 0, or -1 with an exception set. */
static inline int enter_with(Core *self, PyObject *arg, const char *name, int flags, Py_buffer *view)
{
	if (unlikely(zd_get_buffer(arg, name, flags, view) < 0))
		return -1;
	if (likely(enter(self) == 0))
		return 0;
	PyBuffer_Release(view);
	return -1;
}

/* It has ended with n, and gives a number; or NULL, with the exception that n or a signal handler set. */
static inline PyObject *leave_with(Core *self, Py_buffer *view, int64_t n, uint64_t number, const struct zd_error *err)
{
	PyBuffer_Release(view);
	if (unlikely(leave_interrupted(self)))
		return NULL;
	return likely(n >= 0) ? PyLong_FromUnsignedLongLong(number) : zd_core_fail(self, n, err);
}

static inline zd_dev *device_of(const Core *self)
{
	return self->owner.raw;
}

/* ---------------------------------------------------------------- arguments */

/* Fill out[0..want-1] from positional and keyword arguments. The caller's fast path skips this. */
int zd_bind(const char *func, const char *const *names, Py_ssize_t want, PyObject *const *args, Py_ssize_t nargs,
	    PyObject *kwnames, PyObject **out)
{
	Py_ssize_t nkw = kwnames != NULL ? PyTuple_Size(kwnames) : 0;

	if (nargs > want) {
		PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", func, want, nargs + nkw);
		return -1;
	}
	for (Py_ssize_t i = 0; i < want; i++)
		out[i] = i < nargs ? args[i] : NULL;
	for (Py_ssize_t k = 0; k < nkw; k++) {
		PyObject *key = PyTuple_GetItem(kwnames, k);
		Py_ssize_t at = 0;

		while (at < want && PyUnicode_CompareWithASCIIString(key, names[at]) != 0)
			at++;
		if (at == want) {
			PyErr_Format(PyExc_TypeError, "%s() has no argument named '%U'", func, key);
			return -1;
		}
		if (out[at] != NULL) {
			PyErr_Format(PyExc_TypeError, "%s() got two values for '%s'", func, names[at]);
			return -1;
		}
		out[at] = args[nargs + k];
	}
	for (Py_ssize_t i = 0; i < want; i++) {
		if (out[i] == NULL) {
			PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", func, names[i]);
			return -1;
		}
	}
	return 0;
}

/* An int in 0 .. 2^63-1. */
static int to_u63(Core *self, const char *name, PyObject *arg, uint64_t *out)
{
	PyObject *index = NULL;
	long long value;

	if (unlikely(!PyLong_CheckExact(arg))) {
		if (!PyIndex_Check(arg)) {
			PyObject *type = PyType_GetName(Py_TYPE(arg));

			if (type != NULL)
				PyErr_Format(PyExc_TypeError, "%s must be an integer, not %U", name, type);
			Py_XDECREF(type);
			return -1;
		}
		index = PyNumber_Index(arg);
		if (index == NULL)
			return -1;
		arg = index;
	}
	value = PyLong_AsLongLong(arg);
	if (unlikely(value < 0)) {
		if (PyErr_Occurred()) {
			if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
				Py_XDECREF(index);
				return -1;
			}
			PyErr_Clear();
		}
		fail_range(self, name, arg);
		Py_XDECREF(index);
		return -1;
	}
	Py_XDECREF(index);
	*out = (uint64_t)value;
	return 0;
}

/* A contiguous buffer. Says in one sentence what is wrong with an object that has none. */
int zd_get_buffer(PyObject *arg, const char *name, int flags, Py_buffer *view)
{
	PyObject *type, *kind;

	if (likely(PyObject_GetBuffer(arg, view, flags) == 0))
		return 0;
	if (!PyErr_ExceptionMatches(PyExc_BufferError) && !PyErr_ExceptionMatches(PyExc_ValueError) &&
	    !PyErr_ExceptionMatches(PyExc_TypeError))
		return -1;
	kind = PyErr_Occurred();
	Py_INCREF(kind);
	PyErr_Clear();
	type = PyType_GetName(Py_TYPE(arg));
	if (type == NULL) {
		Py_DECREF(kind);
		return -1;
	}
	if (PyErr_GivenExceptionMatches(kind, PyExc_TypeError) || !PyObject_CheckBuffer(arg)) {
		PyErr_Format(PyExc_TypeError, "%s must be bytes or another object with the buffer protocol, not %U", name,
			     type);
	} else if ((flags & PyBUF_WRITABLE) && PyObject_GetBuffer(arg, view, PyBUF_SIMPLE) == 0) {
		PyBuffer_Release(view);
		PyErr_Format(PyExc_BufferError, "%s is a read-only %U: give memory that may be written, such as a bytearray",
			     name, type);
	} else {
		PyErr_Clear();
		if (PyObject_GetBuffer(arg, view, PyBUF_FULL_RO) == 0) {
			PyBuffer_Release(view);
			PyErr_Format(PyExc_BufferError,
				     "%s is a %U that is not contiguous in memory: give one contiguous block, "
				     "such as bytes(%s)",
				     name, type, name);
		} else {
			PyErr_Clear();
			PyErr_Format(PyExc_ValueError, "%s is a %U whose memory cannot be used (released or closed?)", name,
				     type);
		}
	}
	Py_DECREF(kind);
	Py_DECREF(type);
	return -1;
}

/* ---------------------------------------------------------------- data calls */

const char zd_core_pread_doc[] =
	PyDoc_STR("pread($self, /, length, offset)\n--\n\n"
		  "Read length bytes at offset (both in bytes, multiples of the logical block); returns them as bytes.\n\n"
		  "A drive transfers all or refuses: the result has exactly length bytes. Past the write pointer it holds\n"
		  "zeros (0xFF in the nullblk dialect), never old data.\n"
		  "Raises OutOfRangeError, BlockAlignmentError, ReadBoundaryError, InvalidReadError, GapAccessError,\n"
		  "ZoneOfflineError, MediumError, PowerLossError; ValueError when closed.");

PyObject *zd_core_pread(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "length", "offset" };
	Core *self = (Core *)op;
	PyObject *bound[2], *result;
	PyThreadState *ts;
	struct zd_error err;
	uint64_t length, offset;
	int64_t n;
	char *to;
	int interrupted;

	args = zd_two("pread", names, args, nargs, kwnames, bound);
	if (unlikely(args == NULL))
		return NULL;
	if (unlikely(to_u63(self, names[0], args[0], &length) < 0 || to_u63(self, names[1], args[1], &offset) < 0))
		return NULL;
	if (unlikely(offset > self->size || length > self->size - offset)) {
		/* No memory for what cannot be read: the core refuses the range before it looks at the buffer. */
		result = NULL;
		to = (char *)&err;
	} else {
		result = zd_new_bytes(length, &to);
		if (unlikely(result == NULL))
			return NULL;
	}
	if (unlikely(enter(self) < 0)) {
		Py_XDECREF(result);
		return NULL;
	}
	ts = PyEval_SaveThread();
	n = zd_pread(device_of(self), to, length, offset, &err);
	PyEval_RestoreThread(ts);
	interrupted = leave_interrupted(self);
	if (likely(n >= 0 && !interrupted && result != NULL))
		return result;
	Py_XDECREF(result);
	if (interrupted)
		return NULL;
	if (n >= 0) {
		PyErr_SetString(PyExc_SystemError, "the core read beyond the end of the disk");
		return NULL;
	}
	return zd_core_fail(self, n, &err);
}

/* A buffer that is filled from, or written to, a place on the disk. */
static inline __attribute__((always_inline)) PyObject *transfer(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
								PyObject *kwnames, const char *func, const char *const *names,
								bool writes)
{
	Core *self = (Core *)op;
	PyObject *bound[2];
	PyThreadState *ts;
	struct zd_error err;
	Py_buffer view;
	uint64_t offset;
	int64_t n;

	args = zd_two(func, names, args, nargs, kwnames, bound);
	if (unlikely(args == NULL))
		return NULL;
	if (unlikely(to_u63(self, names[1], args[1], &offset) < 0 ||
		     enter_with(self, args[0], names[0], writes ? PyBUF_SIMPLE : PyBUF_WRITABLE, &view) < 0))
		return NULL;
	ts = PyEval_SaveThread();
	if (writes)
		n = zd_pwrite(device_of(self), view.buf, (uint64_t)view.len, offset, &err);
	else
		n = zd_pread(device_of(self), view.buf, (uint64_t)view.len, offset, &err);
	PyEval_RestoreThread(ts);
	return leave_with(self, &view, n, (uint64_t)n, &err);
}

const char zd_core_preadinto_doc[] =
	PyDoc_STR("preadinto($self, /, buffer, offset)\n--\n\n"
		  "Fill a writable buffer from offset on; returns the number of bytes, always the whole buffer.\n\n"
		  "The length of the buffer and offset are bytes and multiples of the logical block. Raises what pread\n"
		  "raises, and BufferError for a buffer that is read-only or not contiguous.");

PyObject *zd_core_preadinto(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "buffer", "offset" };

	return transfer(op, args, nargs, kwnames, "preadinto", names, false);
}

const char zd_core_pwrite_doc[] =
	PyDoc_STR("pwrite($self, /, data, offset)\n--\n\n"
		  "Write data (any contiguous buffer) at offset; returns the number of bytes, always all of them.\n\n"
		  "Offset and length are bytes, multiples of the logical block; in a sequential zone offset must be the\n"
		  "zone's write pointer. Other openers see the data once the call returns; it survives the death of this\n"
		  "process, and after flush() a power loss.\n"
		  "Raises UnalignedWriteError, WriteBoundaryError, ZoneFullError, ZoneReadOnlyError, ZoneOfflineError,\n"
		  "TooManyOpenError, TooManyActiveError, GapAccessError, OutOfRangeError, BlockAlignmentError, MediumError,\n"
		  "PowerLossError; io.UnsupportedOperation on a read-only handle; OSError when the host cannot store it.");

PyObject *zd_core_pwrite(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "data", "offset" };

	return transfer(op, args, nargs, kwnames, "pwrite", names, true);
}

const char zd_core_append_doc[] =
	PyDoc_STR("append($self, /, zone, data)\n--\n\n"
		  "Zone append: write data at the write pointer of a zone (an index); returns the offset it landed at.\n\n"
		  "The length is a multiple of the logical block and at most the append limit. Raises what pwrite raises,\n"
		  "ConventionalZoneError in a conventional zone, and AppendLimitError (NVMe ZNS 1.1, Zone Append).");

PyObject *zd_core_append(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "zone", "data" };
	Core *self = (Core *)op;
	PyObject *bound[2];
	PyThreadState *ts;
	struct zd_error err;
	Py_buffer view;
	uint64_t zone, landed = 0;
	int64_t n;

	args = zd_two("append", names, args, nargs, kwnames, bound);
	if (unlikely(args == NULL))
		return NULL;
	if (unlikely(to_u63(self, names[0], args[0], &zone) < 0))
		return NULL;
	if (unlikely(zone >= ZD_NO_ZONE))
		return fail_range(self, names[0], args[0]);
	if (unlikely(enter_with(self, args[1], names[1], PyBUF_SIMPLE, &view) < 0))
		return NULL;
	ts = PyEval_SaveThread();
	n = zd_append(device_of(self), (uint32_t)zone, view.buf, (uint64_t)view.len, &landed, &err);
	PyEval_RestoreThread(ts);
	return leave_with(self, &view, n, landed, &err);
}

const char zd_core_pwritev_doc[] =
	PyDoc_STR("pwritev($self, /, buffers, offset)\n--\n\n"
		  "Write several buffers one behind the other, as one command; returns the number of bytes.\n\n"
		  "buffers is an iterable of contiguous buffers of any length; their sum and offset are multiples of the\n"
		  "logical block. Raises what pwrite raises.");

PyObject *zd_core_pwritev(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "buffers", "offset" };
	Core *self = (Core *)op;
	PyObject *bound[2], *items, *result = NULL;
	PyThreadState *ts;
	struct zd_error err;
	struct iovec *iov = NULL;
	Py_buffer *views = NULL;
	Py_ssize_t count, got = 0;
	uint64_t offset;
	int64_t n;
	int interrupted;

	args = zd_two("pwritev", names, args, nargs, kwnames, bound);
	if (unlikely(args == NULL))
		return NULL;
	if (to_u63(self, names[1], args[1], &offset) < 0)
		return NULL;
	if (PyObject_CheckBuffer(args[0])) {
		/* Iterating over bytes gives ints: say what was meant. */
		PyErr_SetString(PyExc_TypeError, "buffers must be a list of buffers; for one buffer use pwrite()");
		return NULL;
	}
	items = PySequence_Tuple(args[0]);
	if (items == NULL)
		return NULL;
	count = PyTuple_Size(items);
	if (count > INT_MAX) {
		PyErr_SetString(PyExc_ValueError, "too many buffers in one pwritev()");
		goto done;
	}
	iov = calloc((size_t)count + 1, sizeof(*iov));
	views = calloc((size_t)count + 1, sizeof(*views));
	if (iov == NULL || views == NULL) {
		PyErr_NoMemory();
		goto done;
	}
	for (; got < count; got++) {
		char name[40];

		snprintf(name, sizeof(name), "buffers[%zd]", got);
		if (zd_get_buffer(PyTuple_GetItem(items, got), name, PyBUF_SIMPLE, &views[got]) < 0)
			goto done;
		iov[got].iov_base = views[got].buf;
		iov[got].iov_len = (size_t)views[got].len;
	}
	if (enter(self) < 0)
		goto done;
	ts = PyEval_SaveThread();
	n = zd_pwritev(device_of(self), iov, (int)count, offset, &err);
	PyEval_RestoreThread(ts);
	interrupted = leave_interrupted(self);
	if (!interrupted)
		result = n >= 0 ? PyLong_FromLongLong(n) : zd_core_fail(self, n, &err);
done:
	while (got > 0)
		PyBuffer_Release(&views[--got]);
	free(views);
	free(iov);
	Py_DECREF(items);
	return result;
}
