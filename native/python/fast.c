/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned._fast - the data calls of a Device without cffi in between.
 *
 * Core owns one zd_dev (fast_owner.c tells how): pread, preadinto, pwrite, pwritev, append, and close. File
 * (fast_file.c) is an open file of a zonefs.
 * Nothing here knows a rule of the disk: codes go to one Python callable, which raises.
 *
 * The counts and flags of a Core are read and written under the GIL only, which is why they are plain
 * integers; the one exception (cancel) is atomic. A build without a GIL would need more, so it is refused.
 */
#include "fast.h"

/* ---------------------------------------------------------------- interrupts */

/*
 * Polled by the core in long calls, without the GIL. Python runs signal handlers in the main thread only,
 * so no other thread needs to take the GIL here.
 */
static int interrupt_hook(void *arg)
{
	Core *self = arg;
	Owner *owner = &self->owner;
	PyGILState_STATE gil;
	int stop = 0;

	if (atomic_load_explicit(&self->cancel, memory_order_relaxed))
		return 1;
	if (syscall(SYS_gettid) != getpid())
		return 0;
	gil = PyGILState_Ensure();
	zd_inside_here++;
	owner->handler_thread = PyThread_get_thread_ident();
	if (PyErr_CheckSignals() < 0) {
		Py_CLEAR(owner->exc_type);
		Py_CLEAR(owner->exc_value);
		Py_CLEAR(owner->exc_tb);
		PyErr_Fetch(&owner->exc_type, &owner->exc_value, &owner->exc_tb);
		owner->exc_thread = PyThread_get_thread_ident();
		stop = 1;
	}
	owner->handler_thread = 0;
	zd_inside_here--;
	PyGILState_Release(gil);
	return stop;
}

/* ---------------------------------------------------------------- entering, leaving, errors */

/* Raises what code and err say; always returns NULL. */
static PyObject *fail(Core *self, int64_t code, const struct zd_error *err)
{
	PyObject *result;

	if (zd_owner_interrupt(&self->owner))
		return NULL;
	result = PyObject_CallFunction(self->on_error, "OLy#", self, (long long)code, (const char *)err,
				       (Py_ssize_t)sizeof(*err));
	if (result != NULL) {
		Py_DECREF(result);
		PyErr_SetString(PyExc_SystemError, "the error function of the device did not raise");
	}
	return NULL;
}

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
		PyErr_Format(PyExc_TypeError,
			     "%s must be bytes or another object with the buffer protocol, not %U", name, type);
	} else if ((flags & PyBUF_WRITABLE) && PyObject_GetBuffer(arg, view, PyBUF_SIMPLE) == 0) {
		PyBuffer_Release(view);
		PyErr_Format(PyExc_BufferError,
			     "%s is a read-only %U: give memory that may be written, such as a bytearray", name,
			     type);
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
			PyErr_Format(PyExc_ValueError, "%s is a %U whose memory cannot be used (released or closed?)",
				     name, type);
		}
	}
	Py_DECREF(kind);
	Py_DECREF(type);
	return -1;
}

/* ---------------------------------------------------------------- data calls */

PyDoc_STRVAR(pread_doc,
"pread($self, /, length, offset)\n--\n\n"
"Read length bytes at offset (both in bytes, multiples of the logical block); returns them as bytes.\n\n"
"A drive transfers all or refuses: the result has exactly length bytes. Past the write pointer it holds\n"
"zeros (0xFF in the nullblk dialect), never old data.\n"
"Raises OutOfRangeError, BlockAlignmentError, ReadBoundaryError, InvalidReadError, GapAccessError,\n"
"ZoneOfflineError, MediumError, PowerLossError; ValueError when closed.");

static PyObject *core_pread(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = {"length", "offset"};
	Core *self = (Core *)op;
	PyObject *bound[2], *result;
	PyThreadState *ts;
	struct zd_error err;
	uint64_t length, offset;
	int64_t n;
	char *to;
	int interrupted;

	if (unlikely(kwnames != NULL || nargs != 2)) {
		if (zd_bind("pread", names, 2, args, nargs, kwnames, bound) < 0)
			return NULL;
		args = bound;
	}
	if (unlikely(to_u63(self, names[0], args[0], &length) < 0 || to_u63(self, names[1], args[1], &offset) < 0))
		return NULL;
	if (unlikely(offset > self->size || length > self->size - offset)) {
		/* No memory for what cannot be read: the core refuses the range before it looks at the buffer. */
		result = NULL;
		to = (char *)&err;
	} else {
		result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
		if (unlikely(result == NULL))
			return NULL;
		to = PyBytes_AsString(result);
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
	return fail(self, n, &err);
}

/* A buffer that is filled from, or written to, a place on the disk. */
static inline __attribute__((always_inline)) PyObject *transfer(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
								const char *func, const char *const *names, bool writes)
{
	Core *self = (Core *)op;
	PyObject *bound[2];
	PyThreadState *ts;
	struct zd_error err;
	Py_buffer view;
	uint64_t offset;
	int64_t n;
	int interrupted;

	if (unlikely(kwnames != NULL || nargs != 2)) {
		if (zd_bind(func, names, 2, args, nargs, kwnames, bound) < 0)
			return NULL;
		args = bound;
	}
	if (unlikely(to_u63(self, names[1], args[1], &offset) < 0 ||
		     zd_get_buffer(args[0], names[0], writes ? PyBUF_SIMPLE : PyBUF_WRITABLE, &view) < 0))
		return NULL;
	if (unlikely(enter(self) < 0)) {
		PyBuffer_Release(&view);
		return NULL;
	}
	ts = PyEval_SaveThread();
	if (writes)
		n = zd_pwrite(device_of(self), view.buf, (uint64_t)view.len, offset, &err);
	else
		n = zd_pread(device_of(self), view.buf, (uint64_t)view.len, offset, &err);
	PyEval_RestoreThread(ts);
	PyBuffer_Release(&view);
	interrupted = leave_interrupted(self);
	if (unlikely(interrupted))
		return NULL;
	return likely(n >= 0) ? PyLong_FromLongLong(n) : fail(self, n, &err);
}

PyDoc_STRVAR(preadinto_doc,
"preadinto($self, /, buffer, offset)\n--\n\n"
"Fill a writable buffer from offset on; returns the number of bytes, always the whole buffer.\n\n"
"The length of the buffer and offset are bytes and multiples of the logical block. Raises what pread\n"
"raises, and BufferError for a buffer that is read-only or not contiguous.");

static PyObject *core_preadinto(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = {"buffer", "offset"};

	return transfer(op, args, nargs, kwnames, "preadinto", names, false);
}

PyDoc_STRVAR(pwrite_doc,
"pwrite($self, /, data, offset)\n--\n\n"
"Write data (any contiguous buffer) at offset; returns the number of bytes, always all of them.\n\n"
"Offset and length are bytes, multiples of the logical block; in a sequential zone offset must be the\n"
"zone's write pointer. Other openers see the data once the call returns; it survives the death of this\n"
"process, and after flush() a power loss.\n"
"Raises UnalignedWriteError, WriteBoundaryError, ZoneFullError, ZoneReadOnlyError, ZoneOfflineError,\n"
"TooManyOpenError, TooManyActiveError, GapAccessError, OutOfRangeError, BlockAlignmentError, MediumError,\n"
"PowerLossError; io.UnsupportedOperation on a read-only handle; OSError when the host cannot store it.");

static PyObject *core_pwrite(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = {"data", "offset"};

	return transfer(op, args, nargs, kwnames, "pwrite", names, true);
}

PyDoc_STRVAR(append_doc,
"append($self, /, zone, data)\n--\n\n"
"Zone append: write data at the write pointer of a zone (an index); returns the offset it landed at.\n\n"
"The length is a multiple of the logical block and at most the append limit. Raises what pwrite raises,\n"
"ConventionalZoneError in a conventional zone, and AppendLimitError (NVMe ZNS 1.1, Zone Append).");

static PyObject *core_append(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = {"zone", "data"};
	Core *self = (Core *)op;
	PyObject *bound[2];
	PyThreadState *ts;
	struct zd_error err;
	Py_buffer view;
	uint64_t zone, landed = 0;
	int64_t n;
	int interrupted;

	if (unlikely(kwnames != NULL || nargs != 2)) {
		if (zd_bind("append", names, 2, args, nargs, kwnames, bound) < 0)
			return NULL;
		args = bound;
	}
	if (unlikely(to_u63(self, names[0], args[0], &zone) < 0))
		return NULL;
	if (unlikely(zone >= ZD_NO_ZONE))
		return fail_range(self, names[0], args[0]);
	if (unlikely(zd_get_buffer(args[1], names[1], PyBUF_SIMPLE, &view) < 0))
		return NULL;
	if (unlikely(enter(self) < 0)) {
		PyBuffer_Release(&view);
		return NULL;
	}
	ts = PyEval_SaveThread();
	n = zd_append(device_of(self), (uint32_t)zone, view.buf, (uint64_t)view.len, &landed, &err);
	PyEval_RestoreThread(ts);
	PyBuffer_Release(&view);
	interrupted = leave_interrupted(self);
	if (unlikely(interrupted))
		return NULL;
	return likely(n >= 0) ? PyLong_FromUnsignedLongLong(landed) : fail(self, n, &err);
}

PyDoc_STRVAR(pwritev_doc,
"pwritev($self, /, buffers, offset)\n--\n\n"
"Write several buffers one behind the other, as one command; returns the number of bytes.\n\n"
"buffers is an iterable of contiguous buffers of any length; their sum and offset are multiples of the\n"
"logical block. Raises what pwrite raises.");

static PyObject *core_pwritev(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = {"buffers", "offset"};
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

	if (kwnames != NULL || nargs != 2) {
		if (zd_bind("pwritev", names, 2, args, nargs, kwnames, bound) < 0)
			return NULL;
		args = bound;
	}
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
		result = n >= 0 ? PyLong_FromLongLong(n) : fail(self, n, &err);
done:
	while (got > 0)
		PyBuffer_Release(&views[--got]);
	free(views);
	free(iov);
	Py_DECREF(items);
	return result;
}

/* ---------------------------------------------------------------- life of a Core */

static int core_release(Owner *owner, void *raw, struct zd_error *err)
{
	int code;

	/* An object that goes has nobody to raise for. Else waits for others end by a signal; making durable does not. */
	if (!owner->freeing)
		zd_set_interrupt(raw, NULL, NULL);
	atomic_store(&((Core *)owner)->cancel, 0); /* that was for calls under way, and there are none any more */
	Py_BEGIN_ALLOW_THREADS
	code = zd_close(raw, err);
	Py_END_ALLOW_THREADS
	return code;
}

/* A command that a fault holds up for ever would let nobody close. */
static void core_hurry(Owner *owner, void *raw)
{
	(void)owner;
	zd_end_hangs(raw);
}

static PyObject *core_fail(Owner *owner, int code, const struct zd_error *err)
{
	return fail((Core *)owner, code, err);
}

static const struct zd_owner_kind core_kind = {.release = core_release, .fail = core_fail, .hurry = core_hurry};

static PyObject *core_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *op = PyType_GenericNew(type, args, kwargs);

	if (op != NULL)
		zd_owner_begin((Owner *)op, &core_kind, "the device", NULL);
	return op;
}

PyDoc_STRVAR(prepare_doc,
"_prepare($self, on_error, on_range, /)\n--\n\n"
"Before the core is asked for a handle, which it puts into _cell.");

static PyObject *core_prepare(PyObject *op, PyObject *args)
{
	Core *self = (Core *)op;
	PyObject *on_error, *on_range;

	if (!PyArg_ParseTuple(args, "OO:_prepare", &on_error, &on_range))
		return NULL;
	if (self->on_error != NULL) {
		PyErr_SetString(PyExc_ValueError, "a device is prepared once");
		return NULL;
	}
	self->on_error = Py_NewRef(on_error);
	self->on_range = Py_NewRef(on_range);
	Py_RETURN_NONE;
}

static PyObject *core_cell(PyObject *op, void *unused)
{
	Core *self = (Core *)op;

	(void)unused;
	if (self->on_error == NULL || self->owner.raw != NULL || self->owner.closing) {
		PyErr_SetString(PyExc_ValueError, "there is room for one device, once");
		return NULL;
	}
	return PyLong_FromUnsignedLongLong((uintptr_t)&self->owner.raw);
}

PyDoc_STRVAR(begin_doc,
"_begin($self, size, /)\n--\n\n"
"The handle is there, of a disk of so many bytes: from here on signals end its long calls.");

static PyObject *core_begin(PyObject *op, PyObject *arg)
{
	Core *self = (Core *)op;
	unsigned long long size = PyLong_AsUnsignedLongLong(arg);

	if (PyErr_Occurred())
		return NULL;
	if (self->owner.raw == NULL) {
		PyErr_SetString(PyExc_ValueError, "the device is closed");
		return NULL;
	}
	self->size = size;
	zd_set_interrupt(self->owner.raw, interrupt_hook, self);
	Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc,
"close($self, /)\n--\n\n"
"Wait for calls under way in other threads, then close the handle; later calls do nothing.\n\n"
"Commands of this handle that a fault holds up (kinds hang and latency) end with ValueError.\n"
"The last closer of an image makes its data durable on the host and marks it clean (unless host_sync is\n"
"\"never\"). Conditions of zones stay: this is no power cycle. Raises OSError when the host cannot sync;\n"
"the handle is closed even then.");

PyDoc_STRVAR(cancel_doc,
"_cancel($self, /)\n--\n\n"
"End long calls under way in any thread with -EINTR, for the end of the process.");

static PyObject *core_cancel(PyObject *op, PyObject *unused)
{
	(void)unused;
	atomic_store(&((Core *)op)->cancel, 1);
	Py_RETURN_NONE;
}

static void core_dealloc(PyObject *op)
{
	Core *self = (Core *)op;
	PyTypeObject *type = Py_TYPE(op);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	/* Device.__del__ closes properly and warns; this is for objects whose making ended half-way. */
	zd_owner_end(&self->owner);
	Py_CLEAR(self->on_error);
	Py_CLEAR(self->on_range);
	release(op);
	Py_DECREF(type);
}

#define FAST(f) (PyCFunction)(void (*)(void))(f), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef core_methods[] = {
	{"pread", FAST(core_pread), pread_doc},
	{"preadinto", FAST(core_preadinto), preadinto_doc},
	{"pwrite", FAST(core_pwrite), pwrite_doc},
	{"pwritev", FAST(core_pwritev), pwritev_doc},
	{"append", FAST(core_append), append_doc},
	{"close", zd_owner_close, METH_NOARGS, close_doc},
	{"_prepare", core_prepare, METH_VARARGS, prepare_doc},
	{"_begin", core_begin, METH_O, begin_doc},
	{"_cancel", core_cancel, METH_NOARGS, cancel_doc},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef core_getset[] = {
	{"_cell", core_cell, NULL, "Address of the pointer that the core is to fill.", NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(core_doc, "One handle on a disk, and its data calls. zoned.Device derives from it.");

static PyType_Slot core_slots[] = {
	{Py_tp_doc, (void *)core_doc},
	{Py_tp_new, core_new},
	{Py_tp_dealloc, core_dealloc},
	{Py_tp_methods, core_methods},
	{Py_tp_getset, core_getset},
	{0, NULL},
};

static PyType_Spec core_spec = {
	.name = "zoned._fast.Core",
	.basicsize = sizeof(Core),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = core_slots,
};

/* ---------------------------------------------------------------- module */

static int module_exec(PyObject *module)
{
	struct zd_fast_state *state = PyModule_GetState(module);

	/* The interrupt hook takes the GIL of the main interpreter; another interpreter has its own. */
	if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
		PyErr_SetString(PyExc_ImportError, "zoned works in the main interpreter only");
		return -1;
	}
	if (zd_owner_add(module, state) < 0)
		return -1;
	state->core = PyType_FromModuleAndSpec(module, &core_spec, state->owner);
	if (state->core == NULL || PyModule_AddObjectRef(module, "Core", state->core) < 0)
		return -1;
	return zd_file_add(module, state);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
	struct zd_fast_state *state = PyModule_GetState(module);

	Py_VISIT(state->owner);
	Py_VISIT(state->core);
	return 0;
}

static int module_clear(PyObject *module)
{
	struct zd_fast_state *state = PyModule_GetState(module);

	Py_CLEAR(state->owner);
	Py_CLEAR(state->core);
	return 0;
}

static PyModuleDef_Slot module_slots[] = {
	{Py_mod_exec, module_exec},
	{0, NULL},
};

static struct PyModuleDef module_def = {
	PyModuleDef_HEAD_INIT,
	.m_name = "zoned._fast",
	.m_doc = "The data calls of a zoned device, without cffi in between.",
	.m_size = sizeof(struct zd_fast_state),
	.m_slots = module_slots,
	.m_traverse = module_traverse,
	.m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__fast(void)
{
	return PyModuleDef_Init(&module_def);
}
