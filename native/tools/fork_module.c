/* ct_fork: the fork server inside a warm interpreter. Its children return from serve(), each in a sandbox of its own.
 * Limited API, so that one build serves every CPython from 3.11 on. */

#define _GNU_SOURCE
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "base/huge.h"
#include "base/err.h"
#include "base/sysx.h"
#include "base/text.h"
#include "guest/desk.h"
#include "sandbox/branch.h"
#include "sandbox/zygote.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Public, though not of the limited API: the same since CPython 3.4. */
typedef struct arena_allocator {
    void *context;
    void *(*take)(void *, size_t);
    void (*give)(void *, void *, size_t);
} arena_allocator;

PyAPI_FUNC(void) PyObject_SetArenaAllocator(arena_allocator *allocator);

enum { ARENAS_BYTES = 64 << 20 }; /* chosen: several times what the server imports; only addresses until it is used */

/* Of one interpreter, which calls arrange() once. */
static ct__region arenas;
static uintptr_t heap_start;

static void *take_arena(void *region, size_t size) {
    void *const taken = ct__region_take(region, size);
    if (taken != NULL)
        return taken;
    void *const mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mapped == MAP_FAILED ? NULL : mapped;
}

static void give_arena(void *region, void *arena, size_t size) {
    (void)region;
    (void)munmap(arena, size);
}

static PyObject *arrange(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    if (arenas.start != 0 || ct__region_init(&arenas, ARENAS_BYTES) < 0)
        Py_RETURN_NONE; /* forks will cost more, no more than that */
    arena_allocator ours = {.context = &arenas, .take = take_arena, .give = give_arena};
    PyObject_SetArenaAllocator(&ours);
#ifdef __GLIBC__
    const uintptr_t top = (uintptr_t)sbrk(0);
    heap_start = ct__huge_ceil(top);
    if (sbrk((intptr_t)(heap_start - top)) == (void *)-1) /* malloc goes on above a gap that is never written to */
        heap_start = 0;
#endif
    Py_RETURN_NONE;
}

/* What imports have freed lies in holes all over the heap, and each small malloc() of a child would write to another page
 * that it shares with us (measured: 150 pages, with the consolidation that the first large free() makes). So the holes
 * are put together and then filled, for good: a child's memory comes from the end of the heap, page after page. */
static void settle(void) {
#ifdef __GLIBC__
    enum { MARK_BYTES = 96 * 1024, LARGEST = 32 * 1024, SMALLEST = 24, STEP = 16, MOST = 1 << 20 };
    (void)malloc_trim(0);
    char *const mark = malloc(MARK_BYTES); /* above it is the end of the heap */
    size_t plugs = 0;
    for (size_t size = LARGEST; mark != NULL && size >= SMALLEST; size -= size > 1024 ? size / 8 : STEP) {
        char *plug;
        while ((plug = malloc(size)) != NULL && plug < mark && plugs++ < MOST)
            *plug = 0;
        free(plug);
    }
    free(mark);
#endif
}

static int be_alone(void) {
    const int threads = ct__thread_count();
    if (threads != 1) /* another thread's locks would be held for ever in the child */
        return threads < 0 ? threads : CT_E_THREADS;
    return 0;
}

/* The server runs no Python between its forks, so it holds still once for all of them: each time, it would write to
 * some fifty pages that it shares with its children (measured), and so copy them. */
static bool is_held;

static void hold_for_good(void) {
    settle();
    (void)ct__huge_join(arenas.start, arenas.start + arenas.used);
    ct__region_trim(&arenas);
#ifdef __GLIBC__
    const uintptr_t top = (uintptr_t)sbrk(0);
    if (heap_start != 0 && sbrk((intptr_t)(ct__huge_ceil(top) - top)) != (void *)-1)
        (void)ct__huge_join(heap_start, ct__huge_ceil(top));
#endif
    (void)ct__text_merge();
    (void)ct__text_join((const void *)(uintptr_t)PyOS_BeforeFork); /* the interpreter's */
    PyOS_BeforeFork();
    is_held = true;
}

static void stay(void) {
}

static const ct__fork_hooks SERVER_HOOKS = {.settle = hold_for_good, .before = be_alone, .after = stay};

static int hold_still(void) {
    const int result = be_alone();
    if (result == 0)
        PyOS_BeforeFork();
    return result;
}

static void go_on(void) {
    PyOS_AfterFork_Parent();
}

static const ct__fork_hooks BRANCH_HOOKS = {.settle = settle, .before = hold_still, .after = go_on};

static bool has_environment(const ct_plan *plan) {
    uint32_t count = 0;
    while (environ != NULL && environ[count] != NULL)
        count++;
    bool is_same = count == plan->envc;
    for (uint32_t i = 0; is_same && i < count; i++) {
        is_same = false;
        for (uint32_t k = 0; !is_same && k < count; k++)
            is_same = strcmp(environ[k], plan->env[i]) == 0;
    }
    return is_same;
}

/* os.environ is what the interpreter read at its start; writing through it sets the C environment too. A server that
 * was started with the environment that its children get saves each of them some fifty pages. */
static int set_environment(const ct_plan *plan) {
    if (has_environment(plan))
        return 0;
    PyObject *os = PyImport_ImportModule("os");
    PyObject *variables = os != NULL ? PyObject_GetAttrString(os, "environ") : NULL;
    PyObject *done = variables != NULL ? PyObject_CallMethod(variables, "clear", NULL) : NULL;
    int result = done != NULL ? 0 : -1;
    for (uint32_t i = 0; result == 0 && i < plan->envc; i++) {
        const char *equals = strchr(plan->env[i], '='); /* the plan's decoder demands one */
        PyObject *name = PyUnicode_DecodeFSDefaultAndSize(plan->env[i], equals - plan->env[i]);
        PyObject *value = PyUnicode_DecodeFSDefault(equals + 1);
        result = name != NULL && value != NULL ? PyObject_SetItem(variables, name, value) : -1;
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    Py_XDECREF(done);
    Py_XDECREF(variables);
    Py_XDECREF(os);
    return result;
}

/* Of a child: what it shares with its host. */
static ct__page *page;

static PyObject *become_child(ct__served *served) {
    PyOS_AfterFork_Child(); /* reseeds random, resets locks and thread state */
    page = served->page;
    const int result = set_environment(served->plan);
    ct__served_fini(served);
    return result == 0 ? PyLong_FromLong(served->channel_fd) : NULL;
}

static PyObject *serve(PyObject *module, PyObject *argument) {
    (void)module;
    const long control_fd = PyLong_AsLong(argument);
    if (control_fd == -1 && PyErr_Occurred() != NULL)
        return NULL;
    ct__served served;
    const int result = ct__zygote_serve((int)control_fd, &SERVER_HOOKS, &served);
    if (result == CT__IN_CHILD)
        return become_child(&served);
    if (is_held)
        PyOS_AfterFork_Parent();
    is_held = false;
    if (result < 0)
        return PyErr_Format(PyExc_OSError, "fork server: %s", ct_strerror(result));
    PyErr_SetNone(PyExc_SystemExit);
    return NULL;
}

/* The nursery's: of one interpreter, which calls prepare() once. */
static ct__seccomp filters;

static PyObject *prepare(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    const int result = ct__seccomp_init(&filters);
    if (result < 0)
        return PyErr_Format(PyExc_OSError, "nursery: %s", ct_strerror(result));
    settle();
    Py_RETURN_NONE;
}

static PyObject *branch(PyObject *module, PyObject *arguments) {
    (void)module;
    int tasks[CT_PLAN_CGROUPS_MAX];
    ct__branch_request request = {.channel_fd = -1, .task_fds = tasks, .filters = &filters, .hooks = &BRANCH_HOOKS};
    PyObject *list = NULL;
    if (PyArg_ParseTuple(arguments, "iiiiO", &request.channel_fd, &request.stdio_fd, &request.page_fd, &request.bell_fd, &list) == 0)
        return NULL;
    const Py_ssize_t count = PySequence_Size(list);
    if (count < 0 || count > CT_PLAN_CGROUPS_MAX)
        return PyErr_Format(PyExc_ValueError, "0 to %d control groups", CT_PLAN_CGROUPS_MAX);
    for (; request.task_count < (uint32_t)count; request.task_count++) {
        PyObject *item = PySequence_GetItem(list, request.task_count);
        const long fd = item != NULL ? PyLong_AsLong(item) : -1;
        Py_XDECREF(item);
        if (fd == -1 && PyErr_Occurred() != NULL)
            return NULL;
        tasks[request.task_count] = (int)fd;
    }
    ct__child child;
    const int result = ct__branch(&request, &child);
    if (result == CT__IN_CHILD) {
        PyOS_AfterFork_Child();
        page = child.page;
        return Py_BuildValue("ii", 0, CT__CHANNEL_FD);
    }
    if (result < 0)
        return PyErr_Format(PyExc_OSError, "%s", ct_strerror(result));
    return Py_BuildValue("ii", (int)child.pid, child.pidfd);
}

PyDoc_STRVAR(arrange_doc, "arrange()\n\nOnce, before anything is imported: lays out memory so that serve() forks it cheaply.");
PyDoc_STRVAR(prepare_doc, "prepare()\n\nOnce before the first branch(), all imports done: the children's filters and heap.");
PyDoc_STRVAR(branch_doc,
             "branch(channel_fd, stdio_fd, page_fd, bell_fd, task_fds, /) -> (pid, pidfd)\n\n"
             "Clone a child into namespaces of its own. In the child, once a byte has come on its channel and every\n"
             "power is given up: (0, descriptor of the channel). Raises OSError when there are threads, or no child.");

PyDoc_STRVAR(serve_doc,
             "serve(control_fd, /) -> int\n\n"
             "Serve sandboxes; return only in a child, with the descriptor of its channel.\n"
             "os.environ is the plan's; every other descriptor but 0, 1 and 2 is closed.\n"
             "Raises SystemExit in the server once the other end of control_fd is closed.");

/* ---- Channel: what the worker sends and receives ---- */

typedef struct channel {
    PyObject_HEAD
    ct__desk desk;
} channel;

static PyObject *channel_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    (void)arguments;
    (void)keywords;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    channel *c = (channel *)alloc(type, 0);
    if (c != NULL && ct__desk_init(&c->desk) < 0) {
        Py_DECREF(c);
        return PyErr_NoMemory();
    }
    return (PyObject *)c;
}

static void channel_free(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    ct__desk_fini(&((channel *)self)->desk);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *channel_open(PyObject *self, PyObject *argument) {
    const long fd = PyLong_AsLong(argument);
    if (fd == -1 && PyErr_Occurred() != NULL)
        return NULL;
    if (fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    ct__desk_open(&((channel *)self)->desk, (int)fd, page, CT__BELL_FD);
    Py_RETURN_NONE;
}

static PyObject *channel_fileno(PyObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromLong(((channel *)self)->desk.fd);
}

/* In a child that user code forked: what it says is not ours to say, and it does not have the page. */
static PyObject *channel_forsake(PyObject *self, PyObject *unused) {
    (void)unused;
    ct__desk *desk = &((channel *)self)->desk;
    if (desk->fd >= 0)
        (void)close(desk->fd);
    if (desk->page != NULL)
        (void)close(desk->bell_fd);
    ct__desk_open(desk, -1, NULL, -1);
    Py_RETURN_NONE;
}

static PyObject *tuple_of(const ct_frame *frame) {
    PyObject *const parts[] = {PyLong_FromLong(frame->kind), PyLong_FromUnsignedLong(frame->call_id),
                               PyBytes_FromStringAndSize((const char *)frame->body, (Py_ssize_t)frame->len)};
    PyObject *tuple = parts[0] != NULL && parts[1] != NULL && parts[2] != NULL ? PyTuple_New(3) : NULL;
    for (Py_ssize_t i = 0; i < 3; i++)
        if (tuple == NULL)
            Py_XDECREF(parts[i]);
        else
            (void)PyTuple_SetItem(tuple, i, parts[i]);
    return tuple;
}

static PyObject *channel_receive(PyObject *self, PyObject *unused) {
    (void)unused;
    ct__desk *desk = &((channel *)self)->desk;
    for (;;) {
        uint8_t block[CT__PAGE_FRAME_BYTES];
        ct_frame frame;
        int result;
        Py_BEGIN_ALLOW_THREADS;
        result = ct__desk_receive(desk, &frame, block);
        Py_END_ALLOW_THREADS;
        if (result == 0)
            return tuple_of(&frame);
        if (result != -EINTR)
            _exit(result == -EPIPE ? 0 : 1); /* nobody is left to talk to */
        if (PyErr_CheckSignals() < 0)
            return NULL;
    }
}

static PyObject *channel_send(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    ct__desk *desk = &((channel *)self)->desk;
    long numbers[3] = {0}; /* kind, call_id, flags */
    static const Py_ssize_t PLACES[] = {0, 1, 3};
    if (count < 1 || count > 4)
        return PyErr_Format(PyExc_TypeError, "send(kind, call_id=0, body=b'', flags=0)");
    for (size_t i = 0; i < 3 && PLACES[i] < count; i++) {
        numbers[i] = PyLong_AsLong(arguments[PLACES[i]]);
        if (numbers[i] == -1 && PyErr_Occurred() != NULL)
            return NULL;
    }
    char *body = NULL;
    Py_ssize_t len = 0;
    if (count > 2 && PyBytes_AsStringAndSize(arguments[2], &body, &len) < 0)
        return NULL;
    const ct_frame frame = {.kind = (uint8_t)numbers[0],
                            .flags = (uint8_t)numbers[2],
                            .call_id = (uint32_t)numbers[1],
                            .body = (const uint8_t *)body,
                            .len = (size_t)len};
    const bool is_answer = frame.kind == CT_FRAME_RESULT || frame.kind == CT_FRAME_ERROR;
    int result = is_answer ? ct__desk_page(desk, &frame) : CT_E_FULL;
    if (result == CT_E_FULL) {
        Py_BEGIN_ALLOW_THREADS;
        result = ct__desk_send(desk, &frame);
        Py_END_ALLOW_THREADS;
    }
    if (result < 0)
        _exit(1);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(channel_doc, "Frames between a worker and its host: as worker_wire.Channel. Whatever breaks it ends the process.");
PyDoc_STRVAR(open_doc, "open(fd, /)\n\nUse the socket, and the page that this process shares with its host, if there is one.");
PyDoc_STRVAR(fileno_doc, "fileno() -> int\n\nThe socket's descriptor.");
PyDoc_STRVAR(forsake_doc, "forsake()\n\nIn a child that user code forked: close it.");
PyDoc_STRVAR(receive_doc, "receive() -> (kind, call_id, body)\n\nWait for the next frame; for one thread at a time.");
PyDoc_STRVAR(send_doc, "send(kind, call_id=0, body=b'', flags=0, /)\n\nSend a frame; any thread.");

/* SAFETY: a function of METH_FASTCALL is called with the type that it has; by way of void (*)(void), which any may be. */
static PyMethodDef CHANNEL_METHODS[] = {
    {"open", channel_open, METH_O, open_doc},
    {"fileno", channel_fileno, METH_NOARGS, fileno_doc},
    {"forsake", channel_forsake, METH_NOARGS, forsake_doc},
    {"receive", channel_receive, METH_NOARGS, receive_doc},
    {"send", (PyCFunction)(void (*)(void))channel_send, METH_FASTCALL, send_doc},
    {NULL, NULL, 0, NULL}};

/* SAFETY: slots hold functions as void *, which POSIX allows; the doc string is not written to. */
static PyType_Slot CHANNEL_SLOTS[] = {{Py_tp_new, (void *)channel_new},
                                      {Py_tp_dealloc, (void *)channel_free},
                                      {Py_tp_methods, CHANNEL_METHODS},
                                      {Py_tp_doc, (void *)(uintptr_t)channel_doc},
                                      {0, NULL}};
static PyType_Spec CHANNEL = {
    .name = "ct_fork.Channel", .basicsize = sizeof(channel), .flags = Py_TPFLAGS_DEFAULT, .slots = CHANNEL_SLOTS};

static PyMethodDef METHODS[] = {{"arrange", arrange, METH_NOARGS, arrange_doc},
                                {"serve", serve, METH_O, serve_doc},
                                {"prepare", prepare, METH_NOARGS, prepare_doc},
                                {"branch", branch, METH_VARARGS, branch_doc},
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, .m_name = "ct_fork", .m_size = 0, .m_methods = METHODS};

PyMODINIT_FUNC PyInit_ct_fork(void);

PyMODINIT_FUNC PyInit_ct_fork(void) {
    PyObject *module = PyModule_Create(&MODULE);
    PyObject *type = module != NULL ? PyType_FromSpec(&CHANNEL) : NULL;
    if (type == NULL || PyModule_AddObjectRef(module, "Channel", type) < 0)
        Py_CLEAR(module);
    Py_XDECREF(type);
    return module;
}
