/* locate.c: see locate.h. A folder is listed once; of several names of a kind the first in
 * alphabetical order stands for all, so that nothing depends on the order of the file system. */
#define _DEFAULT_SOURCE /* opendir */
#include "model/files/locate.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

enum { NAME = 256 };

/* Names of one kind. */
typedef struct {
    int n;
    char first[NAME], second[NAME]; /* alphabetically */
} names;

typedef struct {
    bool has_config, has_weights, has_adapter, has_snapshots, has_refs;
    names gguf;    /* whole files and first shards */
    names shards;  /* of safetensors */
    names tensors; /* other safetensors */
    names pickles; /* and other weights that are not read */
    names folders; /* those with a config.json in them; of `snapshots` all */
} listing;

static void keep(names *list, const char *name)
{
    if (!list->n || strcmp(name, list->first) < 0) {
        memcpy(list->second, list->first, NAME);
        (void)snprintf(list->first, NAME, "%s", name);
    } else if (list->n == 1 || strcmp(name, list->second) < 0) {
        (void)snprintf(list->second, NAME, "%s", name);
    }
    list->n++;
}

static bool ends_with(const char *text, const char *tail)
{
    const size_t n = strlen(text), n_tail = strlen(tail);
    return n >= n_tail && !strcmp(text + n - n_tail, tail);
}

static bool ends_with_any(const char *text, const char *const *tails, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ends_with(text, tails[i])) return true;
    return false;
}

/* Number of a shard called NAME-00002-of-00005.gguf or .safetensors, 0 for other names. */
static int shard_number(const char *name)
{
    static const char digits[] = "0123456789";
    const char *of = strstr(name, "-of-");
    if (!of || of - name < 6 || of[-6] != '-' || strspn(of - 5, digits) != 5) return 0;
    if (strspn(of + 4, digits) != 5 || of[9] != '.') return 0;
    return (int)strtol(of - 5, NULL, 10);
}

static void sort_name(listing *l, const char *name)
{
    static const char *const pickles[] = { ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5" };
    if (!strcmp(name, "config.json")) l->has_config = true;
    if (!strcmp(name, "adapter_config.json")) l->has_adapter = true;
    if (!strcmp(name, "snapshots")) l->has_snapshots = true;
    if (!strcmp(name, "refs")) l->has_refs = true;
    if (!strcmp(name, "model.safetensors") || !strcmp(name, "model.safetensors.index.json"))
        l->has_weights = true;
    else if (ends_with(name, ".safetensors"))
        keep(shard_number(name) ? &l->shards : &l->tensors, name);
    else if (ends_with(name, ".gguf") && strncmp(name, "mmproj", 6) && shard_number(name) < 2)
        keep(&l->gguf, name);
    else if (ends_with_any(name, pickles, sizeof pickles / sizeof *pickles))
        keep(&l->pickles, name);
}

/* Notes a folder below that looks like a model's. */
static void sort_folder(listing *l, const char *folder, const char *name)
{
    char path[4096];
    const bool is_all = ends_with(folder, "/snapshots");
    const int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof path || !laci_path_is_dir(path)) return;
    const size_t end = (size_t)n;
    const int more = snprintf(path + end, sizeof path - end, "/config.json");
    if (more < 0 || (size_t)more >= sizeof path - end) return;
    if (is_all || laci_file_exists(path)) keep(&l->folders, name);
}

static lac_status list_folder(listing *out, const char *folder, lac_error *err)
{
    DIR *dir = opendir(folder);
    if (!dir) return laci_fail(err, LAC_EIO, 0, "cannot list %s: %s", folder, strerror(errno));
    *out = (listing){ .has_config = false };
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        sort_name(out, entry->d_name);
        sort_folder(out, folder, entry->d_name);
    }
    closedir(dir);
    return LAC_OK;
}

static lac_status join(char **out, const char *folder, const char *name, const lac_allocator *mem,
                       lac_error *err)
{
    *out = laci_path_join(mem, folder, name);
    return *out ? LAC_OK : laci_fail_memory(err, "a path", strlen(folder) + strlen(name) + 2);
}

/* ------------------------------------------------------------------ cache folders */

/* The snapshot that refs/main names, "" where it names none that is there. */
static void read_main(char name[NAME], const char *snapshots, const char *folder,
                      const lac_allocator *mem)
{
    char *text = NULL, *path = laci_path_join(mem, folder, "refs/main"), *inner = NULL;
    size_t n = 0;
    name[0] = 0;
    if (path && !laci_file_read(&text, &n, path, NAME - 1, mem, NULL)) {
        n = strcspn(text, " \t\r\n/");
        text[n] = 0;
        if (n && text[0] != '.') inner = laci_path_join(mem, snapshots, text);
        if (inner && laci_path_is_dir(inner)) memcpy(name, text, n + 1);
    }
    laci_release(mem, inner);
    laci_release(mem, text);
    laci_release(mem, path);
}

/* models--OWNER--NAME with refs and snapshots, as Hugging Face's libraries cache a model. */
static lac_status find_snapshot(char **out, const char *folder, const lac_allocator *mem,
                                lac_error *err)
{
    listing l;
    char name[NAME], *snapshots = NULL;
    lac_status st = join(&snapshots, folder, "snapshots", mem, err);
    if (!st) st = list_folder(&l, snapshots, err);
    if (!st) {
        read_main(name, snapshots, folder, mem);
        if (!name[0] && l.folders.n == 1) memcpy(name, l.folders.first, NAME);
        if (name[0])
            st = join(out, snapshots, name, mem, err);
        else if (!l.folders.n)
            st = laci_fail(err, LAC_EFORMAT, 0, "%s is a cache folder without a snapshot", folder);
        else
            st = laci_fail(err, LAC_EFORMAT, 0,
                           "%s is a cache folder with %d snapshots, such as %s and %s: name one of "
                           "them",
                           folder, l.folders.n, l.folders.first, l.folders.second);
    }
    laci_release(mem, snapshots);
    return st;
}

/* ------------------------------------------------------------------ folders and files */

static lac_status fail_folder(const listing *l, const char *folder, lac_error *err)
{
    if (l->gguf.n > 1)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "%s holds %d GGUF files, such as %s and %s: name one of them", folder,
                         l->gguf.n, l->gguf.first, l->gguf.second);
    if (l->has_adapter)
        return laci_fail(err, LAC_EFORMAT, 0,
                         "%s holds an adapter (adapter_config.json), not a model: merge it into "
                         "its model first",
                         folder);
    if (l->folders.n)
        return laci_fail(err, LAC_EFORMAT, 0, "%s has no config.json, but its folder %s has one",
                         folder, l->folders.first);
    return laci_fail(err, LAC_EFORMAT, 0, "%s has no config.json and no GGUF file", folder);
}

/* A folder that is no model itself may hold one; *out stays NULL when it is the model. */
static lac_status look_inside(char **out, const char *folder, bool partial,
                              const lac_allocator *mem, lac_error *err)
{
    listing l;
    lac_status st = list_folder(&l, folder, err);
    if (st || (l.has_config && (l.has_weights || !l.gguf.n))) return st;
    if (l.gguf.n == 1 && !l.has_weights) return join(out, folder, l.gguf.first, mem, err);
    if (l.has_snapshots && l.has_refs) return find_snapshot(out, folder, mem, err);
    if (partial && !l.gguf.n && !l.folders.n && !l.has_adapter) return LAC_OK;
    return fail_folder(&l, folder, err);
}

/* A file that is part of a model folder was named in its place. */
static lac_status check_file(const char *path, lac_error *err)
{
    static const char *const parts[] = { ".safetensors", ".json", ".txt", ".jinja", ".model" };
    if (!laci_file_exists(path) || !ends_with_any(path, parts, sizeof parts / sizeof *parts))
        return LAC_OK;
    const char *slash = strrchr(path, '/');
    return laci_fail(err, LAC_EFORMAT, 0,
                     "%s is one file of a model: give the folder that holds it, %.*s", path,
                     slash ? (int)(slash - path) : 1, slash ? path : ".");
}

bool laci_holds_weights(const char *folder)
{
    listing l;
    if (list_folder(&l, folder, NULL)) return false;
    return l.has_weights || l.shards.n || l.tensors.n || l.pickles.n;
}

lac_status laci_locate(char **out, const char *path, bool partial, const lac_allocator *mem,
                       lac_error *err)
{
    enum { MOST_STEPS = 2 }; /* a snapshot, and the GGUF file in it */
    char *found = laci_copy_string(mem, path, strlen(path));
    if (!found) return laci_fail_memory(err, "a path", strlen(path) + 1);
    lac_status st = laci_path_is_dir(path) ? LAC_OK : check_file(path, err);
    for (int i = 0; i < MOST_STEPS && !st && laci_path_is_dir(found); i++) {
        char *inner = NULL;
        st = look_inside(&inner, found, partial, mem, err);
        if (!inner) break;
        laci_release(mem, found);
        found = inner;
    }
    if (st)
        laci_release(mem, found);
    else
        *out = found;
    return st;
}

lac_status laci_fail_weights(const char *folder, lac_error *err)
{
    listing l;
    if (list_folder(&l, folder, NULL)) l = (listing){ .has_config = false };
    const names *other = l.shards.n ? &l.shards : l.tensors.n ? &l.tensors : &l.pickles;
    const char *why = l.shards.n    ? "a shard, and the index that lists the shards is missing"
                      : l.tensors.n ? "a name this program does not look for"
                                    : "a format that is not read: convert it to safetensors";
    if (!other->n)
        return laci_fail(err, LAC_EIO, 0,
                         "%s holds neither model.safetensors nor model.safetensors.index.json",
                         folder);
    return laci_fail(err, LAC_EIO, 0,
                     "%s holds neither model.safetensors nor model.safetensors.index.json, but %s: "
                     "%s",
                     folder, other->first, why);
}
