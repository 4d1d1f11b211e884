/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include "safetensors.h"

#include <stdarg.h>

enum {
    MAX_HEADER = 100 * 1000 * 1000, /* the limit of the reference implementation */
    MAX_NESTING = 16
};

typedef struct {
    st_file *st;
    const unsigned char *text;
    size_t length, at;
    size_t capacity;
    uint64_t data_start, data_bytes;
} parser;

static int fail(st_file *st, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(st->error, sizeof st->error, format, arguments);
    va_end(arguments);
    return -1;
}

static int syntax(parser *p, const char *what) {
    return fail(p->st, "header byte %zu: %s", p->at, what);
}

static void skip_space(parser *p) {
    while (p->at < p->length && (p->text[p->at] == ' ' || p->text[p->at] == '\t' ||
                                 p->text[p->at] == '\n' || p->text[p->at] == '\r')) {
        ++p->at;
    }
}

/* The next character that is not space, or -1 at the end; stays in front of it. */
static int peek(parser *p) {
    skip_space(p);
    return p->at < p->length ? (int)p->text[p->at] : -1;
}

static int accept(parser *p, char wanted) {
    if (peek(p) != (int)wanted) return 0;
    ++p->at;
    return 1;
}

/* Copies a string into `out` with its end cut off; escapes are kept as they are written, since the
 * names this reader looks for have none. */
static int parse_string(parser *p, char *out, size_t size) {
    size_t used = 0;
    if (!accept(p, '"')) return syntax(p, "a string was expected");
    for (;;) {
        if (p->at >= p->length) return syntax(p, "a string does not end");
        unsigned char c = p->text[p->at++];
        if (c == '"') break;
        if (c < 0x20) return syntax(p, "a control character in a string");
        if (c == '\\') {
            if (p->at >= p->length) return syntax(p, "a string does not end");
            if (used + 1 < size) out[used++] = '\\';
            c = p->text[p->at++];
            if (c < 0x20) return syntax(p, "a control character in a string");
        }
        if (used + 1 < size) out[used++] = (char)c;
    }
    if (size != 0) out[used] = '\0';
    return 0;
}

static int parse_unsigned(parser *p, uint64_t *out) {
    uint64_t value = 0;
    const int first = peek(p);
    if (first < '0' || first > '9') return syntax(p, "a non-negative integer was expected");
    while (p->at < p->length && p->text[p->at] >= '0' && p->text[p->at] <= '9') {
        const uint64_t digit = (uint64_t)(p->text[p->at] - '0');
        if (value > (UINT64_MAX - digit) / 10) return syntax(p, "an integer does not fit 64 bits");
        value = value * 10 + digit;
        ++p->at;
    }
    *out = value;
    return 0;
}

/* Any JSON value, for the keys that are not needed (__metadata__). */
static int skip_value(parser *p, int depth) {
    const int first = peek(p);
    if (depth > MAX_NESTING) return syntax(p, "the header is nested too deeply");
    if (first == '"') return parse_string(p, NULL, 0);
    if (first == '{' || first == '[') {
        const char close = first == '{' ? '}' : ']';
        ++p->at;
        if (accept(p, close)) return 0;
        do {
            if (first == '{') {
                if (parse_string(p, NULL, 0) != 0) return -1;
                if (!accept(p, ':')) return syntax(p, "':' was expected");
            }
            if (skip_value(p, depth + 1) != 0) return -1;
        } while (accept(p, ','));
        return accept(p, close) ? 0 : syntax(p, "',' or a closing bracket was expected");
    }
    if (first < 0) return syntax(p, "the header ends in the middle of a value");
    const size_t start = p->at;
    while (p->at < p->length && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE",
                                       p->text[p->at] ? p->text[p->at] : ' ') != NULL) {
        ++p->at;
    }
    return p->at > start ? 0 : syntax(p, "a value was expected");
}

/* [n, n, ...] of at most `limit` numbers. */
static int parse_numbers(parser *p, uint64_t *out, size_t limit, size_t *count) {
    *count = 0;
    if (!accept(p, '[')) return syntax(p, "'[' was expected");
    if (accept(p, ']')) return 0;
    do {
        uint64_t value = 0;
        if (parse_unsigned(p, &value) != 0) return -1;
        if (*count == limit) return syntax(p, "a list is too long");
        out[(*count)++] = value;
    } while (accept(p, ','));
    return accept(p, ']') ? 0 : syntax(p, "']' was expected");
}

/* Bytes of one element, or 0 for a type this reader does not know. */
static uint64_t element_bytes(const char *dtype) {
    static const struct {
        const char *name;
        uint64_t bytes;
    } known[] = {{"F64", 8}, {"F32", 4}, {"F16", 2},  {"BF16", 2}, {"I64", 8}, {"U64", 8},
                 {"I32", 4}, {"U32", 4}, {"I16", 2},  {"U16", 2},  {"I8", 1},  {"U8", 1},
                 {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i) {
        if (strcmp(known[i].name, dtype) == 0) return known[i].bytes;
    }
    return 0;
}

/* {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]} */
static int parse_tensor(parser *p, const char *name) {
    char key[32], dtype[16] = "";
    uint64_t shape[ST_MAX_DIMENSIONS], offsets[2] = {0, 0};
    size_t dimensions = 0, offset_count = 0;
    int have_shape = 0;

    if (!accept(p, '{')) return syntax(p, "'{' was expected after a tensor's name");
    if (!accept(p, '}')) {
        do {
            if (parse_string(p, key, sizeof key) != 0) return -1;
            if (!accept(p, ':')) return syntax(p, "':' was expected");
            if (strcmp(key, "dtype") == 0) {
                if (parse_string(p, dtype, sizeof dtype) != 0) return -1;
            } else if (strcmp(key, "shape") == 0) {
                if (parse_numbers(p, shape, ST_MAX_DIMENSIONS, &dimensions) != 0) return -1;
                have_shape = 1;
            } else if (strcmp(key, "data_offsets") == 0) {
                if (parse_numbers(p, offsets, 2, &offset_count) != 0) return -1;
            } else if (skip_value(p, 0) != 0) {
                return -1;
            }
        } while (accept(p, ','));
        if (!accept(p, '}')) return syntax(p, "',' or '}' was expected");
    }
    if (dtype[0] == '\0' || !have_shape || offset_count != 2) {
        return fail(p->st, "tensor %.100s lacks dtype, shape or data_offsets", name);
    }
    if (offsets[0] > offsets[1] || offsets[1] > p->data_bytes) {
        return fail(p->st, "tensor %.100s: data_offsets [%llu, %llu] are outside the %llu data bytes",
                    name, (unsigned long long)offsets[0], (unsigned long long)offsets[1],
                    (unsigned long long)p->data_bytes);
    }
    const uint64_t size = element_bytes(dtype);
    if (size == 0) { /* a type of a later version of the format: its bytes are in the file, no more */
        ++p->st->skipped;
        return 0;
    }
    uint64_t bytes = size;
    for (size_t i = 0; i < dimensions; ++i) {
        if (shape[i] != 0 && bytes > UINT64_MAX / shape[i]) {
            return fail(p->st, "tensor %.100s: the product of its shape overflows", name);
        }
        bytes *= shape[i];
    }
    if (bytes != offsets[1] - offsets[0]) {
        return fail(p->st, "tensor %.100s: its shape needs %llu bytes, data_offsets give %llu", name,
                    (unsigned long long)bytes, (unsigned long long)(offsets[1] - offsets[0]));
    }
    st_tensor found;
    memset(&found, 0, sizeof found);
    if (strcmp(dtype, "F32") == 0) {
        found.type = ST_F32;
    } else if (strcmp(dtype, "F16") == 0) {
        found.type = ST_F16;
    } else if (strcmp(dtype, "BF16") == 0) {
        found.type = ST_BF16;
    } else if (strcmp(dtype, "U8") == 0) {
        found.type = ST_U8;
    } else {
        found.type = ST_OTHER;
    }
    snprintf(found.name, sizeof found.name, "%s", name);
    found.dimensions = dimensions;
    memcpy(found.shape, shape, dimensions * sizeof shape[0]);
    if (dimensions == 2) {
        found.rows = shape[0];
        found.cols = shape[1];
    }
    found.bytes = bytes;
    found.offset = p->data_start + offsets[0];
    if (p->st->count == p->capacity) {
        const size_t capacity = p->capacity == 0 ? 64 : 2 * p->capacity;
        st_tensor *grown = (st_tensor *)realloc(p->st->tensors, capacity * sizeof *grown);
        if (grown == NULL) return fail(p->st, "out of memory");
        p->st->tensors = grown;
        p->capacity = capacity;
    }
    p->st->tensors[p->st->count++] = found;
    return 0;
}

static int parse_header(parser *p) {
    char name[sizeof((st_tensor *)0)->name];
    if (!accept(p, '{')) return syntax(p, "the header is not a JSON object");
    if (!accept(p, '}')) {
        do {
            if (parse_string(p, name, sizeof name) != 0) return -1;
            if (!accept(p, ':')) return syntax(p, "':' was expected");
            if (strcmp(name, "__metadata__") == 0) {
                if (skip_value(p, 0) != 0) return -1;
            } else if (parse_tensor(p, name) != 0) {
                return -1;
            }
        } while (accept(p, ','));
        if (!accept(p, '}')) return syntax(p, "',' or '}' was expected");
    }
    return peek(p) < 0 ? 0 : syntax(p, "something follows the header's object");
}

int st_open(st_file *st, const char *path) {
    unsigned char prefix[8];
    uint64_t header = 0;
    memset(st, 0, sizeof *st);
    st->file = fopen(path, "rb");
    if (st->file == NULL) return fail(st, "it cannot be opened");
    if (fseek(st->file, 0, SEEK_END) != 0) return fail(st, "it is not a regular file");
    const long end = ftell(st->file);
    if (end < 0 || fseek(st->file, 0, SEEK_SET) != 0) return fail(st, "it is not a regular file");
    const uint64_t size = (uint64_t)end;
    if (size < 8 || fread(prefix, 1, 8, st->file) != 8) {
        return fail(st, "it has %llu bytes, a safetensors file at least 8", (unsigned long long)size);
    }
    for (int i = 7; i >= 0; --i) header = (header << 8) | prefix[i];
    if (header > size - 8 || header > MAX_HEADER) {
        return fail(st, "its header claims %llu bytes, the file has %llu",
                    (unsigned long long)header, (unsigned long long)size);
    }
    unsigned char *text = (unsigned char *)malloc((size_t)header + 1);
    if (text == NULL) return fail(st, "out of memory");
    int result;
    if (fread(text, 1, (size_t)header, st->file) != (size_t)header) {
        result = fail(st, "its header cannot be read");
    } else {
        parser p;
        memset(&p, 0, sizeof p);
        p.st = st;
        p.text = text;
        p.length = (size_t)header;
        p.data_start = 8 + header;
        p.data_bytes = size - 8 - header;
        result = parse_header(&p);
    }
    free(text);
    return result;
}

int st_is_matrix(const st_tensor *tensor) {
    return (tensor->type == ST_F32 || tensor->type == ST_F16 || tensor->type == ST_BF16) &&
           tensor->dimensions == 2 && tensor->bytes != 0;
}

const st_tensor *st_find(const st_file *st, const char *name) {
    for (size_t i = 0; i < st->count; ++i) {
        if (strcmp(st->tensors[i].name, name) == 0) return &st->tensors[i];
    }
    return NULL;
}

/* Goes through a floating point tensor in blocks; one of the two outputs is NULL. */
static int read_elements(st_file *st, const st_tensor *tensor, uint16_t *half, float *single) {
    unsigned char block[4096];
    const size_t size = tensor->type == ST_F32 ? 4 : 2;
    uint64_t left = tensor->bytes / size;
    if (tensor->type != ST_F32 && tensor->type != ST_F16 && tensor->type != ST_BF16) {
        return fail(st, "tensor %.100s is not floating point", tensor->name);
    }
    if (fseek(st->file, (long)tensor->offset, SEEK_SET) != 0) return fail(st, "it cannot be read");
    while (left != 0) {
        const size_t count = left < sizeof block / size ? (size_t)left : sizeof block / size;
        if (fread(block, size, count, st->file) != count) {
            return fail(st, "tensor %.100s cannot be read", tensor->name);
        }
        for (size_t i = 0; i < count; ++i) {
            const unsigned char *at = block + i * size;
            uint32_t bits = (uint32_t)at[0] | (uint32_t)at[1] << 8;
            float value;
            if (tensor->type == ST_F16) {
                if (half != NULL) {
                    *half++ = (uint16_t)bits;
                } else {
                    *single++ = float_from_half((uint16_t)bits);
                }
                continue;
            }
            if (tensor->type == ST_F32) {
                bits |= (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
            } else {
                bits <<= 16;
            }
            memcpy(&value, &bits, sizeof value);
            if (half != NULL) {
                *half++ = half_from_float(value);
            } else {
                *single++ = value;
            }
        }
        left -= count;
    }
    return 0;
}

int st_read_half(st_file *st, const st_tensor *tensor, uint16_t *out) {
    return read_elements(st, tensor, out, NULL);
}

int st_read_float(st_file *st, const st_tensor *tensor, float *out) {
    return read_elements(st, tensor, NULL, out);
}

int st_read_bytes(st_file *st, const st_tensor *tensor, void *out) {
    if (fseek(st->file, (long)tensor->offset, SEEK_SET) != 0 ||
        fread(out, 1, (size_t)tensor->bytes, st->file) != (size_t)tensor->bytes) {
        return fail(st, "tensor %.100s cannot be read", tensor->name);
    }
    return 0;
}

void st_close(st_file *st) {
    if (st->file != NULL) fclose(st->file);
    free(st->tensors);
    st->file = NULL;
    st->tensors = NULL;
    st->count = 0;
}
