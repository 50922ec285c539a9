/* Control groups, both kinds. A container sees its own group as the root of what is mounted, so the path that
   /proc/self/cgroup names may not be there; then the root is it. The group that throttles may be an outer one (a pod's),
   so the innermost one that counts is taken. */
#define _GNU_SOURCE
#include "quota.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "descriptor.h"

enum { PATH = 1024, TEXT = 1024 };

/* Where a hierarchy is mounted, which of its files tells the quota, and how the time is called. */
typedef struct kind {
    const char *mount, *limit, *key;
    uint64_t unit_ns;
} kind;

static const kind kinds[] = {
    {"/sys/fs/cgroup", "cpu.max", "throttled_usec ", 1000},
    {"/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "throttled_time ", 1},
    {"/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", "throttled_time ", 1},
};

struct lw_quota {
    const kind *kind;
    double cpus;
    lw_descriptor file; /* owned: cpu.stat */
};

static bool read_text(int descriptor, char text[TEXT])
{
    ssize_t size = pread(descriptor, text, TEXT - 1, 0);

    text[size > 0 ? size : 0] = '\0';
    return size > 0;
}

static bool read_file(const kind *kind, const char *group, const char *name, char text[TEXT])
{
    char path[2 * PATH];

    snprintf(path, sizeof path, "%s%s/%s", kind->mount, group, name);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return false;
    }
    bool filled = read_text(descriptor, text);
    close(descriptor);
    return filled;
}

/* How many CPUs the group may use; 0 without a limit, which reads as "max" or -1. Version 2 has the period behind it in
   the same file, version 1 in a file of its own. */
static double limit_of(const kind *kind, const char *group)
{
    char text[TEXT], *end;

    if (!read_file(kind, group, kind->limit, text)) {
        return 0;
    }
    double time = strtod(text, &end);
    if (end == text || time <= 0) {
        return 0;
    }
    double period = strtod(end, NULL);
    if (period <= 0 && read_file(kind, group, "cpu.cfs_period_us", text)) {
        period = strtod(text, NULL);
    }
    return period > 0 ? time / period : 0;
}

/* The group or the innermost one around it that has a limit: shortens `group`, and returns the limit, or 0. */
static double find_limit(const kind *kind, char *group)
{
    for (;;) {
        double cpus = limit_of(kind, group);
        char *slash = strrchr(group, '/');
        if (cpus > 0 || slash == NULL) {
            return cpus;
        }
        *slash = '\0';
    }
}

static lw_quota *open_kind(const kind *kind, const char *name)
{
    char group[PATH], path[2 * PATH];

    snprintf(group, sizeof group, "%s", strcmp(name, "/") == 0 ? "" : name);
    double cpus = find_limit(kind, group);
    if (cpus <= 0) {
        return NULL;
    }
    snprintf(path, sizeof path, "%s%s/cpu.stat", kind->mount, group);
    lw_quota *quota = calloc(1, sizeof *quota);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (quota == NULL || descriptor < 0 || lw_descriptor_adopt(&quota->file, descriptor) != LW_OK) {
        if (descriptor >= 0) {
            close(descriptor);
        }
        free(quota);
        return NULL;
    }
    quota->kind = kind;
    quota->cpus = cpus;
    return quota;
}

/* A line is `0::/group` for the one hierarchy of version 2, else `4:cpu,cpuacct:/group`. */
static lw_quota *open_line(char *line)
{
    char *controllers = strchr(line, ':');
    char *name = controllers == NULL ? NULL : strchr(controllers + 1, ':');

    if (name == NULL) {
        return NULL;
    }
    *name++ = '\0';
    controllers++;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bool ours = i == 0 ? *controllers == '\0'
                           : strcmp(controllers, "cpu") == 0 || strcmp(controllers, "cpu,cpuacct") == 0;
        lw_quota *quota = ours ? open_kind(&kinds[i], name) : NULL;
        if (quota != NULL) {
            return quota;
        }
    }
    return NULL;
}

lw_quota *lw_quota_open(void)
{
    char line[PATH];
    lw_quota *quota = NULL;

    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL) {
        return NULL;
    }
    while (quota == NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        quota = open_line(line);
    }
    fclose(file);
    return quota;
}

void lw_quota_close(lw_quota *quota)
{
    if (quota != NULL) {
        lw_descriptor_close(&quota->file);
        free(quota);
    }
}

double lw_quota_cpus(const lw_quota *quota)
{
    return quota->cpus;
}

bool lw_quota_throttled(const lw_quota *quota, uint64_t *ns)
{
    char text[TEXT];

    if (quota == NULL || !lw_descriptor_check(&quota->file) || !read_text(quota->file.number, text)) {
        return false;
    }
    const char *found = strstr(text, quota->kind->key);
    if (found == NULL) {
        return false;
    }
    *ns = strtoull(found + strlen(quota->kind->key), NULL, 10) * quota->kind->unit_ns;
    return true;
}
