/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CUDA driver for tests, built as libcuda.so.1: host memory plays device memory, kernels do nothing.
 *
 * It is strict where the real one is: most calls need cuInit and a current context; memory must have
 * been allocated, in a live context, and be large enough; functions must come from a loaded module; a
 * launch may not use more dynamic shared memory than was opted in to.
 *
 * It counts every call, knows what is alive, and can be told to let the n-th call of a function fail;
 * the functions that begin with fake_ at the end are the controls.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    OK = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    MAX = 8192,
    MAX_NAMES = 64,
    MAX_DURATIONS = 16
};

typedef struct {
    int device;
    int alive;
} context;

typedef struct {
    context *owner;
    int capturing, blocking;
} stream;

typedef struct {
    context *owner;
    int alive;
} module;

typedef struct {
    module *owner;
    char name[120];
    int opted_in;
    int loaded;
} function;

typedef struct {
    context *owner;
    uint64_t address;
    size_t bytes;
} allocation;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int initialised, driver_version = 13000, device_count = 1, primary_references;
static int attribute_values[256];
static context primary, others[8];
static stream streams[16];
static module modules[MAX];
static function functions[MAX];
static allocation allocations[MAX];
static struct {
    const char *name;
    int count;
} calls[MAX_NAMES];
static char failing[64];
static int failing_in, failing_code, failed;
/* A launch, as far as tests ask. */
typedef struct {
    const function *f;
    unsigned grid, smem;
    uint64_t word;
} launched;

typedef struct {
    context *owner;
    int timed, recorded;
    double at;
} event;

static int pinned, events;
/* Kernels take no time but by this clock, in microseconds: as long as is wished for, or 10. */
static double now;
static struct {
    char part[64];
    unsigned grid, smem;
    double us;
} durations[MAX_DURATIONS];
static int duration_count, launch_count;
static launched launches[MAX];
static void *last_stream;
static _Thread_local context *stack[16];
static _Thread_local int depth;
static _Thread_local int capture_mode;

/* Counts a call; gives the result that the test wants it to have. */
static int enter(const char *name) {
    int result = OK, i;
    pthread_mutex_lock(&lock);
    for (i = 0; i < MAX_NAMES && calls[i].name && strcmp(calls[i].name, name) != 0; i++) {}
    if (i == MAX_NAMES) abort();
    calls[i].name = name;
    calls[i].count++;
    if (failing_in > 0 && strcmp(failing, name) == 0 && --failing_in == 0) {
        failed = 1;
        result = failing_code;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

#define ENTER()                           \
    do {                                  \
        int wanted = enter(__func__);     \
        if (wanted != OK) return wanted;  \
    } while (0)
#define ENTER_INITIALISED()                         \
    do {                                            \
        ENTER();                                    \
        if (!initialised) return NOT_INITIALIZED;   \
    } while (0)
#define ENTER_CURRENT()                                                             \
    do {                                                                            \
        ENTER_INITIALISED();                                                        \
        if (depth == 0 || !stack[depth - 1]->alive) return INVALID_CONTEXT;         \
    } while (0)

static context *current(void) {
    return depth ? stack[depth - 1] : NULL;
}

/* A stream of the current context, NULL included. */
static int stream_ok(void *s) {
    return s == NULL || ((stream *)s)->owner == current();
}

/* Whether the current context has allocated all of the range. */
static int device_range(uint64_t address, size_t bytes) {
    int i, found = 0;
    pthread_mutex_lock(&lock);
    for (i = 0; i < MAX && !found; i++) {
        const allocation *a = &allocations[i];
        found = a->address && a->owner == current() && address >= a->address && address - a->address <= a->bytes &&
                bytes <= a->bytes - (address - a->address);
    }
    pthread_mutex_unlock(&lock);
    return found;
}

int cuInit(unsigned flags) {
    ENTER();
    if (flags) return INVALID_VALUE;
    initialised = 1;
    return OK;
}

int cuDriverGetVersion(int *version) {
    ENTER();
    *version = driver_version;
    return OK;
}

int cuGetErrorName(int code, const char **name) {
    switch (code) {
    case OK: *name = "CUDA_SUCCESS"; return OK;
    case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; return OK;
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return OK;
    case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; return OK;
    case 700: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; return OK;
    default: *name = NULL; return INVALID_VALUE;
    }
}

int cuDeviceGetCount(int *count) {
    ENTER_INITIALISED();
    *count = device_count;
    return OK;
}

int cuDeviceGet(int *device, int ordinal) {
    ENTER_INITIALISED();
    if (ordinal < 0 || ordinal >= device_count) return INVALID_DEVICE;
    *device = ordinal;
    return OK;
}

int cuDeviceGetName(char *name, int bytes, int device) {
    ENTER_INITIALISED();
    if (device != 0) return INVALID_DEVICE;
    strncpy(name, "Fake GPU", (size_t)bytes);
    return OK;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    ENTER_INITIALISED();
    if (device != 0) return INVALID_DEVICE;
    if (attribute < 0 || attribute >= 256) return INVALID_VALUE;
    *value = attribute_values[attribute];
    return OK;
}

int cuDevicePrimaryCtxRetain(void **c, int device) {
    ENTER_INITIALISED();
    if (device != 0) return INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    primary.alive = 1;
    primary_references++;
    pthread_mutex_unlock(&lock);
    *c = &primary;
    return OK;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    int result = INVALID_CONTEXT;
    ENTER_INITIALISED();
    pthread_mutex_lock(&lock);
    if (device == 0 && primary_references > 0) {
        if (--primary_references == 0) primary.alive = 0;
        result = OK;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int cuCtxGetCurrent(void **c) {
    ENTER_INITIALISED();
    *c = current();
    return OK;
}

int cuCtxSetCurrent(void *c) {
    ENTER_INITIALISED();
    if (depth) depth--;
    if (c) stack[depth++] = c;
    return OK;
}

int cuCtxPushCurrent_v2(void *c) {
    ENTER_INITIALISED();
    if (!c || !((context *)c)->alive || depth == 16) return INVALID_CONTEXT;
    stack[depth++] = c;
    return OK;
}

int cuCtxPopCurrent_v2(void **c) {
    ENTER_CURRENT();
    *c = stack[--depth];
    return OK;
}

int cuCtxGetDevice(int *device) {
    ENTER_CURRENT();
    *device = current()->device;
    return OK;
}

/* As the real one: what is not safe during a capture fails and spoils it, unless the thread has relaxed its mode. */
static int spoils_captures(void) {
    int i, spoilt = 0;
    for (i = 0; capture_mode != 2 && i < 16; i++) {
        if (!streams[i].capturing) continue;
        streams[i].capturing = 2;
        spoilt = 1;
    }
    return spoilt;
}

int cuThreadExchangeStreamCaptureMode(int *mode) {
    int old = capture_mode;
    ENTER_INITIALISED();
    if (*mode < 0 || *mode > 2) return INVALID_VALUE;
    capture_mode = *mode;
    *mode = old;
    return OK;
}

int fake_capture_mode(void) {
    return capture_mode;
}

int cuModuleLoadDataEx(void **m, const void *image, unsigned options, void *names, void *values) {
    int i;
    (void)options, (void)names, (void)values;
    ENTER_CURRENT();
    if (!image) return INVALID_VALUE;
    if (spoils_captures()) return 900;
    pthread_mutex_lock(&lock);
    for (i = 0; i < MAX && modules[i].owner; i++) {}
    if (i < MAX) {
        modules[i].owner = current();
        modules[i].alive = 1;
    }
    pthread_mutex_unlock(&lock);
    if (i == MAX) return OUT_OF_MEMORY;
    *m = &modules[i];
    return OK;
}

int cuModuleUnload(void *m) {
    ENTER_CURRENT();
    if (!((module *)m)->alive || ((module *)m)->owner != current()) return INVALID_HANDLE;
    if (spoils_captures()) return 900;
    ((module *)m)->alive = 0;
    return OK;
}

int cuModuleGetFunction(void **f, void *m, const char *name) {
    int i;
    ENTER_CURRENT();
    if (!((module *)m)->alive) return INVALID_HANDLE;
    if (strlen(name) >= sizeof functions[0].name) return OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    for (i = 0; i < MAX && functions[i].owner; i++) {}
    if (i < MAX) {
        functions[i].owner = m;
        strcpy(functions[i].name, name);
    }
    pthread_mutex_unlock(&lock);
    if (i == MAX) return OUT_OF_MEMORY;
    *f = &functions[i];
    return OK;
}

int cuFuncSetAttribute(void *f, int attribute, int value) {
    function *g = f;
    ENTER_CURRENT();
    if (!g->owner->alive) return INVALID_HANDLE;
    if (attribute != 8 || value < 0 || value > attribute_values[97]) return INVALID_VALUE;
    g->opted_in = value;
    return OK;
}

int cuFuncGetAttribute(int *value, int attribute, void *f) {
    function *g = f;
    ENTER_CURRENT();
    if (!g->owner->alive || attribute < 0) return INVALID_HANDLE;
    g->loaded = 1;
    *value = 32;
    return OK;
}

/* tests/emulation/kernels.cpp. */
int fl_emulate(const char *name, const unsigned *grid, unsigned threads, unsigned smem, unsigned order, void **params);

/* What begins as all names of kernels do is a whole one: the name of one kernel may be the beginning of another's. */
static int is_meant(const char *name, const char *part) {
    return strncmp(part, "fl_", 3) == 0 ? strcmp(name, part) == 0 : strstr(name, part) != NULL;
}

/* Lets the clock go on by a launch, and remembers it. */
static void count_launch(const function *f, const unsigned *grid, unsigned smem, void **params) {
    double us = 10;
    int i;
    pthread_mutex_lock(&lock);
    for (i = 0; i < duration_count; i++) {
        if (!is_meant(f->name, durations[i].part)) continue;
        if (durations[i].grid && durations[i].grid != grid[0]) continue;
        if (durations[i].smem && durations[i].smem != smem) continue;
        us = durations[i].us;
    }
    now += us;
    if (launch_count < MAX) {
        launches[launch_count].f = f;
        launches[launch_count].grid = grid[0];
        launches[launch_count].smem = smem;
        memcpy(&launches[launch_count].word, params[0], sizeof launches[0].word);
        launch_count++;
    }
    pthread_mutex_unlock(&lock);
}

static int check_launch(const function *f, const unsigned *grid, const unsigned *block, unsigned smem, void *s) {
    unsigned allowed = f->opted_in > 48 * 1024 ? (unsigned)f->opted_in : 48 * 1024;
    int i;
    if (!f->owner->alive || f->owner->owner != current() || !stream_ok(s)) return INVALID_HANDLE;
    /* A kernel whose code is loaded by its first launch is what the library promises not to have. */
    if (!f->loaded || smem > allowed) return INVALID_VALUE;
    for (i = 0; i < 3; i++) {
        if (!grid[i] || !block[i]) return INVALID_VALUE;
    }
    if (block[0] * block[1] * block[2] > 1024 || grid[1] > 65535 || grid[2] > 65535) return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    last_stream = s;
    pthread_mutex_unlock(&lock);
    return OK;
}

static int launch(const function *f, const unsigned *grid, const unsigned *block, unsigned smem, void *s, void **params) {
    int result = check_launch(f, grid, block, smem, s);
    /* The kernels that make the data of later calls run for real; of the others only the launch is looked at.
       While a stream captures nothing runs. */
    if (result == OK && !(s && ((stream *)s)->capturing)) {
        count_launch(f, grid, smem, params);
        fl_emulate(f->name, grid, block[0] * block[1] * block[2], smem, 0, params);
    }
    return result;
}

int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned smem, void *s, void **params, void **extra) {
    unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
    ENTER_CURRENT();
    if (extra) return INVALID_VALUE;
    return launch(f, grid, block, smem, s, params);
}

/* CUlaunchConfig, and of its attributes programmatic stream serialization and clusters of two. */
typedef struct {
    int id;
    union {
        char pad[64];
        int programmatic;
        unsigned cluster[3];
        uint64_t align;
    } value;
} launch_attribute;

typedef struct {
    unsigned grid[3], block[3], smem;
    void *stream;
    const launch_attribute *attributes;
    unsigned attribute_count;
} launch_config;

int cuLaunchKernelEx(const launch_config *config, void *f, void **params, void **extra) {
    ENTER_CURRENT();
    if (!config || extra || config->attribute_count == 0) return INVALID_VALUE;
    /* A kernel that does not wait for the work ahead of it, or on a device without clusters, may not be launched so. */
    if (!strstr(((function *)f)->name, "_sm90")) return INVALID_VALUE;
    for (unsigned i = 0; i < config->attribute_count; i++) {
        const launch_attribute *one = &config->attributes[i];
        if (one->id == 6 && one->value.programmatic == 1) continue;
        const unsigned *size = one->value.cluster;
        if (one->id != 4 || size[0] != 2 || size[1] != 1 || size[2] != 1 || config->grid[0] % 2) return INVALID_VALUE;
    }
    return launch(f, config->grid, config->block, config->smem, config->stream, params);
}

/* Of a matrix of 16-bit elements, in boxes of 64 along rows that are swizzled: what TMA asks of it. */
int cuTensorMapEncodeTiled(uint64_t *map, int dtype, unsigned rank, uint64_t address, const uint64_t *sizes,
                           const uint64_t *strides, const unsigned *box, const unsigned *steps, int interleave, int swizzle,
                           int promotion, int fill) {
    ENTER();
    if (!map || (uintptr_t)map % 64 || dtype != 1 || rank != 2 || address % 16 || interleave || swizzle != 3 || fill) return INVALID_VALUE;
    if (!sizes[0] || !sizes[1] || (sizes[0] | sizes[1]) >> 32 || strides[0] % 16 || strides[0] >> 40) return INVALID_VALUE;
    if (strides[0] < sizes[0] * 2 || box[0] != 64 || !box[1] || box[1] > 256 || steps[0] != 1 || steps[1] != 1) return INVALID_VALUE;
    if (promotion < 0 || promotion > 3) return INVALID_VALUE;
    /* The driver does not look; but a kernel would read all of it. */
    if (!device_range(address, (sizes[1] - 1) * strides[0] + sizes[0] * 2)) return INVALID_VALUE;
    memset(map, 0, 128);
    map[0] = address;
    return OK;
}

int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    int i, result = OUT_OF_MEMORY;
    void *memory;
    ENTER_CURRENT();
    if (bytes == 0) return INVALID_VALUE;
    /* No fake device has so much; the host might promise it. */
    if (bytes > (size_t)1 << 34 || posix_memalign(&memory, 512, bytes) != 0) return OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    for (i = 0; i < MAX && allocations[i].address; i++) {}
    if (i < MAX) {
        allocations[i].owner = current();
        allocations[i].address = (uint64_t)(uintptr_t)memory;
        allocations[i].bytes = bytes;
        *address = allocations[i].address;
        result = OK;
    }
    pthread_mutex_unlock(&lock);
    if (result != OK) free(memory);
    return result;
}

int cuMemFree_v2(uint64_t address) {
    int i, result = INVALID_VALUE;
    ENTER_CURRENT();
    pthread_mutex_lock(&lock);
    for (i = 0; i < MAX; i++) {
        if (address && allocations[i].address == address && allocations[i].owner == current()) {
            free((void *)(uintptr_t)address);
            memset(&allocations[i], 0, sizeof allocations[i]);
            result = OK;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *s) {
    ENTER_CURRENT();
    if (!stream_ok(s)) return INVALID_HANDLE;
    if (!device_range(to, bytes)) return INVALID_VALUE;
    memcpy((void *)(uintptr_t)to, from, bytes);
    return OK;
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *s) {
    ENTER_CURRENT();
    if (!stream_ok(s)) return INVALID_HANDLE;
    if (!device_range(from, bytes)) return INVALID_VALUE;
    memcpy(to, (void *)(uintptr_t)from, bytes);
    return OK;
}

int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *s) {
    ENTER_CURRENT();
    if (!stream_ok(s)) return INVALID_HANDLE;
    if (!device_range(to, bytes) || !device_range(from, bytes)) return INVALID_VALUE;
    memmove((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
    return OK;
}

int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *s) {
    ENTER_CURRENT();
    if (!stream_ok(s)) return INVALID_HANDLE;
    if (!device_range(to, bytes)) return INVALID_VALUE;
    memset((void *)(uintptr_t)to, value, bytes);
    return OK;
}

int cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void *s) {
    size_t i;
    ENTER_CURRENT();
    if (!stream_ok(s)) return INVALID_HANDLE;
    if (!device_range(to, count * 4)) return INVALID_VALUE;
    for (i = 0; i < count; i++) ((unsigned *)(uintptr_t)to)[i] = value;
    return OK;
}

int cuStreamGetCtx(void *s, void **c) {
    ENTER_CURRENT();
    *c = s ? ((stream *)s)->owner : current();
    return OK;
}

int cuStreamIsCapturing(void *s, int *status) {
    int i;
    ENTER_CURRENT();
    /* As the real one: the legacy stream would wait for a blocking one that captures, which goes on all the same. */
    for (i = 0; (uintptr_t)s <= 1 && i < 16; i++) {
        if (streams[i].owner == current() && streams[i].blocking && streams[i].capturing) return 906;
    }
    *status = 0;
    if ((uintptr_t)s <= 1) return OK;
    if (!stream_ok(s)) return INVALID_HANDLE;
    *status = ((stream *)s)->capturing;
    return OK;
}

int cuStreamSynchronize(void *s) {
    ENTER_CURRENT();
    if (!stream_ok(s)) return INVALID_HANDLE;
    /* As the real one: waiting for a stream that captures spoils the capture. */
    if (s && ((stream *)s)->capturing) {
        ((stream *)s)->capturing = 2;
        return 900;
    }
    return OK;
}

/* Pinned memory and events: all work is done when its call returns, so an event only has to be alive and to keep the time. */
int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    ENTER_CURRENT();
    if (bytes == 0 || flags > 7) return INVALID_VALUE;
    *memory = malloc(bytes);
    if (!*memory) return OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    pinned++;
    pthread_mutex_unlock(&lock);
    return OK;
}

int cuMemFreeHost(void *memory) {
    ENTER_CURRENT();
    if (!memory || pinned == 0) return INVALID_VALUE;
    free(memory);
    pthread_mutex_lock(&lock);
    pinned--;
    pthread_mutex_unlock(&lock);
    return OK;
}

int cuEventCreate(void **made, unsigned flags) {
    event *e;
    ENTER_CURRENT();
    if (flags > 7) return INVALID_VALUE;
    e = calloc(1, sizeof *e);
    if (!e) return OUT_OF_MEMORY;
    e->owner = current();
    e->timed = !(flags & 2);
    *made = e;
    pthread_mutex_lock(&lock);
    events++;
    pthread_mutex_unlock(&lock);
    return OK;
}

int cuEventDestroy_v2(void *e) {
    ENTER_CURRENT();
    if (!e || events == 0) return INVALID_HANDLE;
    free(e);
    pthread_mutex_lock(&lock);
    events--;
    pthread_mutex_unlock(&lock);
    return OK;
}

int cuEventRecord(void *recorded, void *s) {
    event *e = recorded;
    ENTER_CURRENT();
    if (e->owner != current() || !stream_ok(s)) return INVALID_HANDLE;
    pthread_mutex_lock(&lock);
    e->recorded = 1;
    e->at = now;
    pthread_mutex_unlock(&lock);
    return OK;
}

int cuEventSynchronize(void *e) {
    ENTER_CURRENT();
    return ((event *)e)->owner == current() ? OK : INVALID_HANDLE;
}

int cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    const event *from = start, *to = end;
    ENTER_CURRENT();
    if (from->owner != current() || to->owner != current()) return INVALID_HANDLE;
    if (!from->timed || !to->timed || !from->recorded || !to->recorded) return INVALID_HANDLE;
    *milliseconds = (float)((to->at - from->at) / 1e3);
    return OK;
}

/* ---- controls ---- */

/* Forgets counts and wishes, and gives the device its usual properties. What is alive stays. */
void fake_reset(void) {
    memset(calls, 0, sizeof calls);
    memset(attribute_values, 0, sizeof attribute_values);
    attribute_values[16] = 132;      /* multiprocessors */
    attribute_values[38] = 50 << 20; /* L2 */
    attribute_values[75] = 9;        /* compute capability */
    attribute_values[76] = 0;
    attribute_values[81] = 233472;   /* shared memory of a multiprocessor */
    attribute_values[97] = 232448;   /* and of a block, opted in */
    driver_version = 13000;
    device_count = 1;
    failing_in = 0;
    failed = 0;
    duration_count = 0;
    launch_count = 0;
}

/* Lets launches of the kernel of this name, or of all with this part in their names, take so many microseconds, with this grid and
   shared memory if they are not 0. What is said later counts. */
void fake_set_duration(const char *part, unsigned grid, unsigned smem, double us) {
    if (duration_count == MAX_DURATIONS) abort();
    strncpy(durations[duration_count].part, part, sizeof durations[0].part - 1);
    durations[duration_count].grid = grid;
    durations[duration_count].smem = smem;
    durations[duration_count].us = us;
    duration_count++;
}

/* Launches since fake_reset(), the first 8192: how many, and of the i-th the kernel, blocks along x, shared memory, and first
   word of the parameters. */
int fake_launches(void) {
    return launch_count;
}

const char *fake_launch_name(int i) {
    return launches[i].f->name;
}

int fake_launch_grid(int i) {
    return (int)launches[i].grid;
}

int fake_launch_smem(int i) {
    return (int)launches[i].smem;
}

uint64_t fake_launch_word(int i) {
    return launches[i].word;
}

/* Lets the nth call of a function from now on give a result. */
void fake_fail(const char *name, int nth, int code) {
    strncpy(failing, name, sizeof failing - 1);
    failing_in = nth;
    failing_code = code;
    failed = 0;
}

/* Whether that has happened. */
int fake_failed(void) {
    return failed;
}

/* Calls of a function since fake_reset(). */
int fake_count(const char *name) {
    int i;
    for (i = 0; i < MAX_NAMES && calls[i].name; i++) {
        if (strcmp(calls[i].name, name) == 0) return calls[i].count;
    }
    return 0;
}

/* The i-th function that was called since fake_reset(), NULL after the last. */
const char *fake_name(int i) {
    return i < MAX_NAMES ? calls[i].name : NULL;
}

void fake_set_driver_version(int version) {
    driver_version = version;
}

void fake_set_device_count(int count) {
    device_count = count;
}

void fake_set_attribute(int attribute, int value) {
    attribute_values[attribute] = value;
}

int fake_live_allocations(void) {
    int i, n = 0;
    for (i = 0; i < MAX; i++) n += allocations[i].address != 0;
    return n;
}

/* Pinned buffers and events. */
int fake_live_staging(void) {
    return pinned + events;
}

int fake_live_modules(void) {
    int i, n = 0;
    for (i = 0; i < MAX; i++) n += modules[i].alive;
    return n;
}

int fake_primary_references(void) {
    return primary_references;
}

/* Contexts on the calling thread's stack. */
int fake_depth(void) {
    return depth;
}

/* One of eight contexts that are not primary. */
void *fake_context(int i) {
    others[i].alive = 1;
    return &others[i];
}

void fake_kill_context(int i) {
    others[i].alive = 0;
}

/* Makes a context current, or none, without counting. */
void fake_set_current(void *c) {
    depth = 0;
    if (c) stack[depth++] = c;
}

void *fake_get_current(void) {
    return current();
}

/* One of sixteen streams, given to a context; NULL stands for the primary one. */
void *fake_stream(int i, void *c) {
    streams[i].owner = c ? c : &primary;
    streams[i].capturing = 0;
    streams[i].blocking = 0;
    return &streams[i];
}

void fake_set_blocking(void *s) {
    ((stream *)s)->blocking = 1;
}

void fake_set_capturing(void *s, int status) {
    ((stream *)s)->capturing = status;
}

int fake_capturing(void *s) {
    return ((stream *)s)->capturing;
}

/* Stream of the last launch. */
void *fake_last_stream(void) {
    return last_stream;
}

/* Forgets modules, functions and allocations of earlier scenarios, so that the tables do not fill. */
void fake_clear(void) {
    int i;
    for (i = 0; i < MAX; i++) free((void *)(uintptr_t)allocations[i].address);
    memset(allocations, 0, sizeof allocations);
    memset(modules, 0, sizeof modules);
    memset(functions, 0, sizeof functions);
    primary_references = 0;
    pinned = 0;
    events = 0;
    primary.alive = 0;
    depth = 0;
    capture_mode = 0;
}
