// Memory of the machine and of the control groups around this process.
#include "base/memory.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How one version of control groups tells its limits.
typedef struct group_files {
    const char *tag;    // in front of the group's path in /proc/self/cgroup, after the number
    const char *folder; // where groups are
    const char *limit, *usage, *cache;
} group_files;

static const group_files versions[] = {
    {"::", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "},
    {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
};

// The number behind `label` at the beginning of a line of the file, or at the file's beginning for "". -1 when there is
// none ("max" means no limit).
static int64_t read_number(const char *path, const char *label) {
    FILE *file = fopen(path, "re");
    char line[512];
    int64_t value = -1;
    while (file && value < 0 && fgets(line, sizeof line, file)) {
        size_t len = strlen(label);
        char *end;
        if (strncmp(line, label, len) != 0) continue;
        unsigned long long number = strtoull(line + len, &end, 10);
        if (end != line + len) value = number > INT64_MAX ? INT64_MAX : (int64_t)number;
        if (len == 0) break;
    }
    if (file) fclose(file);
    return value;
}

static int64_t in_group(const char *root, const group_files *files, const char *group, const char *name,
                        const char *label) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s%s%s/%s", root, files->folder, group, name) >= (int)sizeof path) return -1;
    return read_number(path, label);
}

static void apply_group(const char *root, const group_files *files, const char *group, mosa_memory *out) {
    int64_t limit = in_group(root, files, group, files->limit, "");
    if (limit < 0) return;
    int64_t usage = in_group(root, files, group, files->usage, "");
    int64_t cache = in_group(root, files, group, "memory.stat", files->cache);
    int64_t used = usage < 0 ? 0 : cache > 0 && cache < usage ? usage - cache : usage;
    if (limit < out->total) out->total = limit;
    if (limit - used < out->available) out->available = limit > used ? limit - used : 0;
}

// The group and all above it. Where the path does not exist (a namespace of its own), the top still tells.
static void apply_groups(const char *root, const group_files *files, char *group, mosa_memory *out) {
    for (;;) {
        char *slash = strrchr(group, '/');
        if (strcmp(group, "/") == 0 || !slash) break;
        apply_group(root, files, group, out);
        *slash = '\0';
    }
    apply_group(root, files, "", out);
}

static void apply_own_groups(const char *root, mosa_memory *out) {
    char path[PATH_MAX], line[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/proc/self/cgroup", root) >= (int)sizeof path) return;
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        for (size_t v = 0; v < sizeof versions / sizeof versions[0]; v++) {
            char *tag = strchr(line, ':');
            size_t len = strlen(versions[v].tag);
            if (tag && strncmp(tag, versions[v].tag, len) == 0) apply_groups(root, &versions[v], tag + len, out);
        }
    }
    if (file) fclose(file);
}

void mosa_memory_measure(const char *root, mosa_memory *out) {
    char path[PATH_MAX];
    *out = (mosa_memory){INT64_MAX, INT64_MAX};
    if (snprintf(path, sizeof path, "%s/proc/meminfo", root) < (int)sizeof path) {
        int64_t total_kib = read_number(path, "MemTotal:"), available_kib = read_number(path, "MemAvailable:");
        if (total_kib > 0) out->total = total_kib * 1024;
        if (available_kib >= 0) out->available = available_kib * 1024;
    }
    apply_own_groups(root, out);
    if (out->available > out->total) out->available = out->total;
}
