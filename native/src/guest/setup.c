#define _GNU_SOURCE
#include "guest/setup.h"

#include "base/err.h"
#include "proto/pbwire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HANDLER = 1, FUNCTION = 2, VERSION = 3, TENANT = 4, SPACE = 5, MEMORY = 6, ENV = 8, CODE_DIR = 9 };

static bool is_text(const ct__pb_field *field) {
    return field->type == CT__PB_BYTES && memchr(field->data, '\0', field->len) == NULL;
}

static int replace(char **slot, const ct__pb_field *field) {
    if (!is_text(field))
        return CT_E_MALFORMED;
    char *copy = strndup((const char *)field->data, field->len);
    if (copy == NULL)
        return -ENOMEM;
    free(*slot);
    *slot = copy;
    return 0;
}

/* An entry of the map: 1 is the name, 2 the value. */
static int add_variable(const ct__pb_field *entry, ct__setup *out) {
    if (entry->type != CT__PB_BYTES)
        return CT_E_MALFORMED;
    ct__reader r = {.at = entry->data, .left = entry->len};
    ct__pb_field field, name = {0}, value = {0};
    int result;
    while ((result = ct__pb_next(&r, &field)) > 0) {
        if ((field.number == 1 || field.number == 2) && !is_text(&field))
            return CT_E_MALFORMED;
        if (field.number == 1)
            name = field;
        else if (field.number == 2)
            value = field;
    }
    if (result < 0 || name.len == 0 || memchr(name.data, '=', name.len) != NULL)
        return result < 0 ? result : CT_E_MALFORMED;
    char **more = reallocarray(out->env, out->env_count + 1, sizeof *more);
    if (more == NULL)
        return -ENOMEM;
    out->env = more;
    if (asprintf(&more[out->env_count], "%.*s=%.*s", (int)name.len, (const char *)name.data, (int)value.len,
                 value.len > 0 ? (const char *)value.data : "") < 0)
        return -ENOMEM;
    out->env_count++;
    return 0;
}

static int take(const ct__pb_field *field, ct__setup *out) {
    switch (field->number) {
    case HANDLER: return replace(&out->handler, field);
    case FUNCTION: return replace(&out->function, field);
    case VERSION: return replace(&out->version, field);
    case TENANT: return replace(&out->tenant, field);
    case SPACE: return replace(&out->space, field);
    case CODE_DIR: return replace(&out->code_dir, field);
    case ENV: return add_variable(field, out);
    case MEMORY:
        out->memory_mb = field->value;
        return field->type == CT__PB_VARINT ? 0 : CT_E_MALFORMED;
    default: return 0;
    }
}

int ct__setup_read(const uint8_t *body, size_t len, ct__setup *out) {
    ct__setup made = {0};
    char **texts[] = {&made.handler, &made.function, &made.version, &made.tenant, &made.space, &made.code_dir};
    int result = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && result == 0; i++)
        result = (*texts[i] = strdup("")) == NULL ? -ENOMEM : 0;
    ct__reader r = {.at = body, .left = len};
    ct__pb_field field;
    int more = 0;
    while (result == 0 && (more = ct__pb_next(&r, &field)) > 0)
        result = take(&field, &made);
    if (result == 0)
        result = more;
    if (result == 0)
        *out = made;
    else
        ct__setup_free(&made);
    return result;
}

void ct__setup_free(ct__setup *setup) {
    char *texts[] = {setup->handler, setup->function, setup->version, setup->tenant, setup->space, setup->code_dir};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    for (size_t i = 0; i < setup->env_count; i++)
        free(setup->env[i]);
    free(setup->env);
    *setup = (ct__setup){0};
}

static int set(const char *name, const char *value, bool is_firm) {
    return setenv(name, value, is_firm) == 0 ? 0 : ct__errno();
}

int ct__setup_export_env(const ct__setup *setup) {
    int result = 0;
    for (size_t i = 0; i < setup->env_count && result == 0; i++) {
        char *value = strchr(setup->env[i], '=');
        *value = '\0';
        result = set(setup->env[i], value + 1, true);
        *value = '=';
    }
    return result;
}

int ct__setup_export(const ct__setup *setup, const char *api) {
    char libraries[2 * CT_PATH_BYTES], memory[24], group[256], stream[512];
    (void)snprintf(libraries, sizeof libraries, "%s:%s/lib", setup->code_dir, setup->code_dir);
    (void)snprintf(memory, sizeof memory, "%llu", (unsigned long long)setup->memory_mb);
    (void)snprintf(group, sizeof group, "/aws/lambda/%s", setup->function);
    (void)snprintf(stream, sizeof stream, "%s/%s/[%s]", setup->tenant, setup->space, setup->version);
    int result = set("TZ", ":UTC", false);
    if (result == 0)
        result = set("LD_LIBRARY_PATH", libraries, false);
    if (result == 0)
        result = ct__setup_export_env(setup);
    const char *const firm[][2] = {
        {"AWS_LAMBDA_RUNTIME_API", api},
        {"_HANDLER", setup->handler},
        {"LAMBDA_TASK_ROOT", setup->code_dir},
        {"LAMBDA_RUNTIME_DIR", setup->code_dir},
        {"AWS_LAMBDA_FUNCTION_NAME", setup->function},
        {"AWS_LAMBDA_FUNCTION_VERSION", setup->version},
        {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory},
        {"AWS_LAMBDA_LOG_GROUP_NAME", group},
        {"AWS_LAMBDA_LOG_STREAM_NAME", stream},
        {"AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"},
    };
    for (size_t i = 0; i < sizeof firm / sizeof *firm && result == 0; i++)
        result = set(firm[i][0], firm[i][1], true);
    return result;
}

size_t ct__setup_words(char *command, char **words, size_t cap) {
    size_t count = 0;
    char *rest = command;
    for (char *word; count + 1 < cap && (word = strtok_r(rest, " \t", &rest)) != NULL;)
        words[count++] = word;
    words[count] = NULL;
    return count;
}
